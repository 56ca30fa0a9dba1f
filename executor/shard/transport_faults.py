"""Turns what aiohttp and ssl raise into the named faults of core, so that no other module knows their exceptions."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp

from shard_executor.core.faults import Fault, FaultInfo

# How far to follow __cause__ and __context__ for an ssl error that aiohttp wrapped.
_CHAIN_LIMIT = 8


class TransportFault(Exception):
    """A request or stream that got no usable answer; `info` says why, in the terms of core.faults."""

    def __init__(self, info: FaultInfo) -> None:
        super().__init__(info)
        self.info = info

    def __str__(self) -> str:
        return str(self.info)


def transport_fault(error: BaseException, what: str) -> TransportFault:
    """Name the fault behind an exception of the HTTP client.

    error: aiohttp.ClientError, OSError, ssl.SSLError or TimeoutError. what: the request in words, for the message.
    REFUSED promises that the request never reached the server; every other fault leaves that open.
    """
    detail = str(error) or type(error).__name__
    return TransportFault(FaultInfo(_name(error), 0, type(error).__name__, f"{what}: {detail}"[:1000]))


def _name(error: BaseException) -> Fault:
    if _from_tls(error):
        return Fault.TLS
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return Fault.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        # The connection was never made, unless the peer hung up in the middle of the TLS handshake.
        return Fault.DISCONNECTED if isinstance(error.os_error, ConnectionResetError) else Fault.REFUSED
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault.UNAVAILABLE if error.status >= 500 else Fault.PROTOCOL
    if isinstance(error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)):
        return Fault.DISCONNECTED
    return Fault.PROTOCOL


def _from_tls(error: BaseException) -> bool:
    link: BaseException | None = error
    for _ in range(_CHAIN_LIMIT):
        if link is None:
            return False
        if isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return False  # the peer went away without a TLS alert: a broken connection, not a bad certificate
        if isinstance(link, (ssl.SSLError, aiohttp.ClientSSLError)):
            return True
        link = link.__cause__ or link.__context__
    return False
