"""TLS material of the API connection: the context from Credentials, and a fingerprint that notices rotated files."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.shard.transport_faults import TransportFault


def tls_context(credentials: Credentials) -> ssl.SSLContext | None:
    """The client's TLS context; None for a plain http host.

    Raises TransportFault (TLS) that names the file which is missing or not PEM.
    """
    if not credentials.host.lower().startswith("https:"):
        return None
    try:
        # Without a CA file this loads the system's bundle.
        context = ssl.create_default_context(cafile=credentials.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("CA file", credentials.ca_file, error) from error
    # Python 3.13 turned strict X.509 checks on; cluster CAs made by older tools lack the extensions they ask for,
    # and every other Kubernetes client accepts them.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    # Go trusts every certificate of the CA file, self-signed or not; OpenSSL wants to be told to stop at an
    # intermediate one, or at the server's own.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if not credentials.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.cert_file is not None:
        try:
            # With a password of its own OpenSSL does not ask the terminal for that of an encrypted key.
            context.load_cert_chain(credentials.cert_file, credentials.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            files = f"{credentials.cert_file}, {credentials.key_file}"
            raise _unusable("client certificate", files, error) from error
    return context


def connection_fingerprint(credentials: Credentials) -> bytes:
    """Changes whenever open connections would have been made differently: host, proxy, names, contents of TLS files.

    Tokens and headers are left out: they belong to a request, not to a connection. An unreadable file counts as
    empty here; `tls_context` is what complains about it.
    """
    digest = hashlib.sha256()
    plain = (credentials.host, credentials.verify, credentials.server_name, credentials.proxy)
    digest.update(repr((plain, sorted(credentials.proxy_headers.items()))).encode())
    for name in (credentials.ca_file, credentials.cert_file, credentials.key_file):
        digest.update(b"\x00")
        if name is not None:
            digest.update(hashlib.sha256(_contents(name)).digest())
    return digest.digest()


def _contents(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError:
        return b""


def _unusable(what: str, name: str | None, error: Exception) -> TransportFault:
    where = name or "system bundle"
    return TransportFault(FaultInfo(Fault.TLS, 0, type(error).__name__, f"{what} {where} cannot be used: {error}"))
