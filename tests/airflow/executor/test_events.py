"""Results: when they are told, to whom, and what becomes of the pods behind them."""

from __future__ import annotations

import pytest

from airflow_scheduler import Scheduler, Start
from driving.driver import RUN_ID

KEPT = {"kubernetes_executor.delete_worker_pods": "False"}


def test_a_task_from_its_hand_over_to_the_end_of_its_pod(scheduler: Scheduler) -> None:
    scheduler.hand_over("life")
    scheduler.until_running("life")
    scheduler.until(lambda: "running" in [one.state for one in scheduler.seen if one.dag_id == "life"])
    assert [one.state for one in scheduler.seen if one.dag_id == "life"] == ["queued", "running"]
    assert {one.info for one in scheduler.seen if one.dag_id == "life"} == {scheduler.ti("life").external_executor_id}
    assert len(scheduler.executor.running) == 1
    scheduler.write("life", state="success")
    scheduler.cluster.end_pod(scheduler.cluster.only("life"))
    scheduler.until_told("life", "success")
    scheduler.until_gone("life")
    assert not scheduler.executor.running


def test_a_pod_stays_until_the_scheduler_has_taken_its_result_and_synced_again(scheduler: Scheduler) -> None:
    """Between the two the scheduler commits what it made of the event: a crash before must leave the pod as news."""
    pod = scheduler.run("taken")
    executor = scheduler.executor
    scheduler.write("taken", state="success")
    scheduler.cluster.end_pod(pod)
    limit = scheduler.deadline()
    while not any(key.dag_id == "taken" for key in executor.event_buffer):
        executor.heartbeat()
        limit()
    for _ in range(20):
        executor.heartbeat()  # the scheduler has not asked for events
        limit(0.02)
    deletes = scheduler.requests("delete pods")
    assert not scheduler.cluster.only("taken")["metadata"].get("deletionTimestamp")
    assert set(executor.get_event_buffer(["another_dag"])) == set()
    assert [key.dag_id for key in executor.get_event_buffer(["taken"])] == ["taken"]
    for _ in range(10):
        limit(0.02)  # taken, but not synced again: the scheduler may be committing
    assert scheduler.cluster.only("taken")
    assert scheduler.requests("delete pods") == deletes
    scheduler.until_gone("taken")


def test_kept_pods_are_labelled_as_done(start: Start) -> None:
    scheduler = start(KEPT)
    scheduler.run("kept", 2)
    cluster = scheduler.cluster
    scheduler.write("kept", 0, state="success")
    for index, code in ((0, 0), (1, 1)):
        cluster.end_pod(cluster.only("kept", map_index=str(index)), code)
    scheduler.until_told("kept", "success", index=0)
    scheduler.until_told("kept", "failed", index=1)
    scheduler.until(lambda: len(cluster.workers("kept", airflow_executor_done="True")) == 2)
    assert len(cluster.workers("kept")) == 2
    scheduler.settle("kept")
    assert not scheduler.executor.running


def test_failed_pods_are_kept_by_default(start: Start) -> None:
    scheduler = start()
    scheduler.run("half", 2)
    scheduler.write("half", 0, state="success")
    for pod in scheduler.cluster.workers("half"):
        scheduler.cluster.end_pod(pod, int(pod["metadata"]["labels"]["map_index"]))
    scheduler.until_told("half", "failed", index=1)
    scheduler.until(lambda: len(scheduler.cluster.workers("half")) == 1)
    scheduler.until(lambda: scheduler.cluster.workers("half", airflow_executor_done="True"))
    assert scheduler.cluster.only("half")["metadata"]["labels"]["map_index"] == "1"


def test_a_failure_says_why_where_the_user_looks(scheduler: Scheduler) -> None:
    pod = scheduler.run("reasons")
    scheduler.cluster.end_pod(pod, 137, "OOMKilled")
    scheduler.until_told("reasons", "failed")
    assert "OOMKilled" in scheduler.info("reasons")
    assert "137" in scheduler.info("reasons")
    assert "None" not in scheduler.info("reasons")
    log = scheduler.event_log("reasons")
    assert "OOMKilled" in log
    assert pod["metadata"]["name"] in log
    assert scheduler.states("reasons") == {0: "failed"}
    scheduler.until_gone("reasons")


