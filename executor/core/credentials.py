"""What a shard needs to reach the API server: one frozen record that crosses the process boundary as JSON values.

The parent process resolves kubeconfig files, exec plugins and service accounts and sends shards only this record, so
that a shard imports no Kubernetes client. Secrets never show in its repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _optional_text(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"credentials: {key!r} must be a string or null, not {type(value).__name__}")


def _text_map(data: dict[str, Any], key: str) -> dict[str, str]:
    value = data.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise ValueError(f"credentials: {key!r} must map strings to strings")
    return dict(value)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the API server is and how to prove who asks.

    host: scheme, name and port, with an optional path prefix, without a trailing slash (``https://10.0.0.1:6443``).
    ca_file: PEM bundle that signs the server's certificate; None means the system's own bundle.
    cert_file, key_file: PEM client certificate and key; key_file None means the key lies in cert_file.
    verify: False accepts any server certificate and name (kubeconfig's insecure-skip-tls-verify).
    server_name: the name sent as SNI and checked in the certificate, where it differs from the host.
    token: bearer token without the word "Bearer".
    proxy: URL of an HTTP proxy for CONNECT; None means a direct connection.
    proxy_headers: headers for the proxy only (for instance Proxy-Authorization).
    extra_headers: headers added to each request (for instance basic authentication, impersonation).
    namespace: default namespace of the context or service account.
    """

    host: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    server_name: str | None = None
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    proxy_headers: dict[str, str] = field(default_factory=dict, repr=False)
    extra_headers: dict[str, str] = field(default_factory=dict, repr=False)
    namespace: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values that `from_json` turns back into an equal record. It holds secrets: never log it."""
        return {
            "host": self.host,
            "ca_file": self.ca_file,
            "cert_file": self.cert_file,
            "key_file": self.key_file,
            "verify": self.verify,
            "server_name": self.server_name,
            "token": self.token,
            "proxy": self.proxy,
            "proxy_headers": dict(self.proxy_headers),
            "extra_headers": dict(self.extra_headers),
            "namespace": self.namespace,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Credentials:
        """Rebuild a record from `to_json`'s dict.

        Raises ValueError naming the key for a missing host or a value of the wrong type.
        """
        host = data.get("host")
        if not isinstance(host, str) or not host:
            raise ValueError("credentials: 'host' must be a non-empty string")
        verify = data.get("verify", True)
        if not isinstance(verify, bool):
            raise ValueError(f"credentials: 'verify' must be true or false, not {type(verify).__name__}")
        return cls(
            host=host,
            ca_file=_optional_text(data, "ca_file"),
            cert_file=_optional_text(data, "cert_file"),
            key_file=_optional_text(data, "key_file"),
            verify=verify,
            server_name=_optional_text(data, "server_name"),
            token=_optional_text(data, "token"),
            proxy=_optional_text(data, "proxy"),
            proxy_headers=_text_map(data, "proxy_headers"),
            extra_headers=_text_map(data, "extra_headers"),
            namespace=_optional_text(data, "namespace"),
        )
