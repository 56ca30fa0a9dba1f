"""Chooses the proxy for the API server: the kubeconfig's proxy-url, else the environment's.

The environment is read as Go's golang.org/x/net/http/httpproxy documents it, because kubectl does: HTTPS_PROXY or
HTTP_PROXY by the server's scheme (lowercase names too), never for loopback, unless NO_PROXY names the host by name,
suffix, address, CIDR block, any of them with a port, or `*`. A kubeconfig's proxy-url wins over all of these.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from shard_executor.supervisor.kubeconfig import CredentialError


def proxy_for(host: str, configured: str | None, environ: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """The proxy's URL without its user part, and the headers for the proxy (basic authentication, if it has one).

    host: the API server's URL. configured: the kubeconfig's proxy-url. environ: for HTTPS_PROXY and its like.
    Returns (None, {}) for a direct connection. Raises CredentialError for a proxy that is not http or https.
    """
    source = "the kubeconfig's proxy-url"
    url = configured
    if not url:
        url, source = _from_environment(host, environ)
    if not url:
        return None, {}
    return _split(url, source)


def is_loopback(name: str) -> bool:
    """Whether a host name or address means this machine."""
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _from_environment(host: str, environ: Mapping[str, str]) -> tuple[str | None, str]:
    parts = urlsplit(host)
    upper = "HTTPS_PROXY" if parts.scheme == "https" else "HTTP_PROXY"
    for variable in (upper, upper.lower()):
        url = environ.get(variable)
        if url:
            break
    else:
        return None, ""
    name = (parts.hostname or "").lower()
    port = str(parts.port or (443 if parts.scheme == "https" else 80))
    if is_loopback(name) or _bypassed(name, port, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None, ""
    return url, variable


def _bypassed(name: str, port: str, no_proxy: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    for raw in no_proxy.split(","):
        entry = raw.strip().lower()
        if not entry:
            continue
        if entry == "*":
            return True
        if "/" in entry:
            if address is not None and _in_network(address, entry):
                return True
            continue
        entry, wanted_port = _split_port(entry)
        if wanted_port and wanted_port != port:
            continue
        if address is not None:
            if entry == str(address):
                return True
            continue
        entry = entry.removeprefix("*")
        if entry.startswith("."):
            if name.endswith(entry):
                return True
        elif name == entry or name.endswith("." + entry):
            return True
    return False


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _split(url: str, source: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https"):
        raise CredentialError(
            f"{source}: a {parts.scheme} proxy is not supported; name an http:// or https:// proxy, "
            "or put the server's host in NO_PROXY"
        )
    if not parts.hostname:
        raise CredentialError(f"{source}: it names no host; write http://HOST:PORT")
    headers: dict[str, str] = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", headers
