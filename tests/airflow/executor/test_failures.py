"""Pods that end in trouble: before the task began, and while it ran."""

from __future__ import annotations

import pytest

from airflow_scheduler import Scheduler, Start, fated


def another_pod(scheduler: Scheduler, dag_id: str, *earlier: dict) -> dict:
    """Loops until a pod runs that is none of the earlier ones."""
    known = {pod["metadata"]["uid"] for pod in earlier}
    found: list[dict] = []

    def there() -> bool:
        found[:] = [
            pod
            for pod in scheduler.cluster.workers(dag_id)
            if pod["metadata"]["uid"] not in known and pod["status"].get("phase") == "Running"
        ]
        return bool(found)

    scheduler.until(there, f"another pod of {dag_id}")
    return found[0]


# ---- before the task began


def test_an_image_that_cannot_be_pulled_fails_after_one_relaunch(scheduler: Scheduler) -> None:
    creates = scheduler.requests("create pods")
    scheduler.hand_over("no_image", executor_config=fated("imagepull"))
    scheduler.until_told("no_image", "failed")
    assert scheduler.requests("create pods") - creates == 2
    assert "ErrImagePull" in scheduler.info("no_image")
    assert "ErrImagePull" in scheduler.event_log("no_image")
    assert "None" not in scheduler.info("no_image")
    assert [one.state for one in scheduler.seen if one.dag_id == "no_image"].count("failed") == 1
    scheduler.until_gone("no_image")


def test_a_pod_killed_before_its_task_began_gets_a_successor(scheduler: Scheduler) -> None:
    scheduler.hand_over("oom_early")
    first = another_pod(scheduler, "oom_early")
    scheduler.cluster.end_pod(first, 137, "OOMKilled")
    second = another_pod(scheduler, "oom_early", first)
    same = "shard-executor/submission"
    assert first["metadata"]["annotations"][same] == second["metadata"]["annotations"][same]
    assert [pod["metadata"]["annotations"]["shard-executor/attempt"] for pod in (first, second)] == ["0", "1"]
    assert len(scheduler.executor.running) == 1
    scheduler.write("oom_early", state="success")
    scheduler.cluster.end_pod(second)
    scheduler.until_told("oom_early", "success")
    scheduler.until_gone("oom_early")


def test_a_pod_evicted_while_pending_gets_a_successor(scheduler: Scheduler) -> None:
    scheduler.hand_over("evicted_early", executor_config=fated("stuck"))
    cluster = scheduler.cluster
    scheduler.until(lambda: cluster.phases("evicted_early")["Pending"] == 1)
    first = cluster.only("evicted_early")["metadata"]["uid"]
    scheduler.until(lambda: scheduler.jobs("evicted_early")[0].state == "pending")
    cluster.fault("evict", selector="dag_id=evicted_early")
    scheduler.until(
        lambda: [pod for pod in cluster.workers("evicted_early") if pod["metadata"]["uid"] != first], "a second pod"
    )
    assert scheduler.told("evicted_early") == []
    scheduler.executor.revoke_task(ti=scheduler.ti("evicted_early"))
    scheduler.until_gone("evicted_early")


@pytest.mark.parametrize("kind", ["evict", "pressure"])
def test_a_pod_evicted_while_its_worker_starts_gets_a_successor(scheduler: Scheduler, kind: str) -> None:
    """The container was stopped, which looks like an error of its own; the task has not begun."""
    dag_id = f"starting_{kind}"
    scheduler.hand_over(dag_id)
    first = another_pod(scheduler, dag_id)
    scheduler.until(lambda: scheduler.jobs(dag_id)[0].began)
    scheduler.cluster.fault(kind, selector=f"dag_id={dag_id}")
    second = another_pod(scheduler, dag_id, first)
    scheduler.write(dag_id, state="success")
    scheduler.cluster.end_pod(second)
    scheduler.until_told(dag_id, "success")
    scheduler.until_gone(dag_id)


def test_an_excluded_reason_is_the_tasks_own_failure(scheduler: Scheduler) -> None:
    creates = scheduler.requests("create pods")
    scheduler.hand_over("error_early")
    scheduler.cluster.end_pod(another_pod(scheduler, "error_early"), 3)
    scheduler.until_told("error_early", "failed")
    assert "3" in scheduler.info("error_early")
    assert scheduler.requests("create pods") - creates == 1
    scheduler.until_gone("error_early")


def test_workers_that_end_well_without_having_begun_fail_the_task_with_a_reason(scheduler: Scheduler) -> None:
    """Such as an image whose command does something else."""
    scheduler.hand_over("idle_worker")
    first = another_pod(scheduler, "idle_worker")
    scheduler.cluster.end_pod(first)
    scheduler.cluster.end_pod(another_pod(scheduler, "idle_worker", first))
    scheduler.until_told("idle_worker", "failed")
    assert scheduler.info("idle_worker") not in ("", "None")
    scheduler.until_gone("idle_worker")


