"""What follows when a try of a task has ended: its end, a retry, or a resubmission. One table, no clock.

A *try* is one submission of a task. `retries` says how often a user lets a task fail; a pod that the cluster took away
(evicted, preempted, drained, node lost) is none of the task's failures and has a budget of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from shard_executor.core.backoff import backoff_delay
from shard_executor.core.failures import DISAPPEARED, FailureClass

RESUBMIT_DELAY = 1.0  # seconds before the first resubmission: a node that drains evicts many pods at once
RESUBMIT_CEILING = 60.0


class Then(StrEnum):
    """What a failure class asks for."""

    END = "end"
    RETRY = "retry"
    RESUBMIT = "resubmit"
    ANEW = "anew"  # its pod was deleted on the user's word: nothing is used up


THEN: dict[str, Then] = {
    FailureClass.CONTAINER_ERROR: Then.RETRY,
    FailureClass.OOM_KILLED: Then.RETRY,
    FailureClass.DEADLINE: Then.RETRY,
    FailureClass.START_ERROR: Then.RETRY,
    FailureClass.IMAGE: Then.RETRY,
    FailureClass.CONFIG: Then.RETRY,
    FailureClass.INIT_CONTAINER: Then.RETRY,
    FailureClass.DELETED: Then.RETRY,
    FailureClass.PENDING_TIMEOUT: Then.RETRY,
    FailureClass.UNKNOWN: Then.RETRY,
    FailureClass.EVICTED: Then.RESUBMIT,
    FailureClass.PREEMPTED: Then.RESUBMIT,
    FailureClass.DRAINED: Then.RESUBMIT,
    FailureClass.NODE_LOST: Then.RESUBMIT,
    # The API server would refuse the same pod again; a create that only ran out of time is told apart by its reason.
    FailureClass.CREATE_REFUSED: Then.END,
    # Its pod lives on under other labels: a second one would run beside it.
    FailureClass.HANDED_OVER: Then.END,
    FailureClass.REVOKED: Then.END,
}
CREATE_TIMEOUT = "CreateTimeout"  # reason of a create that was given up because the server could not be asked
# Reasons that say more than their class.
BY_REASON: dict[tuple[str, str], Then] = {
    (FailureClass.CREATE_REFUSED, CREATE_TIMEOUT): Then.RETRY,
    (FailureClass.DELETED, DISAPPEARED): Then.RESUBMIT,
}


@dataclass(frozen=True, slots=True)
class TryLimits:
    """How often and how soon a task is run again.

    Args:
        retries: failures that are followed by another try, where a task does not say.
        retry_delay: seconds before the first retry; doubled with each, and drawn between half and the whole of that.
        retry_ceiling: seconds that a retry waits at most.
        disruption_retries: pods of one task that the cluster may take away before that counts as a failure.
    """

    retries: int = 0
    retry_delay: float = 10.0
    retry_ceiling: float = 600.0
    disruption_retries: int = 10


@dataclass(frozen=True, slots=True)
class Used:
    """What a task has used up: the number of its try (from 0), failures and disruptions so far."""

    try_number: int = 0
    failures: int = 0
    disruptions: int = 0


@dataclass(frozen=True, slots=True)
class NextTry:
    """Another try follows, `delay` seconds from now at the earliest."""

    used: Used
    delay: float
    then: Then


def next_try(
    failure_class: str | None,
    reason: str | None,
    used: Used,
    retries: int | None,
    limits: TryLimits,
    rng: random.Random,
) -> NextTry | None:
    """What follows the end of a try that did not succeed; None if that is the task's end.

    Args:
        failure_class: of the terminal report; an unknown one counts as a failure of the task.
        reason: of the terminal report.
        used: what the task had used when that try began.
        retries: the task's own, or None for that of `limits`.
        limits: of the run.
        rng: for jitter.
    """
    then = BY_REASON.get((failure_class or "", reason or "")) or THEN.get(failure_class or "", Then.RETRY)
    if then is Then.END:
        return None
    if then is Then.RESUBMIT and used.disruptions < limits.disruption_retries:
        disruptions = used.disruptions + 1
        delay = backoff_delay(disruptions, rng, RESUBMIT_DELAY, RESUBMIT_CEILING)
        return NextTry(Used(used.try_number + 1, used.failures, disruptions), delay, Then.RESUBMIT)
    if used.failures >= (limits.retries if retries is None else retries):
        return None
    failures = used.failures + 1
    delay = backoff_delay(failures, rng, limits.retry_delay, limits.retry_ceiling)
    return NextTry(Used(used.try_number + 1, failures, used.disruptions), delay, Then.RETRY)
