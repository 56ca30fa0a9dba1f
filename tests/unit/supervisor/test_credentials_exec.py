"""Credential plugins, run for real: caching, renewal before expiry, forced renewal, and what a bad one says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from credential_helpers import EXEC_API, Clock, bundle, kubeconfig, plugin, runs, set_status, wait_until
from shard_executor.supervisor.credentials import CredentialError, CredentialSource

Make = Callable[..., CredentialSource]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    made: list[CredentialSource] = []

    def one(
        section: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **user: Any
    ) -> CredentialSource:
        entry = {"apiVersion": EXEC_API, "command": str(tmp_path / "p" / "plugin"), "interactiveMode": "Never"}
        path = kubeconfig(tmp_path / "config", cluster=cluster, user={"exec": entry | (section or {}), **user})
        made.append(CredentialSource(path, clock=clock))
        return made[-1]

    yield one
    for source in made:
        source.close()


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_token_is_asked_for_once_and_kept(tmp_path: Path, make: Make, clock: Clock) -> None:
    plugin(tmp_path / "p", {"token": "one"})
    source = make({"args": ["get", 7], "env": [{"name": "COLOUR", "value": "red"}]})
    assert source.current().token == "one"
    for _ in range(20):
        clock.now += 600
        assert source.current().token == "one"
    (only,) = runs(tmp_path / "p")
    assert (only["args"], only["colour"]) == (["get", "7"], "red")
    assert only["info"] == {"apiVersion": EXEC_API, "kind": "ExecCredential", "spec": {"interactive": False}}


def test_a_token_is_renewed_before_it_expires(tmp_path: Path, make: Make, clock: Clock) -> None:
    start = clock.now
    plugin(tmp_path / "p", {"token": "one", "expirationTimestamp": stamp(start + 900)})
    source = make()
    source.load()
    set_status(tmp_path / "p", {"token": "two", "expirationTimestamp": stamp(start + 1800)})
    clock.now = start + 838
    assert source.current().token == "one"
    assert len(runs(tmp_path / "p")) == 1
    clock.now = start + 842
    assert source.current().token == "one"  # answered at once; the plugin runs meanwhile
    wait_until(lambda: source.current().token == "two", "the renewed token")
    assert len(runs(tmp_path / "p")) == 2


def test_a_short_lived_token_is_not_asked_for_without_pause(tmp_path: Path, make: Make, clock: Clock) -> None:
    plugin(tmp_path / "p", {"token": "one", "expirationTimestamp": stamp(clock.now - 5)})
    source = make()
    assert source.load().token == "one"
    for _ in range(9):
        clock.now += 1
        source.current()
    assert len(runs(tmp_path / "p")) == 1


def test_a_failed_renewal_keeps_the_last_token_and_tries_again(tmp_path: Path, make: Make, clock: Clock) -> None:
    plugin(
        tmp_path / "p",
        {"token": "one", "expirationTimestamp": stamp(clock.now + 900)},
        body="if (here / 'broken').exists(): sys.exit('login needed')",
    )
    source = make()
    source.load()
    (tmp_path / "p" / "broken").touch()
    clock.now += 850
    source.current()
    wait_until(lambda: source.problem is not None, "the failure to be noticed")
    assert "login needed" in str(source.problem)
    assert source.current().token == "one"
    (tmp_path / "p" / "broken").unlink()
    set_status(tmp_path / "p", {"token": "two"})
    clock.now += 11
    wait_until(lambda: source.current().token == "two", "the second try")
    assert source.problem is None


def test_refresh_asks_again_and_a_storm_of_them_asks_once(tmp_path: Path, make: Make, clock: Clock) -> None:
    plugin(tmp_path / "p", {"token": "one"})
    source = make()
    source.load()
    set_status(tmp_path / "p", {"token": "two"})
    got: list[str | None] = []
    threads = [threading.Thread(target=lambda: got.append(source.refresh().token)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == ["two"] * 4
    assert len(runs(tmp_path / "p")) == 2
    clock.now += 6
    source.refresh()
    assert len(runs(tmp_path / "p")) == 3


def test_current_does_not_wait_for_a_running_plugin_and_close_ends_it(tmp_path: Path, make: Make, clock: Clock) -> None:
    body = "while (here / 'hold').exists(): time.sleep(0.02)\n(here / 'ended').touch()"
    plugin(tmp_path / "p", {"token": "one", "expirationTimestamp": stamp(clock.now + 900)}, body=body)
    source = make()
    source.load()
    (tmp_path / "p" / "ended").unlink()
    (tmp_path / "p" / "hold").touch()
    clock.now += 850
    source.current()
    wait_until(lambda: len(runs(tmp_path / "p")) == 2, "the plugin's start")
    assert source.current().token == "one"
    source.close()
    assert not (tmp_path / "p" / "ended").exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "credential-renewal"]


def test_a_client_certificate_from_a_plugin_becomes_private_files(tmp_path: Path, make: Make, clock: Clock) -> None:
    ca = trustme.CA()
    first, second = ca.issue_cert("client"), ca.issue_cert("client")

    def status(leaf: trustme.LeafCert) -> dict[str, str]:
        chain = "".join(part.bytes().decode() for part in leaf.cert_chain_pems)
        return {"clientCertificateData": chain, "clientKeyData": leaf.private_key_pem.bytes().decode()}

    plugin(tmp_path / "p", status(first) | {"expirationTimestamp": stamp(clock.now + 900)})
    source = make()
    loaded = source.load()
    assert loaded.token is None
    assert loaded.cert_file is not None
    assert loaded.key_file is not None
    key = Path(loaded.key_file)
    assert key.read_bytes() == first.private_key_pem.bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    set_status(tmp_path / "p", status(second))
    clock.now += 850
    wait_until(lambda: source.current().key_file != str(key), "the renewed certificate")
    source.close()
    assert not key.parent.exists()


def test_a_plugin_is_told_the_cluster_when_it_asks(tmp_path: Path, make: Make) -> None:
    ca = trustme.CA()
    (tmp_path / "ca.pem").write_text(bundle(ca))
    plugin(tmp_path / "p", {"token": "one"})
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"server": "https://x:1", "certificate-authority": "ca.pem", "extensions": [extension]}
    make({"provideClusterInfo": True}, cluster).load()
    told = runs(tmp_path / "p")[0]["info"]["spec"]["cluster"]
    assert (told["server"], told["config"]) == ("https://x:1", {"audience": "x"})
    assert told["certificate-authority-data"]


def test_a_relative_command_starts_at_the_kubeconfig(tmp_path: Path, make: Make) -> None:
    plugin(tmp_path / "p", {"token": "one"})
    assert make({"command": "./p/plugin"}).load().token == "one"


def test_a_user_with_a_token_never_runs_its_plugin(tmp_path: Path, make: Make) -> None:
    plugin(tmp_path / "p", {"token": "one"})
    assert make(token="mine").load().token == "mine"
    assert runs(tmp_path / "p") == []


BAD_ANSWERS = {
    "failure": ({}, "sys.stderr.write('please log in'); sys.exit(3)", "exit code 3; its last words: please log in"),
    "no json": ({}, "print('oops')", "not JSON"),
    "nothing in it": ({}, "", "neither a token nor a client certificate"),
    "half a pair": ({"clientCertificateData": "x"}, "", "only one of"),
    "bad time": ({"token": "x", "expirationTimestamp": "soon"}, "", "not an RFC 3339 time"),
    "bad type": ({"token": 5}, "", "status.token must be a string"),
    "killed": ({}, "os.kill(os.getpid(), 9)", "signal 9"),
}


@pytest.mark.parametrize(("status", "body", "words"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_bad_answer_names_the_command(
    tmp_path: Path, make: Make, status: dict[str, Any], body: str, words: str
) -> None:
    script = plugin(tmp_path / "p", status, body=body)
    with pytest.raises(CredentialError, match=words) as caught:
        make().load()
    assert str(script) in str(caught.value)
    assert "'dev-user'" in str(caught.value)


def test_another_version_in_the_answer_is_refused(tmp_path: Path, make: Make) -> None:
    plugin(tmp_path / "p", {"token": "x"}, api="client.authentication.k8s.io/v1beta1")
    with pytest.raises(CredentialError, match=r"answered in .*v1beta1"):
        make().load()


BAD_SECTIONS = {
    "no command": ({"command": ""}, "needs a 'command'"),
    "old version": ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1' is not supported"),
    "terminal": ({"interactiveMode": "Always"}, "insists on a terminal"),
    "not there": ({"command": "no-such-plugin"}, "'no-such-plugin' .* was not found; install it"),
    "hint": ({"command": "no-such-plugin", "installHint": "brew install it"}, "was not found: brew install it"),
    "bad env": ({"env": [{"value": "x"}]}, "exec.env"),
}


@pytest.mark.parametrize(("section", "words"), BAD_SECTIONS.values(), ids=BAD_SECTIONS.keys())
def test_a_bad_section_says_what_to_do(make: Make, section: dict[str, Any], words: str) -> None:
    with pytest.raises(CredentialError, match=words):
        make(section).load()


def test_a_plugin_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = tmp_path / "plugin"
    script.write_text("#!/bin/sh\necho waiting for a browser >&2\nsleep 600 & wait\n")
    script.chmod(0o755)
    user = {"exec": {"apiVersion": EXEC_API, "command": "./plugin"}}
    source = CredentialSource(kubeconfig(tmp_path / "config", user=user), exec_timeout=1.0)
    with pytest.raises(CredentialError, match="no answer within 1 s; its last words: waiting for a browser"):
        source.load()