def test_a_state_decided_elsewhere_frees_the_slot_and_is_told_once(scheduler: Scheduler) -> None:
    """The scheduler fails a task that has not shown signs of life; its pod ends much later."""
    pod = scheduler.run("silent")
    key = scheduler.ti("silent").key
    scheduler.executor.change_state(key, "failed")
    assert key not in scheduler.executor.running
    scheduler.until_told("silent", "failed")
    scheduler.write("silent", state="failed")
    scheduler.cluster.end_pod(pod, 1)
    scheduler.until_gone("silent")
    scheduler.beat()
    assert scheduler.told("silent") == ["failed"]


@pytest.mark.parametrize("state", ["deferred", "up_for_reschedule", "up_for_retry", "skipped", None])
def test_an_end_that_the_worker_has_told_is_not_told_again(scheduler: Scheduler, state: str | None) -> None:
    dag_id = f"ended_as_{state}"
    pod = scheduler.run(dag_id)
    scheduler.write(dag_id, state=state)
    scheduler.cluster.end_pod(pod)
    scheduler.until_gone(dag_id)
    assert scheduler.told(dag_id) == []


def test_a_worker_that_ended_well_without_a_word_is_left_to_the_heartbeat_check(scheduler: Scheduler) -> None:
    pod = scheduler.run("wordless")
    scheduler.cluster.end_pod(pod)
    scheduler.until_gone("wordless")
    assert scheduler.told("wordless") == []
    assert scheduler.states("wordless") == {0: "running"}


def test_a_running_task_that_was_cleared_ends_with_its_pod(scheduler: Scheduler) -> None:
    pod = scheduler.run("cleared_running")
    scheduler.write("cleared_running", state="restarting")
    scheduler.cluster.end_pod(pod)
    scheduler.until_told("cleared_running", "success")
    scheduler.until_gone("cleared_running")


def test_the_pod_of_a_deferral_that_ends_late_is_not_told_as_the_next_ones(start: Start) -> None:
    """The same key and try comes back while its first pod is still there, and then kept."""
    scheduler = start(KEPT)
    cluster = scheduler.cluster
    first = scheduler.run("back")
    scheduler.write("back", state="deferred")
    scheduler.beat()
    scheduler.requeue("back")
    scheduler.until(lambda: cluster.phases("back")["Running"] == 2, "the second pod runs beside the first")
    scheduler.write("back", state="running")
    second = next(pod for pod in cluster.workers("back") if pod["metadata"]["uid"] != first["metadata"]["uid"])
    assert first["metadata"]["labels"]["run_id"] == second["metadata"]["labels"]["run_id"]
    assert second["metadata"]["annotations"]["run_id"] == RUN_ID
    cluster.end_pod(first, 1)
    scheduler.until(lambda: len(scheduler.jobs("back")) == 1, "the first is over")
    scheduler.beat()
    assert scheduler.told("back") == []
    assert len(scheduler.executor.running) == 1
    scheduler.write("back", state="success")
    cluster.end_pod(second)
    scheduler.until_told("back", "success")
    scheduler.until(lambda: len(cluster.workers("back", airflow_executor_done="True")) == 2, "both are kept")
    assert not scheduler.executor.running
    # And once more, with two kept pods of the same key and try.
    scheduler.write("back", state="deferred")
    scheduler.requeue("back")
    scheduler.until(lambda: cluster.phases("back")["Running"] == 1, "a third pod")
    scheduler.write("back", state="running")
    (third,) = [pod for pod in cluster.workers("back") if pod["status"]["phase"] == "Running"]
    scheduler.write("back", state="success")
    cluster.end_pod(third)
    scheduler.until_told("back", "success", "success")
