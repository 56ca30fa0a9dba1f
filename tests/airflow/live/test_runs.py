"""Whole runs with the options as they are by default: pods are deleted, a drained pod costs a try."""

from __future__ import annotations

import pytest

from airflow_live import Live, once_each

OPTIONS: dict[str, str] = {}


def test_a_dag_runs_to_success_with_its_pod_override(live: Live) -> None:
    run = live.trigger("plain")
    run.wait("success")
    once_each(run, [("first", -1), ("second", -1)])
    (second,) = [line for line in run.records("start") if line["task"] == "second"]
    assert (second["greeting"], second["number"]) == ("from the override", 21)
    run.wait_pods_gone()


def test_a_failed_task_is_tried_again_as_often_as_it_may(live: Live) -> None:
    run = live.trigger("retried")
    run.wait("failed")
    assert run.counts("start") == {("flaky", -1): 2, ("hopeless", -1): 2}, run.describe()
    assert run.counts("end") == {("flaky", -1): 1}, run.describe()
    assert (run.task("flaky")["state"], run.task("flaky")["try_number"]) == ("success", 2)
    assert [task["state"] for task in run.tries("hopeless")] == ["failed", "failed"]
    pods = [line["pod"] for line in run.records("start")]
    assert len(set(pods)) == 4, "each try has a pod of its own"


def test_mapped_tasks(live: Live) -> None:
    run = live.trigger("mapped")
    run.wait("success")
    once_each(run, [("doubled", index) for index in range(4)])
    assert {line["map_index"]: line["result"] for line in run.records("end")} == {0: 0, 1: 2, 2: 4, 3: 6}


def test_the_log_of_a_running_task_comes_from_its_pod(live: Live) -> None:
    run = live.trigger("held")
    live.wait(lambda: run.task("hold")["state"] == "running", "the running state")
    # Workers do not share their log folder with the API server here, so there is no other source than the pod.
    found = live.wait(
        lambda: [line for line in run.log("hold") if "the task is being held" in line], "the task's line in its log"
    )
    assert len(found) == 1, found
    run.open_gate()
    run.wait("success")
    once_each(run, [("hold", -1)])


def test_clearing_a_running_task_ends_it_and_runs_it_again(live: Live) -> None:
    run = live.trigger("held")
    (first,) = run.wait_records("start", 1)
    live.wait(lambda: run.task("hold")["state"] == "running", "the running state")
    live.home.api.clear("held", run.run_id, "hold")
    second = run.wait_records("start", 2)[1]
    assert second["pod"] != first["pod"]
    assert second["try"] == 2
    run.open_gate()
    run.wait("success")
    assert run.counts("start") == {("hold", -1): 2}, run.describe()
    assert [(line["task"], line["try"]) for line in run.records("end")] == [("hold", 2)], run.describe()


def test_a_drained_pod_costs_a_try(live: Live) -> None:
    run = live.trigger("held")
    (first,) = run.wait_records("start", 1)
    live.wait(lambda: run.task("hold")["state"] == "running", "the running state")
    (pod,) = run.pods()
    live.cluster.fault("drain", node=pod["spec"]["nodeName"], grace=1)
    second = run.wait_records("start", 2)[1]
    assert (first["try"], second["try"]) == (1, 2)
    run.open_gate()
    run.wait("success")
    assert [(line["task"], line["try"]) for line in run.records("end")] == [("hold", 2)], run.describe()


@pytest.fixture(autouse=True)
def _pods_gone(live: Live):
    """Each test leaves a cluster without pods: all of them are deleted once they are over."""
    yield
    live.wait(lambda: not live.pods(), "a cluster without pods")
