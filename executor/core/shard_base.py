"""What the parts of a shard's state share: its limits, its tickets, its timers and its outbox."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.cleanup import CleanupQueue
from shard_executor.core.closed_names import ClosedNames
from shard_executor.core.lifecycle import TaskHandler, TaskState
from shard_executor.core.quota import QuotaGates
from shard_executor.core.window import CreateWindow

EVERY_NAMESPACE = ""  # of a list that holds the whole cluster
EVER = float("-inf")  # since when a pod is known that was there before its ticket: every list should show it


@dataclass(frozen=True, slots=True)
class ShardPolicy:
    """The limits a shard works by; all times in seconds.

    Args:
        create_timeout: how long one attempt's create may keep failing with transient faults before the task fails.
        denied_grace: how long creates that the authorizer denies are repeated.
        pending_grace: how long a pod may wait for a reason that rarely mends (image, configuration) before it fails.
        terminating_timeout: how long a pod that is being deleted may go on; a node that is gone ends nothing.
        pending_timeout: how long a pod may stay pending for any reason; None is without limit.
        gone_timeout: how long an accepted delete may take to remove the pod before its ticket is closed anyway.
        gone_check: first interval at which a pod whose delete was accepted is looked for; it doubles three times.
        remove_timeout: how long refused deletes are repeated.
        launch_failure_retries: relaunches of a pod that the cluster lost before its task began.
        log_tail: fetch the last lines of a failed pod's log before it may be deleted.
        unseen_after: a created pod that no complete list has shown for this long is read by name.
        unseen_every: a living pod that still goes unseen is read again at this interval.
        sweep: remove finished pods of this executor that no ticket asks for. Without it they stay, so that a ticket
            that is yet to come, of a run that goes on, finds its pod and the pod's result.
        fresh_bodies: a body is built shortly before its create and serves one request, since the token in it ages. A
            create without a certain answer is settled by a read before another body is asked for.
        body_timeout: how long a ticket waits for its body before it fails.
        body_lifetime: a fresh body that is older when its turn comes is asked for again.
        hand_over: a pod that is labelled as another owner's is handed over, which is an end of its own; without it,
            such a pod counts as lost.
        fatal_reasons: the waiting reasons for which a pending pod fails, at once; any other is waited for. None: those
            of `PENDING_RULES`, each at once or after `pending_grace`.
        start_timeout: how long a pod may take from its creation, or from when it was first seen if this shard does not
            know that, until it runs; 0 is without limit.
    """

    create_timeout: float = 600.0
    terminating_timeout: float = 3600.0
    denied_grace: float = 15.0
    pending_grace: float = 30.0
    pending_timeout: float | None = None
    gone_timeout: float = 90.0
    gone_check: float = 5.0
    remove_timeout: float = 900.0
    launch_failure_retries: int = 3
    log_tail: bool = True
    removals_in_flight: int = 16
    unseen_after: float = 5.0
    unseen_every: float = 30.0
    sweep: bool = True
    fresh_bodies: bool = False
    body_timeout: float = 300.0
    body_lifetime: float = 60.0
    hand_over: bool = False
    fatal_reasons: Collection[str] | None = None
    start_timeout: float = 0.0
    adoptions_in_flight: int = 16


@dataclass(slots=True)
class Creation:
    """A create that has not been answered; `uid` is that of the pod which the watch has shown under its name."""

    namespace: str
    name: str
    uid: str | None = None
    holds: bool = False


class ShardBase:
    """All tickets of one shard, and the helpers by which its parts change them.

    Args:
        policy: the limits to work by.
        window: the adaptive create window.
        rng: for jitter.
        name_of: pod name from (stem, submission id, attempt).
        hold_until: no pod is created before the first complete list of its namespace or this time, whichever is first,
            so that the pods of a predecessor are found before they are asked for again.
    """

    def __init__(
        self,
        policy: ShardPolicy,
        window: CreateWindow,
        rng: random.Random,
        name_of: Callable[[str, str, int], str],
        hold_until: float = 0.0,
    ) -> None:
        self.policy = policy
        self.window = window
        self.hold_until = hold_until
        self.name_of = name_of
        self.tasks: dict[str, TaskHandler] = {}
        self.cleanup = CleanupQueue(policy.removals_in_flight)
        self.gates = QuotaGates(rng)
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._rng = rng
        self._creations: dict[tuple[str, int], Creation] = {}  # by ticket and attempt, at most a window of them
        self._by_name: dict[tuple[str, str], str] = {}
        self._unclaimed: dict[tuple[str, str], ev.PodSeen] = {}  # pods without a ticket, as they were shown last
        self._outlived: set[tuple[str, str]] = set()  # names of attempts before the one that a ticket came with
        self._owed: dict[tuple[str, str], str] = {}  # by name of a lost attempt's pod: the ticket that keeps it
        self._closed_names = ClosedNames()
        self._synced: set[str] = set()  # namespaces whose first list is complete
        self._ready: dict[str, list[tuple[int, int, str]]] = {}  # by namespace: a full one holds up no other
        self._bodiless: dict[str, list[tuple[int, int, str]]] = {}  # by namespace, none empty: fresh bodies to ask for
        self._asked: set[str] = set()  # tickets that wait for a fresh body
        self._to_adopt: deque[str] = deque()
        self._adoptions = 0  # patches in flight
        self._timers: list[tuple[float, int, str, str]] = []
        self._woken_for = float("inf")
        self._serial = 0
        self._out: list[act.Action] = []

    @property
    def asked(self) -> int:
        """Tickets that wait for a fresh body."""
        return len(self._asked)

    @property
    def adopting(self) -> int:
        """Patches by which pods are adopted, in flight and waiting for their turn."""
        return self._adoptions + len(self._to_adopt)

    def _at(self, when: float, kind: str, key: str) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, kind, key))

    def _to(self, task: TaskHandler, state: TaskState, now: float, why: str) -> None:
        before = task.state
        task.to(state, now, why)
        if before is TaskState.QUEUED:
            self._asked.discard(task.ticket)
        self.counts[before] -= 1
        self.counts[state] += 1

    def _enqueue(self, task: TaskHandler) -> None:
        self._serial += 1
        queues = self._ready if task.has_body or not self.policy.fresh_bodies else self._bodiless
        heapq.heappush(queues.setdefault(task.namespace, []), (-task.priority, self._serial, task.ticket))

    def _listed(self, namespace: str) -> bool:
        """Whether a namespace's first list is complete."""
        return namespace in self._synced or EVERY_NAMESPACE in self._synced

    def _held(self, namespace: str, now: float) -> bool:
        """Whether creates in a namespace wait for its first complete list."""
        return now < self.hold_until and not self._listed(namespace)

    def _earlier_names(self, task: TaskHandler) -> list[tuple[str, str]]:
        """Namespace and name of the pods of a ticket's attempts before the current one."""
        stem, submission_id = task.stem, task.submission_id
        return [(task.namespace, self.name_of(stem, submission_id, attempt)) for attempt in range(task.attempt)]

    def _read(self, task: TaskHandler) -> None:
        if not task.reading:
            task.reading = True
            self._out.append(act.ReadPod(task.ticket, task.namespace, task.name, task.attempt))

    def _read_at(self, task: TaskHandler, when: float) -> None:
        task.read_due = when
        self._at(when, "read", task.ticket)

    def _drop_body(self, task: TaskHandler) -> None:
        if task.has_body:
            task.has_body = False
            self._out.append(act.DropBody(task.ticket))

    def _progress(
        self,
        task: TaskHandler,
        state: str,
        message: str | None = None,
        started_at: float | None = None,
        waited: float | None = None,
    ) -> None:
        self._out.append(
            act.Report(
                task.ticket,
                state,
                False,
                task.name,
                task.uid,
                task.attempt,
                message=message,
                began=task.began,
                started_at=started_at,
                waited=waited,
            )
        )
