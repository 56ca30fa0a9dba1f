"""What a container printed, with its secrets hidden."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from shard_executor.airflow import masking
from shard_executor.airflow.masking import mask_named_values, masker

SECRET = "hunter2-Zq9/x+y=="


def sensitive(name: str) -> bool:
    return any(word in name for word in ("password", "token", "secret", "api_key", "authorization"))


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"PASSWORD = {SECRET}",
        f"export DB_PASSWORD='{SECRET} with spaces'",
        f'{{"user": "me", "password": "{SECRET}", "host": "h"}}',
        f"{{'user': 'me', 'api_key': '{SECRET}'}}",
        f'{{\\"token\\": \\"{SECRET}\\"}}',
        f'{{"token": ["{SECRET}", "{SECRET}"]}}',
        f'"secret": "a \\" {SECRET}"',
        f'"secret": "never closed {SECRET}',
        f"Authorization: Basic {SECRET}",
        f"> authorization: Bearer {SECRET}",
        f"curl -H 'X-Api-Key: {SECRET}'",
        f"sent Bearer {SECRET}",
        f"x-auth-token => {SECRET}",
        f"my.secret.thing: {SECRET} and more of it",
        f"run --db-password {SECRET} --verbose",
        f"run --token={SECRET}",
        f"https://host/path?user=me&token={SECRET}&x=1",
        f"postgresql+psycopg://user:{SECRET.replace('/', '')}@host:5432/db".replace("hunter2-", "hunter2@"),
        f"2026-01-01T10:00:00Z level=info a=b msg='x' client_secret={SECRET}",
        f"message: password={SECRET}",
    ],
)
def test_named_values_are_hidden(line: str) -> None:
    masked = mask_named_values(f"before\n{line}\nafter", sensitive)
    assert "hunter2" not in masked
    assert "Zq9" not in masked
    assert "***" in masked
    assert masked.startswith("before\n")
    assert masked.endswith("\nafter")


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        '  File "/opt/dags/a.py", line 3, in <module>',
        "KeyError: 'user'",
        "2026-01-01T10:00:00Z level=info user=me host=10.0.0.1:5432",
        '{"user": "me", "n": 3}',
        "--verbose --user me",
        "https://user@host:80/path?x=1",
        "name=\u3000",
        "a" * 5000,
        "=:=:'\"",
    ],
)
def test_other_lines_are_left_as_they_are(line: str) -> None:
    assert mask_named_values(line, sensitive) == line


def test_what_stands_beside_a_secret_is_kept() -> None:
    assert mask_named_values('{"password": "x", "host": "h"}', sensitive) == '{"password": ***, "host": "h"}'
    assert mask_named_values("password=x host=h", sensitive) == "password=*** host=h"


@pytest.mark.parametrize(
    "text",
    [
        "a\n-----BEGIN RSA PRIVATE KEY-----\nSECRET\nSECRET\n-----END RSA PRIVATE KEY-----\nb",
        "SECRET\nSECRET\n-----END PRIVATE KEY-----\nb",
        "a\n-----BEGIN PRIVATE KEY-----\nSECRET",
    ],
)
def test_private_keys_are_hidden_also_where_one_end_is_cut_off(text: str) -> None:
    masked = mask_named_values(text, sensitive)
    assert "SECRET" not in masked
    assert "***" in masked


@pytest.fixture(params=["airflow._shared.secrets_masker", "airflow.sdk._shared.secrets_masker"])
def known_secret(request: pytest.FixtureRequest) -> Iterator[str]:
    """A secret that one of this process's maskers knows."""
    module = importlib.import_module(request.param)
    module.mask_secret("a-registered-value")
    yield "a-registered-value"
    module.reset_secrets_masker()


def test_airflows_maskers_are_asked(known_secret: str) -> None:
    mask = masker()
    assert mask is not None
    assert mask(f"it is {known_secret}!") == "it is ***!"


def test_airflows_list_of_names_is_used() -> None:
    mask = masker()
    assert mask is not None
    assert mask(f"conn_password={SECRET} user=me\nwebhook_url: https://h/{SECRET}") == (
        "conn_password=*** user=me\nwebhook_url: ***"
    )


def test_without_any_masker_there_is_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(masking, "_MODULES", ("airflow.nothing_here",))
    monkeypatch.setattr(masking, "_OLDER", ("airflow.nor_here", "json"))
    assert masker() is None
    assert "no secrets masker" in caplog.text


def test_many_assignments_do_not_take_long() -> None:
    assert "hunter2" not in mask_named_values("a=b" * 4000 + f" password={SECRET}", sensitive)
