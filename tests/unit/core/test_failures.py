"""One row per kind of end that a pod can come to, with the status a kube-apiserver 1.36 showed for it."""

from __future__ import annotations

from typing import Any

import pytest

from shard_executor._fast.views import (
    PHASE_FAILED,
    PHASE_PENDING,
    PHASE_RUNNING,
    PHASE_SUCCEEDED,
    PHASE_UNKNOWN,
    Condition,
    ContainerView,
    PodStatusView,
)
from shard_executor.core.failures import (
    DISRUPTION_REASONS,
    PENDING_RULES,
    FailureClass,
    Stage,
    judge,
    refused_by_node,
)

C = FailureClass


def container(state: str = "", **fields: Any) -> ContainerView:
    values: dict[str, Any] = {
        "name": "base",
        "state": state,
        "reason": "",
        "message": "",
        "exit_code": None,
        "signal": None,
        "started_at": None,
        "finished_at": None,
        "restart_count": 0,
        "ready": False,
    }
    return ContainerView(**{**values, **fields})


def ended(code: int, reason: str = "Error", **fields: Any) -> ContainerView:
    return container("terminated", exit_code=code, reason=reason, started_at=10.0, finished_at=11.0, **fields)


def status(
    *containers: ContainerView,
    init: tuple[ContainerView, ...] = (),
    reason: str = "",
    message: str = "",
    disruption: tuple[str, str] | None = None,
    unscheduled: str = "",
) -> PodStatusView:
    conditions = []
    if disruption:
        conditions.append(Condition("DisruptionTarget", "True", *disruption))
    if unscheduled:
        conditions.append(Condition("PodScheduled", "False", "Unschedulable", unscheduled))
    return PodStatusView(
        reason=reason,
        message=message,
        start_time=None,
        conditions=tuple(conditions),
        init_containers=init,
        containers=containers,
    )


STARTED = container("running", started_at=10.0)

FAILURES = [
    ("exit code", status(ended(3)), False, C.CONTAINER_ERROR, "Error", 3, "container base exited with code 3"),
    ("termination message", status(ended(1, message="boom")), False, C.CONTAINER_ERROR, "Error", 1, "boom"),
    (
        "oom",
        status(ended(137, "OOMKilled")),
        False,
        C.OOM_KILLED,
        "OOMKilled",
        137,
        "container base exited with code 137",
    ),
    (
        "evicted by the kubelet",
        status(
            ended(137),
            reason="Evicted",
            message="low on memory",
            disruption=("TerminationByKubelet", "The node was low"),
        ),
        False,
        C.EVICTED,
        "TerminationByKubelet",
        137,
        "low on memory",
    ),
    (
        "preempted",
        status(ended(143), disruption=("PreemptionByScheduler", "preempting")),
        True,
        C.PREEMPTED,
        "PreemptionByScheduler",
        143,
        "preempting",
    ),
    (
        "drained",
        status(ended(143), disruption=("EvictionByEvictionAPI", "Eviction API: evicting")),
        True,
        C.DRAINED,
        "EvictionByEvictionAPI",
        143,
        "Eviction API: evicting",
    ),
    (
        "deadline",
        status(ended(137), reason="DeadlineExceeded", message="too long"),
        False,
        C.DEADLINE,
        "DeadlineExceeded",
        137,
        "too long",
    ),
    (
        "cannot start",
        status(ended(128, "StartError", message="no such file")),
        False,
        C.START_ERROR,
        "StartError",
        128,
        "no such file",
    ),
    (
        "init container",
        status(container("waiting", reason="PodInitializing"), init=(ended(2, name="prepare"),)),
        False,
        C.INIT_CONTAINER,
        "Error",
        2,
        "container prepare exited with code 2",
    ),
    (
        "sidecar",
        status(ended(0, "Completed"), ended(9, name="proxy")),
        False,
        C.CONTAINER_ERROR,
        "Error",
        9,
        "container proxy exited with code 9",
    ),
    (
        "stopped by a deletion",
        status(ended(143)),
        True,
        C.DELETED,
        "Error",
        143,
        "the pod was deleted before it finished",
    ),
    ("no status at all", status(), False, C.UNKNOWN, "unknown", None, None),
]


