"""The table that says what a pod's end means, row by row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shard_executor.airflow.book import Job
from shard_executor.airflow.results import Means, Policy, Row, decide
from shard_executor.supervisor.config import Report

FAIL = Policy(launch_retries=1, excluded_reasons=frozenset({"Error"}), resubmit=False, job_id=7)
RESUBMIT = Policy(launch_retries=1, excluded_reasons=frozenset({"Error"}), resubmit=True, job_id=7)


def job(**changes: object) -> Job:
    fields: dict = {
        "ticket": "s1",
        "key": "k",
        "ti_key": ("d", "t", "r", -1, 1),
        "ti_id": "id-1",
        "submission_id": "s1",
        "bin": 3,
        "namespace": "default",
        "workload": SimpleNamespace(ti=SimpleNamespace(external_executor_id="s1")),
    }
    return Job(**{**fields, **changes})


def row(state: str | None, **changes: object) -> Row:
    fields: dict = {
        "ti_id": "id-1",
        "state": state,
        "try_number": 1,
        "queued_by_job_id": 7,
        "external_executor_id": "s1",
    }
    return Row(**{**fields, **changes})


SUCCEEDED = Report("s1", "succeeded", True)
ERROR = Report("s1", "failed", True, "container-error", "Error", 1)
OOM = Report("s1", "failed", True, "oom-killed", "OOMKilled", 137)
DRAINED = Report("s1", "failed", True, "drained", "EvictionByEvictionAPI")
LOST = Report("s1", "lost", True, "deleted", "PodDisappeared")
REFUSED = Report("s1", "failed", True, "create-refused", "InvalidTemplate")
HANDED_OVER = Report("s1", "handed-over", True)
REVOKED = Report("s1", "revoked", True, "revoked", "Revoked")

T, N, R, S = Means.TELL, Means.NOTHING, Means.RELAUNCH, Means.RESET

ROWS = [
    # the worker has told the end: the database's word is what the scheduler hears
    ("success", SUCCEEDED, row("success"), FAIL, T, "success"),
    ("failure", ERROR, row("failed"), FAIL, T, "failed"),
    ("a sidecar failed after the success", ERROR, row("success"), FAIL, T, "success"),
    ("to be retried", ERROR, row("up_for_retry"), FAIL, N, None),
    ("deferred", SUCCEEDED, row("deferred"), FAIL, N, None),
    ("deferred, then killed", DRAINED, row("deferred"), FAIL, N, None),
    ("trigger fired before the pod's end was seen", ERROR, row("scheduled"), FAIL, N, None),
    ("rescheduled", SUCCEEDED, row("up_for_reschedule"), FAIL, N, None),
    ("skipped", SUCCEEDED, row("skipped"), FAIL, N, None),
    ("without a state", SUCCEEDED, row(None), FAIL, N, None),
    ("the row is gone", ERROR, None, FAIL, N, None),
    # it never began
    ("lost before it began", DRAINED, row("queued"), FAIL, R, None),
    ("killed for memory before it began", OOM, row("queued"), FAIL, R, None),
    ("ended well without beginning", SUCCEEDED, row("queued"), FAIL, R, None),
    ("an excluded reason", ERROR, row("queued"), FAIL, T, "failed"),
    ("no pod could be made", REFUSED, row("queued"), FAIL, T, "failed"),
    # it runs, as far as the database knows
    ("killed while it ran", OOM, row("running"), FAIL, T, "failed"),
    ("drained, policy fail", DRAINED, row("running"), FAIL, T, "failed"),
    ("drained, policy resubmit", DRAINED, row("running"), RESUBMIT, S, None),
    ("lost, policy resubmit", LOST, row("running"), RESUBMIT, S, None),
    ("its own fault, policy resubmit", ERROR, row("running"), RESUBMIT, T, "failed"),
    ("drained under another id", DRAINED, row("running", ti_id="id-2"), RESUBMIT, T, "failed"),
    ("ended well without telling", SUCCEEDED, row("running"), FAIL, T, "running"),
    # cleared while it ran: the id has changed, and the old key is waited for
    ("cleared, ended by itself", SUCCEEDED, row("restarting", ti_id="id-2"), FAIL, T, "success"),
    ("cleared, killed", ERROR, row("restarting", ti_id="id-2"), FAIL, T, "failed"),
    # somebody else's by now
    ("queued by another scheduler", ERROR, row("queued", queued_by_job_id=8), FAIL, N, None),
    ("queued again here", ERROR, row("queued", external_executor_id="s2"), FAIL, N, None),
    ("runs under a later hand-over", ERROR, row("running", external_executor_id="s2"), FAIL, N, None),
    ("at a later try", ERROR, row("queued", try_number=2), FAIL, N, None),
    ("taken over", HANDED_OVER, row("running"), FAIL, N, None),
    ("revoked", REVOKED, row("queued"), FAIL, N, None),
]


@pytest.mark.parametrize(
    ("report", "found", "policy", "means", "state"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_the_table(report: Report, found: Row | None, policy: Policy, means: Means, state: str | None):
    outcome = decide(report, job(), found, False, policy)
    assert (outcome.means, outcome.state) == (means, state)
    assert outcome.why or means is T


@pytest.mark.parametrize(
    ("changes", "superseded"),
    [({"revoked": True}, False), ({"disowned": True}, False), ({}, True)],
    ids=["revoked here", "decided by somebody else", "handed over again"],
)
def test_a_hand_over_that_is_over_is_never_told(changes: dict, superseded: bool):
    for report in (SUCCEEDED, ERROR, DRAINED, LOST):
        for found in (row("queued"), row("running"), row("success"), row("restarting"), None):
            assert decide(report, job(**changes), found, superseded, RESUBMIT).means is N


@pytest.mark.parametrize(
    ("retries", "launches", "means"), [(0, 0, T), (1, 0, R), (1, 1, T), (3, 2, R), (3, 3, T), (-1, 1000, R)]
)
def test_relaunches_are_counted(retries: int, launches: int, means: Means):
    policy = Policy(retries, frozenset(), False, 7)
    assert decide(DRAINED, job(launches=launches), row("queued"), False, policy).means is means


def test_an_adopted_pod_cannot_be_launched_again():
    assert decide(DRAINED, job(workload=None), row("queued"), False, FAIL).means is T


def test_the_end_of_an_adopted_pod_is_told_before_the_adoption_is_committed():
    adopted = job(workload=None, adopted_from=6)
    for state in ("queued", "running"):
        assert decide(ERROR, adopted, row(state, queued_by_job_id=6), False, FAIL).means is T
        assert decide(ERROR, adopted, row(state, queued_by_job_id=7), False, FAIL).means is T
        assert decide(ERROR, adopted, row(state, queued_by_job_id=8), False, FAIL).means is N


def test_without_a_scheduler_job_nothing_is_anothers():
    policy = Policy(0, frozenset(), False, None)
    assert decide(ERROR, job(), row("running", queued_by_job_id=99), False, policy).means is T
