"""Bodies just in time: which ticket's body is asked for next, and what becomes of a ticket that waits for one.

A fresh body holds a token that ages and costs the parent time to build, so few are asked for ahead: with those that
have come, two create windows, highest priority first. Each serves one create.
"""

from __future__ import annotations

import heapq

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.ending import Ending
from shard_executor.core.lifecycle import TaskHandler, TaskState

S = TaskState
WINDOWS_AHEAD = 2


class Bodies(Ending):
    """A ticket without a body waits in a queue of its own until one is asked for; where bodies are not built just in
    time, the parent has them at hand and each is asked for when its turn to be created has come."""

    def _need_body(self, task: TaskHandler) -> None:
        """The ticket's turn has come, and it has no body that is good enough."""
        if self.policy.fresh_bodies:
            self._drop_body(task)
            self._enqueue(task)
        else:
            self._out.append(act.NeedBody(task.ticket, task.attempt))

    def _too_old(self, task: TaskHandler, now: float) -> bool:
        return now - task.body_since > self.policy.body_lifetime

    def _ask_bodies(self, now: float) -> None:
        """Asks for fresh bodies, up to two windows of them; namespaces that can create nothing now are passed over."""
        room = WINDOWS_AHEAD * int(self.window.size) - len(self._asked)
        room -= sum(len(queue) for namespace, queue in self._ready.items() if queue and self._open(namespace, now))
        while room > 0:
            queues = [
                (queue[0], namespace) for namespace, queue in self._bodiless.items() if self._open(namespace, now)
            ]
            if not queues:
                return
            namespace = min(queues)[1]
            task = self.tasks.get(heapq.heappop(self._bodiless[namespace])[2])
            if not self._bodiless[namespace]:
                del self._bodiless[namespace]
            if task is None or task.state is not S.QUEUED or task.has_body or task.reading or task.revoking:
                continue
            if task.ticket not in self._asked:
                self._asked.add(task.ticket)
                task.body_since = now
                self._at(now + self.policy.body_timeout, "body", task.ticket)
                self._out.append(act.NeedBody(task.ticket, task.attempt))
                room -= 1

    def _open(self, namespace: str, now: float) -> bool:
        return self.gates.admits(namespace, now) and not self._held(namespace, now)

    def _on_body(self, task: TaskHandler, event: ev.BodyArrived, now: float) -> None:
        self._asked.discard(task.ticket)
        task.body_since = now
        if not task.has_body:
            task.has_body = True
            self._enqueue(task)

    def _on_body_refused(self, task: TaskHandler, event: ev.BodyRefused, now: float) -> None:
        if not task.revoking:  # else a read decides
            self._fail_create(task, event.reason, event.message, now)

    def _timer_body(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is not None and ticket in self._asked and now >= task.body_since + self.policy.body_timeout:
            message = f"the pod was not built within {self.policy.body_timeout:.0f} s"
            self._fail_create(task, "BodyTimeout", message, now)
