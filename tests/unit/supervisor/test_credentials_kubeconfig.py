"""Which kubeconfig, which context, and what a bad one says."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest
import trustme
import yaml

from credential_helpers import bundle, kubeconfig
from shard_executor.supervisor.credentials import CredentialError, CredentialSource


def source(path: str | None = None, context: str | None = None, **environ: str) -> CredentialSource:
    return CredentialSource(path, context, environ={"HOME": "/nonexistent", **environ})


def test_the_named_file_wins_over_the_variable_and_the_home_folder(tmp_path: Path) -> None:
    named = kubeconfig(tmp_path / "named", cluster={"server": "https://named:1"})
    listed = kubeconfig(tmp_path / "listed", cluster={"server": "https://listed:1"})
    kubeconfig(tmp_path / ".kube" / "config", cluster={"server": "https://home:1"})
    home = str(tmp_path)
    assert source(named, KUBECONFIG=listed, HOME=home).load().host == "https://named:1"
    assert source(KUBECONFIG=listed, HOME=home).load().host == "https://listed:1"
    assert source(HOME=home).load().host == "https://home:1"


def test_several_files_merge_with_the_first_to_win(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", cluster={"server": "https://first:1"}, user={"token": "one"})
    second = kubeconfig(tmp_path / "b", cluster={"server": "https://second:1"}, name="prod", current="prod")
    clash = kubeconfig(tmp_path / "c", cluster={"server": "https://clash:1"})
    listed = os.pathsep.join([first, str(tmp_path / "missing"), second, clash])
    loaded = source(KUBECONFIG=listed).load()
    assert (loaded.host, loaded.token) == ("https://first:1", "one")
    assert source(context="prod", KUBECONFIG=listed).load().host == "https://second:1"


def test_a_context_may_take_its_parts_from_different_files(tmp_path: Path) -> None:
    ca = trustme.CA()
    clusters = tmp_path / "clusters" / "config"
    kubeconfig(clusters, cluster={"server": "https://far:1", "certificate-authority": "ca.pem"}, current=None)
    (clusters.parent / "ca.pem").write_text(bundle(ca))
    users = tmp_path / "users" / "config"
    users.parent.mkdir()
    users.write_text(
        yaml.safe_dump(
            {
                "current-context": "mixed",
                "users": [{"name": "me", "user": {"tokenFile": "token"}}],
                "contexts": [{"name": "mixed", "context": {"cluster": "dev-cluster", "user": "me", "namespace": "n"}}],
            }
        )
    )
    (users.parent / "token").write_text("mine\n")
    one = source(KUBECONFIG=f"{users}{os.pathsep}{clusters}")
    loaded = one.load()
    assert (loaded.host, loaded.token, loaded.namespace) == ("https://far:1", "mine", "n")
    assert loaded.ca_file is not None
    assert Path(loaded.ca_file).read_text() == bundle(ca)
    one.close()


def test_a_path_prefix_stays_and_a_trailing_slash_goes(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", cluster={"server": "https://rancher.example/k8s/clusters/c-1/"})
    assert source(path).load().host == "https://rancher.example/k8s/clusters/c-1"


def test_basic_authentication_becomes_a_header(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", user={"username": "ann", "password": 1234})
    loaded = source(path).load()
    assert loaded.token is None
    assert loaded.extra_headers["Authorization"] == "Basic " + base64.b64encode(b"ann:1234").decode()
    assert "1234" not in repr(loaded)


def test_impersonation_is_sent_or_refused_but_never_dropped(tmp_path: Path) -> None:
    user = {"token": "t", "as": "bob", "as-groups": ["crew"], "as-user-extra": {"reason": ["audit"]}}
    loaded = source(kubeconfig(tmp_path / "c", user=user)).load()
    assert loaded.extra_headers == {
        "Impersonate-User": "bob",
        "Impersonate-Group": "crew",
        "Impersonate-Extra-reason": "audit",
    }
    several = kubeconfig(tmp_path / "d", user={"token": "t", "as": "bob", "as-groups": ["a", "b"]})
    with pytest.raises(CredentialError, match="as-groups"):
        source(several).load()


def test_the_certificate_of_the_server_is_checked_unless_the_kubeconfig_says_otherwise(tmp_path: Path) -> None:
    server = "https://x:1"
    assert source(kubeconfig(tmp_path / "a", cluster={"server": server})).load().verify
    off = kubeconfig(tmp_path / "b", cluster={"server": server, "insecure-skip-tls-verify": True})
    assert not source(off).load().verify
    said = kubeconfig(tmp_path / "c", cluster={"server": server, "insecure-skip-tls-verify": False})
    assert source(said).load().verify


def test_no_identity_is_sent_over_plain_http_to_another_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user = {"token": "secret"}
    far = kubeconfig(tmp_path / "far", cluster={"server": "http://10.0.0.1:8080"}, user=user)
    near = kubeconfig(tmp_path / "near", cluster={"server": "http://127.0.0.1:8080"}, user=user)
    assert source(far).load().token is None
    assert "not encrypted" in caplog.text
    assert source(near).load().token == "secret"


def test_constructing_reads_nothing_and_closing_twice_is_fine(tmp_path: Path) -> None:
    one = source(str(tmp_path / "absent"))
    assert one.description == "not loaded"
    one.close()
    one.close()


def test_the_context_stays_when_another_terminal_switches_it(tmp_path: Path) -> None:
    path = tmp_path / "c"
    kubeconfig(path, cluster={"server": "https://mine:1"})
    one = source(str(path))
    assert one.load().host == "https://mine:1"
    data = yaml.safe_load(path.read_text())
    data["clusters"].append({"name": "other", "cluster": {"server": "https://other:1"}})
    data["contexts"].append({"name": "other", "context": {"cluster": "other"}})
    data["current-context"] = "other"
    path.write_text(yaml.safe_dump(data))
    assert one.refresh().host == "https://mine:1"
    assert source(str(path)).load().host == "https://other:1"


BAD = {
    "no such file": (None, None, "absent: no such file"),
    "not yaml": ("clusters: [", None, r"bad, line 1"),
    "a list": ("- a", None, "is a mapping"),
    "entries without names": ("clusters: [{cluster: {}}]", None, r"clusters\[0\] needs a 'name'"),
    "no current context": ("contexts: [{name: a, context: {}}]", None, "no current-context.*contexts there: a"),
    "unknown context": ("contexts: [{name: a, context: {}}]", "b", "no context 'b'; contexts there: a"),
    "unknown cluster": (
        "{current-context: a, contexts: [{name: a, context: {cluster: gone}}]}",
        None,
        "'a' names the cluster 'gone'",
    ),
    "unknown user": (
        "{current-context: a, clusters: [{name: c, cluster: {server: 'https://x'}}],"
        " contexts: [{name: a, context: {cluster: c, user: gone}}]}",
        None,
        "names the user 'gone'",
    ),
    "empty": ("{}", None, "is empty"),
}


@pytest.mark.parametrize(("text", "context", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_kubeconfig_names_itself(tmp_path: Path, text: str | None, context: str | None, words: str) -> None:
    path = tmp_path / ("absent" if text is None else "bad")
    if text is not None:
        path.write_text(text)
    with pytest.raises(CredentialError, match=words) as caught:
        source(str(path), context).load()
    assert str(path) in str(caught.value)


BAD_SECTIONS = {
    "no server": ({"certificate-authority": "x"}, {}, "must be a URL"),
    "server without scheme": ({"server": "10.0.0.1:6443"}, {}, "https://10.0.0.1:6443"),
    "missing CA": ({"server": "https://x", "certificate-authority": "gone.pem"}, {}, "gone.pem cannot be read"),
    "CA not base64": ({"server": "https://x", "certificate-authority-data": "a"}, {}, "not base64"),
    "CA not PEM": ({"server": "https://x", "certificate-authority-data": "aGVsbG8="}, {}, "no certificate in PEM"),
    "missing token file": ({"server": "https://x"}, {"tokenFile": "gone"}, "gone cannot be read"),
    "certificate without key": ({"server": "https://x"}, {"client-certificate-data": "aGVsbG8="}, "one is missing"),
    "certificate not PEM": (
        {"server": "https://x"},
        {"client-certificate-data": "aGVsbG8=", "client-key-data": "aGVsbG8="},
        "do not fit or are no PEM",
    ),
}


@pytest.mark.parametrize(("cluster", "user", "words"), BAD_SECTIONS.values(), ids=BAD_SECTIONS.keys())
def test_a_bad_section_names_itself(
    tmp_path: Path, cluster: dict[str, object], user: dict[str, object], words: str
) -> None:
    path = kubeconfig(tmp_path / "bad", cluster=cluster, user=user)
    one = source(path)
    with pytest.raises(CredentialError, match=words) as caught:
        one.load()
    assert "'dev'" in str(caught.value)
    assert path in str(caught.value)
    one.close()


def test_ca_and_skipping_the_check_exclude_each_other(tmp_path: Path) -> None:
    data = base64.b64encode(bundle(trustme.CA()).encode()).decode()
    cluster = {"server": "https://x", "insecure-skip-tls-verify": True, "certificate-authority-data": data}
    with pytest.raises(CredentialError, match="exclude each other"):
        source(kubeconfig(tmp_path / "c", cluster=cluster)).load()


def test_a_yaml_error_does_not_quote_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("users:\n- name: a\n  user: {token: topsecret\n")
    with pytest.raises(CredentialError) as caught:
        source(str(path)).load()
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("listed", [None, "/nonexistent/config"])
def test_nothing_found_says_where_it_looked(listed: str | None) -> None:
    with pytest.raises(CredentialError, match=listed or r"~/\.kube/config") as caught:
        source(**({"KUBECONFIG": listed} if listed else {})).load()
    assert "--kubeconfig" in str(caught.value)


def oidc(expires: float, issuer: str = "http://127.0.0.1:9") -> dict[str, object]:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'exp': int(expires), 'pad': 'x'})}.sig"
    config = {"id-token": token, "refresh-token": "r", "client-id": "c", "client-secret": "s", "idp-issuer-url": issuer}
    return {"auth-provider": {"name": "oidc", "config": config}}


def test_an_oidc_provider_gives_its_token(tmp_path: Path) -> None:
    user = oidc(time.time() + 3600)
    loaded = source(kubeconfig(tmp_path / "c", user=user)).load()
    assert loaded.token == user["auth-provider"]["config"]["id-token"]  # type: ignore[index]
    assert "Authorization" not in loaded.extra_headers


@pytest.mark.parametrize(
    "user", [oidc(0), {"auth-provider": {"name": "azure", "config": {}}}], ids=["expired, no issuer", "unknown"]
)
def test_a_provider_without_a_token_is_an_error(tmp_path: Path, user: dict[str, object]) -> None:
    with pytest.raises(CredentialError, match=r"auth-provider '(oidc|azure)'") as caught:
        source(kubeconfig(tmp_path / "c", user=user)).load()
    assert "'dev-user'" in str(caught.value)


@pytest.mark.parametrize(
    "user",
    [{}, {"token": "t"}, {"username": "ann", "password": "pw"}, {"tokenFile": "token"}],
    ids=["none", "token", "basic", "file"],
)
def test_the_official_client_would_send_the_same(tmp_path: Path, user: dict[str, str]) -> None:
    from kubernetes import client, config

    (tmp_path / "token").write_text("filed")
    data = base64.b64encode(bundle(trustme.CA()).encode()).decode()
    cluster = {"server": "https://x:1/", "certificate-authority-data": data, "tls-server-name": "name"}
    path = kubeconfig(tmp_path / "c", cluster=cluster, user=user)
    one = source(path)
    ours = one.load()
    theirs = client.Configuration()
    config.load_kube_config(path, client_configuration=theirs)
    header = f"Bearer {ours.token}" if ours.token else ours.extra_headers.get("Authorization")
    assert header == theirs.auth_settings().get("BearerToken", {}).get("value")
    assert (ours.host, ours.server_name, ours.verify) == (theirs.host, theirs.tls_server_name, theirs.verify_ssl)
    assert Path(str(ours.ca_file)).read_bytes() == Path(theirs.ssl_ca_cert).read_bytes()
    one.close()
