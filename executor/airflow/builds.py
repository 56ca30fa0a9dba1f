"""Bodies for pods that are about to be created: checked against the database, signed anew, built. One thread.

A task may have waited for its create for minutes, behind a quota or a server that throttles. By then it may have been
cleared or taken over, and the token in its workload may have expired; so both are looked at now, in batches, and not
when the scheduler handed the task over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shard_executor.airflow.book import Book, Job
from shard_executor.airflow.database import DatabaseError, QueuedRow
from shard_executor.airflow.generation import BuildError, BuiltPod, PodRequest
from shard_executor.airflow.results import QUEUED
from shard_executor.supervisor.config import NAMESPACE

log = logging.getLogger(__name__)

MOVED = "NamespaceChanged"  # the pod goes to another namespace than its ticket: handed over again under that one
PAUSE = 2.0  # seconds before what could not be answered is tried again; the shard's limit for a body ends it
AT_ONCE = 64  # pods built in one go: the interpreter is held for about a millisecond, which the scheduler waits for
END_LIMIT = 5.0  # seconds that the thread is waited for


class Bodies(Protocol):
    """The part of the supervisor that takes what is built here."""

    def provide(self, ticket: str, body: str) -> None: ...
    def refuse_body(self, ticket: str, reason: str, message: str) -> None: ...
    def revoke(self, ticket: str) -> None: ...


class Factory(Protocol):
    """What builds pods; see generation."""

    def build(self, requests: Sequence[PodRequest]) -> list[BuiltPod | BuildError]: ...


class Builds:
    """See the module. `want` is called by the supervisor's pump and only queues.

    Args:
        book: the open jobs.
        factory: builds pods.
        rows: the task instances of some ids, from the database.
        sign: a fresh token for a task instance's id, or None to leave the one it came with.
        watches: whether a namespace's pods are watched.
        job_id: this scheduler's, None where it has none (`dag.test`): nothing is then called stale.
    """

    def __init__(
        self,
        book: Book,
        factory: Factory,
        rows: Callable[[Sequence[str]], Mapping[str, QueuedRow]],
        sign: Callable[[str], str | None],
        watches: Callable[[str], bool],
        job_id: int | None,
    ) -> None:
        self._book = book
        self._factory = factory
        self._rows = rows
        self._sign = sign
        self._watches = watches
        self._job_id = job_id
        self._wanted: deque[str] = deque()
        self._later: deque[tuple[float, str]] = deque()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._supervisor: Bodies | None = None

    def start(self, supervisor: Bodies) -> None:
        self._supervisor = supervisor
        self._thread = threading.Thread(target=self._run, name="shard-executor-builds", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(END_LIMIT)
            self._thread = None

    def want(self, batch: list[tuple[str, int]]) -> None:
        """Queues tickets whose pods are about to be created."""
        self._wanted.extend(ticket for ticket, _ in batch)
        self._news.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._news.wait(max(0.0, self._later[0][0] - time.monotonic()) if self._later else None)
            self._news.clear()
            while self._later and self._later[0][0] <= time.monotonic():
                self._wanted.append(self._later.popleft()[1])
            while self._wanted and not self._ending.is_set():
                tickets = [self._wanted.popleft() for _ in range(min(AT_ONCE, len(self._wanted)))]
                try:
                    self._answer(tickets)
                except DatabaseError as error:
                    log.warning("the database could not be asked about %d tasks: %s", len(tickets), error)
                    self._later += [(time.monotonic() + PAUSE, ticket) for ticket in tickets]
                except Exception as error:
                    # Whatever it is must not stop everybody's pods: these tasks are told of it, by name.
                    log.exception("pods for %d tasks could not be built", len(tickets))
                    for ticket in tickets:
                        self._refuse(ticket, BuildError("BuildFailed", f"building the pod failed: {error!r}"))

    def _answer(self, tickets: list[str]) -> None:
        assert self._supervisor is not None
        jobs = [job for job in map(self._book.get, tickets) if job is not None and job.workload is not None]
        for ticket in set(tickets) - {job.ticket for job in jobs}:
            self._refuse(ticket, BuildError("NotOpen", "the task is no longer this executor's"))
        rows = self._rows([job.ti_id for job in jobs])
        current = [job for job in jobs if self._is_current(job, rows.get(job.ti_id))]
        requests = [self._request(job, rows.get(job.ti_id)) for job in current]
        for job, built in zip(current, self._factory.build(requests), strict=True):
            if isinstance(built, BuildError) and built.transient:
                log.warning("%s: %s; asked for again", job.words, built)
                self._later.append((time.monotonic() + PAUSE, job.ticket))
            elif isinstance(built, BuildError):
                self._refuse(job.ticket, built)
            elif built.namespace == job.namespace:
                self._supervisor.provide(job.ticket, built.body)
            elif self._watches(built.namespace):
                job.namespace = built.namespace
                self._refuse(job.ticket, BuildError(MOVED, built.namespace))
            else:
                self._refuse(job.ticket, unwatched(built.namespace))

    def _refuse(self, ticket: str, error: BuildError) -> None:
        assert self._supervisor is not None
        self._supervisor.refuse_body(ticket, error.reason, error.message)

    def _is_current(self, job: Job, row: QueuedRow | None) -> bool:
        """Whether the hand-over still stands; one that does not is dropped, and no pod is made."""
        assert self._supervisor is not None
        if job.revoked:
            problem: str | None = "it was taken back"
        elif self._book.superseded(job):
            problem = "its task instance has been handed over again since"
        else:
            problem = None if self._job_id is None else stale(job, row, self._job_id)
        if problem is None:
            return True
        log.info("%s: dropped before its pod was created, since %s", job.words, problem)
        job.revoked = True
        self._supervisor.revoke(job.ticket)
        return False

    def _request(self, job: Job, row: QueuedRow | None) -> PodRequest:
        dag_id, task_id, run_id, map_index, try_number = job.ti_key
        token = self._sign(job.ti_id)
        if token is not None:
            job.workload.token = token
        return PodRequest(
            dag_id=dag_id,
            task_id=task_id,
            run_id=run_id,
            map_index=map_index,
            try_number=try_number,
            workload_json=job.workload.model_dump_json(),
            ti_id=job.ti_id if job.key != job.workload.ti.key else None,
            submission_id=job.submission_id,
            bin=job.bin,
            namespace=job.namespace,
            pod_override=job.pod_override,
            pod_template_file=job.pod_template_file,
            image=job.image,
            logical_date=row.logical_date if row is not None else None,
        )


def stale(job: Job, row: QueuedRow | None, job_id: int) -> str | None:
    """Why a hand-over no longer stands; None if it does."""
    if row is None:
        return "its task instance is no longer there under that id (cleared, retried or deleted)"
    if row.state != QUEUED:
        return f"its task instance is {row.state or 'without a state'}, not queued"
    if row.try_number != job.ti_key[4]:
        return f"its task instance is at try {row.try_number}"
    if row.queued_by_job_id != job_id:
        return f"its task instance was queued by scheduler job {row.queued_by_job_id}"
    return None


def unwatched(namespace: str) -> BuildError:
    """The error of a pod that would go where nobody watches, or where there is nothing."""
    if not NAMESPACE.fullmatch(namespace):
        return BuildError(
            "InvalidNamespace",
            f"the pod would go to namespace {namespace!r}, which is no namespace's name: at most 63 lower-case "
            "letters, digits and '-', a letter or digit at both ends",
        )
    return BuildError(
        "NamespaceNotWatched",
        f"the pod would go to namespace {namespace!r}, which is not watched: name it in [kubernetes_executor] "
        "multi_namespace_mode_namespace_list with multi_namespace_mode = True, or take it out of the pod_override",
    )
