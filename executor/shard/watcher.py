"""Drives core.watch: performs its actions on the API and the pod table, and tells it what came of them.

It decides nothing. One task, one request or stream at a time; bytes go from the socket into the table without a
pause between reads, because an API server closes watchers that are slow.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import quote

from shard_executor._fast.change import PodChange
from shard_executor._fast.table import FORMAT_JSON, FORMAT_PROTOBUF, PodTable
from shard_executor._fast.views import Bookmark, DecodeError, StreamStatus, Undecodable
from shard_executor.core import watch_types as wt
from shard_executor.core.faults import Fault, FaultInfo, classify_status
from shard_executor.core.watch import Watch
from shard_executor.shard.api import Api, StreamAnswer, TransportFault, fault_of

_log = logging.getLogger(__name__)

# Every watcher of a server sends the same Accept: the server serialises an event once per encoding. Protobuf costs
# both sides a fraction of JSON; the answer's Content-Type says which one it chose.
ACCEPT = "application/vnd.kubernetes.protobuf, application/json"
# A refused watch has a body of at most a few kilobytes; a server that does not finish it is not waited for.
_REFUSAL_TIMEOUT = 10.0

_Source = Callable[[], Awaitable[wt.Event]]
_Item = PodChange | Bookmark | StreamStatus | Undecodable


class Watcher:
    """One shard's view of its pods. `run` it in a task; constructing starts nothing.

    namespace: None watches all. label_selector: "" for none. on_changes gets every change of a row in order, rows
    that vanished unseen included (kind GONE), and the clock's time at which its bytes were read; on_synced follows
    each completed list. Both run inside the watcher's task and must not block. on_unauthorized is called when the
    server refuses the credentials: somebody should replace them in the Api and then call `credentials_replaced`.
    clock: monotonic seconds. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        api: Api,
        table: PodTable,
        *,
        namespace: str | None,
        label_selector: str,
        on_changes: Callable[[list[PodChange], float], None],
        on_synced: Callable[[], None],
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        settings: wt.WatchSettings | None = None,
        on_unauthorized: Callable[[], None] | None = None,
    ) -> None:
        self._api = api
        self._table = table
        self._path = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        self._selector = {"labelSelector": label_selector} if label_selector else {}
        self._on_changes = on_changes
        self._on_synced = on_synced
        self._on_unauthorized = on_unauthorized
        self._clock = clock
        self._watch = Watch(rng, settings)
        self._source: _Source = _rest
        self._stream: StreamAnswer | None = None
        self._wake: float | None = None
        self._inbox: deque[wt.Event] = deque()
        self._scope: asyncio.Timeout | None = None
        self._in_request = False
        self._heard = float("-inf")

    # ---- what others may know and ask for

    @property
    def synced(self) -> bool:
        """A list has been completed at least once."""
        return self._watch.synced

    @property
    def list_started_at(self) -> float:
        """The clock's time at which the last completed list was begun. It holds every pod there was then."""
        return self._watch.list_started_at

    @property
    def last_event_at(self) -> float:
        """The clock's time of the last bytes of a watch, bookmarks included; 0 before the first."""
        return self._watch.last_received or 0.0

    @property
    def heard(self) -> float:
        """The clock's time of the last news before the list that is under way: bytes of a watch, or the last list."""
        return self._heard

    @property
    def health(self) -> str:
        """ "ok", or what a person has to mend."""
        return self._watch.health

    @property
    def state(self) -> str:
        """The state's name, for status output."""
        return str(self._watch.state)

    @property
    def counters(self) -> Counter[str]:
        """lists, pages, watches, undecodable, fault:<fault>, relist:<cause>, restart:<cause>."""
        return self._watch.counters

    def story(self) -> str:
        """The last steps of the machine, for a debug dump."""
        return self._watch.story()

    def relist_soon(self, cause: str) -> None:
        """Ask for a list, at a bounded rate. cause: a short word for the counters."""
        self._tell(wt.RelistRequested(cause))

    def credentials_replaced(self) -> None:
        """The Api has new credentials: a watch that was refused need not wait out its long delay."""
        self._tell(wt.CredentialsReplaced())

    # ---- the loop

    async def run(self) -> None:
        """List and watch until cancelled. No fault of the API ends it; an error of this program does."""
        actions = self._watch.step(wt.Started(), self._clock())
        try:
            while True:
                self._perform(actions)
                actions = await self._next_actions()
        finally:
            self._close_stream()

    async def _next_actions(self) -> list[wt.Action]:
        """Feed events to the machine until it wants something done. Most reads of a stream want nothing."""
        scope = asyncio.timeout(None if self._wake is None else max(0.0, self._wake - self._clock()))
        try:
            async with scope:
                self._scope = scope
                while True:
                    event = self._inbox.popleft() if self._inbox else await self._source()
                    actions = self._watch.step(event, self._clock())
                    if actions:
                        return actions
        except TimeoutError:
            if not scope.expired():
                raise
            return self._watch.step(wt.Tick(), self._clock())
        finally:
            self._scope = None

    def _tell(self, event: wt.Event) -> None:
        self._inbox.append(event)
        # A request in flight has its own limit and is let finish; waiting and reading may be interrupted at any time
        # without losing anything.
        if self._scope is not None and not self._in_request:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _perform(self, actions: list[wt.Action]) -> None:
        for action in actions:
            match action:
                case wt.WakeAt(at):
                    self._wake = at
                case wt.OpenWatch():
                    self._source = partial(self._open, action)
                case wt.ListPage():
                    self._source = partial(self._list_page, action)
                case wt.CloseStream():
                    self._close_stream()
                case wt.BeginReplace():
                    self._table.begin_replace()
                case wt.AbortReplace():
                    self._table.abort_replace()
                case wt.CommitReplace():
                    gone = self._table.commit_replace()
                    if gone:
                        self._on_changes(gone, self._clock())
                    self._heard = self._clock()
                    self._on_synced()
                case wt.ForgetRows():
                    for uid in self._table.uids():
                        self._table.forget(uid)
                case wt.AskCredentials():
                    if self._on_unauthorized is not None:
                        self._on_unauthorized()

    # ---- where events come from

    async def _list_page(self, page: wt.ListPage) -> wt.Event:
        self._source = _rest
        query = dict(self._selector)
        if page.limit:
            query["limit"] = str(page.limit)
        if page.token:
            query["continue"] = page.token
        self._in_request = True
        try:
            answer = await self._api.request(
                "GET", self._path, query=query, accept=ACCEPT, timeout=page.timeout, verb="LIST"
            )
            if answer.status != 200:
                return self._failed("list", fault_of(answer))
            meta, items = self._table.apply_list(answer.body, _format_of(answer.content_type))
        except TransportFault as fault:
            return self._failed("list", fault.info)
        except DecodeError as error:
            return self._failed("list", _undecodable(error))
        finally:
            self._in_request = False
        applied = self._hand_on(items)
        return wt.PageListed(meta.resource_version, meta.continue_token, applied.undecodable)

    async def _open(self, action: wt.OpenWatch) -> wt.Event:
        self._source = _rest
        query = {
            **self._selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(action.timeout_seconds),
        }
        if action.initial:
            query["sendInitialEvents"] = "true"
            query["resourceVersionMatch"] = "NotOlderThan"
        if action.version is not None:
            query["resourceVersion"] = str(action.version)
        stream: StreamAnswer | None = None
        self._in_request = True
        try:
            stream = await self._api.open_stream(
                self._path, query=query, accept=ACCEPT, connect_timeout=action.connect_timeout
            )
            if stream.status != 200:
                return self._failed("watch", fault_of(await stream.answer(_REFUSAL_TIMEOUT)))
            self._table.open_stream(_format_of(stream.content_type))
            self._stream, stream = stream, None
        except TransportFault as fault:
            return self._failed("watch", fault.info)
        finally:
            self._in_request = False
            if stream is not None:
                stream.close()
        self._source = self._read
        return wt.WatchOpened()

    async def _read(self) -> wt.Event:
        if self._stream is None:
            return await _rest()
        try:
            data = await self._stream.read()
            if not data:
                return wt.StreamEnded(self._table.end_stream())
            if self._watch.state is wt.WatchState.WATCHING:
                self._heard = self._clock()
            items = self._table.feed(data)
            if items:
                received = self._hand_on(items)
                # Changes that came before a broken frame are handed on first; only then is the frame complained of.
                self._table.feed(b"")
                return received
        except TransportFault as fault:
            return self._failed("watch", fault.info)
        except DecodeError as error:
            return self._failed("watch", _undecodable(error))
        return wt.Received()

    def _hand_on(self, items: Sequence[_Item]) -> wt.Received:
        """Give changes to their owner and sum up the rest for the machine."""
        changes: list[PodChange] = []
        version = end_version = undecodable = versionless = 0
        error: FaultInfo | None = None
        for item in items:
            if type(item) is PodChange:
                changes.append(item)
                if item.resource_version > version:
                    version = item.resource_version
            elif isinstance(item, Bookmark):
                if item.initial_events_end:
                    end_version, version = item.resource_version, 0
                elif item.resource_version > version:
                    version = item.resource_version
            elif isinstance(item, StreamStatus):
                error = classify_status(item.code, item.reason, item.message, item.retry_after, item.causes)
            elif isinstance(item, Undecodable):
                undecodable += 1
                versionless += "resourceVersion is missing" in item.reason
                self._complain(item)
        if changes:
            self._on_changes(changes, self._clock())
        return wt.Received(version, undecodable, versionless, end_version, error)

    def _complain(self, item: Undecodable) -> None:
        count = self.counters["undecodable"] + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: one bad pod must not fill the log
            _log.warning("skipped an object at byte %d: %s (%d so far)", item.offset, item.reason, count)

    def _failed(self, what: str, info: FaultInfo) -> wt.Failed:
        _log.info("%s %s failed: %s", what, self._path, info)
        return wt.Failed(info)

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        self._source = _rest
        if stream is not None:
            stream.close()


async def _rest() -> wt.Event:
    """Nothing is under way: only time or somebody outside can bring the next event."""
    await asyncio.Event().wait()
    return wt.Tick()


def _format_of(content_type: str) -> int:
    """The table's format for an answer's Content-Type. Raises TransportFault for anything but Kubernetes' own two."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/vnd.kubernetes.protobuf":
        return FORMAT_PROTOBUF
    if kind == "application/json":
        return FORMAT_JSON
    message = f"the answer is {content_type or 'of no type'}, neither Kubernetes protobuf nor JSON"
    raise TransportFault(FaultInfo(Fault.PROTOCOL, 200, "ContentType", message[:300]))


def _undecodable(error: DecodeError) -> FaultInfo:
    return FaultInfo(Fault.PROTOCOL, 200, "DecodeError", f"byte {error.offset}: {error.reason}")
