"""Pods are kept when they are over: tasks that come back with the same try must not meet the pod they had before."""

from __future__ import annotations

import pytest

from airflow_live import IS_STOCK, Live, Run, once_each

OPTIONS = {
    "kubernetes_executor.delete_worker_pods": "False",
    "shard_executor.disruption_policy": "resubmit",
    "scheduler.task_queued_timeout": "20",
}


def _finished_pods(run: Run, number: int) -> set[str]:
    """The names of the run's pods, once there are so many that succeeded."""

    def finished() -> set[str] | None:
        found = {pod["metadata"]["name"] for pod in run.pods() if pod["status"]["phase"] == "Succeeded"}
        return found if len(found) >= number else None

    return run.live.wait(finished, f"{number} finished pods of {run.run_id}")


def test_a_deferred_task_comes_back_in_a_pod_of_its_own(live: Live) -> None:
    live.home.start("triggerer")
    live.wait(lambda: live.home.api.healthy("triggerer"), "the health of the triggerer")
    try:
        run = live.trigger("deferred")
        run.wait("success")
    finally:
        live.home.end_component("triggerer")
    once_each(run, [("deferring", -1)])
    (begin,), (end,) = run.records("start"), run.records("end")
    assert begin["pod"] != end["pod"]
    assert (begin["try"], end["try"]) == (1, 1)
    assert _finished_pods(run, 2) == {begin["pod"], end["pod"]}


def test_a_sensor_that_reschedules_comes_back_in_pods_of_its_own(live: Live) -> None:
    run = live.trigger("sensed")
    run.wait("success")
    pokes = run.records("poke")
    assert [line["try"] for line in pokes] == [1, 1], run.describe()
    assert _finished_pods(run, 2) == {line["pod"] for line in pokes}


def test_a_task_stuck_in_queued_is_taken_back_and_queued_again(live: Live) -> None:
    for node in live.nodes():
        live.cluster.fault("drain", node=node)
    run = live.trigger("fragile")
    (stuck,) = live.wait(run.pods, "the pod")
    assert stuck["status"]["phase"] == "Pending"
    # Pods that are over are kept, but this one never began: it is deleted, so that it cannot begin later.
    live.wait(
        lambda: all(pod["metadata"]["uid"] != stuck["metadata"]["uid"] for pod in run.pods()),
        "the end of the stuck pod",
    )
    for node in live.nodes():
        live.cluster.fault("recover-node", node=node)
    run.open_gate()
    run.wait("success")
    once_each(run, [("hold", -1)])
    assert any("stuck in queued" in event["event"] for event in run.events()), run.describe()


@pytest.mark.skipif(IS_STOCK, reason="the stock executor knows no such policy")
def test_a_drained_task_is_resubmitted_without_using_a_retry(live: Live) -> None:
    run = live.trigger("fragile")
    (first,) = run.wait_records("start", 1)
    live.wait(lambda: run.task("hold")["state"] == "running", "the running state")
    (pod,) = run.pods()
    live.cluster.fault("drain", node=pod["spec"]["nodeName"], grace=1)
    second = run.wait_records("start", 2)[1]
    assert first["pod"] != second["pod"]
    run.open_gate()
    run.wait("success")
    (end,) = run.records("end")
    assert end["pod"] == second["pod"]
    assert any("disruption" in event["event"] for event in run.events()), run.describe()
