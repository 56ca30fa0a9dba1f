"""A scripted HTTP/1.1 server on a real socket: each request gets the next entry of a script.

    async with FakeApi(Reply(429, headers={"Retry-After": "1"}), Stream(b"...", then="cut")) as fake:
        ...
        assert [request.method for request in fake.requests] == ["GET", "GET"]

When the script runs out, requests wait for `fake.then(...)`. Entries are Reply, Stream, Raw, HANG and DROP.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PROTOBUF_WATCH = "application/vnd.kubernetes.protobuf;stream=watch"
DEADLINE = 10.0

HANG = object()  # the request is read and never answered
DROP = object()  # the connection is closed instead of an answer


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int  # which connection it came on, counted from 0


@dataclass(frozen=True)
class Reply:
    """A whole answer. cut: so many bytes of the body are sent, then the connection is closed."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass(frozen=True)
class Raw:
    """Bytes instead of HTTP; the connection is closed after them."""

    data: bytes


class Stream:
    """A chunked answer that stays open. The pieces are sent one chunk each, then comes `then`:
    "open" (go on with send, end, cut), "end" (the proper end) or "cut" (the connection closes inside the body).
    `closed` is set when either side has ended it."""

    def __init__(self, *pieces, content_type=JSON, then="open", headers=None):
        self.pieces = pieces
        self.content_type = content_type
        self.then = then
        self.headers = headers or {}
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self._writer = None

    async def run(self, reader, writer):
        head = {"Content-Type": self.content_type, "Transfer-Encoding": "chunked", **self.headers}
        self._writer = writer
        writer.write(b"HTTP/1.1 200 OK\r\n" + lines(head))
        self.opened.set()
        for piece in self.pieces:
            await self.send(piece)
        if self.then == "end":
            await self.end()
        elif self.then == "cut":
            self.cut()
        gone = asyncio.ensure_future(reader.read())  # returns when the client hangs up
        closed = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait((gone, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            closed.cancel()
            await asyncio.gather(gone, closed, return_exceptions=True)
            self.closed.set()

    async def send(self, piece):
        """One chunk, once the client is there."""
        await asyncio.wait_for(self.opened.wait(), DEADLINE)
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def end(self):
        await asyncio.wait_for(self.opened.wait(), DEADLINE)
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        self.closed.set()

    def cut(self):
        self._writer.close()
        self.closed.set()


def lines(headers):
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"


class FakeApi:
    def __init__(self, *script, tls: ssl.SSLContext | None = None):
        self.requests: list[Request] = []
        self.connections = 0  # opened so far
        self.open_connections = 0
        self._script = deque(script)
        self._more = asyncio.Condition()
        self._tls = tls
        self._server = None
        self._tasks = set()

    @property
    def port(self):
        return self._server.sockets[0].getsockname()[1]

    @property
    def host(self):
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def then(self, *script):
        """More answers. Returns the last one, for `stream = fake.then(Stream())`."""
        self._script.extend(script)
        waker = asyncio.ensure_future(self._wake())
        self._tasks.add(waker)
        waker.add_done_callback(self._tasks.discard)
        return script[-1]

    async def wait_for_requests(self, count):
        async with asyncio.timeout(DEADLINE), self._more:
            await self._more.wait_for(lambda: len(self.requests) >= count)

    def short(self):
        """The requests so far as the words of watch_script: list, list@5, page:token, watch@5."""
        return [short(request) for request in self.requests]

    async def _wake(self):
        async with self._more:
            self._more.notify_all()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        number = self.connections
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader, writer, number):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            if name:
                headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        async with self._more:
            self.requests.append(Request(method, parts.path, query, headers, body, number))
            self._more.notify_all()
            await self._more.wait_for(lambda: self._script)
            entry = self._script.popleft()
        return await self._answer(entry, reader, writer)

    async def _answer(self, entry, reader, writer):
        if entry is DROP:
            return False
        if entry is HANG:
            await reader.read()
            return False
        if isinstance(entry, Stream):
            await entry.run(reader, writer)
            return False
        if isinstance(entry, Raw):
            writer.write(entry.data)
            await writer.drain()
            return False
        head = {"Content-Length": str(len(entry.body)), **entry.headers}
        if entry.content_type:
            head["Content-Type"] = entry.content_type
        writer.write(b"HTTP/1.1 %d Status\r\n" % entry.status + lines(head) + entry.body[: entry.cut])
        await writer.drain()
        return entry.cut is None


def short(request):
    query = request.query
    if "watch" not in query:
        name = "page" if "limit" in query else "whole"
        return f"{name}:{query['continue']}" if "continue" in query else name
    name = "list" if "sendInitialEvents" in query else "watch"
    return f"{name}@{query['resourceVersion']}" if "resourceVersion" in query else name
