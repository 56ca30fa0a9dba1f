"""One ticket's life in a shard: its states, the changes allowed between them, and its story.

The diagram: QUEUED -> CREATING -> PENDING -> RUNNING -> SUCCEEDED | FAILED | LOST -> CLEANING -> DONE, back to QUEUED
for another launch attempt, and REVOKED or HANDED_OVER from anywhere before the end. `ALLOWED` is that diagram; a
change that is not in it raises `InvalidTransition`, which prints what happened to the ticket before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shard_executor.core.failures import Verdict

STORY_LENGTH = 24


# Labels and annotations that make a pod ours.
Marks = tuple[Mapping[str, str], Mapping[str, str]]


class TaskState(StrEnum):
    QUEUED = "queued"
    CREATING = "creating"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    HANDED_OVER = "handed-over"
    REVOKED = "revoked"
    CLEANING = "cleaning"
    DONE = "done"


_S = TaskState
OPEN = frozenset({_S.QUEUED, _S.CREATING, _S.PENDING, _S.RUNNING})
FINISHED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.LOST, _S.HANDED_OVER})
_ENDS = FINISHED | {_S.REVOKED}

ALLOWED: dict[TaskState, frozenset[TaskState]] = {
    # Straight to PENDING or further: the pod of this attempt turned out to exist already.
    _S.QUEUED: frozenset({_S.CREATING, _S.PENDING, _S.RUNNING}) | _ENDS,
    # Watch events may overtake the answer to the create, so every later state can follow.
    _S.CREATING: frozenset({_S.QUEUED, _S.PENDING, _S.RUNNING}) | _ENDS,
    _S.PENDING: frozenset({_S.QUEUED, _S.RUNNING}) | _ENDS,
    _S.RUNNING: _ENDS,
    _S.SUCCEEDED: frozenset({_S.CLEANING}),
    _S.FAILED: frozenset({_S.CLEANING}),
    _S.LOST: frozenset({_S.CLEANING}),
    _S.HANDED_OVER: frozenset({_S.CLEANING}),
    _S.REVOKED: frozenset({_S.CLEANING}),
    _S.CLEANING: frozenset({_S.DONE}),
    _S.DONE: frozenset(),
}


class InvalidTransition(Exception):
    """A change of state or an event that the tables do not know; `story` holds the ticket's last steps."""

    def __init__(self, ticket: str, what: str, story: tuple[str, ...]) -> None:
        super().__init__(ticket, what, story)
        self.ticket, self.what, self.story = ticket, what, story

    def __str__(self) -> str:
        return "\n  ".join((f"ticket {self.ticket}: {self.what}; its story:", *self.story))


@dataclass(slots=True)
class TaskHandler:
    """Holds one ticket's state; only `ShardState` changes it.

    `attempt` counts launches from 0, `tries` failed creates of the current attempt, `launch_deadline` is the time
    after which a create that keeps failing is given up. `body_since` is when a fresh body was asked for or came,
    `unsure` says that the last create may have reached the server. `fresh` says that its pod was made by an earlier
    process of the run and that nobody has been told yet that it runs, `seen` that this shard's watch shows the pod,
    `read_due` when it is to be read for want of that, `start_by` until when it may be pending. `known_at` is when the
    pod was last known to be there, `gap` how many seconds later a list lacked it. `marks` are those by which the pod is
    still to be adopted, `adopted` says that they are written. `owed` is name and uid of a lost attempt's pod, which is
    removed when the next attempt's pod is there. `pod_gone` says that the pod itself is no more, or no more ours,
    whatever the ticket's state.
    """

    ticket: str
    namespace: str
    stem: str
    submission_id: str
    priority: int
    name: str
    attempt: int = 0
    state: TaskState = TaskState.QUEUED
    uid: str | None = None
    began: bool = False
    fresh: bool = False
    seen: bool = False
    has_body: bool = True
    body_since: float = 0.0
    unsure: bool = False
    marks: Marks | None = None
    adopted: bool = False
    start_by: float | None = None
    tries: int = 0
    relaunches: int = 0
    launch_deadline: float | None = None
    denied_since: float | None = None
    pending_since: float | None = None
    bad_since: float | None = None
    uid_since: float = 0.0
    known_at: float = float("-inf")
    gap: float | None = None
    owed: tuple[str, str] | None = None
    reading: bool = False
    read_due: float | None = None
    revoking: bool = False
    terminating: bool = False
    verdict: Verdict | None = None
    reported: bool = False
    pod_gone: bool = False
    last_problem: str | None = None
    story: deque[str] = field(default_factory=lambda: deque(maxlen=STORY_LENGTH))

    def note(self, now: float, what: str) -> None:
        self.story.append(f"{now:.3f} {self.state.value}: {what}")

    def to(self, state: TaskState, now: float, why: str) -> None:
        """Changes the state, if the diagram allows it.

        Raises:
            InvalidTransition: the pair is not in `ALLOWED`.
        """
        if state not in ALLOWED[self.state]:
            raise InvalidTransition(self.ticket, f"{self.state.value} -> {state.value} ({why})", tuple(self.story))
        self.note(now, f"-> {state.value} ({why})")
        self.state = state
