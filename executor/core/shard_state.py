"""The state of one shard and its only mutator, `ShardState.handle(event, now) -> actions`.

`_TABLE` says for each state of a ticket and each kind of news about it which method answers; a pair that is not in it
is an error that prints the ticket's story. The methods stand by subject: bodies.py, launching.py, watching.py,
adopting.py, ending.py.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.adopting import Adopting
from shard_executor.core.lifecycle import FINISHED, InvalidTransition, TaskHandler, TaskState
from shard_executor.core.shard_base import EVER

S = TaskState


class ShardState(Adopting):
    """All tickets of one shard; see `ShardBase` for the arguments."""

    def handle(self, event: ev.Event, now: float) -> list[act.Action]:
        """Applies one event at `now` (seconds, monotonic) and returns what is to be done.

        Raises:
            InvalidTransition: the event makes no sense in its ticket's state.
        """
        out: list[act.Action] = []
        self._out = out
        _DOORS[type(event)](self, event, now)
        self._run_timers(now)
        self._launch(now)
        out.extend(self.cleanup.start())
        if self._to_adopt:
            self._start_adoptions()
        self._wake(now)
        return out

    def _wake(self, now: float) -> None:
        at = self._timers[0][0] if self._timers else float("inf")
        waiting = [namespace for namespace, queue in self._ready.items() if queue]
        if self._bodiless:
            waiting += self._bodiless
        if waiting and now < self.window.held_until:
            at = min(at, self.window.held_until)
        elif waiting:
            if now < self.hold_until and any(self._held(namespace, now) for namespace in waiting):
                at = min(at, self.hold_until)
            at = min(at, self.gates.opens_at(waiting, now))
        if at < self._woken_for:
            self._woken_for = at
            self._out.append(act.WakeAt(at))

    def _run_timers(self, now: float) -> None:
        if now >= self._woken_for:
            self._woken_for = float("inf")
        while self._timers and self._timers[0][0] <= now:
            _, _, kind, key = heapq.heappop(self._timers)
            _TIMERS[kind](self, key, now)

    def _on_submitted(self, event: ev.Submitted, now: float) -> None:
        if event.ticket in self.tasks:
            return  # handed over twice around a restart: the first one counts
        task = TaskHandler(
            event.ticket,
            event.namespace,
            event.stem,
            event.submission_id,
            event.priority,
            event.pod or self.name_of(event.stem, event.submission_id, event.attempt),
            event.attempt,
        )
        task.began = event.began
        task.fresh = event.fresh
        task.has_body = event.has_body
        task.body_since = now
        task.marks = event.marks
        self.tasks[event.ticket] = task
        self.counts[S.QUEUED] += 1
        self._by_name[task.namespace, task.name] = task.ticket
        self._closed_names.discard(task.namespace, task.name)
        if event.uid is not None:
            task.uid = event.uid
            task.uid_since = EVER
            task.known_at = EVER if event.fresh else now  # the predecessor of this shard has just ended
        if event.reported is not None:
            task.reported = True
            self._to(task, S(event.reported), now, "its report is with the parent")
            task.pod_gone = task.state is S.HANDED_OVER
        elif event.uid is not None:
            state = S.RUNNING if event.began and not event.fresh else S.PENDING
            self._to(task, state, now, "known to the parent")
            if state is S.PENDING and self.policy.start_timeout:
                self._limit_start(task, now)
        else:
            task.note(now, "submitted")
            self._enqueue(task)
        self._claim(task, now)
        if task.marks is not None:
            self._to_adopt.append(task.ticket)

    def _on_ticket_event(self, event: ev.Event, now: float) -> None:
        task = self.tasks.get(event.ticket)  # type: ignore[union-attr]
        if task is None:
            return  # closed meanwhile
        method = _TABLE.get((task.state, type(event)))
        if method is None:
            raise InvalidTransition(task.ticket, f"{type(event).__name__} in {task.state.value}", tuple(task.story))
        method(self, task, event, now)

    def _on_read_answer(self, event: ev.PodRead | ev.ReadFailed, now: float) -> None:
        task = self.tasks.get(event.ticket)
        if task is not None and task.attempt == event.attempt:  # else the watch was faster, and another pod is at stake
            task.reading = False
            self._on_ticket_event(event, now)

    def _ignore(self, task: TaskHandler, event: ev.Event, now: float) -> None:
        task.note(now, f"{type(event).__name__} has nothing to say here")

    def _late_body(self, task: TaskHandler, event: ev.BodyArrived, now: float) -> None:
        task.has_body = True
        self._drop_body(task)

    def _on_tick(self, event: ev.Tick, now: float) -> None:
        """Timers run after every event; a tick brings the time, and uses up the wake-up that it answers."""
        self._woken_for = float("inf")  # even if its clock ran a hair ahead of ours

    def validate(self) -> None:
        """Re-derives every counter and index from the tickets; for tests.

        Raises:
            AssertionError: naming what disagrees.
        """
        counted: Counter[str] = Counter(task.state for task in self.tasks.values())
        assert +self.counts == +counted, (self.counts, counted)
        for task in self.tasks.values():
            assert self._by_name[task.namespace, task.name] == task.ticket or task.pod_gone, task
            assert task.state in FINISHED or task.state in (S.REVOKED, S.CLEANING) or not task.reported, task
            assert task.state is not S.DONE, task
        assert set(self._by_name.values()) <= self.tasks.keys(), "names without tickets"
        assert not self._by_name.keys() & self._unclaimed.keys(), "a pod that is both a ticket's and nobody's"
        earlier = {name for task in self.tasks.values() for name in self._earlier_names(task)}
        owed = {(task.namespace, task.owed[0]): task.ticket for task in self.tasks.values() if task.owed is not None}
        assert self._owed == owed, (self._owed, owed)
        assert self._outlived <= earlier, "an earlier attempt of no ticket"
        assert self.cleanup.in_flight == sum(r.in_flight for r in self.cleanup.items.values())
        assert self.window.in_flight >= 0
        assert 0 <= self._adoptions <= self.policy.adoptions_in_flight
        asking = {task.ticket for task in self.tasks.values() if task.state is S.QUEUED and not task.revoking}
        assert self._asked <= asking, "a body is awaited for a ticket that needs none"
        assert all(self._bodiless.values()), "an empty queue for bodies"
        names = {(creation.namespace, creation.name) for creation in self._creations.values()}
        held = {(r.namespace, r.name) for r in self.cleanup.items.values() if r.held}
        assert held <= names, "a removal waits for nothing"


_Method = Callable[[ShardState, TaskHandler, Any, float], None]

_OPEN = (S.QUEUED, S.CREATING, S.PENDING, S.RUNNING)
_AFTER = (S.SUCCEEDED, S.FAILED, S.LOST, S.HANDED_OVER, S.REVOKED, S.CLEANING)

_TABLE: dict[tuple[TaskState, type], _Method] = {
    # A body is asked for only while QUEUED; the ticket may have been revoked or found running meanwhile.
    (S.QUEUED, ev.BodyArrived): ShardState._on_body,
    (S.QUEUED, ev.BodyRefused): ShardState._on_body_refused,
    **{(state, kind): ShardState._late_body for state in (*_OPEN[1:], *_AFTER) for kind in (ev.BodyArrived,)},
    **{(state, ev.BodyRefused): ShardState._ignore for state in (*_OPEN[1:], *_AFTER)},
    # An answer to a read decides while launching and running; afterwards it can only say that the pod has gone.
    **{(state, ev.PodRead): ShardState._on_pod_read for state in _OPEN},
    **{(state, ev.PodRead): ShardState._on_read_after for state in _AFTER},
    **{(state, ev.ReadFailed): ShardState._on_read_failed for state in _OPEN},
    **{(state, ev.ReadFailed): ShardState._on_read_after for state in _AFTER},
    # Only a failure has its log fetched, and nothing but its answer ends that wait.
    (S.FAILED, ev.LogRead): ShardState._on_log,
    # Only what was reported can be acknowledged.
    **{(state, ev.Acknowledged): ShardState._on_acknowledged for state in _AFTER if state is not S.CLEANING},
    **{(state, ev.Revoked): ShardState._on_revoked for state in _OPEN},
    # The task ended before the revocation came: its result stands.
    **{(state, ev.Revoked): ShardState._ignore for state in _AFTER},
}

_DOORS: dict[type, Callable[[ShardState, Any, float], None]] = {
    ev.Submitted: ShardState._on_submitted,
    ev.Created: ShardState._on_created,
    ev.CreateFailed: ShardState._on_create_failed,
    ev.PodSeen: ShardState._on_pod_seen,
    ev.PodEnded: ShardState._on_pod_ended,
    ev.PodLeft: ShardState._on_pod_left,
    ev.Relisted: ShardState._on_relisted,
    ev.Removed: ShardState._on_removed,
    ev.RemoveFailed: ShardState._on_remove_failed,
    ev.Tick: ShardState._on_tick,
    ev.PodRead: ShardState._on_read_answer,
    ev.ReadFailed: ShardState._on_read_answer,
    ev.Adopted: ShardState._on_adopt_answer,
    ev.AdoptFailed: ShardState._on_adopt_answer,
    **dict.fromkeys(
        (ev.BodyArrived, ev.BodyRefused, ev.LogRead, ev.Acknowledged, ev.Revoked),
        ShardState._on_ticket_event,
    ),
}

_TIMERS: dict[str, Callable[[ShardState, str, float], None]] = {
    "launch": ShardState._timer_launch,
    "body": ShardState._timer_body,
    "adopt": ShardState._timer_adopt,
    "start": ShardState._timer_start,
    "read": ShardState._timer_read,
    "pending": ShardState._timer_pending,
    "terminating": ShardState._timer_terminating,
    "gone": ShardState._timer_gone,
    "remove": ShardState._timer_remove,
}