@pytest.mark.parametrize(
    ("pod", "deleting", "failure", "reason", "code", "message"),
    [row[1:] for row in FAILURES],
    ids=[r[0] for r in FAILURES],
)
def test_a_failed_pod_is_classified(
    pod: PodStatusView, deleting: bool, failure: FailureClass, reason: str, code: int | None, message: str | None
) -> None:
    verdict = judge(PHASE_FAILED, deleting, pod)
    assert (verdict.stage, verdict.failure_class) == (Stage.FAILED, failure)
    assert (verdict.reason, verdict.exit_code, verdict.message) == (reason, code, message)


@pytest.mark.parametrize(
    ("phase", "pod", "failure"),
    [
        (PHASE_RUNNING, status(STARTED), C.DELETED),
        (PHASE_RUNNING, status(STARTED, disruption=("EvictionByEvictionAPI", "m")), C.DRAINED),
        (PHASE_UNKNOWN, status(STARTED, reason="NodeLost", message="unresponsive"), C.NODE_LOST),
        (PHASE_PENDING, status(container("waiting", reason="ContainerCreating")), C.DELETED),
        (PHASE_RUNNING, status(STARTED, disruption=("SomethingNew", "m")), C.EVICTED),
    ],
)
def test_a_pod_that_is_gone_before_it_finished_has_failed_whatever_its_phase(
    phase: int, pod: PodStatusView, failure: FailureClass
) -> None:
    assert judge(phase, True, pod).stage < Stage.SUCCEEDED
    verdict = judge(phase, True, pod, ended=True)
    assert (verdict.stage, verdict.failure_class) == (Stage.FAILED, failure)


def test_a_pod_that_succeeded_and_is_gone_has_succeeded() -> None:
    verdict = judge(PHASE_SUCCEEDED, True, status(ended(0, "Completed")), ended=True)
    assert (verdict.stage, verdict.exit_code, verdict.finished_at) == (Stage.SUCCEEDED, 0, 11.0)


def test_an_unknown_phase_is_no_end() -> None:
    assert judge(PHASE_UNKNOWN, False, status(STARTED)).stage is Stage.RUNNING


def test_began_says_whether_the_tasks_own_container_has_run() -> None:
    assert not judge(PHASE_FAILED, False, status(container("waiting"), init=(ended(1, name="i"),))).began
    assert judge(PHASE_FAILED, False, status(ended(1))).began
    assert not judge(PHASE_PENDING, False, status(container("waiting", reason="ContainerCreating"))).began


@pytest.mark.parametrize("reason", sorted(PENDING_RULES))
def test_a_waiting_reason_is_named(reason: str) -> None:
    verdict = judge(PHASE_PENDING, False, status(container("waiting", reason=reason, message="m")))
    assert (verdict.stage, verdict.waiting, verdict.message) == (Stage.PENDING, reason, "m")


def test_a_bad_reason_of_one_container_wins_over_a_harmless_one_of_another() -> None:
    pod = status(
        container("waiting", name="base", reason="ContainerCreating"),
        container("waiting", name="side", reason="ErrImagePull"),
    )
    assert judge(PHASE_PENDING, False, pod).waiting == "ErrImagePull"


def test_an_unscheduled_pod_says_why() -> None:
    verdict = judge(PHASE_PENDING, False, status(unscheduled="0/3 nodes are available"))
    assert (verdict.reason, verdict.message, verdict.waiting) == ("Unschedulable", "0/3 nodes are available", None)


def test_every_disruption_reason_of_the_enhancement_is_known() -> None:
    # KEP-3329 names these five.
    assert set(DISRUPTION_REASONS) == {
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "EvictionByEvictionAPI",
        "DeletionByPodGC",
        "TerminationByKubelet",
    }


