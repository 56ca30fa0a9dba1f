"""Credentials out of the client that a `client_factory` returns: the shards sign in as it would, without using it.

The factory's contract is the provider's (10.24.0): a callable without arguments that returns a
kubernetes.client.CoreV1Api whose configuration refreshes its own token. Called in the parent process only.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credentials import FILE_AGE_SECONDS, CredentialError, CredentialSource
from shard_executor.supervisor.proxies import proxy_for
from shard_executor.supervisor.sections import authorization_of

# Set for each request by the sender itself.
_NOT_CARRIED = frozenset({"user-agent", "accept", "content-type", "host", "content-length"})


class FactorySource(CredentialSource):
    """A CredentialSource that asks a factory's client. Constructing imports and calls nothing.

    The token is asked for again every FILE_AGE_SECONDS, on a thread, which runs the configuration's
    `refresh_api_key_hook`; after a 401 the factory itself is called again.

    Args:
        path: import path of the factory.
    """

    def __init__(self, path: str) -> None:
        super().__init__(in_cluster=True)
        self._path = path
        self._client: Any = None

    @property
    def description(self) -> str:
        """Where the credentials come from, in words for a person."""
        return f"the client of {self._path}"

    def _choose(self) -> None:
        client = _call(self._path)
        with self._lock:
            if self._closed:
                raise CredentialError("the credential source is closed")
            self._client = client

    def _renew(self) -> None:
        token, header = _asked(self._path, self._client)
        with self._lock:
            self._identity = f"Bearer {token}" if token else header
            self._renew_at = self._clock() + FILE_AGE_SECONDS

    def _assemble(self) -> Credentials:
        with self._lock:
            if self._closed:
                raise CredentialError("the credential source is closed")
            identity = self._identity if isinstance(self._identity, str) else None
            built = _of_client(self._client, identity)
            self._built = replace(
                built,
                ca_file=self._kept(built.ca_file),
                cert_file=self._kept(built.cert_file),
                key_file=self._kept(built.key_file),
            )
            self._checked_at = self._clock()
            self._problem = None
            return self._built

    def _kept(self, path: str | None) -> str | None:
        if path is None:
            return None
        try:
            return self._material.keep(Path(path).read_bytes())
        except OSError as error:
            raise CredentialError(f"{self.description}: {path} cannot be read: {error.strerror}") from error


def _call(path: str) -> Any:
    where = f"[kubernetes_executor] client_factory = {path}"
    module, _, name = path.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError, ValueError) as error:
        raise CredentialError(f"{where}: cannot be imported: {error}") from error
    if not callable(factory):
        raise CredentialError(f"{where}: must be the import path of a callable")
    try:
        client = factory()
    # Somebody else's code: whatever it raises is its answer.
    except Exception as error:
        raise CredentialError(f"{where}: it raised {type(error).__name__}: {error}") from error
    api = getattr(client, "api_client", None)
    if api is None or not hasattr(getattr(api, "configuration", None), "auth_settings"):
        raise CredentialError(f"{where}: must return a kubernetes.client.CoreV1Api, not {type(client).__name__}")
    sender = type(api.rest_client)
    if sender.__module__ != "kubernetes.client.rest":
        raise CredentialError(
            f"{where}: its client sends requests with {sender.__module__}.{sender.__qualname__}, which cannot be "
            "repeated elsewhere; return a client whose configuration says all that is needed"
        )
    return client


def _asked(path: str, client: Any) -> tuple[str | None, str | None]:
    try:
        return authorization_of(client.api_client.configuration)
    # The configuration's hook is somebody else's code too.
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise CredentialError(f"the client of {path}: its refresh_api_key_hook raised {words}") from error


def _of_client(client: Any, identity: str | None) -> Credentials:
    """What the client's configuration and its default headers say; files are still the configuration's own."""
    api, configuration = client.api_client, client.api_client.configuration
    headers = {name: str(value) for name, value in api.default_headers.items() if name.lower() not in _NOT_CARRIED}
    if api.cookie:
        headers["Cookie"] = api.cookie
    token = None
    if identity:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        scheme, _, value = identity.partition(" ")
        if scheme == "Bearer":
            token = value
        else:
            headers["Authorization"] = identity
    host = str(configuration.host).rstrip("/")
    # Without the environment: the configuration has looked there itself when it was made.
    proxy, proxy_headers = proxy_for(host, configuration.proxy, {})
    return Credentials(
        host=host,
        ca_file=configuration.ssl_ca_cert or None,
        cert_file=configuration.cert_file or None,
        key_file=configuration.key_file or None,
        verify=bool(configuration.verify_ssl),
        server_name=getattr(configuration, "tls_server_name", None) or None,
        token=token,
        proxy=proxy,
        proxy_headers={**(configuration.proxy_headers or {}), **proxy_headers},
        extra_headers=headers,
    )
