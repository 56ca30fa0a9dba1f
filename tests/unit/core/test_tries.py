"""What follows the end of a try, a row of the table at a time."""

from __future__ import annotations

import random

import pytest

from shard_executor.core.failures import DISAPPEARED, GONE_UNWATCHED, FailureClass
from shard_executor.core.tries import CREATE_TIMEOUT, THEN, NextTry, Then, TryLimits, Used, next_try

LIMITS = TryLimits(retries=2, retry_delay=8.0, retry_ceiling=20.0, disruption_retries=3)


def follow(failure_class: str, *, reason: str = "R", retries: int | None = None, limit: int = 20) -> list[NextTry]:
    """Every try of a task that always ends the same way."""
    used, steps = Used(), []
    while (step := next_try(failure_class, reason, used, retries, LIMITS, random.Random(1))) is not None:
        steps.append(step)
        used = step.used
        assert len(steps) <= limit
    return steps


def test_every_class_has_a_row():
    assert THEN.keys() == set(FailureClass)


@pytest.mark.parametrize("failure", [name for name, then in THEN.items() if then is Then.RETRY])
def test_failures_use_up_the_retries(failure):
    steps = follow(failure)
    assert [step.used for step in steps] == [Used(1, 1, 0), Used(2, 2, 0)]
    assert follow(failure, retries=0) == []
    assert len(follow(failure, retries=5)) == 5


@pytest.mark.parametrize("failure", [name for name, then in THEN.items() if then is Then.RESUBMIT])
def test_disruptions_have_a_budget_of_their_own_and_count_as_failures_beyond_it(failure):
    steps = follow(failure)
    assert [step.used for step in steps] == [
        Used(1, 0, 1),
        Used(2, 0, 2),
        Used(3, 0, 3),
        Used(4, 1, 3),
        Used(5, 2, 3),
    ]
    assert [step.then for step in steps] == [Then.RESUBMIT] * 3 + [Then.RETRY] * 2
    assert len(follow(failure, retries=0)) == 3


@pytest.mark.parametrize("failure", [name for name, then in THEN.items() if then is Then.END])
def test_these_end_a_task_whatever_is_left(failure):
    assert follow(failure, retries=5) == []


def test_a_create_that_ran_out_of_time_is_repeated():
    assert len(follow(FailureClass.CREATE_REFUSED, reason=CREATE_TIMEOUT)) == 2


def test_a_pod_that_went_in_a_gap_of_the_watch_was_most_likely_disrupted():
    assert {step.then for step in follow(FailureClass.DELETED, reason=DISAPPEARED, retries=0)} == {Then.RESUBMIT}
    assert follow(FailureClass.DELETED, reason=GONE_UNWATCHED, retries=0) == []


def test_a_class_of_a_newer_shard_counts_as_a_failure():
    assert len(follow("never-heard-of")) == 2


def test_failures_and_disruptions_are_counted_apart():
    rng = random.Random(1)
    first = next_try(FailureClass.CONTAINER_ERROR, "Error", Used(), 1, LIMITS, rng)
    assert first is not None
    second = next_try(FailureClass.DRAINED, "EvictionByEvictionAPI", first.used, 1, LIMITS, rng)
    assert second is not None
    assert second.used == Used(2, 1, 1)
    assert next_try(FailureClass.CONTAINER_ERROR, "Error", second.used, 1, LIMITS, rng) is None


def test_delays_grow_to_their_ceiling_and_are_spread():
    steps = follow(FailureClass.CONTAINER_ERROR, retries=4)
    for step, whole in zip(steps, (8.0, 16.0, 20.0, 20.0), strict=True):
        assert whole / 2 <= step.delay <= whole
    resubmitted = follow(FailureClass.EVICTED, retries=0)
    for step, whole in zip(resubmitted, (1.0, 2.0, 4.0), strict=True):
        assert whole / 2 <= step.delay <= whole
    at_once = next_try("container-error", "Error", Used(), 1, TryLimits(retry_delay=0.0), random.Random(1))
    assert at_once is not None
    assert at_once.delay == 0.0
