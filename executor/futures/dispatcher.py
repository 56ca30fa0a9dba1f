"""One thread between futures and the engine: hands tasks over, takes news of their tries, settles futures.

A future is settled before its last try is, so no pod is deleted before its result is in the caller's hands.

Only that thread uses the tries, the supervisor and the open tasks. Callers, signal handlers among them, leave what they
want in queues: they are never held up by the engine, and wherever a signal interrupts one nothing is half done. The
lock keeps the queue of new tasks and the end apart; no future is touched and no code of the caller runs under it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from shard_executor.core.tries import TryLimits, Used
from shard_executor.futures.future import OpenTask, TaskFuture
from shard_executor.futures.outcome import BrokenPodExecutor, TaskFailed, TaskResult, TaskRevoked
from shard_executor.pods.task import TaskError, TaskSpec
from shard_executor.runs.tries import News, Tries, ahead_of
from shard_executor.status.describe import describe
from shard_executor.supervisor import ShardStats, Submission, Supervisor

log = logging.getLogger(__name__)

TICK = 0.05  # seconds between two looks at what no report announces: new tasks, cancellations, a shutdown, a deadline
LOOK_EVERY = 1.0  # seconds between two looks at whether the API server still lets the shards in
CLEANUP_LIMIT = 60.0  # seconds that the deletion of finished pods may take after the last result
END_LIMIT = 15.0  # seconds that shard processes have to leave


class Dispatcher:
    """See the module. `start` starts the thread; it ends the supervisor when it ends.

    Args:
        supervisor: started.
        make: the submission of a task's try of a number; may be called by any thread.
        limits: how often and how soon tasks are run again.
        parallelism: pods alive at a time; bounds how many tasks are handed over ahead.
        access_timeout: seconds that the API server may refuse a shard's watch before all is given up; None for ever.
        on_end: called by the thread when the supervisor has ended.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        make: Callable[[TaskSpec, int], Submission],
        limits: TryLimits,
        *,
        parallelism: int,
        access_timeout: float | None,
        on_end: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._make = make
        self._tries = Tries(supervisor, limits, ahead=ahead_of(parallelism))
        self._access_timeout = access_timeout
        self._on_end = on_end
        # Reentrant, as a signal handler may submit a task while its thread is in here.
        self._lock = threading.RLock()
        self._ids: set[str] = set()
        self._open: dict[str, OpenTask] = {}
        self._waiting: deque[str] = deque()  # ids of tasks that have not been handed over
        self._unwanted: deque[str] = deque()  # ids of tasks that were cancelled or shall be ended; no lock needed
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

    def submit(self, task: TaskSpec) -> TaskFuture:
        """Takes a task in; returns at once.

        Raises:
            RuntimeError: after `close`.
            BrokenPodExecutor: the engine has failed.
            TaskError: the id was submitted before, or `make` refuses the task.
        """
        entry = OpenTask(TaskFuture(task, self), self._make(task, 0))
        entry.future.add_done_callback(self._future_done)
        with self._lock:
            self.check_open()
            if task.id in self._ids:
                raise TaskError(task.id, "id", "this id was submitted before; every task of an executor needs its own")
            self._ids.add(task.id)
            self._waiting.append(task.id)
            self._open[task.id] = entry  # last: if Ctrl-C strikes before, there is no task
        return entry.future

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
        if future.done() or future.task.id not in self._open:
            return False
        self._unwanted.append(future.task.id)
        return True

    def close(self, *, cancel_futures: bool) -> None:
        """Takes nothing more; the thread ends after the last task."""
        with self._lock:
            self._closing = True
            entries = list(self._open.values()) if cancel_futures else []
        for entry in entries:
            entry.future.cancel()

    def stop(self, limit: float) -> None:
        """Takes nothing more, ends every open task and gives up on those that have not ended in `limit` seconds."""
        with self._lock:
            self._closing = True
            if self._give_up_at is None:
                self._give_up_at = time.monotonic() + limit
            entries = list(self._open.values())
        for entry in entries:
            if not entry.future.cancel():
                self._unwanted.append(entry.future.task.id)

    @property
    def on_own_thread(self) -> bool:
        """Whether the caller runs in this dispatcher's thread, as callbacks do."""
        return threading.current_thread() is self._thread

    def stats(self) -> list[ShardStats]:
        return self._supervisor.stats()

    def describe(self) -> dict[str, Any]:
        """What `shard-executor status` tells; takes no lock."""
        total = len(self._ids)
        totals = {"total": total, "done": max(0, total - len(self._open)), "failed": self._failed}
        if retrying := self._tries.retrying:
            totals["retrying"] = retrying
        config = self._supervisor.config
        phase = "broken" if self._broken is not None else "shutting down" if self._closing else "running"
        return describe(
            self._supervisor.stats(),
            namespaces=config.watched,
            parallelism=config.parallelism,
            totals=totals,
            phase=phase,
            failure=self._broken,
        )

    @property
    def pods_left(self) -> list[tuple[str, str]]:
        return self._supervisor.pods_left

    def _future_done(self, future: Future[TaskResult]) -> None:
        """First callback of every future: sees cancellations, from whichever thread they come."""
        if future.cancelled() and isinstance(future, TaskFuture):
            self._unwanted.append(future.task.id)

    # ---- the thread

    def _run(self) -> None:
        try:
            while not self._over():
                self._end_unwanted()
                self._hand_over()
                self._tries.wait(TICK)
                failure = self._supervisor.failure or self._shut_out(time.monotonic())
                for news in self._tries.drain():  # after the look at failures: what had ended before counts
                    self._take(news)
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
            self._settle(entry, self._revoked(entry, words))
        if given_up or self._supervisor.open_tickets == 0:
            return True
        if self._clean_by is None:
            self._clean_by = now + CLEANUP_LIMIT
        if now < self._clean_by:
            return False
        log.warning("%d finished pods were not deleted within %.0f s", self._supervisor.open_tickets, CLEANUP_LIMIT)
        return True

    def _end_unwanted(self) -> None:
        """Ends what was cancelled or shall be ended, and tells those who wait for cancelled futures."""
        while self._unwanted:
            task_id = self._unwanted.popleft()
            entry = self._open.get(task_id)
            if entry is None:
                continue
            if entry.future.cancelled():
                entry.decide()
            if task_id in self._tries:
                self._tries.revoke(task_id)
                continue
            self._settle(entry, self._revoked(entry, "it was told to stop before its pod was created"))
            with self._lock:
                del self._open[task_id]

    def _hand_over(self) -> None:
        while self._tries.has_room:
            with self._lock:
                if not self._waiting:
                    return
                entry = self._open.get(self._waiting.popleft())
            if entry is not None:  # else it was cancelled while it waited
                task = entry.future.task
                self._tries.submit(task.id, entry.take_submission, retries=task.retries)

    def _take(self, news: News) -> None:
        entry = self._open.get(news.task_id)
        if entry is None:
            return
        report, following = news.report, news.next_try
        if not report.terminal:
            if report.state == "running" and not entry.decided:
                entry.decide()
            return
        if following is not None:
            entry.submission = self._make(entry.future.task, following.used.try_number)
            self._tries.settle(news)
            return
        self._failed += report.state in ("failed", "lost")
        self._settle(entry, TaskResult.of(news) if report.state == "succeeded" else TaskFailed.of(news))
        self._tries.settle(news)
        with self._lock:
            del self._open[news.task_id]

    def _revoked(self, entry: OpenTask, words: str) -> TaskRevoked:
        """The end of a task that no report tells of."""
        task_id = entry.future.task.id
        used = self._tries.used(task_id) if task_id in self._tries else Used()
        return TaskRevoked(
            task_id,
            state="revoked",
            failure_class="revoked",
            reason="Revoked",
            message=words,
            tries=used.try_number + 1,
            disruptions=used.disruptions,
        )

    def _settle(self, entry: OpenTask, outcome: TaskResult | BaseException) -> None:
        """Gives a future its outcome, unless it was cancelled. Runs the caller's callbacks."""
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
