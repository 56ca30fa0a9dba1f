"""Takes the shards' reports, asks the database what they mean, and leaves news for the scheduler. One thread.

The scheduler's loop finds everything decided: its `sync` empties a queue and asks nothing.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from shard_executor.airflow.book import Book, Job, TiKey
from shard_executor.airflow.builds import MOVED
from shard_executor.airflow.database import BATCH, DatabaseError
from shard_executor.airflow.results import FAILED, Means, Outcome, Policy, Row, decide
from shard_executor.supervisor.config import Report, Submission

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds between looks at what is due when no report comes
DATABASE_PAUSE = 2.0  # seconds before a question is repeated that the database did not answer
SECOND_LOOK = 1.0  # seconds until the row is read again of a task that ended well and is said not to have begun
RELAUNCH_FIRST, RELAUNCH_LAST = 1.0, 60.0  # seconds before the second relaunch of a task, and the longest such wait
END_LIMIT = 5.0  # seconds that the thread is waited for


@dataclass(frozen=True, slots=True)
class Running:
    """A job's pod runs."""

    job: Job


@dataclass(frozen=True, slots=True)
class Ended:
    """A job's end: `state` is for the event buffer, None where nobody waits to hear of it.

    `info` and `extra` say why it failed: one line for the event buffer, several for the task's event log.
    """

    job: Job
    report: Report
    state: str | None = None
    info: str | None = None
    extra: str = ""


class Reports(Protocol):
    """The part of the supervisor that is used here."""

    def wait(self, timeout: float) -> bool: ...
    def drain(self) -> list[Report]: ...
    def acknowledge(self, ticket: str) -> None: ...
    def submit(self, submission: Submission) -> None: ...


