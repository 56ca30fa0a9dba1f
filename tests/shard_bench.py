"""A shard's state on a bench: events in, actions out, a clock that the test turns."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.shard_base import ShardPolicy
from shard_executor.core.shard_state import ShardState
from shard_executor.core.window import CreateWindow

A = TypeVar("A")

PENDING = Verdict(Stage.PENDING)
RUNNING = Verdict(Stage.RUNNING, True, started_at=100.0)
SUCCEEDED = Verdict(Stage.SUCCEEDED, True, exit_code=0)
FAILED = Verdict(Stage.FAILED, True, FailureClass.CONTAINER_ERROR, "Error", 3, "exited with 3", container="base")


class Bench:
    """A shard's state with a clock of its own, remembering what it asked for."""

    def __init__(self, policy: ShardPolicy | None = None, window: CreateWindow | None = None) -> None:
        self.now = 1000.0
        self.state = ShardState(
            policy or ShardPolicy(),
            window or CreateWindow(),
            random.Random(1),
            lambda stem, submission, attempt: f"{stem}-{submission}-{attempt}",
        )
        self.last: list[act.Action] = []

    def __call__(self, event: ev.Event, *, after: float = 0.0) -> list[act.Action]:
        self.now += after
        self.last = self.state.handle(event, self.now)
        self.state.validate()
        return self.last

    def submit(self, ticket: str = "t", **fields: Any) -> list[act.Action]:
        return self(ev.Submitted(ticket, "ns", ticket, "s", **fields))

    def seen(
        self, verdict: Verdict, ticket: str = "t", uid: str = "u", attempt: int = 0, deleting: bool = False
    ) -> Any:
        return self(ev.PodSeen("ns", f"{ticket}-s-{attempt}", uid, deleting, verdict))

    def ended(self, verdict: Verdict | None, ticket: str = "t", uid: str = "u", attempt: int = 0) -> Any:
        return self(ev.PodEnded("ns", f"{ticket}-s-{attempt}", uid, verdict))

    def created(self, ticket: str = "t", uid: str = "u", attempt: int = 0) -> list[act.Action]:
        return self(ev.Created(ticket, attempt, uid, 0.01))

    def create_failed(self, fault: Fault, ticket: str = "t", attempt: int = 0, retry_after: float | None = None) -> Any:
        return self(ev.CreateFailed(ticket, attempt, FaultInfo(fault, 0, fault.value, "words", retry_after), 0.01))

    def running(self, ticket: str = "t") -> None:
        self.submit(ticket)
        self.created(ticket)
        self.seen(RUNNING, ticket)

    def one(self, kind: type[A]) -> A:
        found = [action for action in self.last if isinstance(action, kind)]
        assert len(found) == 1, self.last
        return found[0]

    def none(self, *kinds: type) -> None:
        assert not [action for action in self.last if isinstance(action, kinds)], self.last
