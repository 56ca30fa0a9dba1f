"""Where the credentials come from: service account, kubeconfig, trust in the server, a client factory."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
import yaml
from kubernetes import client

from shard_executor.airflow.options import credential_source, read_options
from shard_executor.supervisor.credentials import CredentialError


class Conf:
    def __init__(self, **values: str) -> None:
        self.values = values

    def get(self, section: str, key: str, *, fallback: Any = None) -> Any:
        return self.values.get(key, fallback) if section == "kubernetes_executor" else fallback


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def kubeconfig(tmp_path: Path, authority: trustme.CA) -> Path:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    path = tmp_path / "config"
    clusters = [
        {"name": name, "cluster": {"server": f"https://{name}.example:6443", "certificate-authority": str(ca)}}
        for name in ("one", "two")
    ]
    contexts = [{"name": name, "context": {"cluster": name, "user": "me"}} for name in ("one", "two")]
    users = [{"name": "me", "user": {"token": "secret"}}]
    path.write_text(
        yaml.safe_dump({"clusters": clusters, "contexts": contexts, "users": users, "current-context": "one"})
    )
    return path


@pytest.fixture
def factories(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("factories_of_a_company")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def load(**values: str) -> Any:
    source = credential_source(read_options(Conf(**values)), environ={"HOME": "/nowhere"})
    try:
        return source.load()
    finally:
        source.close()


def test_kubeconfig_and_context(kubeconfig: Path) -> None:
    here = {"in_cluster": "False", "config_file": str(kubeconfig)}
    assert load(**here).host == "https://one.example:6443"
    assert load(**here).token == "secret"
    assert load(**here, cluster_context="two").host == "https://two.example:6443"


def test_in_cluster_is_the_default_and_no_kubeconfig_is_looked_for(kubeconfig: Path) -> None:
    with pytest.raises(CredentialError, match="service account"):
        load(config_file=str(kubeconfig))


def test_trust_in_the_server(kubeconfig: Path, tmp_path: Path) -> None:
    here = {"in_cluster": "False", "config_file": str(kubeconfig)}
    assert load(**here).verify
    assert not load(**here, verify_ssl="False").verify
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    source = credential_source(read_options(Conf(**here, ssl_ca_cert=str(other))), environ={})
    assert Path(source.load().ca_file or "").read_bytes() == other.read_bytes()
    source.close()


def test_a_ca_bundle_that_is_none_is_refused(kubeconfig: Path, tmp_path: Path) -> None:
    here = {"in_cluster": "False", "config_file": str(kubeconfig)}
    with pytest.raises(CredentialError, match=r"absent\.pem cannot be read"):
        load(**here, ssl_ca_cert=str(tmp_path / "absent.pem"))
    with pytest.raises(CredentialError, match="no certificate in PEM"):
        load(**here, ssl_ca_cert=str(kubeconfig))


def test_a_client_factory_gives_the_credentials(
    factories: ModuleType, tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, pair = tmp_path / "ca.pem", authority.issue_cert("client")
    authority.cert_pem.write_to_path(ca)
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tokens = iter(["first", "second", "third"])
    monkeypatch.setenv("no_proxy", "")

    def build() -> client.CoreV1Api:
        configuration = client.Configuration()
        configuration.host = "https://api.example:6443/"
        configuration.ssl_ca_cert = str(ca)
        configuration.cert_file, configuration.key_file = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        configuration.proxy = "http://proxy.example:3128"
        configuration.api_key["authorization"] = "of the past"
        # The package reads the prefix of one name or the other, by its release.
        configuration.api_key_prefix.update(authorization="Bearer", BearerToken="Bearer")

        def hook(asked: client.Configuration) -> None:
            asked.api_key["authorization"] = next(tokens)

        configuration.refresh_api_key_hook = hook
        api = client.ApiClient(configuration)
        api.set_default_header("X-Tenant", "red")
        return client.CoreV1Api(api)

    factories.build = build  # type: ignore[attr-defined]
    source = credential_source(read_options(Conf(client_factory=f"{factories.__name__}.build")))
    try:
        got = source.load()
        assert (got.host, got.token, got.proxy) == ("https://api.example:6443", "first", "http://proxy.example:3128")
        assert got.extra_headers == {"X-Tenant": "red"}
        assert Path(got.ca_file or "").read_bytes() == ca.read_bytes()
        assert Path(got.key_file or "").read_bytes() == (tmp_path / "key.pem").read_bytes()
        assert got.verify
        assert source.current() == got
        assert source.refresh().token == "second"
        assert factories.__name__ in source.description
    finally:
        source.close()


def test_another_scheme_than_bearer(factories: ModuleType) -> None:
    def build() -> client.CoreV1Api:
        configuration = client.Configuration()
        configuration.host = "http://localhost:1"
        configuration.api_key["authorization"] = "Basic eDp5"
        return client.CoreV1Api(client.ApiClient(configuration))

    factories.build = build  # type: ignore[attr-defined]
    got = load(client_factory=f"{factories.__name__}.build")
    assert (got.token, got.extra_headers) == (None, {"Authorization": "Basic eDp5"})


def test_a_factory_that_cannot_work_is_refused_in_words(factories: ModuleType) -> None:
    name = factories.__name__

    class OwnWay:
        pass

    def signed() -> client.CoreV1Api:
        api = client.ApiClient(client.Configuration())
        api.rest_client = OwnWay()
        return client.CoreV1Api(api)

    def hooked() -> client.CoreV1Api:
        configuration = client.Configuration()
        configuration.refresh_api_key_hook = lambda asked: 1 / 0
        configuration.api_key["authorization"] = "x"
        return client.CoreV1Api(client.ApiClient(configuration))

    factories.__dict__.update(raises=lambda: 1 / 0, number=3, text=lambda: "x", signed=signed, hooked=hooked)
    for path, words in {
        "nodots": "import path of a callable",
        "no_such_package_here.build": "cannot be imported",
        f"{name}.absent": "cannot be imported",
        f"{name}.number": "import path of a callable",
        f"{name}.raises": "ZeroDivisionError",
        f"{name}.text": "must return a kubernetes.client.CoreV1Api, not str",
        f"{name}.signed": "OwnWay",
        f"{name}.hooked": "refresh_api_key_hook raised ZeroDivisionError",
    }.items():
        with pytest.raises(CredentialError) as caught:
            load(client_factory=path)
        assert words in str(caught.value), path
        assert path in str(caught.value)