class Clerk:
    """See the module.

    Args:
        book: the open jobs.
        policy: what decides about failures.
        rows: the task instances of some keys, from the database.
        reset: makes a disrupted task instance schedulable again; see `database.reset_disrupted`.
        words: why a report's pod failed, in one line and in several.
        news: where the scheduler finds what has been decided.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        book: Book,
        policy: Policy,
        rows: Callable[[Collection[TiKey]], Mapping[tuple[str, str, str, int], Row]],
        reset: Callable[[TiKey, str, str], str | None],
        words: Callable[[Report], tuple[str, str]],
        news: deque[Running | Ended],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._policy = policy
        self._rows = rows
        self._reset = reset
        self._words = words
        self._news = news
        self._clock = clock
        self._unresolved: list[tuple[Report, Job]] = []
        self._second_looks: deque[tuple[float, Report, Job]] = deque()
        self._looked_twice: set[str] = set()
        self._later: list[tuple[float, int, Job]] = []
        self._serials = itertools.count()
        self._ask_after = 0.0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._supervisor: Reports | None = None

    def start(self, supervisor: Reports) -> None:
        self._supervisor = supervisor
        self._thread = threading.Thread(target=self._run, name="shard-executor-clerk", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(END_LIMIT)
            self._thread = None

    def _run(self) -> None:
        assert self._supervisor is not None
        while not self._ending.is_set():
            self._supervisor.wait(PATIENCE)
            try:
                self.turn()
            except Exception:
                # A defect of ours must not leave every later result untold; this one is tried again with the rest.
                log.exception("results could not be worked on; they are looked at again")
                self._ending.wait(DATABASE_PAUSE)

    def turn(self) -> None:
        """Works on the reports that have come and on what is due."""
        assert self._supervisor is not None
        for report in self._supervisor.drain():
            self._take(report)
        now = self._clock()
        while self._second_looks and self._second_looks[0][0] <= now:
            self._unresolved.append(self._second_looks.popleft()[1:])
        if self._unresolved and now >= self._ask_after:
            try:
                self._resolve()
            except DatabaseError as error:
                log.warning("the database could not be asked about %d results: %s", len(self._unresolved), error)
                self._ask_after = self._clock() + DATABASE_PAUSE
        if any(job.revoked for _, _, job in self._later):  # nothing is to wait for a launch that will not come
            for entry in [entry for entry in self._later if entry[2].revoked]:
                self._later.remove(entry)
                self._book.close(entry[2].ticket)
            heapq.heapify(self._later)
        while self._later and self._later[0][0] <= now:
            self._submit(heapq.heappop(self._later)[2])

    def _take(self, report: Report) -> None:
        assert self._supervisor is not None
        job = self._book.get(report.ticket)
        if job is None:
            if report.terminal:
                self._supervisor.acknowledge(report.ticket)
            return
        job.state, job.pod = report.state, report.pod or job.pod
        if report.terminal:
            self._unresolved.append((report, job))
        elif report.state == "running":
            job.began = True
            self._news.append(Running(job))
        elif report.message:
            log.info("%s: %s: %s", job.words, report.state, report.message)

    def _resolve(self) -> None:
        batch = self._unresolved[:BATCH]
        rows = self._rows({job.ti_key for _, job in batch})
        for report, job in batch:
            self._unresolved.remove((report, job))
            if report.reason == MOVED and not job.revoked:
                self._relaunch(job, report, job.attempt, job.launches)
                continue
            outcome = decide(report, job, rows.get(job.ti_key[:4]), self._book.superseded(job), self._policy)
            if outcome.means is not Means.RELAUNCH:
                self._looked_twice.discard(job.ticket)
            try:
                self._carry_out(outcome, report, job)
            except Exception:
                self._unresolved.append((report, job))
                raise

    def _carry_out(self, outcome: Outcome, report: Report, job: Job) -> None:
        if outcome.means is Means.TELL:
            # A task that failed in a pod that ended well has told why itself.
            explained = outcome.state == FAILED and report.state != "succeeded"
            info, extra = self._words(report) if explained else (outcome.why or None, outcome.why)
            self._news.append(Ended(job, report, outcome.state, info, extra))
        elif outcome.means is Means.RELAUNCH and report.state == "succeeded" and job.ticket not in self._looked_twice:
            # The worker tells its end before its pod ends; a database that shows it late would cost a second pod.
            self._looked_twice.add(job.ticket)
            self._second_looks.append((self._clock() + SECOND_LOOK, report, job))
        elif outcome.means is Means.RELAUNCH:
            self._looked_twice.discard(job.ticket)
            log.warning(
                "%s: %s (pod %s, %s: %s); launched again without using a retry, launch %d",
                job.words,
                outcome.why,
                report.pod,
                report.failure_class or report.state,
                report.reason or report.message or "no reason given",
                job.launches + 2,
            )
            self._relaunch(job, report, report.attempt + 1, job.launches + 1)
        elif outcome.means is Means.RESET:
            found = self._reset(job.ti_key, job.ti_id, f"{outcome.why}: pod {report.pod}")
            if found is None:
                log.warning("%s: %s; made schedulable again without using a retry", job.words, outcome.why)
                self._quiet(report, job)
            else:
                self._unresolved.append((report, job))  # its worker has told its end meanwhile: looked at anew
        else:
            log.info("%s: its pod's end (%s) is not told: %s", job.words, report.state, outcome.why)
            self._quiet(report, job)

    def _quiet(self, report: Report, job: Job) -> None:
        assert self._supervisor is not None
        self._supervisor.acknowledge(report.ticket)
        self._news.append(Ended(job, report))

    def _relaunch(self, job: Job, report: Report, attempt: int, launches: int) -> None:
        assert self._supervisor is not None
        after = replace(
            job,
            ticket=f"{job.submission_id}/{attempt}.{launches}.{next(self._serials)}",
            attempt=attempt,
            launches=launches,
            began=False,
            state="relaunched",
        )
        still_open = self._book.follow(job, after)
        self._supervisor.acknowledge(report.ticket)
        if not still_open:
            return
        if launches <= 1:
            self._submit(after)
        else:
            wait = min(RELAUNCH_LAST, RELAUNCH_FIRST * 2.0 ** (launches - 2))
            heapq.heappush(self._later, (self._clock() + wait, next(self._serials), after))

    def _submit(self, job: Job) -> None:
        assert self._supervisor is not None
        if job.revoked:
            self._book.close(job.ticket)
            return
        self._supervisor.submit(submission_of(job))


def submission_of(job: Job) -> Submission:
    """A job as the supervisor takes it; its pod is built when it is about to be created."""
    dag_id, task_id, *_ = job.ti_key
    return Submission(
        ticket=job.ticket,
        bin=job.bin,
        namespace=job.namespace,
        name_stem=f"{dag_id}-{task_id}",
        submission_id=job.submission_id,
        body=None,
        priority=job.priority,
        attempt=job.attempt,
    )
