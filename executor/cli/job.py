"""Carries a run's open tasks to their ends: submits, commits to the journal, writes results, stops cleanly, counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shard_executor.cli.progress import Snapshot, View
from shard_executor.cli.results import LEFT, NOT_STARTED, bare_record, record_of
from shard_executor.cli.stop import StopRequest
from shard_executor.cli.tally import Tally
from shard_executor.core.tries import Then
from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec
from shard_executor.runs.journal import Again, Journal, JournalError, Launched
from shard_executor.runs.resume import Start
from shard_executor.runs.submissions import submission_of
from shard_executor.runs.tries import RETRYING, WAITING, News, Tries

if TYPE_CHECKING:
    from shard_executor.supervisor import Submission

TICK = 0.1  # seconds between two looks at signals and the display
COMMIT_EVERY = 0.1  # seconds between two commits: each costs a write through to the disk
SHOW_EVERY = 0.2  # seconds between two snapshots for the display
CLEANUP_LIMIT = 60.0  # seconds that the deletion of finished pods may take after the last result

Records = list[dict[str, Any]]


class Job:
    """The open tasks of one run. Constructing starts nothing.

    Args:
        tries: over a started supervisor.
        builder: makes the pod bodies.
        tasks: checked tasks with distinct ids that have not ended.
        journal: started, and knowing these tasks; a pod may be deleted once it has committed the pod's result.
        starts: where a task does not begin with its first try.
        tally: of the run; what had ended before is in it.
        write: takes the records of tasks that have ended; may raise OSError.
        view: shows progress.
        stop: asked to stop by a signal.
        stop_limit: seconds that revoked tasks may take to be confirmed.
        leave: a stop lets pods go on instead of deleting them.
        end_engine: finishes creates under way and ends the shards; what they said until then is still reported. Called
            before pods are left, so that none appears afterwards.
    """

    def __init__(
        self,
        tries: Tries,
        builder: PodBuilder,
        tasks: Sequence[TaskSpec],
        *,
        journal: Journal,
        starts: Mapping[str, Start],
        tally: Tally,
        write: Callable[[Records], None],
        view: View,
        stop: StopRequest,
        stop_limit: float,
        leave: bool = False,
        end_engine: Callable[[], None] | None = None,
    ) -> None:
        self._tries = tries
        self._builder = builder
        self._journal = journal
        self._write = write
        self._view = view
        self._stop = stop
        self._stop_limit = stop_limit
        self._leave = leave
        self._end_engine = end_engine
        self._starts = starts
        # Pods that are there come first: they are alive whether or not we look. `sorted` keeps the list's order.
        adopted = {task_id for task_id, start in starts.items() if start.known.uid is not None}
        self._waiting = deque(sorted(tasks, key=lambda task: (task.id not in adopted, -task.priority)))
        self._news: list[News] = []
        self._committed_at = 0.0
        self._stopping = False
        self._stop_by: float | None = None  # monotonic seconds: the end of the stop limit, once it runs
        self._ended_engine = False
        self._shown = ("", 0.0)
        self.tally = tally
        self.latest: Snapshot | None = None  # may be read by other threads

    def run(self) -> Tally:
        """Runs to the end, or until stopped; returns the counts. Blocking."""
        began = time.monotonic()
        self._take_and_collect()
        if self._tries or self._waiting:
            self._tries.halt()
            # Without its journal a run cannot say who deleted its pods; with them it can be taken up again.
            unwritten = isinstance(self.tally.write_error, JournalError) and self._journal.durable
            if (self._leave or unwritten) and self.tally.engine_error is None:
                self._leave_them()
            else:
                self._revoke_them()
        self.tally.seconds = time.monotonic() - began
        self._clean_up()
        return self.tally

    def _take_and_collect(self) -> None:
        while not (self._stop.asked or self.tally.broken):
            self._hand_over()
            if not self._waiting and not self._tries:
                return
            self._tries.wait(TICK)
            self._collect()
            self._show("running")

    # ---- handing over

    def _hand_over(self) -> None:
        while self._waiting and self._tries.has_room:
            task = self._waiting.popleft()
            start = self._starts.get(task.id) or Start()
            self._tries.submit(
                task.id,
                self._maker(task, start),
                retries=task.retries,
                used=start.used,
                # At most as long as any delay: a wall clock that was ahead when it was written must not hold it up.
                delay=min(max(0.0, start.due - time.time()), self._tries.longest_delay) if start.due else 0.0,
                interrupted=start.interrupted,
            )

    def _maker(self, task: TaskSpec, start: Start) -> Callable[[int], Submission]:
        def make(number: int) -> Submission:
            known = start.known if number == start.used.try_number else None
            return submission_of(self._builder, task, number, known)

        return make

    # ---- results

    def _collect(self, *, at_once: bool = False) -> None:
        """Takes what has come; commits it when the last commit is long enough ago."""
        self._news += self._tries.drain()
        if self.tally.engine_error is None:
            self.tally.engine_error = self._tries.engine.failure
        now = time.monotonic()
        if self._news and (at_once or now - self._committed_at >= COMMIT_EVERY):
            news, self._news = self._news, []
            self._take(news)
            self._committed_at = time.monotonic()
        try:
            self._journal.beat(time.time())
        except OSError as fault:
            self.tally.write_error = self.tally.write_error or fault

    def _take(self, news: Iterable[News]) -> None:
        """Makes news safe, and only then lets pods go and next tries begin."""
        ends: list[tuple[News, dict[str, Any]]] = []
        launched: dict[str, Launched] = {}
        for item in news:
            report = item.report
            if report.terminal:
                launched.pop(item.task_id, None)
                record = record_of(item.task_id, report, item.used)
                if not report.ticket:  # it was stopped while it waited for its next try
                    record = bare_record(item.task_id, NOT_STARTED, report.message or "")
                ends.append((item, record))
            elif not self._stopping and (report.uid is not None or report.attempt):
                began = report.state == "running"
                launched[item.task_id] = Launched(item.task_id, item.used.try_number, report.attempt, report.uid, began)
        if not (ends or launched):
            return
        try:
            self._commit(launched, ends)
        except OSError as fault:
            self.tally.write_error = fault
            self._cannot_save(ends)
            return
        final = [record for item, record in ends if item.final]
        written = self._record(final)
        for item, record in ends:
            if item.final and not written and not self._journal.durable and item.report.state != "revoked":
                self.tally.unsaved += 1
                self._tries.forget(item)
                continue
            self._count_try(item, record)
            self._tries.settle(item)

    def _commit(self, launched: Mapping[str, Launched], ends: Sequence[tuple[News, dict[str, Any]]]) -> None:
        again, ended = [], []
        for item, record in ends:
            if item.next_try is not None:
                used, due = item.next_try.used, time.time() + item.next_try.delay
                again.append(Again(item.task_id, used.try_number, used.failures, used.disruptions, due, record))
            elif not item.report.ticket:
                continue  # the journal has its next try already
            elif record["state"] != "revoked":
                ended.append((item.task_id, record))
            elif item.report.uid is not None or item.report.attempt:
                # Stopped by the user: that used nothing up, and the task begins anew when the run is taken up again.
                used = item.used
                again.append(Again(item.task_id, used.try_number + 1, used.failures, used.disruptions, 0.0, record))
        self._journal.commit(launched=list(launched.values()), again=again, ended=ended)

    def _count_try(self, item: News, record: dict[str, Any]) -> None:
        self.tally.ran += record["state"] in ("succeeded", "failed")
        if item.next_try is not None:
            self.tally.retried += item.next_try.then is Then.RETRY
            self.tally.resubmitted += item.next_try.then is Then.RESUBMIT
            self._view.again(record, item.next_try)

    def _record(self, records: Records) -> bool:
        """Counts records that are safe in the journal, and hands them to the results file while it takes them."""
        if self.tally.write_error is None:
            try:
                self._write(records)
            except OSError as fault:
                self.tally.write_error = fault
        if self.tally.write_error is not None and not self._journal.durable:
            return False
        for record in records:
            self.tally.count(record)
            if record["state"] in ("failed", "lost"):
                self._view.failure(record)
        return True

    def _cannot_save(self, ends: Iterable[tuple[News, dict[str, Any]]]) -> None:
        """Results can no longer be kept anywhere: pods that have one stay for their owner, revoked ones go."""
        for item, _ in ends:
            if item.report.state == "revoked":
                self._tries.settle(item)
            else:
                self.tally.unsaved += 1
                self._tries.forget(item)

    # ---- stopping

    def _leave_them(self) -> None:
        """Pods go on without us; what is known of them is in the journal."""
        if self._end_engine is not None:
            self._end_engine()
            self._ended_engine = True
        self._collect(at_once=True)
        ids = [*self._tries.open_ids(), *(task.id for task in self._waiting)]
        left = {task_id for task_id in ids if self._has_pod(task_id)}
        self.tally.left = len(left)
        self._record([bare_record(task_id, LEFT, "stopped; its pod goes on") for task_id in ids if task_id in left])
        self._not_started(task_id for task_id in ids if task_id not in left)

    def _has_pod(self, task_id: str) -> bool:
        """Whether the current try of an open task has a pod: one that was seen, or one that was there before us."""
        start = self._starts.get(task_id) or Start()
        if task_id not in self._tries:
            return start.known.uid is not None
        seen = self._tries.state(task_id) not in (WAITING, RETRYING)
        return seen or (start.known.uid is not None and start.used == self._tries.used(task_id))

    def _revoke_them(self) -> None:
        """Revokes what is under way and waits for it, at most the stop limit; every task gets a result line."""
        tally, tries = self.tally, self._tries
        self._collect(at_once=True)
        if tally.engine_error is None:
            ids = tries.open_ids()
            try:
                with_pods = [task_id for task_id in ids if tries.state(task_id) != RETRYING]
                self._journal.interrupt(with_pods)  # first: whoever takes the run up must know who deleted these pods
            except OSError as fault:
                # Whoever takes the run up would count these pods as lost, and they may be another process's by now.
                tally.write_error = tally.write_error or fault
                self._leave_them()
                return
            self._stopping = True
            for task_id in ids:
                tries.revoke(task_id)
        self._stop_by = deadline = time.monotonic() + self._stop_limit
        while tries and time.monotonic() < deadline and tally.engine_error is None:
            tries.wait(TICK)
            self._collect()
            self._show("stopping")
        self._collect(at_once=True)
        tally.unconfirmed = len(tries)
        why = tally.engine_error or f"stopped; the end of its pod was not confirmed within {self._stop_limit:g} s"
        state = "lost" if tally.engine_error else "revoked"
        self._record([bare_record(task_id, state, why) for task_id in tries.open_ids()])
        self._not_started([task.id for task in self._waiting])

    def _not_started(self, ids: Iterable[str]) -> None:
        tries = self._tries
        self._record(
            [
                bare_record(
                    task_id,
                    NOT_STARTED,
                    "stopped before its next try"
                    if task_id in tries and tries.state(task_id) == RETRYING
                    else "stopped before it was started",
                )
                for task_id in ids
            ]
        )

    def _clean_up(self) -> None:
        """Waits until the finished pods are deleted, at most CLEANUP_LIMIT or what a stop has left of its limit."""
        tally, engine = self.tally, self._tries.engine
        deadline = time.monotonic() + CLEANUP_LIMIT if self._stop_by is None else self._stop_by
        kept = tally.unconfirmed + tally.unsaved + self._tries.under_way
        while engine.open_tickets > kept and not (tally.unconfirmed or tally.left or engine.failure):
            if self._ended_engine or time.monotonic() >= deadline:
                tally.cleaned = False
                break
            engine.drain()
            engine.wait(TICK)
            self._show("cleaning up")
        tally.pods_left = engine.pods_left
        self._show("stopped" if self._stop.asked else "finished", over=True)

    def _show(self, phase: str, *, over: bool = False) -> None:
        now = time.monotonic()
        if not over and phase == self._shown[0] and now - self._shown[1] < SHOW_EVERY:
            return
        self._shown = (phase, now)
        tally, states = self.tally, self._tries.states()
        self.latest = Snapshot(
            phase=phase,
            total=tally.total,
            done=tally.done,
            failed=tally.failed,
            running=states["running"],
            pending=states["pending"],
            shards=self._tries.engine.stats(),
            over=over,
            retrying=states[RETRYING],
            earlier=tally.earlier,
        )
        self._view.update(self.latest, force=over)
