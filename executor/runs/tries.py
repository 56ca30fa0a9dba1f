"""Runs tasks through a supervisor, each in as many tries as it may have.

It stands between a front door, which thinks in tasks, and the supervisor, which knows tickets: one ticket a try, named
by its submission id. A terminal report waits for `settle`: only when its receiver has made it safe is the ticket
acknowledged, so that its pod may be deleted, and the next try scheduled.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from shard_executor.core.failures import FailureClass
from shard_executor.core.tries import RESUBMIT_CEILING, NextTry, Then, TryLimits, Used, next_try
from shard_executor.supervisor.config import Report, Submission

if TYPE_CHECKING:
    from shard_executor.supervisor.config import ShardStats

WAITING, RETRYING = "waiting", "retrying"
EXTRA_AHEAD = 500  # tasks with the engine beyond twice the parallelism: enough to never starve a shard


def ahead_of(parallelism: int) -> int:
    """How many tasks may be with the engine at a time; the others' bodies need not exist yet."""
    return 2 * parallelism + EXTRA_AHEAD


class Engine(Protocol):
    """What is used of the supervisor."""

    def submit(self, submission: Submission) -> None: ...
    def drain(self) -> list[Report]: ...
    def wait(self, timeout: float) -> bool: ...
    def acknowledge(self, ticket: str) -> None: ...
    def revoke(self, ticket: str) -> None: ...
    def stats(self) -> list[ShardStats]: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def open_tickets(self) -> int: ...
    @property
    def pods_left(self) -> list[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class News:
    """A report on a task's current try.

    `used` is what the task had used up when the try began. `next_try` is set with a terminal report that another try
    follows; without it a terminal report is the task's end.
    """

    task_id: str
    report: Report
    used: Used
    next_try: NextTry | None = None

    @property
    def final(self) -> bool:
        return self.report.terminal and self.next_try is None

    @property
    def tries(self) -> int:
        """Submissions made so far, from 1: the end of a task that waited for its next try comes without that one."""
        return self.used.try_number + bool(self.report.ticket)


@dataclass(slots=True)
class _Open:
    """A task that has not ended: its current try, and what its last one ended with while the next one waits."""

    make: Callable[[int], Submission]
    retries: int | None
    used: Used
    ticket: str = ""
    state: str = WAITING
    last: Report | None = None
    due: float | None = None
    revoked: bool = False
    interrupted: bool = False


class Tries:
    """The open tasks of a run. Not thread-safe; nothing here blocks but `wait`.

    Args:
        engine: a started supervisor.
        limits: how often and how soon tasks are run again.
        rng: for jitter.
        clock: seconds, monotonic.
        ahead: tasks that may be with the engine at a time; tries that are due wait for room. None is without limit.
    """

    def __init__(
        self,
        engine: Engine,
        limits: TryLimits,
        *,
        ahead: int | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._limits = limits
        self._ahead = ahead
        self._rng = rng or random.Random()
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._by_ticket: dict[str, str] = {}
        self._due: list[tuple[float, str]] = []
        self._news: list[News] = []
        self._halted = False

    # ---- tasks in

    def submit(
        self,
        task_id: str,
        make: Callable[[int], Submission],
        *,
        retries: int | None = None,
        used: Used = Used(),  # noqa: B008  # frozen
        delay: float = 0.0,
        interrupted: bool = False,
    ) -> None:
        """Takes a task in and hands its try over, after `delay` seconds if that is not 0.

        Args:
            task_id: must not be open already.
            make: the submission of try number n; called once for each try.
            retries: failures that are followed by another try; None is the run's default.
            used: what earlier processes of the same run have used up.
            interrupted: an earlier process was deleting this try's pod on the user's word, and what it had sent may
                still come to the server: if the pod is deleted, another try follows that uses nothing up.

        Raises:
            ValueError: the task is open.
        """
        if task_id in self._open:
            raise ValueError(f"task {task_id!r} is open already")
        entry = self._open[task_id] = _Open(make, retries, used, interrupted=interrupted)
        if delay > 0:
            self._schedule(task_id, entry, delay)
        else:
            self._hand_over(task_id, entry)

    def _schedule(self, task_id: str, entry: _Open, delay: float) -> None:
        entry.ticket, entry.state = "", RETRYING
        entry.due = self._clock() + delay
        heapq.heappush(self._due, (entry.due, task_id))

    def _hand_over(self, task_id: str, entry: _Open) -> None:
        submission = entry.make(entry.used.try_number)
        entry.ticket, entry.state, entry.due = submission.ticket, WAITING, None
        self._by_ticket[submission.ticket] = task_id
        self.engine.submit(submission)

    def _hand_over_due(self) -> None:
        now = self._clock()
        while self._due and self._due[0][0] <= now and self.has_room and not self._halted:
            due, task_id = heapq.heappop(self._due)
            entry = self._open.get(task_id)
            if entry is not None and entry.due == due:
                self._hand_over(task_id, entry)

    # ---- news out

    def wait(self, timeout: float) -> None:
        """Waits up to `timeout` seconds for something new; less if a try is due before."""
        if self._news:
            return
        if self._due and self.has_room and not self._halted:
            timeout = max(0.0, min(timeout, self._due[0][0] - self._clock()))
        self.engine.wait(timeout)

    def drain(self) -> list[News]:
        """The reports that have come, and tries that are due are handed over; never blocks."""
        self._hand_over_due()
        found, self._news = self._news, []
        for report in self.engine.drain():
            task_id = self._by_ticket.get(report.ticket)
            entry = self._open.get(task_id) if task_id is not None else None
            if entry is None or task_id is None or entry.ticket != report.ticket:
                continue
            following = None
            if not report.terminal:
                entry.state = report.state
            elif entry.interrupted and report.failure_class == FailureClass.DELETED:
                used = entry.used
                following = NextTry(Used(used.try_number + 1, used.failures, used.disruptions), 0.0, Then.ANEW)
            elif report.state != "succeeded":
                following = next_try(
                    report.failure_class, report.reason, entry.used, entry.retries, self._limits, self._rng
                )
            found.append(News(task_id, report, entry.used, following))
        return found

    def settle(self, news: News) -> None:
        """A terminal report is safe with its receiver: its pod may go, and the next try, if there is one, may come."""
        entry = self._open.get(news.task_id)
        if entry is None:
            return
        if news.report.ticket:
            self._by_ticket.pop(news.report.ticket, None)
            self.engine.acknowledge(news.report.ticket)
        if news.next_try is None:
            del self._open[news.task_id]
            return
        entry.used, entry.last, entry.interrupted = news.next_try.used, news.report, False
        self._schedule(news.task_id, entry, news.next_try.delay)
        if entry.revoked:  # between its report and now
            self._end_waiting(news.task_id, entry)

    def forget(self, news: News) -> None:
        """A terminal report could not be made safe: its pod stays, and the task is open no more."""
        self._by_ticket.pop(news.report.ticket, None)
        self._open.pop(news.task_id, None)

    def revoke(self, task_id: str) -> None:
        """Ends a task: a terminal report says revoked, unless its last try had ended before. No try follows."""
        entry = self._open.get(task_id)
        if entry is None or entry.revoked:
            return
        entry.revoked = True
        if entry.ticket:
            self.engine.revoke(entry.ticket)
        else:
            self._end_waiting(task_id, entry)

    def _end_waiting(self, task_id: str, entry: _Open) -> None:
        """A task without a pod that waited for its next try is over."""
        words = "stopped before its next try"
        report = Report("", "revoked", True, "revoked", "Revoked", message=words)
        if entry.last is not None:
            last = entry.last
            reason = f" ({last.reason})" if last.reason else ""
            words += f"; its last one ended as {last.failure_class or last.state}{reason}"
            report = replace(last, ticket="", state="revoked", failure_class="revoked", reason="Revoked", message=words)
        entry.due = None
        self._news.append(News(task_id, report, entry.used))

    def halt(self) -> None:
        """No further try begins: those that wait stay where they are."""
        self._halted = True

    # ---- what there is

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._open)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._open

    @property
    def has_room(self) -> bool:
        """Whether another task may go to the engine now."""
        return self._ahead is None or len(self._by_ticket) < self._ahead

    @property
    def longest_delay(self) -> float:
        """Seconds that no try has to wait longer than."""
        return max(self._limits.retry_ceiling, RESUBMIT_CEILING)

    @property
    def under_way(self) -> int:
        """Tasks that are with the engine, whether their pod exists already or not."""
        return len(self._by_ticket)

    @property
    def retrying(self) -> int:
        """Tasks that wait for their next try. Only counts: another thread may look, and see them a moment off."""
        return max(0, len(self._open) - len(self._by_ticket))

    def states(self) -> Counter[str]:
        """Open tasks by what was last said of them: waiting, pending, running, retrying."""
        return Counter(entry.state for entry in self._open.values())

    def state(self, task_id: str) -> str:
        """What was last said of an open task."""
        return self._open[task_id].state

    def open_ids(self) -> list[str]:
        """The ids of the open tasks, in the order in which they were submitted."""
        return list(self._open)

    def used(self, task_id: str) -> Used:
        """What an open task has used up before its current try."""
        return self._open[task_id].used
