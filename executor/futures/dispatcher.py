"""One thread between futures and the supervisor: hands tasks over, takes reports, settles futures, acknowledges.

A future is settled before its ticket is acknowledged, so no pod is deleted before its result is in the caller's hands.
Futures are never touched while the lock is held, except to move them from pending to running or to tell waiters of a
cancellation: neither runs code of the caller.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from shard_executor.futures.future import OpenTask, TaskFuture
from shard_executor.futures.outcome import BrokenPodExecutor, TaskFailed, TaskResult, TaskRevoked
from shard_executor.pods.task import TaskError, TaskSpec
from shard_executor.status.describe import describe
from shard_executor.supervisor import Report, ShardStats, Submission, Supervisor

log = logging.getLogger(__name__)

TICK = 0.2  # seconds between two looks at what no report announces: a shutdown, a deadline
LOOK_EVERY = 1.0  # seconds between two looks at whether the API server still lets the shards in
CLEANUP_LIMIT = 60.0  # seconds that the deletion of finished pods may take after the last result
END_LIMIT = 15.0  # seconds that shard processes have to leave
EXTRA_HANDED = 500  # tasks handed over beyond twice the parallelism: enough to never starve a shard


class Dispatcher:
    """See the module. `start` starts the thread; it ends the supervisor when it ends.

    Args:
        supervisor: started.
        parallelism: pods alive at a time; bounds how many tasks are handed over ahead.
        access_timeout: seconds that the API server may refuse a shard's watch before all is given up; None for ever.
        on_end: called by the thread when the supervisor has ended.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        parallelism: int,
        access_timeout: float | None,
        on_end: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._ahead = 2 * parallelism + EXTRA_HANDED
        self._access_timeout = access_timeout
        self._on_end = on_end
        # Reentrant, as a signal handler may cancel a future while its thread is in here.
        self._lock = threading.RLock()
        self._ids: set[str] = set()
        self._open: dict[str, OpenTask] = {}
        self._waiting: deque[Submission] = deque()
        self._handed = 0
        self._failed = 0
        self._closing = False
        self._broken: str | None = None
        self._give_up_at: float | None = None
        self._clean_by: float | None = None
        self._refused_since: float | None = None
        self._look_at = 0.0
        self._thread = threading.Thread(target=self._run, name="shard-executor-futures", daemon=True)
        self.ended = threading.Event()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    # ---- the caller's side

    def submit(self, task: TaskSpec, submission: Submission) -> TaskFuture:
        """Takes a task in, with the submission made for it; returns at once.

        Raises:
            RuntimeError: after `close`.
            BrokenPodExecutor: the engine has failed.
            TaskError: the id was submitted before.
        """
        future = TaskFuture(task, self)
        with self._lock:
            self.check_open()
            if task.id in self._ids:
                raise TaskError(task.id, "id", "this id was submitted before; every task of an executor needs its own")
            self._ids.add(task.id)
            self._open[task.id] = OpenTask(future)
            future.add_done_callback(self._future_done)
            self._waiting.append(submission)
            self._hand_over()
        return future

    def check_open(self) -> None:
        """Raises RuntimeError or BrokenPodExecutor if nothing can be submitted any more."""
        with self._lock:
            if self._broken is not None:
                raise BrokenPodExecutor(self._broken)
            if self._closing:
                raise RuntimeError("cannot schedule new futures after shutdown")

    def knows(self, task_id: str) -> bool:
        """Whether a task of this id was submitted."""
        return task_id in self._ids

    def cancel(self, future: Future[TaskResult]) -> bool:
        """Cancels a future, or revokes its running pod; whether it can still make a difference.

        Raises:
            ValueError: the future is of another executor.
        """
        if not isinstance(future, TaskFuture) or future.owner is not self:
            raise ValueError("this future is not one of this executor's")
        if future.cancel():
            return True
        with self._lock:
            if future.done() or future.task.id not in self._open:
                return False
            self._supervisor.revoke(future.task.id)
        return True

    def close(self, *, cancel_futures: bool) -> None:
        """Takes nothing more; the thread ends after the last task."""
        with self._lock:
            self._closing = True
            entries = list(self._open.values()) if cancel_futures else []
        for entry in entries:
            entry.future.cancel()

    def stop(self, limit: float) -> None:
        """Takes nothing more, revokes every open task and gives up on those that have not ended in `limit` seconds."""
        with self._lock:
            self._closing = True
            if self._give_up_at is None:
                self._give_up_at = time.monotonic() + limit
            entries = list(self._open.values())
        for entry in entries:
            if not entry.future.cancel() and entry.handed:
                self._supervisor.revoke(entry.future.task.id)

    @property
    def on_own_thread(self) -> bool:
        """Whether the caller runs in this dispatcher's thread, as callbacks do."""
        return threading.current_thread() is self._thread

    def stats(self) -> list[ShardStats]:
        return self._supervisor.stats()

    def describe(self) -> dict[str, Any]:
        """What `shard-executor status` tells; takes no lock."""
        total = len(self._ids)
        config = self._supervisor.config
        phase = "broken" if self._broken is not None else "shutting down" if self._closing else "running"
        return describe(
            self._supervisor.stats(),
            namespaces=config.watched,
            parallelism=config.parallelism,
            totals={"total": total, "done": max(0, total - len(self._open)), "failed": self._failed},
            phase=phase,
            failure=self._broken,
        )

    @property
    def pods_left(self) -> list[tuple[str, str]]:
        return self._supervisor.pods_left

    def _future_done(self, future: Future[TaskResult]) -> None:
        """First callback of every future: sees cancellations, from whichever thread they come."""
        if not future.cancelled() or not isinstance(future, TaskFuture):
            return
        with self._lock:
            entry = self._open.get(future.task.id)
            if entry is None:
                return
            if not entry.decided:
                entry.decide()
            if entry.handed:
                self._supervisor.revoke(future.task.id)
            else:
                del self._open[future.task.id]

    # ---- handing over, under the lock

    def _hand_over(self) -> None:
        while self._waiting and self._handed < self._ahead:
            submission = self._waiting.popleft()
            entry = self._open.get(submission.ticket)
            if entry is None:
                continue  # cancelled while it waited
            entry.handed = True
            self._handed += 1
            self._supervisor.submit(submission)
            if entry.decided:  # a signal handler cancelled it since: what it revoked was not there yet
                self._supervisor.revoke(submission.ticket)

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._over():
                self._supervisor.wait(TICK)
                failure = self._supervisor.failure or self._shut_out(time.monotonic())
                for report in self._supervisor.drain():  # after the look at failures: what had ended before counts
                    self._take(report)
                with self._lock:
                    self._hand_over()
                if failure is not None:
                    self._break(failure)
                    break
        except Exception as error:
            log.exception("the dispatcher of futures failed; pods are left as they are")
            self._break(f"the dispatcher of futures failed: {error!r}")
        finally:
            try:
                self._supervisor.end(timeout=END_LIMIT)
                self._on_end()
            finally:
                self.ended.set()

    def _over(self) -> bool:
        """Whether the thread's work is done: after `close`, all tasks have ended and their pods are gone."""
        now = time.monotonic()
        with self._lock:
            if not self._closing:
                return False
            given_up = self._give_up_at is not None and now >= self._give_up_at
            if self._open and not given_up:
                return False
            entries = list(self._open.values())
            self._open.clear()
            self._waiting.clear()
        for entry in entries:
            words = "it was told to stop, and its end was not confirmed in time; its pod may still be there"
            task_id = entry.future.task.id
            self._settle(
                entry, TaskRevoked(task_id, state="revoked", failure_class="revoked", reason="Revoked", message=words)
            )
        if given_up or self._supervisor.open_tickets == 0:
            return True
        if self._clean_by is None:
            self._clean_by = now + CLEANUP_LIMIT
        if now < self._clean_by:
            return False
        log.warning("%d finished pods were not deleted within %.0f s", self._supervisor.open_tickets, CLEANUP_LIMIT)
        return True

    def _take(self, report: Report) -> None:
        with self._lock:
            entry = self._open.get(report.ticket)
            if entry is None:
                return
            if not report.terminal:
                if report.state == "running" and not entry.decided:
                    entry.decide()
                return
        self._failed += report.state in ("failed", "lost")
        self._settle(entry, TaskResult.of(report) if report.state == "succeeded" else TaskFailed.of(report))
        self._supervisor.acknowledge(report.ticket)
        with self._lock:
            self._open.pop(report.ticket, None)
            self._handed -= 1

    def _settle(self, entry: OpenTask, outcome: TaskResult | BaseException) -> None:
        """Gives a future its outcome, unless it was cancelled. Runs the caller's callbacks."""
        with self._lock:
            if not entry.decide():
                return
        try:
            if isinstance(outcome, TaskResult):
                entry.future.set_result(outcome)
            else:
                entry.future.set_exception(outcome)
        except BaseException:  # Future logs a callback's Exception itself; SystemExit and its like come through
            log.exception("not everyone could be told of the end of task %r", entry.future.task.id)

    def _break(self, words: str) -> None:
        with self._lock:
            self._broken = words
            entries = list(self._open.values())
            self._open.clear()
            self._waiting.clear()
        for entry in entries:
            self._settle(entry, BrokenPodExecutor(words))

    def _shut_out(self, now: float) -> str | None:
        """Says so if the API server has refused a shard's watch for too long: nobody would learn of its pods' ends."""
        if self._access_timeout is None or now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY
        words = [health for shard in self._supervisor.stats() if (health := shard.watch.get("health", "ok")) != "ok"]
        if not words:
            self._refused_since = None
            return None
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since < self._access_timeout:
            return None
        return (
            f"the API server has refused to show pods for {self._access_timeout:g} s: {words[0]}; "
            "they are left as they are"
        )