@pytest.mark.parametrize(("retries", "launches"), [("0", 1), ("-1", 4)])
def test_relaunches_by_option(start: Start, retries: str, launches: int) -> None:
    scheduler = start({"kubernetes_executor.pod_launch_failure_retries": retries})
    dag_id = f"relaunched_{launches}"
    scheduler.hand_over(dag_id)
    pods: list[dict] = []
    for _ in range(launches):
        pods.append(another_pod(scheduler, dag_id, *pods))
        scheduler.cluster.end_pod(pods[-1], 137, "OOMKilled")
    if retries == "0":
        scheduler.until_told(dag_id, "failed")
        return
    last = another_pod(scheduler, dag_id, *pods)
    assert scheduler.told(dag_id) == []
    scheduler.write(dag_id, state="success")
    scheduler.cluster.end_pod(last)
    scheduler.until_told(dag_id, "success")


def test_a_task_is_taken_back_between_two_launches(start: Start) -> None:
    """From the third launch on there is a pause before the next; a task queued again need not sit it out."""
    scheduler = start({"kubernetes_executor.pod_launch_failure_retries": "-1"})
    scheduler.hand_over("between")
    pods: list[dict] = []
    for _ in range(4):
        pods.append(another_pod(scheduler, "between", *pods))
        scheduler.cluster.end_pod(pods[-1], 137, "OOMKilled")
    scheduler.until(lambda: scheduler.jobs("between")[0].launches == 4)  # waits for 4 s
    scheduler.executor.revoke_task(ti=scheduler.ti("between"))
    scheduler.requeue("between")
    scheduler.until(lambda: len(scheduler.jobs("between")) == 1 and scheduler.jobs("between")[0].launches == 0, "", 3.0)
    fresh = another_pod(scheduler, "between", *pods)
    assert fresh["metadata"]["annotations"]["shard-executor/attempt"] == "0"


# ---- while it ran


@pytest.mark.parametrize("kind", ["evict", "preempt", "pressure"])
def test_a_disruption_fails_the_task_by_default(scheduler: Scheduler, kind: str) -> None:
    dag_id = f"disrupted_{kind}"
    scheduler.run(dag_id)
    scheduler.cluster.fault(kind, selector=f"dag_id={dag_id}")
    scheduler.until_told(dag_id, "failed")
    assert "None" not in scheduler.info(dag_id)
    assert kind[:5] in scheduler.info(dag_id).lower() or "evict" in scheduler.info(dag_id).lower()
    scheduler.until_gone(dag_id)


@pytest.mark.parametrize("kind", ["evict", "pressure", "delete"])
def test_a_disrupted_task_is_resubmitted_without_using_a_retry(resubmitting: Scheduler, kind: str) -> None:
    scheduler = resubmitting
    scheduler.run(f"again_{kind}", retries=1)
    dag_id = f"again_{kind}"
    before = scheduler.ti(dag_id)
    scheduler.cluster.fault(kind, selector=f"dag_id={dag_id}")
    if kind == "delete":  # somebody did that on purpose
        scheduler.until_told(dag_id, "failed")
        return
    scheduler.until(lambda: scheduler.ti(dag_id).state is None, "it was reset")
    after = scheduler.ti(dag_id)
    assert after.id != before.id
    assert after.max_tries == before.max_tries + 1
    assert (after.queued_by_job_id, after.external_executor_id) == (None, None)
    scheduler.settle(dag_id)
    scheduler.beat()
    assert scheduler.told(dag_id) == []
    assert not scheduler.executor.running
    assert "resubmitted after a disruption" in scheduler.event_log(dag_id)
    # The scheduler counts the try up when it schedules it.
    scheduler.requeue(dag_id, try_number=before.try_number + 1)
    scheduler.until(lambda: len(scheduler.cluster.workers(dag_id, try_number="2")) == 1, "a pod for the next try")
    scheduler.until(lambda: scheduler.jobs(dag_id)[0].began)
    scheduler.write(dag_id, state="success")
    scheduler.cluster.end_pod(scheduler.cluster.only(dag_id, try_number="2"))
    scheduler.until_told(dag_id, "success")


def test_what_is_no_disruption_is_not_resubmitted(resubmitting: Scheduler) -> None:
    scheduler = resubmitting
    pod = scheduler.run("own_fault", retries=1)
    scheduler.cluster.end_pod(pod, 137, "OOMKilled")
    scheduler.until_told("own_fault", "failed")
    assert scheduler.ti("own_fault").max_tries == 1


def test_a_worker_that_told_its_end_while_it_was_evicted_is_left_alone(resubmitting: Scheduler) -> None:
    scheduler = resubmitting
    scheduler.run("told_itself", 2, retries=1)
    before = [scheduler.ti("told_itself", index).id for index in range(2)]
    for index, state in ((0, "success"), (1, "up_for_retry")):
        scheduler.write("told_itself", index, state=state)
    scheduler.cluster.fault("evict", selector="dag_id=told_itself")
    for index in range(2):
        scheduler.settle("told_itself", index)
    scheduler.until_told("told_itself", "success", index=0)
    assert scheduler.told("told_itself", 1) == []
    assert [scheduler.ti("told_itself", index).id for index in range(2)] == before
    assert scheduler.ti("told_itself").max_tries == 1
