"""What CredentialSource returns works against a real TLS server: CA, names, client certificates, rotation."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from credential_helpers import Clock, TlsServer, bundle, fetch, kubeconfig, plugin
from shard_executor.supervisor.credentials import CredentialError, CredentialSource


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def b64(text: bytes | str) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def pair(leaf: trustme.LeafCert) -> tuple[bytes, bytes]:
    return b"".join(part.bytes() for part in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def reach(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> int:
    source = CredentialSource(kubeconfig(path / "config", cluster=cluster, user=user), environ={})
    try:
        return fetch(source.load())
    finally:
        source.close()


@pytest.mark.parametrize("as_data", [True, False], ids=["data", "file"])
def test_the_ca_of_the_kubeconfig_is_trusted_and_the_token_is_sent(
    tmp_path: Path, ca: trustme.CA, as_data: bool
) -> None:
    cluster: dict[str, Any] = {"certificate-authority-data": b64(bundle(ca))}
    if not as_data:
        (tmp_path / "ca.pem").write_text(bundle(ca))
        cluster = {"certificate-authority": "ca.pem"}
    with TlsServer(ca.issue_cert("127.0.0.1")).serving() as server:
        assert reach(tmp_path, {"server": server.url, **cluster}, {"token": " t0k3n\n"}) == 200
        assert server.requests[0]["headers"]["Authorization"] == "Bearer t0k3n"


@pytest.mark.parametrize("known", [True, False], ids=["another CA", "system bundle"])
def test_a_server_of_another_ca_is_refused(tmp_path: Path, ca: trustme.CA, known: bool) -> None:
    cluster = {"certificate-authority-data": b64(bundle(trustme.CA()))} if known else {}
    with TlsServer(ca.issue_cert("127.0.0.1")).serving() as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            reach(tmp_path, {"server": server.url, **cluster}, {"token": "t"})
        assert server.requests == []


def test_skipping_the_check_reaches_any_server(tmp_path: Path, ca: trustme.CA) -> None:
    with TlsServer(ca.issue_cert("elsewhere.example")).serving() as server:
        assert reach(tmp_path, {"server": server.url, "insecure-skip-tls-verify": True}, {"token": "t"}) == 200


def test_the_tls_server_name_is_sent_and_checked(tmp_path: Path, ca: trustme.CA) -> None:
    trust = {"certificate-authority-data": b64(bundle(ca))}
    with TlsServer(ca.issue_cert("api.cluster.example")).serving() as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            reach(tmp_path, {"server": server.url, **trust}, {"token": "t"})
        cluster = {"server": server.url, "tls-server-name": "api.cluster.example", **trust}
        assert reach(tmp_path, cluster, {"token": "t"}) == 200
        assert server.names[-1] == "api.cluster.example"


@pytest.mark.parametrize("kind", ["data", "file", "exec"])
def test_a_client_certificate_is_presented(tmp_path: Path, ca: trustme.CA, kind: str) -> None:
    certificate, key = pair(ca.issue_cert("someone@example.com"))
    user: dict[str, Any] = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
    if kind == "file":
        (tmp_path / "cert.pem").write_bytes(certificate)
        (tmp_path / "key.pem").write_bytes(key)
        user = {"client-certificate": "cert.pem", "client-key": str(tmp_path / "key.pem")}
    elif kind == "exec":
        status = {"clientCertificateData": certificate.decode(), "clientKeyData": key.decode()}
        command = str(plugin(tmp_path / "p", status))
        user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command}}
    trust = {"certificate-authority-data": b64(bundle(ca))}
    with TlsServer(ca.issue_cert("127.0.0.1"), client_ca=ca).serving() as server:
        assert reach(tmp_path, {"server": server.url, **trust}, user) == 200
        assert ("email", "someone@example.com") in server.requests[0]["peer"]["subjectAltName"]
        with pytest.raises(aiohttp.ClientError):
            reach(tmp_path, {"server": server.url, **trust}, {"token": "t"})


def test_rotated_certificate_files_are_picked_up_as_a_pair(tmp_path: Path, ca: trustme.CA) -> None:
    def write(leaf: trustme.LeafCert, *names: str) -> None:
        for name, content in zip(("cert.pem", "key.pem"), pair(leaf), strict=True):
            if name in names:
                (tmp_path / name).write_bytes(content)

    clock = Clock()
    old, new = ca.issue_cert("old@example.com"), ca.issue_cert("new@example.com")
    write(old, "cert.pem", "key.pem")
    with TlsServer(ca.issue_cert("127.0.0.1"), client_ca=ca).serving() as server:
        cluster = {"server": server.url, "certificate-authority-data": b64(bundle(ca))}
        user = {"client-certificate": "cert.pem", "client-key": "key.pem"}
        source = CredentialSource(kubeconfig(tmp_path / "config", cluster=cluster, user=user), clock=clock)
        first = source.load()
        write(new, "cert.pem")
        clock.now += 61
        assert source.current() == first  # half a rotation: the old pair goes on
        assert "being rotated" in str(source.problem)
        assert fetch(first) == 200
        write(new, "key.pem")
        clock.now += 11
        second = source.current()
        assert second != first
        assert source.problem is None
        assert fetch(second) == 200
        peers = [dict(request["peer"]["subjectAltName"])["email"] for request in server.requests]
        assert peers == ["old@example.com", "new@example.com"]
        source.close()


def test_an_encrypted_key_is_an_error_and_never_asks_on_the_terminal(tmp_path: Path, ca: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = pair(ca.issue_cert("a@example.com"))
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    user = {"client-certificate-data": b64(certificate), "client-key-data": b64(locked)}
    with pytest.raises(CredentialError, match="key is encrypted"):
        reach(tmp_path, {"server": "https://127.0.0.1:1"}, user)
