"""Adopting a pod that was somebody else's: our labels are written on it while it is followed already.

Until they are, lists and watches do not show the pod, which says nothing about it; single reads do.
"""

from __future__ import annotations

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.launch_faults import LaunchPolicy, launch_policy
from shard_executor.core.lifecycle import TaskHandler, TaskState
from shard_executor.core.watching import Watching

S = TaskState


class Adopting(Watching):
    """A ticket's `marks` are what is still to be written; without them its pod is one like any other.

    Few patches are in flight at once: whoever takes over from a dead owner adopts thousands of pods.
    """

    def _start_adoptions(self) -> None:
        while self._to_adopt and self._adoptions < self.policy.adoptions_in_flight:
            task = self.tasks.get(self._to_adopt.popleft())
            if task is None or task.marks is None or task.uid is None or task.state not in (S.PENDING, S.RUNNING):
                continue  # the pod's end has made it pointless
            self._adoptions += 1
            marks = task.marks
            self._out.append(act.AdoptPod(task.ticket, task.namespace, task.name, task.uid, marks, task.attempt))

    def _on_adopt_answer(self, event: ev.Adopted | ev.AdoptFailed, now: float) -> None:
        self._adoptions -= 1
        task = self.tasks.get(event.ticket)
        if task is None or task.attempt != event.attempt or task.state not in (S.PENDING, S.RUNNING):
            return
        if isinstance(event, ev.Adopted):
            self._on_adopted(task, event, now)
        else:
            self._on_adopt_failed(task, event, now)

    def _on_adopted(self, task: TaskHandler, event: ev.Adopted, now: float) -> None:
        task.note(now, "adopted")
        task.marks = None
        task.adopted = True
        task.tries = 0
        task.uid_since = now  # a list that was asked for before may lack it
        task.known_at, task.gap = now, None
        self._out.append(act.TellAdopted(task.ticket))
        if not task.seen:
            self._read_at(task, now + self.policy.unseen_after)
        self._advance(task, event.verdict, event.deleting, now)

    def _on_adopt_failed(self, task: TaskHandler, event: ev.AdoptFailed, now: float) -> None:
        if event.gone:
            self._pod_gone(task, None, now)
            return
        task.last_problem = f"adopting the pod: {event.info.message}"
        task.note(now, task.last_problem)
        if launch_policy(event.info.fault) is LaunchPolicy.SIGN_IN:
            self._out.append(act.NeedCredentials())
        task.tries += 1
        # For as long as the pod lives: reads follow it meanwhile, and its end ends this too.
        self._at(now + max(backoff_delay(task.tries, self._rng), event.info.retry_after or 0.0), "adopt", task.ticket)
        if not task.seen and task.read_due is None:
            self._read(task)

    def _timer_adopt(self, ticket: str, now: float) -> None:
        self._to_adopt.append(ticket)
