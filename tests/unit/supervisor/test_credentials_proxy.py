"""Which proxy is used, by kubectl's rules, and that a real CONNECT through it works with what is returned."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from credential_helpers import TlsServer, bundle, fetch, kubeconfig
from shard_executor.supervisor.credentials import CredentialError, CredentialSource
from shard_executor.supervisor.proxies import proxy_for

PROXY = "http://proxy:3128"
RULES = [
    ("https://api.example:6443", {"HTTPS_PROXY": PROXY}, True),
    ("https://api.example:6443", {"https_proxy": PROXY}, True),
    ("https://api.example:6443", {"HTTP_PROXY": PROXY}, False),
    ("http://api.example:6443", {"HTTP_PROXY": PROXY}, True),
    ("https://localhost:6443", {"HTTPS_PROXY": PROXY}, False),
    ("https://127.0.0.1:6443", {"HTTPS_PROXY": PROXY}, False),
    ("https://[::1]:6443", {"HTTPS_PROXY": PROXY}, False),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, False),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "example"}, False),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "x, .example"}, False),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "no_proxy": "*.example"}, False),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "xample"}, True),
    ("https://example", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example"}, True),
    ("https://api.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example:443"}, False),
    ("https://api.example:6443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example:443"}, True),
    ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, False),
    ("https://11.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8,nonsense/9"}, True),
    ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.1.2.3"}, False),
    ("https://[fd00::1]:6443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "[fd00::1]:6443"}, False),
    ("https://[fd00::1]:6443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, False),
]


@pytest.mark.parametrize(("host", "environ", "proxied"), RULES)
def test_the_environment_is_read_as_kubectl_reads_it(host: str, environ: dict[str, str], proxied: bool) -> None:
    assert proxy_for(host, None, environ) == ((PROXY if proxied else None), {})


def test_the_kubeconfig_wins_over_the_environment() -> None:
    environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}
    assert proxy_for("https://127.0.0.1:1", PROXY, environ) == (PROXY, {})


def test_a_user_in_the_url_becomes_a_header() -> None:
    url, headers = proxy_for("https://api.example", "https://me:p%40ss@proxy:3128", {})
    assert url == "https://proxy:3128"
    assert headers == {"Proxy-Authorization": "Basic " + base64.b64encode(b"me:p@ss").decode()}


def test_a_url_without_scheme_is_http() -> None:
    assert proxy_for("https://api.example", None, {"HTTPS_PROXY": "proxy:3128"}) == (PROXY, {})


def test_a_socks_proxy_is_refused_with_its_source() -> None:
    with pytest.raises(CredentialError, match=r"proxy-url: a socks5 proxy is not supported"):
        proxy_for("https://api.example", "socks5://me:secret@proxy:1080", {})
    with pytest.raises(CredentialError, match=r"HTTPS_PROXY"):
        proxy_for("https://api.example", None, {"HTTPS_PROXY": "socks5://proxy:1080"})


@contextmanager
def connect_proxy(heads: list[str]) -> Iterator[str]:
    """A CONNECT proxy for one connection, which sends everything to where it is told."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with source, sink:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                return  # the other direction has closed both

    def serve() -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # nobody came before the end of the test
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        heads.append(head.decode())
        host, _, port = head.split()[1].decode().rpartition(":")
        server = socket.create_connection((host, int(port)), timeout=20)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        other = threading.Thread(target=pump, args=(server.dup(), client.dup()))
        other.start()
        pump(client, server)
        other.join(20)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://me:pw@127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join(25)


def test_a_request_goes_through_the_proxy_and_tls_ends_at_the_server(tmp_path: Path) -> None:
    ca = trustme.CA()
    heads: list[str] = []
    with TlsServer(ca.issue_cert("127.0.0.1")).serving() as server, connect_proxy(heads) as proxy:
        cluster = {
            "server": server.url,
            "proxy-url": proxy,
            "certificate-authority-data": base64.b64encode(bundle(ca).encode()).decode(),
        }
        source = CredentialSource(kubeconfig(tmp_path / "config", cluster=cluster, user={"token": "t"}))
        assert fetch(source.load()) == 200
        source.close()
        assert heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} ")
        assert "Proxy-Authorization: Basic " + base64.b64encode(b"me:pw").decode() in heads[0]
        assert "Bearer" not in heads[0]
        headers = server.requests[0]["headers"]
        assert headers["Authorization"] == "Bearer t"
        assert "Proxy-Authorization" not in headers
