"""Watches: the initial state or the missed history, then live events, bookmarks, and an end in time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING

from aiohttp import web

from shard_executor.devcluster import encode, errors
from shard_executor.devcluster.encode import Form
from shard_executor.devcluster.options import ListOptions
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.selectors import Selector
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE_LIMIT = 1_000  # events; the largest channel of a real watcher (watch_cache.go)
BOOKMARK_EVERY = 60.0  # seconds
BOOKMARK_BEFORE_END = 2.0  # seconds
_CATCH_UP = 3.0  # seconds a streaming list waits for its version
_BATCH = 500  # initial events in one write
_DEFAULT_TIMEOUT = 1800.0  # seconds; up to twice as long where no timeoutSeconds is given

# An event to send: its type, its object, and for one that left the selector its previous state.
_Pending = tuple[str, Obj, Obj | None]


class Watch:
    """One open watch. `end` closes it cleanly.

    Args:
        limit: how many unsent events it holds before it is closed as too slow.
    """

    def __init__(
        self, store: Store, resource: Resource, namespace: str | None, selector: Selector, form: Form, limit: int
    ) -> None:
        self.resource = resource
        self._store = store
        self._namespace = namespace
        self._selector = selector
        self._form = form
        self._limit = limit
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._response: web.StreamResponse | None = None
        self._after = 0  # events up to this version are not sent

    def end(self) -> None:
        """Ends the stream after what has been written, without an error."""
        self._ended = True
        self._wake.set()

    async def serve(
        self, request: web.Request, response: web.StreamResponse, options: ListOptions, watch_list: bool
    ) -> None:
        """Writes the whole stream.

        Args:
            response: unprepared.
            watch_list: whether a watch from nowhere that allows bookmarks gets the mark of a streaming list.
        """
        loop = asyncio.get_running_loop()
        timeout = options.timeout if options.timeout else _DEFAULT_TIMEOUT * (1 + random.random())
        deadline = loop.time() + timeout
        self._response = response
        response.content_type = self._form.watch_content_type.partition(";")[0]
        response.headers["Content-Type"] = self._form.watch_content_type
        response.enable_chunked_encoding()
        unsubscribe = self._store.subscribe(self.resource.name, self._on_change)
        try:
            await response.prepare(request)
            try:
                sent = await self._begin(options, deadline, watch_list)
                await self._follow(sent, deadline, options.bookmarks)
            except errors.ApiError as error:
                await response.write(encode.error_event(self._form, error.to_status()))
            except TimeoutError:
                pass  # the deadline came while the client read nothing: a clean end like any other
            await response.write_eof()
        finally:
            unsubscribe()

    async def _begin(self, options: ListOptions, deadline: float, watch_list: bool) -> int:
        """Sends the initial state or the missed events; returns the version the client has then."""
        number = options.number
        streaming = options.initial_events
        if streaming is None and watch_list and number == 0:
            streaming = True  # meta/internalversion/defaults.go
        if streaming or (number == 0 and streaming is None):
            if number > self._store.version:
                await self._reach(number)
            return await self._send_state(deadline, mark=bool(streaming) and options.bookmarks)
        current = self._store.version
        self._pending.clear()
        self._after = max(number, current)  # from the future: silent until the versions have come that far
        if number == 0 or number > current:
            return self._after
        missed = [
            entry
            for change in self._store.history(self.resource.name).after(number)
            if (entry := self._select(change.type, change.obj, change.previous)) is not None
        ]
        await self._send(missed, deadline)
        return current

    async def _reach(self, version: int) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() + _CATCH_UP
        while self._store.version < version:
            if loop.time() > limit:
                raise errors.future_version(version, self._store.version)
            await asyncio.sleep(0.05)

    async def _send_state(self, deadline: float, *, mark: bool) -> int:
        state = [item for item in self._store.list(self.resource.name, self._namespace) if self._selector.matches(item)]
        version = self._after = self._store.version
        self._pending.clear()
        await self._send([("ADDED", item, None) for item in state], deadline)
        if mark:
            await self._write(encode.bookmark(self._form, self.resource, version, initial_events_end=True), deadline)
        return version

    async def _follow(self, sent: int, deadline: float, bookmarks: bool) -> None:
        """Sends live events and bookmarks until the deadline, the end, or until the queue has run over."""
        loop = asyncio.get_running_loop()
        next_bookmark = min(loop.time() + BOOKMARK_EVERY, deadline - BOOKMARK_BEFORE_END)
        if not bookmarks or next_bookmark < loop.time():
            next_bookmark = deadline + 1
        while not self._ended:
            now = loop.time()
            if self._pending:
                batch = list(self._pending)
                self._pending.clear()
                version = self._store.version
                await self._send(batch, deadline)
                sent = max(sent, version)
                continue
            if now >= deadline:
                return
            if now >= next_bookmark:
                if self._store.version > sent:
                    sent = self._store.version
                    mark = encode.bookmark(self._form, self.resource, sent, initial_events_end=False)
                    await self._write(mark, deadline)
                last = deadline - BOOKMARK_BEFORE_END
                next_bookmark = deadline + 1 if now >= last else min(now + BOOKMARK_EVERY, last)
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout_at(min(deadline, next_bookmark)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _on_change(self, kind: str, obj: Obj, previous: Obj | None) -> None:
        if self._ended or self._store.version <= self._after:
            return
        entry = self._select(kind, obj, previous)
        if entry is None:
            return
        if len(self._pending) >= self._limit:
            # Too slow: what was not sent is dropped, and the client resumes from what it has.
            self._pending.clear()
            self.end()
            return
        self._pending.append(entry)
        self._wake.set()

    def _select(self, kind: str, obj: Obj, previous: Obj | None) -> _Pending | None:
        """The event as this watch sees it (cacher's cache_watcher.go convertToWatchEvent), None if it does not."""
        if self._namespace is not None and obj["metadata"].get("namespace") != self._namespace:
            return None
        if self._selector.empty:
            return kind, obj, None
        was = previous is not None and self._selector.matches(previous)
        if kind == "DELETED":
            return (kind, obj, None) if was else None
        matches = self._selector.matches(obj)
        if matches:
            return ("MODIFIED" if was else "ADDED"), obj, None
        return ("DELETED", obj, previous) if was else None

    async def _send(self, entries: list[_Pending], deadline: float) -> None:
        for start in range(0, len(entries), _BATCH):
            await self._write(b"".join(self._frames(entries[start : start + _BATCH])), deadline)

    def _frames(self, entries: list[_Pending]) -> Iterator[bytes]:
        for kind, obj, previous in entries:
            if previous is None:
                yield encode.event(self._form, self.resource, kind, obj)
            else:
                yield encode.gone_event(self._form, self.resource, obj, previous)

    async def _write(self, data: bytes, deadline: float) -> None:
        assert self._response is not None
        async with asyncio.timeout_at(deadline):
            await self._response.write(data)
