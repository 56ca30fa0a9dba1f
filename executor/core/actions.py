"""What a shard's state wants done: records that say what, never how.

Every action but `Report`, `Closed`, `DropBody`, `TellAdopted`, `NeedCredentials` and `WakeAt` is answered by exactly
one event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shard_executor.core.lifecycle import Marks


class Matches:
    """Partial comparison for tests: `action.matches(ticket="a")`."""

    __slots__ = ()

    def matches(self, **fields: Any) -> bool:
        return all(getattr(self, name) == value for name, value in fields.items())


@dataclass(frozen=True, slots=True)
class CreatePod(Matches):
    """-> Created | CreateFailed"""

    ticket: str
    namespace: str
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ReadPod(Matches):
    """-> PodRead | ReadFailed"""

    ticket: str
    namespace: str
    name: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class RemovePod(Matches):
    """Delete the pod with its uid as precondition, or, with `keep`, label it as done. -> Removed | RemoveFailed"""

    key: str
    namespace: str
    name: str
    uid: str | None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class TailLog(Matches):
    """-> LogRead"""

    ticket: str
    namespace: str
    name: str
    container: str | None


@dataclass(frozen=True, slots=True)
class NeedBody(Matches):
    """-> BodyArrived | BodyRefused"""

    ticket: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class DropBody(Matches):
    ticket: str


@dataclass(frozen=True, slots=True)
class AdoptPod(Matches):
    """Write labels and annotations on a pod, with its uid as precondition. -> Adopted | AdoptFailed"""

    ticket: str
    namespace: str
    name: str
    uid: str
    marks: Marks
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class TellAdopted(Matches):
    """The pod has our labels: whoever changes them later is not to be overruled."""

    ticket: str


@dataclass(frozen=True, slots=True)
class Report(Matches):
    """Tell the parent; a terminal report is repeated by nobody and waits for `Acknowledged`.

    `started_at` and `finished_at` are unix seconds as the kubelet says them, `waited` the seconds from the answer to
    the create to the news that the pod runs, if both came to this shard, `container` the one that the words are about.
    """

    ticket: str
    state: str
    terminal: bool
    pod: str
    uid: str | None
    attempt: int
    failure_class: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    message: str | None = None
    log_tail: str | None = None
    began: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    waited: float | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Closed(Matches):
    """Nothing of this ticket is left; `pod_left` says why its pod could not be removed, if so."""

    ticket: str
    pod_left: str | None = None


@dataclass(frozen=True, slots=True)
class NeedCredentials(Matches):
    pass


@dataclass(frozen=True, slots=True)
class WakeAt(Matches):
    """Send a Tick at this time (seconds of the clock that `handle` was given)."""

    at: float


Action = (
    CreatePod
    | ReadPod
    | RemovePod
    | AdoptPod
    | TailLog
    | NeedBody
    | DropBody
    | TellAdopted
    | Report
    | Closed
    | NeedCredentials
    | WakeAt
)
