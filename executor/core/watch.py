"""The watch as a state machine without IO: events in, actions out, time and randomness as arguments.

    EMPTY ──> INITIAL_WATCH ─────────────> WATCHING <──────┐
      │            │ not supported             │ end, idle │
      │            v                           v           │
      └──> LISTING_PAGE (page by page) ──> LISTED ─────────┘       any of them ──> BACKING_OFF ──> where `resume` says

Rules of versions (kubernetes.io, API concepts, "Resource versions"; client-go tools/cache/reflector.go):
- No list names a version: each is a consistent read of the most recent state. Callers rely on it: a pod whose create
  was answered before the list began, and which the list does not hold, is gone. "Not older than the last version",
  which client-go asks for, is cheaper, but a cache that lags would make that inference wrong.
- With `limit`, a version would ask for that exact snapshot, which may be compacted, and 0 would ignore the limit.
  Pages bound the memory and the time of one answer, and all of them come from one consistent snapshot.
- A watch resumes from the list's version, the initial-events-end bookmark, later events and bookmarks, never from
  the initial ADDED events: those are sorted by key and carry the versions of their objects.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable

from shard_executor.core import watch_types as wt
from shard_executor.core.backoff import Backoff
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.relists import Relists
from shard_executor.core.stream_clock import StreamClock
from shard_executor.core.watch_policy import BREAKS_STREAMING, POLICY, Policy
from shard_executor.core.watch_types import WatchError, WatchSettings, WatchState

STORY_LENGTH = 64
_STREAMING_ATTEMPTS = 2  # after so many broken streaming lists in a row, one list is paged
# So many watches in a row without a byte cause a list: after a restored backup our version may lie in the server's
# future, where a watch stays silent for ever.
_SILENT_WATCHES = 3
_STREAMS = (WatchState.INITIAL_WATCH, WatchState.WATCHING)
_TIMED = (WatchState.BACKING_OFF, WatchState.WATCHING)


class Watch:
    """One watch: `step` is the only door.

    state, version (last version to resume from, None before the first list), synced (a list was completed at least
    once), list_started_at (when the last completed list was begun), health ("ok" or what a person has to mend),
    counters and streaming_lists (not refused yet) are to be read.
    """

    def __init__(self, rng: random.Random, settings: WatchSettings | None = None) -> None:
        self._rng = rng
        self._settings = limits = settings or WatchSettings()
        calm = limits.backoff_calm
        self._backoff = Backoff(rng, initial=limits.backoff_initial, ceiling=limits.backoff_ceiling, calm=calm)
        self._long = Backoff(rng, initial=limits.long_initial, ceiling=limits.long_ceiling, calm=calm)
        self.state = WatchState.EMPTY
        self.version: int | None = None
        self.synced = False
        self.health = "ok"
        self.counters: Counter[str] = Counter()
        self.list_started_at = 0.0
        self.streaming_lists = limits.streaming_lists
        self._resume = WatchState.EMPTY
        self._wake: float | None = None
        self._page_token = ""
        self._replacing = False
        self._whole_list = False  # the next paged list comes without a limit
        self._broken_streaming_lists = 0
        self._stream = StreamClock(limits)
        self._errors_since: float | None = None
        self._waits_for_credentials = False
        self._list_began = 0.0
        self._list_is_readable = True  # nothing in the list under way was undecodable
        self._relists = Relists(limits)
        self._story: deque[str] = deque(maxlen=STORY_LENGTH)
        self._out: list[wt.Action] = []

    def step(self, event: wt.Event, now: float) -> list[wt.Action]:
        """Take one event at `now` (seconds, monotonic) and say what to do, in order.

        Raises WatchError for an event that the state cannot have; faults of the server never raise.
        """
        before = self.state
        handler = _HANDLERS[before].get(type(event)) or _ANYWHERE.get(type(event))
        if handler is None:
            raise WatchError(f"{event!r} in state {before}", self.story())
        out: list[wt.Action] = []
        self._out = out
        handler(self, event, now)
        if out or before is not self.state:
            self._story.append(f"{now:.3f} {before} {event!r} -> {self.state} {out!r}")
        return out

    @property
    def last_received(self) -> float | None:
        """When the last bytes of a stream came, None before the first."""
        return self._stream.last_received

    def story(self) -> str:
        """The last steps that changed something, oldest first, one per line."""
        return "\n".join(self._story)

    def validate(self) -> None:
        """Raise WatchError if the fields contradict each other; for tests."""
        stands_at = self._stands_at()
        rules = {
            "a watch has a version": stands_at is not WatchState.LISTED or self.version is not None,
            "a generation is open while paging": stands_at is not WatchState.LISTING_PAGE or self._replacing,
            "no generation is open while watching": stands_at is not WatchState.LISTED or not self._replacing,
            "what waits has an end": self._wake is not None or self.state not in _TIMED,
        }
        for rule in (rule for rule, holds in rules.items() if not holds):
            raise WatchError(f"broken rule: {rule}", self.story())

    # ---- events anywhere

    def _on_tick(self, event: wt.Event, now: float) -> None:
        """States without a limit of their own leave time to the request in flight."""

    def _on_relist_requested(self, event: wt.RelistRequested, now: float) -> None:
        self._relists.ask(event.cause, now)
        if self.state is WatchState.WATCHING:
            self._streaming_tick(event, now)

    def _on_credentials_replaced(self, event: wt.Event, now: float) -> None:
        if self.state is WatchState.BACKING_OFF and self._waits_for_credentials and self._wake is not None:
            # Not at once: a server that refuses the new ones as well would make us spin with our parent.
            self._set_wake(min(self._wake, now + self._backoff.next(now)))
        self._waits_for_credentials = False

    # ---- starting and waiting

    def _on_started(self, event: wt.Event, now: float) -> None:
        if self._settings.start_delay > 0:
            self._wait(now, self._settings.start_delay, WatchState.EMPTY)
        else:
            self._list(now)

    def _waited(self, event: wt.Event, now: float) -> None:
        if self._wake is not None and now < self._wake:
            return
        if self._resume is WatchState.LISTING_PAGE:
            self._fetch_page()
        elif self._resume is not WatchState.LISTED:
            self._list(now)
        elif self._relists.is_due(now):
            self._list_on_request(now)
        else:
            self._watch(now)

    def _wait(self, now: float, delay: float, resume: WatchState) -> None:
        self.state = WatchState.BACKING_OFF
        self._resume = resume
        self._set_wake(now + delay)

    # ---- listing and watching

    def _list(self, now: float) -> None:
        self._relists.begun()
        self._list_began = now
        self._list_is_readable = True
        self._replacing = True
        self._out.append(wt.BeginReplace())
        self.counters["lists"] += 1
        if self.streaming_lists and self._broken_streaming_lists < _STREAMING_ATTEMPTS:
            self.state = WatchState.INITIAL_WATCH
            self._open(None)
        else:
            self._page_token = ""
            self._fetch_page()

    def _list_on_request(self, now: float) -> None:
        self.counters[f"relist:{self._relists.cause}"] += 1
        self._list(now)

    def _fetch_page(self) -> None:
        self.state = WatchState.LISTING_PAGE
        self._set_wake(None)
        limit = 0 if self._whole_list else self._settings.page_size
        self._out.append(wt.ListPage(self._page_token, limit, self._settings.page_timeout))

    def _on_page(self, event: wt.PageListed, now: float) -> None:
        self.counters["pages"] += 1
        self._count_undecodable(event.undecodable, now)
        if event.token:
            self._page_token = event.token
            self._fetch_page()
        elif event.version <= 0:
            self._fault(FaultInfo(Fault.PROTOCOL, message="a list without a resourceVersion"), now)
        else:
            self._commit(event.version, now)
            self._watch(now)

    def _commit(self, version: int, now: float) -> None:
        rewound = self.version is not None and version < self.version
        if self.synced and not self._list_is_readable and not rewound:
            # The skipped object may be any row's: a sweep would report a living pod as gone.
            self.counters["unswept"] += 1
            self._out.append(wt.AbortReplace())
        else:
            self.list_started_at = self._list_began
            self._out.append(wt.CommitReplace())
        self.version = version
        self.synced = True
        self._relists.ended(now)
        self._replacing = self._whole_list = False
        self._broken_streaming_lists = self._stream.silent = 0
        self._errors_since = None
        if rewound:
            # The server's history was replaced, for instance from a backup. The sweep above has told what vanished;
            # the rows that stay carry versions from the lost future, beside which every event would look stale.
            self._out.append(wt.ForgetRows())
            self.counters["rewound"] += 1
            self._relists.schedule("rewound", now)

    def _watch(self, now: float) -> None:
        self.state = WatchState.LISTED
        self.counters["watches"] += 1
        self._open(self.version)

    def _open(self, version: int | None) -> None:
        self._set_wake(None)
        limits = self._settings
        self._stream.timeout_seconds = timeout = self._rng.randint(limits.watch_seconds_low, limits.watch_seconds_high)
        initial = self.state is WatchState.INITIAL_WATCH
        self._out.append(wt.OpenWatch(version, initial, timeout, limits.connect_timeout))

    def _on_opened(self, event: wt.Event, now: float) -> None:
        if self.state is WatchState.LISTED:
            self.state = WatchState.WATCHING
            self.health = "ok"
        self._stream.opened(now)
        self._set_wake(self._stream_limit())

    def _on_received(self, event: wt.Received, now: float) -> None:
        self._stream.received(now)
        self._count_undecodable(event.undecodable, now)
        if event.end_version and self.state is WatchState.INITIAL_WATCH:
            self._commit(event.end_version, now)
            self.state = WatchState.WATCHING
            self.health = "ok"
            self._set_wake(self._stream_limit())
        if self.state is WatchState.WATCHING and event.version > (self.version or 0):
            self.version = event.version
            self._stream.progress = True
            self._errors_since = None
        if event.versionless:
            self._fault(FaultInfo(Fault.PROTOCOL, message="an object without a resourceVersion"), now)
        elif event.error is not None:
            self._fault(event.error, now)
        elif event.undecodable:
            self._streaming_tick(event, now)

    def _on_stream_ended(self, event: wt.StreamEnded, now: float) -> None:
        if event.leftover:
            message = f"the stream ended inside a frame, {event.leftover} bytes of it had come"
            self._fault(FaultInfo(Fault.DISCONNECTED, message=message), now)
        elif self.state is WatchState.INITIAL_WATCH:
            self._restart_list("incomplete", now)
        elif self._stream.is_new(now) and not self._stream.progress:
            self._leave_stream("short")
            self._wait(now, self._backoff.next(now), WatchState.LISTED)
        else:
            self._reopen("ended", now)

    def _streaming_tick(self, event: wt.Event, now: float) -> None:
        """What time alone brings about: a due re-list, a stream past its end, a silent stream."""
        if self._wake is None:
            return  # the headers of a streaming list are not there yet: the connect timeout rules
        limit = self._stream_limit()
        if self.state is WatchState.WATCHING and self._relists.is_due(now):
            self._out.append(wt.CloseStream())
            self._list_on_request(now)
        elif now < limit:
            self._set_wake(limit)
        elif self.state is WatchState.INITIAL_WATCH:
            self._restart_list("stalled", now)
        else:
            self._reopen(self._stream.overstayed(now), now)

    def _stream_limit(self) -> float:
        watching = self.state is WatchState.WATCHING
        limit = self._stream.limit(initial=not watching)
        return min(limit, self._relists.due) if watching and self._relists.due is not None else limit

    def _reopen(self, cause: str, now: float) -> None:
        self._leave_stream(cause)
        self._errors_since = None
        if self._stream.silent >= _SILENT_WATCHES:
            self._relists.schedule("silent", now)
        if self._relists.is_due(now):
            self._list_on_request(now)
        else:
            self._watch(now)

    def _leave_stream(self, cause: str) -> None:
        self.counters[f"restart:{cause}"] += 1
        self._out.append(wt.CloseStream())

    def _restart_list(self, cause: str, now: float) -> None:
        self._leave_stream(cause)
        self._broken_streaming_lists += 1
        self._abort()
        self._wait(now, self._backoff.next(now), WatchState.EMPTY)

    # ---- faults

    def _on_failed(self, event: wt.Failed, now: float) -> None:
        self._fault(event.info, now)

    def _fault(self, info: FaultInfo, now: float) -> None:
        state = self.state
        policy = POLICY[state, info.fault]
        self.counters[f"fault:{info.fault}"] += 1
        if state in _STREAMS:
            self._out.append(wt.CloseStream())
        if policy is Policy.PATIENT:
            if self._errors_since is None:
                self._errors_since = now
            impatient = now - self._errors_since >= self._settings.server_error_patience
            policy = Policy.RELIST if impatient else Policy.RETRY
        elif policy is Policy.REOPEN and self._stream.is_new(now):
            policy = Policy.RETRY
        if policy is Policy.REOPEN:
            self.counters["restart:broken"] += 1
            self._watch(now)
            return
        resume = self._stands_at()
        if state is WatchState.INITIAL_WATCH:
            # A server out of reach says nothing about its streaming lists; anything that broke one does.
            self._broken_streaming_lists += info.fault in BREAKS_STREAMING
            self._abort()
        if policy is Policy.FALL_BACK:
            self.streaming_lists = False
            self._list(now)
            return
        if policy is Policy.RETRY and state is WatchState.WATCHING and self._stream.progress:
            # It got somewhere: to come again costs the server little, and a blind shard holds up its pods. A list is
            # another matter, so what asks for one keeps its place in the backoff.
            self._backoff.reset()
        delay = self._delay(policy, info, now)
        if policy in (Policy.RELIST, Policy.RELIST_WHOLE):
            self.counters[f"relist:{info.fault}"] += 1
            self._errors_since = None
            self._whole_list |= policy is Policy.RELIST_WHOLE
            self._abort()
            resume = WatchState.EMPTY
        self._wait(now, delay, resume)

    def _delay(self, policy: Policy, info: FaultInfo, now: float) -> float:
        if policy not in (Policy.CREDENTIALS, Policy.LONG):
            return self._backoff.next(now, info.retry_after)
        self.health = str(info)
        if policy is Policy.CREDENTIALS:
            self._waits_for_credentials = True
            self._out.append(wt.AskCredentials())
        return self._long.next(now, info.retry_after)

    def _stands_at(self) -> WatchState:
        """Where the same request starts again."""
        state = self._resume if self.state is WatchState.BACKING_OFF else self.state
        if state is WatchState.INITIAL_WATCH:
            return WatchState.EMPTY
        return WatchState.LISTED if state is WatchState.WATCHING else state

    def _abort(self) -> None:
        if self._replacing:
            self._replacing = False
            self._out.append(wt.AbortReplace())

    def _count_undecodable(self, count: int, now: float) -> None:
        if count:
            self.counters["undecodable"] += count
            self._list_is_readable = False
            self._relists.undecodable(now)

    def _set_wake(self, at: float | None) -> None:
        if at != self._wake:
            self._wake = at
            self._out.append(wt.WakeAt(at))


_ANYWHERE: dict[type, Callable[..., None]] = {
    wt.Tick: Watch._on_tick,
    wt.RelistRequested: Watch._on_relist_requested,
    wt.CredentialsReplaced: Watch._on_credentials_replaced,
}
_STREAM_DOORS: dict[type, Callable[..., None]] = {
    wt.WatchOpened: Watch._on_opened,
    wt.Received: Watch._on_received,
    wt.StreamEnded: Watch._on_stream_ended,
    wt.Failed: Watch._on_failed,
    wt.Tick: Watch._streaming_tick,
}
_HANDLERS: dict[WatchState, dict[type, Callable[..., None]]] = {
    WatchState.EMPTY: {wt.Started: Watch._on_started},
    WatchState.BACKING_OFF: {wt.Tick: Watch._waited},
    WatchState.LISTING_PAGE: {wt.PageListed: Watch._on_page, wt.Failed: Watch._on_failed},
    WatchState.INITIAL_WATCH: _STREAM_DOORS,
    WatchState.LISTED: {wt.WatchOpened: Watch._on_opened, wt.Failed: Watch._on_failed},
    WatchState.WATCHING: {kind: door for kind, door in _STREAM_DOORS.items() if kind is not wt.WatchOpened},
}