def test_a_sidecar_that_is_stopped_after_the_task_is_not_blamed_for_its_failure() -> None:
    sidecar = ended(143, name="mesh")
    verdict = judge(PHASE_FAILED, False, status(ended(3), init=(sidecar,)))
    assert (verdict.failure_class, verdict.exit_code, verdict.container) == (C.CONTAINER_ERROR, 3, "base")


def test_a_container_that_fails_beside_the_task_is_blamed_before_a_stopped_sidecar() -> None:
    verdict = judge(PHASE_FAILED, False, status(ended(0), ended(4, name="log"), init=(ended(143, name="mesh"),)))
    assert (verdict.failure_class, verdict.exit_code, verdict.container) == (C.CONTAINER_ERROR, 4, "log")


@pytest.mark.parametrize("phase", [PHASE_RUNNING, PHASE_SUCCEEDED, PHASE_FAILED])
@pytest.mark.parametrize("gone", [False, True])
def test_the_worker_containers_success_is_the_pods_whatever_a_sidecar_does(phase: int, gone: bool) -> None:
    for sidecar in (container("running", name="side"), ended(7, name="side")):
        verdict = judge(phase, gone, status(ended(0, "Completed"), sidecar), ended=gone, worker="base")
        assert (verdict.stage, verdict.exit_code, verdict.finished_at) == (Stage.SUCCEEDED, 0, 11.0)
        assert verdict.container == "base"


def test_the_worker_containers_failure_is_the_pods_while_a_sidecar_runs() -> None:
    side = container("running", name="side", started_at=9.0)
    verdict = judge(PHASE_RUNNING, False, status(side, ended(3, name="worker")), worker="worker")
    assert (verdict.stage, verdict.began, verdict.failure_class) == (Stage.FAILED, True, C.CONTAINER_ERROR)
    assert (verdict.exit_code, verdict.container) == (3, "worker")
    killed = judge(PHASE_RUNNING, False, status(side, ended(137, "OOMKilled", name="worker")), worker="worker")
    assert (killed.failure_class, killed.reason) == (C.OOM_KILLED, "OOMKilled")
    drained = status(side, ended(143, name="worker"), disruption=("EvictionByEvictionAPI", "words"))
    assert judge(PHASE_RUNNING, True, drained, worker="worker").failure_class is C.DRAINED


@pytest.mark.parametrize(
    ("pod", "worker"),
    [
        (status(STARTED, ended(1, name="side")), "base"),
        (status(STARTED, ended(1, name="side")), "missing"),
        (status(ended(0, "Completed"), container("running", name="side")), None),
    ],
    ids=["it runs", "there is none", "none is named"],
)
def test_without_the_end_of_a_worker_container_the_phase_decides(pod: PodStatusView, worker: str | None) -> None:
    assert judge(PHASE_RUNNING, False, pod, worker=worker).stage is Stage.RUNNING
    evicted = status(reason="Evicted", message="low on memory")
    assert judge(PHASE_FAILED, False, evicted, worker=worker).failure_class is C.EVICTED


def test_a_listed_reason_of_one_container_wins_over_our_own_of_another() -> None:
    pod = status(
        container("waiting", name="base", reason="ErrImagePull"),
        container("waiting", name="side", reason="Custom"),
    )
    verdict = judge(PHASE_PENDING, False, pod, fatal={"Custom"})
    assert (verdict.waiting, verdict.container) == ("Custom", "side")


@pytest.mark.parametrize("reason", ["OutOfcpu", "OutOfexample.com/gpu", "UnexpectedAdmissionError", "NodeAffinity"])
def test_a_pod_that_its_node_refused_could_not_start(reason: str) -> None:
    verdict = judge(PHASE_FAILED, False, status(reason=reason, message="no room"))
    assert (verdict.failure_class, verdict.reason, verdict.message) == (C.START_ERROR, reason, "no room")
    assert refused_by_node(verdict.reason)


def test_a_container_that_the_kubelet_lost_track_of_counts_as_begun() -> None:
    lost = container("terminated", exit_code=137, reason="ContainerStatusUnknown")
    assert judge(PHASE_FAILED, False, status(lost)).began
