"""What a pod's end means for its task instance: one table, no IO, no airflow.

A pod's end says that a process has ended, not what became of the task: the worker tells the execution API, and the
database has it. So the row decides, and a report is told to the scheduler only where the row still waits for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shard_executor.airflow.book import Job
from shard_executor.core.failures import DISRUPTIONS
from shard_executor.supervisor.config import Report

QUEUED, RUNNING, RESTARTING = "queued", "running", "restarting"
SUCCESS, FAILED = "success", "failed"
WORDLESS = "the pod ended well, but its worker never told that the task began: is its command an Airflow worker's?"
_WAITS_FOR_A_POD = frozenset({QUEUED, RUNNING})
_DISRUPTED = frozenset(failure.value for failure in DISRUPTIONS)


class Means(StrEnum):
    """What is done about a result."""

    NOTHING = "nothing"  # the slot is free; nobody waits to hear of it
    TELL = "tell"  # into the event buffer
    RELAUNCH = "relaunch"  # another pod for the same hand-over: the task never began
    RESET = "reset"  # the task instance is made schedulable again, without using a retry


@dataclass(frozen=True, slots=True)
class Row:
    """A task instance as the database has it now."""

    ti_id: str
    state: str | None
    try_number: int
    queued_by_job_id: int | None
    external_executor_id: str | None


@dataclass(frozen=True, slots=True)
class Policy:
    """The options that decide here.

    Args:
        launch_retries: relaunches of a pod that failed before its task began; -1 is without limit.
        excluded_reasons: container reasons that count as the task's own failure even then.
        resubmit: a task whose pod was taken away while it ran is run again without using a retry.
        job_id: of this scheduler, None where it has none (`dag.test`).
    """

    launch_retries: int
    excluded_reasons: frozenset[str]
    resubmit: bool
    job_id: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state` is what the event buffer is told; `why` explains a relaunch, a reset or a silence in the log."""

    means: Means
    state: str | None = None
    why: str = ""


def decide(report: Report, job: Job, row: Row | None, superseded: bool, policy: Policy) -> Outcome:
    """What a terminal report means.

    Args:
        report: of the job's pod.
        job: the hand-over.
        row: the task instance by its key, as it is now; None if it is gone.
        superseded: the same task instance has been handed over again since.
        policy: see `Policy`.
    """
    if report.state == "handed-over":
        return Outcome(Means.NOTHING, why="its pod was taken over by another scheduler")
    if job.revoked or report.state == "revoked":
        return Outcome(Means.NOTHING, why="it was revoked")
    if job.disowned:
        return Outcome(Means.NOTHING, why="its state was decided without its pod")
    if superseded:
        return Outcome(Means.NOTHING, why="the task instance has been handed over again since")
    if row is None:
        return Outcome(Means.NOTHING, why="the task instance is no longer there")
    if row.try_number != job.ti_key[4]:
        return Outcome(Means.NOTHING, why=f"the task instance is at try {row.try_number} now")
    if row.state in _WAITS_FOR_A_POD and _is_anothers(row, job, policy):
        return Outcome(Means.NOTHING, why="the task instance has been queued again by somebody else")
    if row.state == RESTARTING:
        # It was cleared while it ran and waits for its old process to end. The scheduler takes a success as that end.
        return Outcome(Means.TELL, SUCCESS if report.state == "succeeded" else FAILED)
    if row.state == QUEUED:
        return _never_began(report, job, policy)
    if row.state == RUNNING:
        return _still_running(report, row, job, policy)
    if row.state in (SUCCESS, FAILED):
        return Outcome(Means.TELL, row.state)
    # deferred, up for retry or reschedule, skipped ...: the worker has told it, and the scheduler is not to be told
    # an end of a task instance that goes on.
    return Outcome(Means.NOTHING, why=f"the task instance is {row.state or 'without a state'}")


def _is_anothers(row: Row, job: Job, policy: Policy) -> bool:
    # The scheduler commits its adoption after the pod has been taken over, and a pod may have ended before that.
    if policy.job_id is not None and row.queued_by_job_id not in (None, policy.job_id, job.adopted_from):
        return True
    return row.external_executor_id is not None and job.workload is not None and _other_submission(row, job)


def _other_submission(row: Row, job: Job) -> bool:
    preassigned = getattr(job.workload.ti, "external_executor_id", None)
    return preassigned is not None and row.external_executor_id not in (job.submission_id, preassigned)


def _never_began(report: Report, job: Job, policy: Policy) -> Outcome:
    """The task instance is still queued under this hand-over: no task code has run."""
    why = WORDLESS if report.state == "succeeded" else ""
    if job.workload is None:  # an adopted pod: what it was made from is not known here
        return Outcome(Means.TELL, FAILED, why)
    if report.failure_class == "create-refused" or report.reason in policy.excluded_reasons:
        return Outcome(Means.TELL, FAILED, why)
    if policy.launch_retries == -1 or job.launches < policy.launch_retries:
        return Outcome(Means.RELAUNCH, why="its pod ended before the task began")
    return Outcome(Means.TELL, FAILED, why)


def _still_running(report: Report, row: Row, job: Job, policy: Policy) -> Outcome:
    if report.state == "succeeded":
        # The worker ended well without telling the end; Airflow's own check of heartbeats settles it.
        return Outcome(Means.TELL, RUNNING)
    disrupted = report.failure_class in _DISRUPTED or report.state == "lost"
    if policy.resubmit and disrupted and row.ti_id == job.ti_id:
        return Outcome(Means.RESET, why=f"its pod was taken away ({report.failure_class or report.state})")
    return Outcome(Means.TELL, FAILED)
