"""Every hand-over of a task instance that this executor still answers for, by ticket and by key. No IO, no airflow.

The book is changed by the scheduler's thread and read by the builder's and the results' threads; each change is one
step of the interpreter or is made under its lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

TiKey = tuple[str, str, str, int, int]  # dag id, task id, run id, map index, try number
MAX_SEEN = 50_000  # submission ids remembered, so that an id that comes a second time is noticed


@dataclass(slots=True)
class Job:
    """One hand-over by the scheduler, or one pod that was adopted.

    Args:
        ticket: the supervisor's name for it: submission id and number of the launch.
        key: what the event buffer calls the task instance.
        ti_key: dag id, task id, run id, map index, try number.
        ti_id: the task instance's id when it was handed over; clearing and retrying change it.
        submission_id: names the hand-over on the pod.
        bin: hash bin of the task's key.
        namespace: where its pod is created.
        priority: its priority weight.
        workload: the ExecuteTask, whose token is renewed for each pod; None for an adopted pod.
        pod_override, pod_template_file, image: what the task's pod is generated from.
        attempt: the launch attempt its pod's name is made of.
        launches: launches before this one that failed before the task began.
        began: its pod runs or has run.
        adopted_from: the dead scheduler's job, for an adopted pod.
        revoked: its pod is to go, and nobody waits for its result.
        disowned: somebody else has decided its state; its pod's end frees the slot and says nothing.
        accepted_at: monotonic seconds.
    """

    ticket: str
    key: Hashable
    ti_key: TiKey
    ti_id: str
    submission_id: str
    bin: int
    namespace: str
    priority: int = 0
    workload: Any = None
    pod_override: Any = None
    pod_template_file: str | None = None
    image: str | None = None
    attempt: int = 0
    launches: int = 0
    began: bool = False
    adopted_from: int | None = None
    revoked: bool = False
    disowned: bool = False
    accepted_at: float = 0.0
    state: str = "accepted"
    pod: str = ""

    @property
    def words(self) -> str:
        """The task instance as a log line names it."""
        dag_id, task_id, run_id, map_index, try_number = self.ti_key
        mapped = f"[{map_index}]" if map_index >= 0 else ""
        return f"{dag_id}.{task_id}{mapped} run {run_id} try {try_number}"


@dataclass(slots=True)
class Book:
    """The open jobs. A job is open from its acceptance until its result has been told or needs no telling."""

    _jobs: dict[str, Job] = field(default_factory=dict)
    _by_key: dict[Hashable, list[str]] = field(default_factory=dict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Opens a job.

        Raises:
            KeyError: its ticket is open already.
        """
        with self._lock:
            if job.ticket in self._jobs:
                raise KeyError(job.ticket)
            self._jobs[job.ticket] = job
            self._by_key.setdefault(job.key, []).append(job.ticket)

    def get(self, ticket: str) -> Job | None:
        return self._jobs.get(ticket)

    def close(self, ticket: str) -> Job | None:
        """Closes a job; None if it was not open."""
        with self._lock:
            job = self._jobs.pop(ticket, None)
            if job is not None:
                tickets = self._by_key[job.key]
                tickets.remove(ticket)
                if not tickets:
                    del self._by_key[job.key]
            return job

    def mark(self, key: Hashable, *, revoked: bool = False, disowned: bool = False) -> list[Job]:
        """Sets what is true on the open jobs of a task instance, and gives them."""
        with self._lock:
            found = [self._jobs[ticket] for ticket in self._by_key.get(key, ())]
            for job in found:
                job.revoked |= revoked
                job.disowned |= disowned
            return found

    def follow(self, job: Job, after: Job) -> bool:
        """Puts another launch of a job in its place, marked as the job is by now; False if it is not open any more."""
        with self._lock:
            if self._jobs.pop(job.ticket, None) is None:
                return False
            after.revoked, after.disowned = job.revoked, job.disowned
            self._jobs[after.ticket] = after
            tickets = self._by_key[job.key]
            tickets[tickets.index(job.ticket)] = after.ticket
            return True

    def jobs(self) -> list[Job]:
        """The open jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def of_key(self, key: Hashable) -> list[Job]:
        """The open jobs of a task instance, oldest first."""
        with self._lock:
            return [self._jobs[ticket] for ticket in self._by_key.get(key, ())]

    def superseded(self, job: Job) -> bool:
        """Whether the same task instance has been handed over again since."""
        with self._lock:
            tickets = self._by_key.get(job.key)
            return tickets is not None and tickets[-1] != job.ticket

    def slots(self) -> set[Hashable]:
        """Keys that occupy a slot: those with an open job that still counts."""
        with self._lock:
            return {job.key for job in self._jobs.values() if not job.revoked and not job.disowned}

    def first_time(self, submission_id: str) -> bool:
        """Whether a submission id comes for the first time; it is remembered."""
        with self._lock:
            if submission_id in self._seen:
                return False
            self._seen[submission_id] = None
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
            return True

    def remember(self, submission_ids: Iterable[str]) -> None:
        """Notes ids that pods on the cluster carry."""
        for submission_id in submission_ids:
            self.first_time(submission_id)
