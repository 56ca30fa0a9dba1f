"""The alphabet of the watch: its states, the events that go in, the actions that come out, its settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shard_executor.core.faults import FaultInfo


class WatchState(StrEnum):
    """Where the watch stands. A request is in flight or a stream is open in all of them but EMPTY and BACKING_OFF."""

    EMPTY = "empty"  # nothing is known yet
    LISTING_PAGE = "listing-page"  # a page of a list is being fetched
    INITIAL_WATCH = "initial-watch"  # a streaming list is being opened or read, its end bookmark is yet to come
    LISTED = "listed"  # the table is complete at a version, the watch from there is being opened
    WATCHING = "watching"
    BACKING_OFF = "backing-off"  # waiting to go on where `resume` says


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Limits of the watch; all times in seconds.

    start_delay: wait before the first request; see `start_delay`. page_size: objects per page of a paged list.
    page_timeout: for one page, connection included. connect_timeout: until a watch's headers are there; priority and
    fairness may queue a request for 15 s. watch_seconds_low, watch_seconds_high: the range of timeoutSeconds.
    watch_margin: how long past its timeout a stream may live. idle_limit: silence that reopens a watch; bookmarks,
    about one a minute, break it. initial_idle_limit: the same while the initial events come. initial_limit: how long
    those may take altogether; what ignores `sendInitialEvents` sends events for ever and no end mark. short_watch: a
    stream that ends sooner, without progress, counts as a failure. server_error_patience: how long 500s are answered
    by trying the same version. relist_spacing: least time between the end of a list and a requested one.
    undecodable_delay, undecodable_spacing: a re-list follows an undecodable object after the one, at most once in
    the other. long_*: delays after refusals that a person has to mend. streaming_lists: try them at all.
    """

    start_delay: float = 0.0
    page_size: int = 500
    page_timeout: float = 60.0
    connect_timeout: float = 30.0
    watch_seconds_low: int = 240
    watch_seconds_high: int = 300
    watch_margin: float = 10.0
    idle_limit: float = 120.0
    initial_idle_limit: float = 30.0
    initial_limit: float = 120.0
    short_watch: float = 1.0
    server_error_patience: float = 30.0
    relist_spacing: float = 5.0
    undecodable_delay: float = 5.0
    undecodable_spacing: float = 300.0
    backoff_initial: float = 0.8
    backoff_ceiling: float = 30.0
    backoff_calm: float = 120.0
    long_initial: float = 10.0
    long_ceiling: float = 120.0
    streaming_lists: bool = True


def start_delay(shard: int, spacing: float = 0.25, ceiling: float = 5.0) -> float:
    """Seconds that shard number `shard` waits before its first list.

    A streaming list holds up to 10 seats of the API server's priority and fairness until its initial events are
    delivered, so shards that start together start one after the other.
    """
    return min(max(shard, 0) * spacing, ceiling)


class WatchError(Exception):
    """The driver gave an event that its state does not know: a mistake in this program, told with the story."""

    def __init__(self, problem: str, story: str) -> None:
        super().__init__(problem, story)
        self.problem = problem
        self.story = story

    def __str__(self) -> str:
        return f"{self.problem}\n{self.story}"


# ---- events


@dataclass(frozen=True, slots=True)
class Started:
    """The driver runs; given once."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the last WakeAt has come; early and extra ticks do no harm."""


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page was applied to the table. version: the list's, 0 if it named none; token: "" on the last page."""

    version: int
    token: str
    undecodable: int = 0


@dataclass(frozen=True, slots=True)
class WatchOpened:
    """The stream's headers came with status 200."""


@dataclass(frozen=True, slots=True)
class Received:
    """One network read was applied to the table.

    version: the highest version of its events and bookmarks, of those behind the initial-events-end bookmark if that
    was in this read; 0 if there were none. undecodable: skipped objects. versionless: objects without a version.
    end_version: version of the initial-events-end bookmark, 0 if it was not in this read. error: the fault of an
    ERROR event, after which nothing follows.
    """

    version: int = 0
    undecodable: int = 0
    versionless: int = 0
    end_version: int = 0
    error: FaultInfo | None = None


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The body came to its proper end. leftover: bytes of an unfinished frame, 0 for a clean end."""

    leftover: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The request in flight or the open stream failed, or its bytes could not be read (PROTOCOL)."""

    info: FaultInfo


@dataclass(frozen=True, slots=True)
class RelistRequested:
    """Somebody outside doubts the table. cause: a short word for the counters."""

    cause: str


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """New credentials are in force."""


Event = (
    Started | Tick | PageListed | WatchOpened | Received | StreamEnded | Failed | RelistRequested | CredentialsReplaced
)


# ---- actions


@dataclass(frozen=True, slots=True)
class BeginReplace:
    """Open a new generation in the table: what is not seen until CommitReplace is gone."""


@dataclass(frozen=True, slots=True)
class AbortReplace:
    """Give the generation up; no row is swept."""


@dataclass(frozen=True, slots=True)
class CommitReplace:
    """Sweep what was not seen, hand it on as gone, and announce that the table is complete."""


@dataclass(frozen=True, slots=True)
class ForgetRows:
    """Drop every row without a word: the versions they carry mean nothing any more."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """Fetch one page. token: continue token, "" for the first; limit: 0 asks for everything at once."""

    token: str
    limit: int
    timeout: float


@dataclass(frozen=True, slots=True)
class OpenWatch:
    """Open a stream. version: where to resume, None with initial, which asks for a streaming list."""

    version: int | None
    initial: bool
    timeout_seconds: int
    connect_timeout: float


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Drop the open stream."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Give a Tick at this time; replaces the time given before. None: no tick is needed."""

    at: float | None


@dataclass(frozen=True, slots=True)
class AskCredentials:
    """The server does not accept our credentials: ask the parent for fresh ones."""


Action = (
    BeginReplace
    | AbortReplace
    | CommitReplace
    | ForgetRows
    | ListPage
    | OpenWatch
    | CloseStream
    | WakeAt
    | AskCredentials
)
