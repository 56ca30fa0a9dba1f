"""What a shard's state is told: one frozen record per kind of news.

`now` is not in them: `ShardState.handle(event, now)` is given the time apart, in seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from shard_executor.core.failures import Verdict
from shard_executor.core.faults import FaultInfo
from shard_executor.core.lifecycle import Marks


@dataclass(frozen=True, slots=True)
class Submitted:
    """The parent hands over a ticket, for the first time or again after this shard's predecessor died.

    `uid` is the pod's, if the parent knows that attempt `attempt` has been created; `began` that it has run, `fresh`
    that the parent knows this from a process before it and is still to be told that the pod runs, `reported` the state
    of a terminal report that the parent has already, `has_body` that the pod's body came along. `pod` is the pod's name
    if it is known, `marks` are the labels and annotations by which it is still to be adopted.
    """

    ticket: str
    namespace: str
    stem: str
    submission_id: str
    priority: int = 0
    attempt: int = 0
    uid: str | None = None
    began: bool = False
    fresh: bool = False
    reported: str | None = None
    has_body: bool = True
    pod: str | None = None
    marks: Marks | None = None


@dataclass(frozen=True, slots=True)
class BodyArrived:
    """The pod's body is at hand (again)."""

    ticket: str


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """The parent could not build the body that was asked for."""

    ticket: str
    message: str
    reason: str = "BodyRefused"


@dataclass(frozen=True, slots=True)
class Created:
    ticket: str
    attempt: int
    uid: str
    latency: float


@dataclass(frozen=True, slots=True)
class CreateFailed:
    ticket: str
    attempt: int
    info: FaultInfo
    latency: float


@dataclass(frozen=True, slots=True)
class PodRead:
    """Answer of a GET for launch attempt `attempt`: `uid` is None if there is no such pod.

    `same` says that submission and attempt are the ticket's, `selected` that lists and watches show such a pod.
    """

    ticket: str
    uid: str | None
    same: bool = False
    deleting: bool = False
    verdict: Verdict | None = None
    attempt: int = 0
    selected: bool = True


@dataclass(frozen=True, slots=True)
class ReadFailed:
    ticket: str
    info: FaultInfo
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod was added or changed."""

    namespace: str
    name: str
    uid: str
    deleting: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PodEnded:
    """A pod is gone from the server; the verdict was read off its last state, None if a re-list just lacked it.

    `heard` is for such a re-list: the time of the last news from its namespace before it.
    """

    namespace: str
    name: str
    uid: str
    verdict: Verdict | None
    heard: float = float("-inf")


@dataclass(frozen=True, slots=True)
class PodLeft:
    """A pod left the selector without being deleted: somebody relabelled it."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Relisted:
    """A complete list of a namespace has been applied; `since` is when it was asked for."""

    since: float
    namespace: str  # "" for all


@dataclass(frozen=True, slots=True)
class Adopted:
    """The pod has our labels; the rest is what the server's answer says of it."""

    ticket: str
    deleting: bool
    verdict: Verdict
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class AdoptFailed:
    """Our labels could not be written; with `gone` there is no pod of that uid any more."""

    ticket: str
    info: FaultInfo
    gone: bool = False
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class LogRead:
    ticket: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The parent has the terminal report; `keep` leaves the pod in place, marked as done."""

    ticket: str
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """A delete or done-mark was answered: accepted, or (`absent`) the pod is no longer there."""

    key: str
    absent: bool


@dataclass(frozen=True, slots=True)
class RemoveFailed:
    key: str
    info: FaultInfo


@dataclass(frozen=True, slots=True)
class Revoked:
    ticket: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Submitted
    | BodyArrived
    | BodyRefused
    | Created
    | CreateFailed
    | PodRead
    | ReadFailed
    | PodSeen
    | PodEnded
    | PodLeft
    | Relisted
    | Adopted
    | AdoptFailed
    | LogRead
    | Acknowledged
    | Removed
    | RemoveFailed
    | Revoked
    | Tick
)
