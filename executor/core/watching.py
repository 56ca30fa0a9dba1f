"""What the watch, the lists and single reads tell a shard about the pods of its tickets."""

from __future__ import annotations

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.failures import (
    DISAPPEARED,
    GONE_UNWATCHED,
    SHORT_GAP,
    FailureClass,
    PendingRule,
    Stage,
    Verdict,
    pending_rule,
)
from shard_executor.core.launch_faults import LaunchPolicy, launch_policy
from shard_executor.core.launching import Launching
from shard_executor.core.lifecycle import OPEN, TaskHandler, TaskState
from shard_executor.core.shard_base import EVER, EVERY_NAMESPACE

S = TaskState


class Watching(Launching):
    """A pod belongs to a ticket by its name and, once known, its uid; everything else is foreign or ownerless."""

    def _find(self, event: ev.PodSeen | ev.PodEnded | ev.PodLeft) -> TaskHandler | None:
        ticket = self._by_name.get((event.namespace, event.name))
        task = self.tasks.get(ticket) if ticket is not None else None
        if task is None or (task.uid is not None and task.uid != event.uid):
            return None
        return task

    def _on_pod_seen(self, event: ev.PodSeen, now: float) -> None:
        if event.verdict.terminal:
            self.gates.room(event.namespace, now)  # a ResourceQuota's `pods` does not count finished ones
        task = self._find(event)
        if task is None:
            self._on_ownerless(event, now)
            return
        if task.uid is None:
            if event.deleting:
                return  # 409 and a read decide about a pod of this name that is on its way out
            if task.state not in (S.QUEUED, S.CREATING):
                # Its create was given up, yet one of the requests had reached the server.
                self._remove_stray(event, now)
                return
        task.seen = True
        task.known_at, task.gap = now, None
        if task.state in (S.QUEUED, S.CREATING):
            if creation := self._creations.get((task.ticket, task.attempt)):
                creation.uid = event.uid
            self.gates.passed(task.namespace)  # its create may be the probe, and be answered when the ticket is closed
            if not self._exists(task, event.uid, now if task.state is S.CREATING else EVER, "seen", now):
                return
        if task.state in (S.PENDING, S.RUNNING):
            self._advance(task, event.verdict, event.deleting, now)

    def _on_ownerless(self, event: ev.PodSeen, now: float) -> None:
        name = event.namespace, event.name
        if (ticket := self._by_name.get(name)) is not None:
            if self.tasks[ticket].state not in OPEN and not event.deleting:
                self._remove_stray(event, now)  # made by a create that landed after the ticket's pod had gone
            return  # else it only bears the name of a ticket's pod
        if self._owed_pod(event) is not None:
            return
        again = self._closed_names.again(event.namespace, event.name, event.uid)
        left = event.verdict.terminal and (self.policy.sweep or name in self._outlived)
        if (again or left) and not event.deleting:
            # Made once more by a create that landed late; or finished, and left by an earlier attempt or an executor
            # that is gone.
            self._unclaimed.pop(name, None)
            self._remove_stray(event, now)
        else:
            self._unclaimed[name] = event  # the watch will not show it again for a ticket that comes later

    def _claim(self, task: TaskHandler, now: float) -> None:
        """Gives a new ticket what was seen of its pods before it came."""
        for name in self._earlier_names(task) if task.attempt else ():
            self._outlived.add(name)
            if (earlier := self._unclaimed.pop(name, None)) is not None:
                self._on_ownerless(earlier, now)
        if (event := self._unclaimed.pop((task.namespace, task.name), None)) is not None:
            self._on_pod_seen(event, now)
        if task.state in (S.PENDING, S.RUNNING) and not task.seen and not task.marks and self._listed(task.namespace):
            self._read(task)  # the lists have passed without it: no news of it may ever come

    def _owed_pod(self, event: ev.PodSeen | ev.PodEnded | ev.PodLeft) -> TaskHandler | None:
        """The ticket that keeps this pod of a lost attempt."""
        ticket = self._owed.get((event.namespace, event.name))
        task = self.tasks[ticket] if ticket is not None else None
        return task if task is not None and task.owed == (event.name, event.uid) else None

    def _forget_unclaimed(self, event: ev.PodEnded | ev.PodLeft) -> None:
        if (keeper := self._owed_pod(event)) is not None:
            keeper.owed = None
            del self._owed[event.namespace, event.name]
        name = event.namespace, event.name
        seen = self._unclaimed.get(name)
        if seen is not None and seen.uid == event.uid:
            del self._unclaimed[name]

    def _remove_stray(self, event: ev.PodSeen, now: float) -> None:
        key = f"uid:{event.uid}"
        if key not in self.cleanup.items:
            self._remove(key, event.namespace, event.name, event.uid, False, now)

    def _advance(self, task: TaskHandler, verdict: Verdict, deleting: bool, now: float) -> None:
        task.began = task.began or verdict.began
        if deleting and not task.terminating:
            task.terminating = True
            self._at(now + self.policy.terminating_timeout, "terminating", task.ticket)
        if verdict.terminal:
            if verdict.stage is Stage.SUCCEEDED:
                self._finish(task, S.SUCCEEDED, verdict, now, tail=False)
            elif not task.began and self._relaunch(task, verdict, now):
                return
            else:
                has_log = verdict.began or verdict.failure_class is FailureClass.INIT_CONTAINER
                self._finish(task, S.FAILED, verdict, now, tail=has_log)
        elif verdict.stage is Stage.RUNNING:
            if task.state is S.PENDING:
                self._to(task, S.RUNNING, now, "running")
                task.pending_since = task.bad_since = None
                waited = now - task.uid_since if task.uid_since != EVER and not task.adopted else None
                self._progress(task, "running", started_at=verdict.started_at, waited=waited)
        elif task.state is S.PENDING and not deleting:
            self._pending(task, verdict, now)

    def _pending(self, task: TaskHandler, verdict: Verdict, now: float) -> None:
        task.verdict = verdict
        if task.pending_since is None:
            task.pending_since = now
            if self.policy.pending_timeout is not None:
                self._at(now + self.policy.pending_timeout, "pending", task.ticket)
        rule = self._rule(verdict)
        if rule is None:
            task.bad_since = None
        elif rule.at_once:
            self._fail_pending(task, rule.failure_class, verdict, now)
        elif task.bad_since is None:
            task.bad_since = now
            self._at(now + self.policy.pending_grace, "pending", task.ticket)

    def _rule(self, verdict: Verdict) -> PendingRule | None:
        return pending_rule(verdict.waiting, verdict.message, self.policy.fatal_reasons)

    def _timer_pending(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is None or task.state is not S.PENDING or task.verdict is None:
            return
        rule = self._rule(task.verdict)
        if rule is not None and task.bad_since is not None and now >= task.bad_since + self.policy.pending_grace:
            self._fail_pending(task, rule.failure_class, task.verdict, now)
        elif (
            self.policy.pending_timeout is not None
            and task.pending_since is not None
            and now >= task.pending_since + self.policy.pending_timeout
        ):
            self._fail_pending(task, FailureClass.PENDING_TIMEOUT, task.verdict, now)

    def _timer_start(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is None or task.state is not S.PENDING or task.start_by is None or now < task.start_by:
            return
        message = f"the pod did not start within {self.policy.start_timeout:.0f} s"
        said = task.verdict
        if said is not None and (words := ": ".join(filter(None, (said.reason, said.message)))):
            message = f"{message}; {words}"
        self._fail_start(task, FailureClass.PENDING_TIMEOUT, "StartTimeout", message, now)

    def _timer_terminating(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is None or not task.terminating or task.state not in (S.PENDING, S.RUNNING):
            return
        message = f"the pod is still there {self.policy.terminating_timeout:.0f} s after its deletion began"
        verdict = Verdict(Stage.FAILED, task.began, FailureClass.NODE_LOST, "TerminatingTimeout", None, message)
        self._finish(task, S.LOST, verdict, now, tail=False)

    def _on_pod_ended(self, event: ev.PodEnded, now: float) -> None:
        self.gates.room(event.namespace, now)
        task = self._find(event)
        if task is None:
            self._forget_unclaimed(event)
            self.cleanup.finish(f"uid:{event.uid}")
            return
        if task.uid is None:
            return  # a pod of this name from another time: the create's answer decides
        if event.verdict is None and task.state in OPEN:
            # Its labels may have been changed, so that no list shows it: whether it has gone is asked.
            task.seen = False
            task.gap = now - max(task.known_at, event.heard)
            self._read(task)
        else:
            self._pod_gone(task, event.verdict, now)

    def _pod_gone(self, task: TaskHandler, verdict: Verdict | None, now: float) -> None:
        task.pod_gone = True
        if task.state in (S.PENDING, S.RUNNING):
            if verdict is None:
                verdict = self._gone_unseen(task, now)
            task.began = task.began or verdict.began
            if verdict.stage is Stage.SUCCEEDED:
                self._finish(task, S.SUCCEEDED, verdict, now, tail=False)
            elif task.began or not self._relaunch(task, verdict, now):
                lost = verdict.failure_class is FailureClass.DELETED
                self._finish(task, S.LOST if lost else S.FAILED, verdict, now, tail=False)
        else:
            self._gone_after_end(task, now)

    def _gone_unseen(self, task: TaskHandler, now: float) -> Verdict:
        gap = now - task.known_at if task.gap is None else task.gap
        if gap <= SHORT_GAP:
            reason, message = DISAPPEARED, "the pod was deleted while it was not being watched"
        else:
            reason, message = GONE_UNWATCHED, "the pod went while nobody watched it: how it ended is not known"
        return Verdict(Stage.FAILED, task.began, FailureClass.DELETED, reason, None, message)

    def _on_pod_left(self, event: ev.PodLeft, now: float) -> None:
        task = self._find(event)
        if task is None or task.uid is None:
            self._forget_unclaimed(event)
            self.cleanup.finish(f"uid:{event.uid}")
            return
        if task.state is S.CLEANING:
            self._close(task, now)
        elif task.state not in (S.PENDING, S.RUNNING):
            task.pod_gone = True
        elif self.policy.hand_over:
            task.seen = False
            self._read(task)  # it may be deleted or have its labels back by now
        else:
            self._handed_over(task, now)

    def _on_relisted(self, event: ev.Relisted, now: float) -> None:
        self._synced.add(event.namespace)
        for task in self.tasks.values():
            if task.seen or task.marks is not None or task.state not in (S.PENDING, S.RUNNING):
                continue
            if event.namespace not in (task.namespace, EVERY_NAMESPACE):
                continue
            if task.uid_since + self.policy.unseen_after <= now and task.uid_since < event.since:
                self._read(task)
            else:
                self._read_at(task, now + self.policy.unseen_after)

    def _fail_pending(self, task: TaskHandler, failure: FailureClass, verdict: Verdict, now: float) -> None:
        message = verdict.message or "the pod did not start"
        self._fail_start(task, failure, verdict.reason or failure.value, message, now)

    def _fail_start(self, task: TaskHandler, failure: FailureClass, reason: str, message: str, now: float) -> None:
        container = task.verdict.container if task.verdict is not None else None
        ended = Verdict(Stage.FAILED, False, failure, reason, None, message, container=container)
        self._finish(task, S.FAILED, ended, now, tail=False)

    def _on_pod_read(self, task: TaskHandler, event: ev.PodRead, now: float) -> None:
        if task.state in (S.CREATING, S.QUEUED):
            self._read_while_launching(task, event, now)
        elif event.uid is None or event.uid != task.uid:
            if event.uid is not None and event.same and event.selected and not event.deleting:
                # Made by a create that landed after the ticket's pod had gone: it would run beside the next try.
                self._remove(f"uid:{event.uid}", task.namespace, task.name, event.uid, False, now)
            self._pod_gone(task, None, now)
        elif not event.selected and task.marks is None:
            self._handed_over(task, now)
        elif event.verdict is not None:
            task.known_at, task.gap = now, None
            if not task.seen:
                self._read_at(task, now + self.policy.unseen_every)
            self._advance(task, event.verdict, event.deleting, now)

    def _read_while_launching(self, task: TaskHandler, event: ev.PodRead, now: float) -> None:
        # A pod of this attempt on its way out is given up for another attempt only if its task has not begun.
        began = event.verdict is not None and event.verdict.began
        if event.uid is not None and event.same and event.selected and (began or not event.deleting):
            if self._exists(task, event.uid, EVER, "the create had succeeded", now) and event.verdict is not None:
                self._advance(task, event.verdict, event.deleting, now)
        elif event.uid is not None and self.policy.hand_over and event.same and (began or not event.deleting):
            task.uid = event.uid
            self._handed_over(task, now)  # another owner has taken it: another attempt would run beside it
        elif task.revoking:
            self._to(task, S.REVOKED, now, "revoked, never created")
            self._report_revoked(task)
        elif event.uid is None:
            self._requeue(task, now, "the pod of that name has gone")
        else:
            if event.same and event.selected:
                self._closed_names.add(task.namespace, task.name, event.uid)
            self._next_attempt(task, now, "the name is taken by a pod that is not this attempt's")

    def _on_read_failed(self, task: TaskHandler, event: ev.ReadFailed, now: float) -> None:
        task.last_problem = f"reading the pod: {event.info.message}"
        if launch_policy(event.info.fault) is LaunchPolicy.SIGN_IN:
            self._out.append(act.NeedCredentials())
        if task.state in (S.CREATING, S.QUEUED):
            if task.launch_deadline is None:
                task.launch_deadline = now + self.policy.create_timeout
            if self._give_up(task, now):
                return
        task.tries += 1
        self._read_at(task, now + max(backoff_delay(task.tries, self._rng), event.info.retry_after or 0.0))

    def _timer_read(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is None or task.read_due is None or now < task.read_due:
            return  # that read was of another attempt, or has been put off
        task.read_due = None
        if task.state in (S.CREATING, S.QUEUED) or (task.state in (S.PENDING, S.RUNNING) and not task.seen):
            self._read(task)
