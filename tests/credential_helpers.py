"""Real kubeconfig files, a settable clock and a small TLS server for the credential tests."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import yaml

from shard_executor.core.credentials import Credentials
from shard_executor.shard.tls import tls_context

EXEC_API = "client.authentication.k8s.io/v1"


class Clock:
    """Unix seconds that only move when told."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


def kubeconfig(
    path: Path,
    *,
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    name: str = "dev",
    namespace: str | None = None,
    current: str | None = "dev",
) -> str:
    """Write a kubeconfig with one context called `name` and return its path."""
    context: dict[str, Any] = {"cluster": f"{name}-cluster", "user": f"{name}-user"}
    if namespace:
        context["namespace"] = namespace
    data: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": f"{name}-cluster", "cluster": cluster or {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": f"{name}-user", "user": user or {}}],
        "contexts": [{"name": name, "context": context}],
    }
    if current:
        data["current-context"] = current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return str(path)


def plugin(folder: Path, status: dict[str, Any] | None = None, *, body: str = "", api: str = EXEC_API) -> Path:
    """Write an executable credential plugin that counts its runs in `runs` and prints `status.json`'s content.

    body: Python lines that run before it prints; `info` holds KUBERNETES_EXEC_INFO.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_status(folder, status or {}, api=api)
    script = folder / "plugin"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys, time\n"
        f"here = pathlib.Path({str(folder)!r})\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "with open(here / 'runs', 'a') as runs:\n"
        "    runs.write(json.dumps({'args': sys.argv[1:], 'info': info, 'colour': os.environ.get('COLOUR')}) + '\\n')\n"
        f"{body}\n"
        "print((here / 'status.json').read_text())\n"
    )
    script.chmod(0o755)
    return script


def set_status(folder: Path, status: dict[str, Any], *, api: str = EXEC_API) -> None:
    """Change what the plugin in `folder` answers."""
    scratch = folder / "status.new"
    scratch.write_text(json.dumps({"apiVersion": api, "kind": "ExecCredential", "status": status}))
    scratch.replace(folder / "status.json")


def runs(folder: Path) -> list[dict[str, Any]]:
    """What each run of the plugin in `folder` was given."""
    path = folder / "runs"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll until `true()` holds; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.01)


def bundle(ca: trustme.CA) -> str:
    """The CA's certificate in PEM."""
    return ca.cert_pem.bytes().decode()


class TlsServer:
    """An HTTPS server on a free loopback port that records each request."""

    def __init__(self, certificate: trustme.LeafCert, client_ca: trustme.CA | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        if client_ca is not None:
            client_ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        recorded = self.requests

        class Handler(BaseHTTPRequestHandler):
            # Kept alive, so that the client's session owns the connection and waits for its end.
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                peer = self.connection.getpeercert() if client_ca is not None else None
                recorded.append({"path": self.path, "headers": dict(self.headers), "peer": peer})
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                return  # a client that refuses our certificate is what some tests are about

            def get_request(self) -> tuple[Any, Any]:
                socket, address = super().get_request()
                socket.settimeout(10)
                return context.wrap_socket(socket, server_side=True), address

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @contextmanager
    def serving(self) -> Iterator[TlsServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join(10)
            self._server.server_close()


def fetch(credentials: Credentials, path: str = "/version") -> int:
    """One GET with aiohttp, made from `credentials` as a shard does it; returns the status."""

    async def once() -> int:
        context = tls_context(credentials)
        headers = dict(credentials.extra_headers)
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token}"
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                credentials.host + path,
                ssl=context if context is not None else True,
                headers=headers,
                server_hostname=credentials.server_name,
                proxy=credentials.proxy,
                proxy_headers=credentials.proxy_headers or None,
            ) as answer,
        ):
            await answer.read()
            return answer.status

    return asyncio.run(once())
