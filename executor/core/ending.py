"""The end of a task in a shard: its report, the removal of its pod, revoking."""

from __future__ import annotations

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.cleanup import Removal
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.launch_faults import LaunchPolicy, launch_policy
from shard_executor.core.lifecycle import TaskHandler, TaskState
from shard_executor.core.shard_base import ShardBase

S = TaskState
STILL_THERE = "its deletion was accepted but it is still there"


class Ending(ShardBase):
    """A result is reported once, and its pod is removed only after the parent has acknowledged it."""

    def _finish(self, task: TaskHandler, state: TaskState, verdict: Verdict, now: float, *, tail: bool) -> None:
        task.verdict = verdict
        self._to(task, state, now, f"{verdict.failure_class or 'ok'} {verdict.reason or ''}")
        self.outcomes[verdict.failure_class.value if verdict.failure_class else "succeeded"] += 1
        if tail and self.policy.log_tail and not task.pod_gone:
            self._out.append(act.TailLog(task.ticket, task.namespace, task.name, verdict.container))
        else:
            self._report_end(task, None)

    def _fail_create(self, task: TaskHandler, reason: str, message: str, now: float) -> None:
        verdict = Verdict(Stage.FAILED, False, FailureClass.CREATE_REFUSED, reason, None, message)
        task.pod_gone = True
        self._drop_body(task)
        self._finish(task, S.FAILED, verdict, now, tail=False)

    def _handed_over(self, task: TaskHandler, now: float) -> None:
        task.pod_gone = True  # not ours any more: it must not be removed
        verdict = Verdict(
            Stage.FAILED,
            task.began,
            FailureClass.HANDED_OVER,
            "LabelsChanged",
            None,
            "the pod's labels were changed, so that it no longer belongs to this executor",
        )
        self._finish(task, S.HANDED_OVER if self.policy.hand_over else S.LOST, verdict, now, tail=False)

    def _on_log(self, task: TaskHandler, event: ev.LogRead, now: float) -> None:
        if task.state is S.FAILED and not task.reported:
            self._report_end(task, event.text)

    def _report_end(self, task: TaskHandler, log_tail: str | None) -> None:
        verdict = task.verdict
        assert verdict is not None
        task.reported = True
        self._out.append(
            act.Report(
                task.ticket,
                task.state.value,
                True,
                task.name,
                task.uid,
                task.attempt,
                verdict.failure_class.value if verdict.failure_class else None,
                verdict.reason,
                verdict.exit_code,
                verdict.message,
                log_tail,
                task.began,
                verdict.started_at,
                verdict.finished_at,
                container=verdict.container,
            )
        )

    def _on_acknowledged(self, task: TaskHandler, event: ev.Acknowledged, now: float) -> None:
        self._to(task, S.CLEANING, now, "acknowledged")
        if task.owed is not None:
            self._take_back_owed(task)
        if task.pod_gone or task.uid is None:
            self._close(task, now)
        else:
            self._remove(task.ticket, task.namespace, task.name, task.uid, event.keep, now)

    def _remove(self, key: str, namespace: str, name: str, uid: str | None, keep: bool, now: float) -> None:
        removal = Removal(key, namespace, name, uid, keep, now + self.policy.remove_timeout)
        for creation in self._creations.values():
            if (creation.namespace, creation.name) == (namespace, name):
                # A repeated create that came to the server after the delete would run the task a second time; while
                # the pod is there, it is refused.
                creation.holds = removal.held = True
        if self.cleanup.add(removal):
            return
        removal = self.cleanup.items[key]  # a revoked pod: its delete was under way before the acknowledgement
        if removal.accepted:
            self._removal_accepted(removal, now)
        else:
            self.cleanup.again(key)

    def _take_back_owed(self, task: TaskHandler) -> None:
        """Makes the pod of a lost attempt the ticket's again, to be removed before it closes; none came after it."""
        assert task.owed is not None
        del self._owed[task.namespace, task.owed[0]]
        del self._by_name[task.namespace, task.name]
        self._closed_names.add(task.namespace, task.name, None)
        (task.name, task.uid), task.owed, task.pod_gone = task.owed, None, False
        self._by_name[task.namespace, task.name] = task.ticket
        self._unclaimed.pop((task.namespace, task.name), None)

    def _remove_owed(self, task: TaskHandler, now: float) -> None:
        """Removes the pod of a lost attempt; the next one's is there, or cannot be while this one takes its room."""
        if task.owed is not None:
            name, uid = task.owed
            task.owed = None
            del self._owed[task.namespace, name]
            self._remove(f"uid:{uid}", task.namespace, name, uid, False, now)

    def _on_removed(self, event: ev.Removed, now: float) -> None:
        removal = self.cleanup.answered(event.key)
        if removal is None:
            return
        removal.accepted = True
        task = self.tasks.get(event.key)
        if event.absent and task is not None:
            self._gone_after_end(task, now)
        else:
            self._removal_accepted(removal, now)

    def _removal_accepted(self, removal: Removal, now: float) -> None:
        task = self.tasks.get(removal.key)
        if task is None or removal.keep:
            self._removal_over(removal, now)
            return
        self._report_revoked(task)
        if not removal.gone_by:
            removal.gone_by = now + self.policy.gone_timeout
            self._check_later(removal, now)
        elif now >= removal.gone_by:  # acknowledged after the last look at it
            self._removal_over(removal, now, STILL_THERE)

    def _check_later(self, removal: Removal, now: float) -> None:
        """The watch will most likely say that the pod has gone; whether it did is asked now and then."""
        wait = self.policy.gone_check * 2 ** min(removal.checks, 3)
        removal.checks += 1
        self._at(min(now + wait, removal.gone_by), "gone", removal.key)

    def _timer_gone(self, key: str, now: float) -> None:
        removal = self.cleanup.items.get(key)
        task = self.tasks.get(key)
        if removal is None or task is None:
            return
        if now >= removal.gone_by:
            self._removal_over(removal, now, STILL_THERE)
        else:
            self._read(task)

    def _on_read_after(self, task: TaskHandler, event: ev.PodRead | ev.ReadFailed, now: float) -> None:
        removal = self.cleanup.items.get(task.ticket)
        if isinstance(event, ev.PodRead) and event.uid != task.uid:
            self._gone_after_end(task, now)
        elif removal is not None and removal.accepted:
            self._check_later(removal, now)

    def _removal_over(self, removal: Removal, now: float, pod_left: str | None = None) -> None:
        task = self.tasks.get(removal.key)
        if task is None:
            self.cleanup.finish(removal.key)
        elif task.state is S.CLEANING:
            self._close(task, now, pod_left)
        else:
            self._report_revoked(task)

    def _on_remove_failed(self, event: ev.RemoveFailed, now: float) -> None:
        removal = self.cleanup.answered(event.key)
        if removal is None:
            return
        problem = f"{event.info.reason or event.info.fault.value}: {event.info.message}"
        if launch_policy(event.info.fault) is LaunchPolicy.SIGN_IN:
            self._out.append(act.NeedCredentials())
        if now >= removal.deadline:
            self._removal_over(removal, now, problem)
            return
        wait = max(backoff_delay(removal.tries, self._rng), event.info.retry_after or 0.0)
        self._at(now + wait, "remove", event.key)

    def _timer_remove(self, key: str, now: float) -> None:
        self.cleanup.again(key)

    def _gone_after_end(self, task: TaskHandler, now: float) -> None:
        """The pod of a task whose end is decided has gone."""
        task.pod_gone = True
        self.gates.room(task.namespace, now)
        if task.state is S.REVOKED:
            self._report_revoked(task)
        elif task.state is S.CLEANING:
            self._close(task, now)

    def _close(self, task: TaskHandler, now: float, pod_left: str | None = None) -> None:
        self.cleanup.finish(task.ticket)
        self._to(task, S.DONE, now, pod_left or "closed")
        self.counts[S.DONE] -= 1
        del self.tasks[task.ticket]
        if self._by_name.get((task.namespace, task.name)) == task.ticket:  # else another ticket has adopted its pod
            del self._by_name[task.namespace, task.name]
        self._closed_names.add(task.namespace, task.name, task.uid)
        if task.attempt:
            self._outlived.difference_update(self._earlier_names(task))
        self._drop_body(task)
        self._out.append(act.Closed(task.ticket, pod_left))

    def _on_revoked(self, task: TaskHandler, event: ev.Revoked, now: float) -> None:
        # Before the first complete list nobody knows what a predecessor created.
        listed = self._listed(task.namespace) or not self.hold_until
        if task.state is S.QUEUED and task.tries == 0 and not task.reading and listed:
            self._to(task, S.REVOKED, now, "revoked before its pod was created")
            self._report_revoked(task)
        elif task.state in (S.QUEUED, S.CREATING):
            task.revoking = True
            self._asked.discard(task.ticket)
            task.note(now, "revoked; the answer to the create decides")
            if task.state is S.QUEUED:
                self._read(task)
        elif task.state in (S.PENDING, S.RUNNING):
            self._revoke_pod(task, now)

    def _revoke_pod(self, task: TaskHandler, now: float) -> None:
        self._to(task, S.REVOKED, now, "revoked")
        self._remove(task.ticket, task.namespace, task.name, task.uid, False, now)

    def _report_revoked(self, task: TaskHandler) -> None:
        if task.state is not S.REVOKED or task.reported:
            return
        if task.uid is None:
            task.pod_gone = True
        task.verdict = Verdict(
            Stage.FAILED, task.began, FailureClass.REVOKED, "Revoked", None, "the task was revoked before it finished"
        )
        self.outcomes[FailureClass.REVOKED.value] += 1
        self._report_end(task, None)
