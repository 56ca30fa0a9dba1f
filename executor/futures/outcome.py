"""What a task's future carries: a `TaskResult`, or an exception that says who failed, where and why."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shard_executor.runs.tries import News


class ClusterError(RuntimeError):
    """The cluster cannot run anything for this executor: not reachable, no such namespace, no permission."""


class BrokenPodExecutor(BrokenExecutor):
    """The executor can no longer learn what becomes of its pods; they are left as they are.

    Every open future ends with it, and later calls of `submit` raise it.
    """


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task that succeeded.

    Attributes:
        id: the task's.
        pod, namespace, uid: the pod that ran it. The pod is deleted soon after, unless the executor keeps pods.
        exit_code: 0; None if the cluster reported success without naming a code.
        attempt: which launch this was, from 0; more than 0 if the cluster lost earlier pods before they began.
        times: unix seconds by name: submitted, created, started, finished, reported. Any but submitted may be missing.
        tries: submissions of the task, from 1; pod, attempt and times are the last one's.
        disruptions: submissions that the cluster ended and that did not count as a failure.
    """

    id: str
    pod: str
    namespace: str
    uid: str | None
    exit_code: int | None
    attempt: int
    times: dict[str, float] = field(hash=False)
    tries: int = 1
    disruptions: int = 0

    @property
    def seconds(self) -> float | None:
        """How long the task's container ran, if the cluster said when it started and finished."""
        if "started" in self.times and "finished" in self.times:
            return self.times["finished"] - self.times["started"]
        return None

    @classmethod
    def of(cls, news: News) -> TaskResult:
        """The result in the news of a success."""
        report = news.report
        return cls(
            news.task_id,
            report.pod,
            report.namespace,
            report.uid,
            report.exit_code,
            report.attempt,
            dict(report.times),
            news.tries,
            news.used.disruptions,
        )


class TaskFailed(Exception):
    """A task that did not succeed. Survives pickling and copying.

    Attributes:
        id: the task's.
        state: failed, lost (its pod vanished without an end that anyone saw) or revoked.
        failure_class: what kind of failure, e.g. container-error, oom-killed, image-error, evicted, create-refused.
        reason: the cluster's one-word reason, or None.
        exit_code: of the container that failed, or None if there was none.
        message: the cluster's words, or None.
        log_tail: the last lines of the log, or None.
        pod, namespace, uid, attempt, times, tries, disruptions: as in `TaskResult`; pod is empty if none was created.
    """

    def __init__(
        self,
        id: str,
        *,
        state: str = "failed",
        failure_class: str = "unknown",
        reason: str | None = None,
        exit_code: int | None = None,
        message: str | None = None,
        log_tail: str | None = None,
        pod: str = "",
        namespace: str = "",
        uid: str | None = None,
        attempt: int = 0,
        times: dict[str, float] | None = None,
        tries: int = 1,
        disruptions: int = 0,
    ) -> None:
        super().__init__(id)
        self.id = id
        self.state = state
        self.failure_class = failure_class
        self.reason = reason
        self.exit_code = exit_code
        self.message = message
        self.log_tail = log_tail
        self.pod = pod
        self.namespace = namespace
        self.uid = uid
        self.attempt = attempt
        self.times = dict(times or {})
        self.tries = tries
        self.disruptions = disruptions

    # Unpickling calls the class with `args`, which is the id, and restores the other attributes from __dict__.

    @staticmethod
    def of(news: News) -> TaskFailed:
        """The exception for any other end than success; a `TaskRevoked` if it was revoked."""
        report = news.report
        kind = TaskRevoked if report.state == "revoked" else TaskFailed
        fields: dict[str, Any] = {
            "state": report.state,
            "failure_class": report.failure_class or report.state,
            "reason": report.reason,
            "exit_code": report.exit_code,
            "message": report.message,
            "log_tail": report.log_tail,
            "pod": report.pod,
            "namespace": report.namespace,
            "uid": report.uid,
            "attempt": report.attempt,
            "times": report.times,
            "tries": news.tries,
            "disruptions": news.used.disruptions,
        }
        return kind(news.task_id, **fields)

    def __str__(self) -> str:
        where = f" in pod {self.namespace}/{self.pod}" if self.pod else " before it had a pod"
        where += f" on try {self.tries}" if self.tries > 1 else ""
        verb = {"lost": "was lost", "revoked": "was revoked"}.get(self.state, "failed")
        what = [f"exit code {self.exit_code}"] if self.exit_code is not None else []
        if self.reason:
            what.append(self.reason)
        details = f" ({', '.join(what)})" if what else ""
        text = f"task {self.id!r} {verb}{where}: {self.failure_class}{details}"
        if self.message:
            text += f": {self.message}"
        if self.log_tail:
            lines = "\n".join(f"  {line}" for line in self.log_tail.splitlines())
            text += f"\nthe end of its log:\n{lines}"
        return text


class TaskRevoked(TaskFailed, CancelledError):
    """A running task that was ended by `PodExecutor.cancel` or `PodExecutor.stop`.

    It is a `concurrent.futures.CancelledError` too, so that one `except` covers a task that was cancelled before it
    ran and one that was ended while it ran.
    """
