"""Launching in a shard: which ticket's pod is created next, and what the answer means."""

from __future__ import annotations

import heapq

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.bodies import Bodies
from shard_executor.core.failures import DISRUPTIONS, FailureClass, Verdict, refused_by_node
from shard_executor.core.launch_faults import UNSURE, LaunchPolicy, launch_policy
from shard_executor.core.lifecycle import TaskHandler, TaskState
from shard_executor.core.shard_base import EVER, Creation

S = TaskState

# A pod lost before its task began is launched anew if it was the cluster's doing; a bad image or configuration would
# only fail again, and a pod that somebody deleted was deleted for a reason.
RELAUNCHED = DISRUPTIONS | {FailureClass.UNKNOWN}


class Launching(Bodies):
    """Creates run within the window, by priority; a create without a certain answer is settled by the pod's name."""

    def _launch(self, now: float) -> None:
        free = self.window.free(now)
        fresh = self.policy.fresh_bodies
        while free > 0 and (queue := self._next_queue(now)):
            task = self.tasks.get(heapq.heappop(queue)[2])
            if task is None or task.state is not S.QUEUED or task.reading or task.revoking:
                continue  # a read that is under way or due decides about the last two
            if not task.has_body or (fresh and self._too_old(task, now)):
                self._need_body(task)
                continue  # comes back with the body
            if task.launch_deadline is None:
                task.launch_deadline = now + self.policy.create_timeout
            self._to(task, S.CREATING, now, f"attempt {task.attempt}")
            self.window.started()
            self.gates.started(task.namespace)
            self._creations[task.ticket, task.attempt] = Creation(task.namespace, task.name)
            self._out.append(act.CreatePod(task.ticket, task.namespace, task.name, task.attempt))
            if fresh:
                self._drop_body(task)
            free -= 1
        if self._bodiless:
            self._ask_bodies(now)

    def _next_queue(self, now: float) -> list[tuple[int, int, str]] | None:
        """The queue whose head comes first among the namespaces that are listed and not full."""
        queues = [
            queue
            for namespace, queue in self._ready.items()
            if queue and self.gates.admits(namespace, now) and not self._held(namespace, now)
        ]
        return min(queues, default=None)

    def _on_created(self, event: ev.Created, now: float) -> None:
        self.window.answered(event.latency)
        creation = self._creation_answered(event)
        task = self.tasks.get(event.ticket)
        current = task is not None and task.attempt == event.attempt and task.state is S.CREATING
        if creation is not None and creation.uid != event.uid and not current:
            # The watch has shown an earlier create's pod, and that one was gone when this create came to the server.
            self._remove(f"uid:{event.uid}", creation.namespace, creation.name, event.uid, False, now)
        if task is None or task.attempt != event.attempt:
            return
        self.gates.passed(task.namespace)
        task.tries = 0
        if task.state is S.CREATING:
            self._exists(task, event.uid, now, "created", now)

    def _exists(self, task: TaskHandler, uid: str, since: float, why: str, now: float) -> bool:
        """The attempt's pod is there; False if its ticket was revoked meanwhile, so that it goes at once."""
        task.uid = uid
        task.uid_since = since
        task.known_at, task.gap = now, None
        self._remove_owed(task, now)
        self._drop_body(task)
        if task.revoking:
            self._revoke_pod(task, now)
            return False
        self._to(task, S.PENDING, now, f"{why}, uid {uid}")
        if self.policy.start_timeout:
            self._limit_start(task, since if since != EVER else now)
        self._progress(task, "pending")
        return True

    def _limit_start(self, task: TaskHandler, since: float) -> None:
        """The pod may stay pending until `start_timeout` from its creation."""
        task.start_by = since + self.policy.start_timeout
        self._at(task.start_by, "start", task.ticket)

    def _creation_answered(self, event: ev.Created | ev.CreateFailed) -> Creation | None:
        creation = self._creations.pop((event.ticket, event.attempt), None)
        if creation is not None and creation.holds:
            self.cleanup.release(creation.namespace, creation.name)
        return creation

    def _on_create_failed(self, event: ev.CreateFailed, now: float) -> None:
        self._creation_answered(event)
        policy = launch_policy(event.info.fault)
        if policy is LaunchPolicy.RETRY_SLOWER:
            self.window.refused(now, event.info.retry_after)
        elif policy in (LaunchPolicy.READ, LaunchPolicy.REFUSE, LaunchPolicy.PARK):
            self.window.answered(event.latency)
        else:
            self.window.abandoned(now)
        task = self.tasks.get(event.ticket)
        if task is None or task.attempt != event.attempt:
            return
        if policy is LaunchPolicy.PARK:
            self.gates.refused(task.namespace, now)
            self._remove_owed(task, now)  # a quota of `count/pods` counts finished pods too
        elif policy is LaunchPolicy.READ:
            self.gates.passed(task.namespace)
        else:
            self.gates.ended(task.namespace)
        if task.state is not S.CREATING:
            return  # the watch has shown the pod meanwhile: the lost answer was a success
        task.unsure = event.info.fault in UNSURE
        task.last_problem = f"{event.info.reason or event.info.fault.value}: {event.info.message}"
        if policy is LaunchPolicy.READ:
            self._read(task)
        elif task.revoking and policy in (LaunchPolicy.REFUSE, LaunchPolicy.PARK):
            self._to(task, S.REVOKED, now, "revoked, never created")
            self._report_revoked(task)
        elif policy is LaunchPolicy.REFUSE or (policy is LaunchPolicy.RETRY_BRIEFLY and self._denied(task, now)):
            self._fail_create(task, event.info.reason or event.info.fault.value, event.info.message, now)
        else:
            if policy is LaunchPolicy.SIGN_IN:
                self._out.append(act.NeedCredentials())
            self._retry_create(task, policy, event.info.retry_after, now)

    def _denied(self, task: TaskHandler, now: float) -> bool:
        """Whether the authorizer has denied this ticket's creates for too long."""
        if task.denied_since is None:
            task.denied_since = now
        return now - task.denied_since >= self.policy.denied_grace

    def _retry_create(self, task: TaskHandler, policy: LaunchPolicy, retry_after: float | None, now: float) -> None:
        parked = policy is LaunchPolicy.PARK
        if parked:
            task.launch_deadline = None  # quota is waited for as long as it takes, and the wait is told
        elif self._give_up(task, now):
            return
        task.tries += 1
        self._to(task, S.QUEUED, now, f"create to be repeated: {task.last_problem}")
        if task.tries == 1 or parked:
            self._progress(task, "waiting", task.last_problem)
        if parked:
            self._enqueue(task)  # the namespace's gate holds it
        else:
            self._at(now + max(backoff_delay(task.tries, self._rng), retry_after or 0.0), "launch", task.ticket)

    def _give_up(self, task: TaskHandler, now: float) -> bool:
        """Ends a ticket whose pod can neither be created nor asked for, once its time is over."""
        if task.launch_deadline is None or now < task.launch_deadline:
            return False
        if task.revoking:
            self._to(task, S.REVOKED, now, f"revoked, as far as is known never created: {task.last_problem}")
            self._report_revoked(task)
        else:
            self._fail_create(task, "CreateTimeout", f"gave up creating the pod; last answer: {task.last_problem}", now)
        return True

    def _timer_launch(self, ticket: str, now: float) -> None:
        task = self.tasks.get(ticket)
        if task is not None and task.state is S.QUEUED:
            if task.revoking or (task.unsure and self.policy.fresh_bodies):
                # The last create had no certain answer: whether its pod exists is asked, not guessed. So too before
                # another body is built: whoever builds it would see a task that runs already.
                self._read(task)
            else:
                self._enqueue(task)

    def _requeue(self, task: TaskHandler, now: float, why: str) -> None:
        if task.state is not S.QUEUED:
            self._to(task, S.QUEUED, now, why)
        self._enqueue(task)

    def _next_attempt(self, task: TaskHandler, now: float, why: str) -> None:
        self._by_name.pop((task.namespace, task.name), None)
        task.attempt += 1
        task.tries = 0
        task.name = self.name_of(task.stem, task.submission_id, task.attempt)
        task.uid = None
        task.seen = task.pod_gone = task.reading = task.terminating = False
        task.unsure = task.adopted = False
        task.pending_since = task.bad_since = task.launch_deadline = task.read_due = task.denied_since = None
        task.marks = task.start_by = None
        self._by_name[task.namespace, task.name] = task.ticket
        self._unclaimed.pop((task.namespace, task.name), None)  # the create finds it, and what it is now
        self._requeue(task, now, f"{why}; attempt {task.attempt} follows")

    def _relaunch(self, task: TaskHandler, verdict: Verdict, now: float) -> bool:
        """Launches another attempt of a pod that the cluster lost before its task began, if any are left."""
        relaunched = verdict.failure_class in RELAUNCHED or refused_by_node(verdict.reason)
        if not relaunched or task.relaunches >= self.policy.launch_failure_retries:
            return False
        task.relaunches += 1
        if not task.pod_gone and task.uid is not None:
            # It has finished, so it holds no quota. It stays until the next attempt's pod is there: if the parent dies
            # before, whoever goes on with the run finds one of the two.
            task.owed = task.name, task.uid
            self._owed[task.namespace, task.name] = task.ticket
        self._closed_names.add(task.namespace, task.name, task.uid)
        self._next_attempt(task, now, f"lost before it began ({verdict.failure_class}: {verdict.reason})")
        self._progress(task, "waiting", f"attempt {task.attempt - 1} was lost before it began: {verdict.reason}")
        return True
