"""Removing pods that are no longer needed: one request in flight per pod, refusals back off out of everyone's way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from shard_executor.core.actions import RemovePod


@dataclass(slots=True)
class Removal:
    """A pod to be removed; `key` is its ticket, or `uid:<uid>` for a pod without one.

    An `accepted` delete may leave the pod for its grace period or a finalizer; it is looked for until `gone_by`.
    One that is `held` waits for the answer to a create of the same name.
    """

    key: str
    namespace: str
    name: str
    uid: str | None
    keep: bool
    deadline: float
    tries: int = 0
    in_flight: bool = False
    accepted: bool = False
    gone_by: float = 0.0
    checks: int = 0
    over: bool = False
    held: bool = False


class CleanupQueue:
    """Bounded and fair: at most `limit` requests in flight, a pod that was refused waits its own time."""

    __slots__ = ("_limit", "_ready", "in_flight", "items")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ready: deque[str] = deque()
        self.items: dict[str, Removal] = {}
        self.in_flight = 0

    def __len__(self) -> int:
        return len(self.items)

    def add(self, removal: Removal) -> bool:
        """Queues a pod; False if it is being removed already."""
        if removal.key in self.items:
            return False
        self.items[removal.key] = removal
        self._ready.append(removal.key)
        return True

    def again(self, key: str) -> None:
        """A waiting time has passed."""
        removal = self.items.get(key)
        if removal is not None and not removal.in_flight and not removal.accepted:
            self._ready.append(key)

    def release(self, namespace: str, name: str) -> None:
        """No create of this name is under way any more."""
        for key, removal in self.items.items():
            if removal.held and (removal.namespace, removal.name) == (namespace, name):
                removal.held = False
                self._ready.append(key)

    def start(self) -> list[RemovePod]:
        """The requests that may be sent now."""
        actions = []
        while self._ready and self.in_flight < self._limit:
            removal = self.items.get(self._ready.popleft())
            if removal is None or removal.in_flight or removal.accepted or removal.over or removal.held:
                continue
            removal.in_flight = True
            removal.tries += 1
            self.in_flight += 1
            actions.append(RemovePod(removal.key, removal.namespace, removal.name, removal.uid, removal.keep))
        return actions

    def answered(self, key: str) -> Removal | None:
        """Takes a request's answer; None if the pod was found gone meanwhile and nothing is left to decide."""
        removal = self.items.get(key)
        if removal is None:
            return None
        if removal.in_flight:
            removal.in_flight = False
            self.in_flight -= 1
        if removal.over:
            del self.items[key]
            return None
        return removal

    def finish(self, key: str) -> None:
        """The pod is gone or given up; a request still in flight is counted until its answer comes."""
        removal = self.items.get(key)
        if removal is None:
            return
        if removal.in_flight:
            removal.over = True
        else:
            del self.items[key]
