"""Requests to the API server over HTTP/1.1 keep-alive connections: answers or named faults, counted and timed.

It decides nothing about retries. Measured against a bare local server: about 95 microseconds of CPU per request of
3 KB, half of it aiohttp's own layers; options that aiohttp would spend time on (cookies, decompression, redirects,
generated headers) are off.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

import shard_executor
from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import Fault, FaultInfo, classify_answer
from shard_executor.shard.latency import Latency
from shard_executor.shard.status_body import read_status
from shard_executor.shard.tls import connection_fingerprint, tls_context
from shard_executor.shard.transport_faults import TransportFault, transport_fault

__all__ = ["Answer", "Api", "StreamAnswer", "TransportFault", "fault_of"]

# kube-apiserver closes idle connections after 90 s (net/http IdleTimeout); we let go first, so that no request is
# sent into a connection that is being closed.
_KEEPALIVE_SECONDS = 60.0
_STREAM_BUFFER = 256 * 1024
_CLIENT_ERRORS = (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError)
_NO_TIMEOUT = aiohttp.ClientTimeout()


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer. headers are looked up without regard to case; content_type is as sent, "" if absent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str


def fault_of(answer: Answer) -> FaultInfo:
    """Name the fault of an answer that is not 2xx, from a Status in JSON or protobuf, from text, or from nothing."""
    status, text = read_status(answer.body, answer.content_type)
    return classify_answer(answer.status, answer.content_type, answer.headers, status, text)


class StreamAnswer:
    """An answer whose body is read while it arrives. Close it, on every path."""

    def __init__(self, response: aiohttp.ClientResponse, what: str, link: _Link) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type: str = response.headers.get("Content-Type", "")
        self._response = response
        self._what = what
        self._link: _Link | None = link

    async def read(self) -> bytes:
        """All bytes that have arrived, at least one; b"" at the body's proper end.

        Waits without a limit of its own: the caller sets one. May be cancelled without losing bytes. Raises
        TransportFault when the connection breaks before that end.
        """
        try:
            return await self._response.content.readany()
        except _CLIENT_ERRORS as error:
            raise transport_fault(error, self._what) from error

    async def answer(self, timeout: float) -> Answer:  # noqa: ASYNC109 - named in the error
        """The whole body at once, for a status other than 200. timeout: seconds. Raises TransportFault."""
        try:
            async with asyncio.timeout(timeout):
                body = await self._response.read()
        except _CLIENT_ERRORS as error:
            raise transport_fault(error, self._what) from error
        return Answer(self.status, self.headers, body, self.content_type)

    def close(self) -> None:
        """Drop the connection. Does no harm twice."""
        link, self._link = self._link, None
        if link is not None:
            self._response.close()
            link.leave()


class _Link:
    """The connections made under one set of TLS material; it closes itself once retired and no longer used."""

    def __init__(self, credentials: Credentials, connections: int) -> None:
        context = tls_context(credentials)
        self.fingerprint = connection_fingerprint(credentials)
        trust: ssl.SSLContext | bool = True if context is None else context
        self.requests = _session(
            aiohttp.TCPConnector(limit=connections, ssl=trust, keepalive_timeout=_KEEPALIVE_SECONDS)
        )
        # Streams have connections of their own, never reused: a busy pool cannot hold a watch back, and each new
        # watch may reach another replica behind the load balancer.
        self.streams = _session(aiohttp.TCPConnector(limit=0, ssl=trust, force_close=True))
        self._users = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    def enter(self) -> None:
        self._users += 1

    def leave(self) -> None:
        self._users -= 1
        self._close_if_done()

    def retire(self) -> None:
        self._retired = True
        self._close_if_done()

    @property
    def closed(self) -> bool:
        return self._closing is not None and self._closing.done()

    def _close_if_done(self) -> None:
        if self._retired and self._users == 0 and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        await self.requests.close()
        await self.streams.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        raise_for_status=False,
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=_NO_TIMEOUT,
        read_bufsize=_STREAM_BUFFER,
    )


class Api:
    """One API server. Constructing starts nothing; `start` makes the (still unconnected) pools, `end` closes them.

    connections: the most requests in flight at once; further ones wait for a free connection within their own limit.
    Streams are not counted.

    calls: how often each (verb, code) came back, code being the status as text or the fault's name.
    latency: seconds from asking to the last byte (streams: to the headers), by (verb, code).
    """

    def __init__(self, credentials: Credentials, *, connections: int = 32) -> None:
        self._credentials = credentials
        self._connections = connections
        self._link: _Link | None = None
        self._retired: list[_Link] = []
        self._headers: dict[tuple[str, str], CIMultiDict[str]] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._proxy_headers: CIMultiDict[str] | None = None
        self.calls: Counter[tuple[str, str]] = Counter()
        self.latency: dict[tuple[str, str], Latency] = {}

    @property
    def credentials(self) -> Credentials:
        """What new requests use."""
        return self._credentials

    async def start(self) -> None:
        """Load the TLS files and make the pools. Raises TransportFault (TLS) naming a file that cannot be used."""
        if self._link is None:
            self._adopt(self._credentials, _Link(self._credentials, self._connections))

    async def end(self) -> None:
        """Close every connection; requests still in flight fail."""
        links, self._retired = self._retired, []
        if self._link is not None:
            links.append(self._link)
            self._link = None
        for link in links:
            await link.close()

    def replace_credentials(self, credentials: Credentials) -> None:
        """Use other credentials from the next request on.

        A new token alone changes a header. Other TLS material (also the same file names with new contents), host or
        proxy opens new connections; what is in flight ends on the old ones, which are then closed. Raises
        TransportFault (TLS) for unusable files, and the old credentials stay in force.
        """
        link = self._link
        if link is None or link.fingerprint == connection_fingerprint(credentials):
            self._adopt(credentials, link)
            return
        self._adopt(credentials, _Link(credentials, self._connections))
        self._retired = [old for old in self._retired if not old.closed]
        self._retired.append(link)
        link.retire()

    def _adopt(self, credentials: Credentials, link: _Link | None) -> None:
        self._link = link
        self._credentials = credentials
        self._headers.clear()
        proxied = credentials.proxy is not None and credentials.proxy_headers
        self._proxy_headers = CIMultiDict(credentials.proxy_headers) if proxied else None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109 - the whole exchange has one limit, which aiohttp enforces
        verb: str | None = None,
    ) -> Answer:
        """Send one request and read its whole answer, whatever the status; redirects are not followed.

        path: begins with "/" and is percent-encoded already; query: encoded here. timeout: seconds for all of it,
        waiting for a connection included. verb: the name to count it under, if not the method. An idempotent request
        that met a just-closed keep-alive connection is sent once more by aiohttp; a POST never is.
        Raises TransportFault when no whole answer came or it is compressed against our will.
        """
        link = self._ready()
        verb = verb or method
        limit = self._timeouts.get(timeout)
        if limit is None:
            limit = self._timeouts[timeout] = aiohttp.ClientTimeout(total=timeout)
        began = time.perf_counter()
        link.enter()
        try:
            response = await self._send(link.requests, method, path, query, body, content_type, accept, limit)
            async with response:
                _refuse_encoding(response, method, path)
                content = await response.read()
        except _CLIENT_ERRORS as error:
            named = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else ""
            fault = transport_fault(error, f"{method} {path} {named}".rstrip())
            self._count(verb, fault.info.fault, began)
            raise fault from error
        except TransportFault as fault:
            self._count(verb, fault.info.fault, began)
            raise
        finally:
            link.leave()
        self._count(verb, str(response.status), began)
        headers = response.headers
        return Answer(response.status, headers, content, headers.get("Content-Type", ""))

    async def open_stream(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str, connect_timeout: float
    ) -> StreamAnswer:
        """Start a GET whose body is read as it arrives, on a connection of its own.

        connect_timeout: seconds until the answer's headers are there. The caller closes what it gets. Raises
        TransportFault, also for a compressed body (servers from 1.37 on would compress streaming lists).
        """
        link = self._ready()
        began = time.perf_counter()
        what = f"watch {path}"
        link.enter()
        response: aiohttp.ClientResponse | None = None
        opened = False
        try:
            async with asyncio.timeout(connect_timeout):
                response = await self._send(link.streams, "GET", path, query, None, "", accept, _NO_TIMEOUT)
            _refuse_encoding(response, "watch", path)
            opened = True
        except _CLIENT_ERRORS as error:
            named = f"{what} no headers within {connect_timeout:g} s" if isinstance(error, TimeoutError) else what
            fault = transport_fault(error, named)
            self._count("WATCH", fault.info.fault, began)
            raise fault from error
        except TransportFault as fault:
            self._count("WATCH", fault.info.fault, began)
            raise
        finally:
            if not opened:
                if response is not None:
                    response.close()
                link.leave()
        self._count("WATCH", str(response.status), began)
        return StreamAnswer(response, what, link)

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str, connect_timeout: float
    ) -> AsyncIterator[StreamAnswer]:
        """`open_stream` as a context that closes the stream."""
        answer = await self.open_stream(path, query=query, accept=accept, connect_timeout=connect_timeout)
        try:
            yield answer
        finally:
            answer.close()

    def _ready(self) -> _Link:
        if self._link is None:
            raise RuntimeError("Api.start() comes before the first request, and none may follow Api.end()")
        return self._link

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        accept: str,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        credentials = self._credentials
        url = credentials.host + path
        if query:
            url = f"{url}?{urlencode(query, quote_via=quote)}"
        return await session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=self._headers_for(accept, content_type if body is not None else ""),
            allow_redirects=False,
            timeout=limit,
            proxy=credentials.proxy,
            proxy_headers=self._proxy_headers,
            server_hostname=credentials.server_name,
        )

    def _headers_for(self, accept: str, content_type: str) -> CIMultiDict[str]:
        headers = self._headers.get((accept, content_type))
        if headers is None:
            credentials = self._credentials
            headers = CIMultiDict(credentials.extra_headers)
            headers["User-Agent"] = f"shard-executor/{shard_executor.__version__}"
            headers["Accept"] = accept
            headers["Accept-Encoding"] = "identity"
            if content_type:
                headers["Content-Type"] = content_type
            if credentials.token is not None:
                headers["Authorization"] = f"Bearer {credentials.token.strip()}"
            self._headers[(accept, content_type)] = headers
        return headers

    def _count(self, verb: str, code: str, began: float) -> None:
        key = (verb, str(code))
        self.calls[key] += 1
        latency = self.latency.get(key)
        if latency is None:
            latency = self.latency[key] = Latency()
        latency.add(time.perf_counter() - began)


def _refuse_encoding(response: aiohttp.ClientResponse, method: str, path: str) -> None:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        message = f"{method} {path}: the answer is {encoding}-encoded although we accept identity only"
        raise TransportFault(FaultInfo(Fault.PROTOCOL, response.status, "ContentEncoding", message))
