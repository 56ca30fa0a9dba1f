"""From the hand-over to the create: order, workloads that have gone stale, tasks that are taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from airflow_scheduler import Cluster, Scheduler, Start, fated

ONE_AT_A_TIME = {"core.parallelism": "200", "shard_executor.max_creates_in_flight": "1"}


@contextmanager
def created(cluster: Cluster, dag_id: str, count: int) -> Iterator[list[int]]:
    """Fills a list with the map indexes of a DAG's pods, in the order of their creation."""
    order: list[int] = []
    with cluster.watch(labelSelector=f"dag_id={dag_id}", resourceVersion=cluster.version()) as watch:
        yield order
        events = iter(watch)
        while len(order) < count:
            event = next(events)
            if event["type"] == "ADDED":
                order.append(int(event["object"]["metadata"]["labels"]["map_index"]))


def weigh(scheduler: Scheduler, dag_id: str, weights: list[int]) -> None:
    for index, weight in enumerate(weights):
        scheduler.write(dag_id, index, priority_weight=weight)


def test_heavier_tasks_come_first_across_a_deep_queue(start: Start, cluster: Cluster) -> None:
    """While the quota is full all tasks wait, many more than are asked for bodies ahead; later ones overtake."""
    scheduler = start(ONE_AT_A_TIME)
    cluster.fault("quota", pods=0)
    scheduler.make_tasks(30, dag_id="ordered")
    weights = [(index * 7) % 30 for index in range(30)]
    weigh(scheduler, "ordered", weights)
    scheduler.queue(dag_id="ordered", indexes=range(15))
    scheduler.until(lambda: any(job.state == "waiting" for job in scheduler.executor.book.jobs()), "the quota is met")
    scheduler.queue(dag_id="ordered", indexes=range(15, 30))
    scheduler.until(lambda: scheduler.executor.queued_tasks == {} and len(scheduler.executor.book) == 30)
    with created(cluster, "ordered", 30) as order:
        cluster.fault("lift-quota")
        scheduler.until_running("ordered", 30)
    heaviest_first = sorted(range(30), key=lambda index: -weights[index])
    # What had a body already when the heavier ones came may go before them: two windows and one in flight.
    early = [index for index in order[:3] if weights[index] < 27]
    assert len(early) <= 3
    rest = [index for index in order if index not in early]
    assert rest == [index for index in heaviest_first if index not in early]


def test_tasks_of_one_hand_over_are_created_by_weight(start: Start, cluster: Cluster) -> None:
    scheduler = start(ONE_AT_A_TIME)
    scheduler.make_tasks(6, dag_id="batch")
    weigh(scheduler, "batch", [1, 5, 3, 9, 2, 7])
    scheduler.queue(dag_id="batch")
    with created(cluster, "batch", 6) as order:
        scheduler.until_running("batch", 6)
    assert order == [3, 5, 1, 2, 4, 0]


ANOTHER = "00000000-0000-7000-8000-00000000000"
STALE = {
    "cleared": {"id": ANOTHER + "1", "state": None},
    "cleared and queued again by its new id": {"id": ANOTHER + "2"},
    "at the next try": {"try_number": 2},
    "ended": {"state": "failed"},
    "queued by another scheduler": {"queued_by_job_id": 99_999},
}


@pytest.mark.parametrize("change", STALE.values(), ids=[name.replace(" ", "_") for name in STALE])
def test_a_hand_over_that_no_longer_stands_makes_no_pod(scheduler: Scheduler, change: dict) -> None:
    """The database changes after the hand-over and before the pod is built."""
    dag_id = f"stale_{list(STALE.values()).index(change)}"
    scheduler.make_tasks(1, dag_id=dag_id)
    if "id" in change:
        change = {**change, "id": type(scheduler.ti(dag_id).id)(change["id"])}
    scheduler.queue(dag_id=dag_id)
    before = scheduler.requests("create pods")
    scheduler.write(dag_id, **change)
    scheduler.beat()
    assert scheduler.told(dag_id) == []
    scheduler.settle(dag_id)
    scheduler.beat()
    assert scheduler.told(dag_id) == []
    assert not scheduler.executor.running
    assert not scheduler.cluster.workers(dag_id)
    assert scheduler.requests("create pods") == before


def test_a_task_whose_run_is_gone_makes_no_pod(scheduler: Scheduler) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    scheduler.make_tasks(1, dag_id="gone")
    scheduler.queue(dag_id="gone")
    with create_session() as session:
        session.execute(delete(TaskInstance).where(TaskInstance.dag_id == "gone"))
    scheduler.beat()
    scheduler.settle("gone")
    assert not scheduler.cluster.workers("gone")
    assert not scheduler.executor.running


# ---- taking back


def test_a_task_is_taken_back_before_its_pod_is_created(start: Start, cluster: Cluster) -> None:
    scheduler = start()
    cluster.fault("quota", pods=0)
    scheduler.hand_over("early", 3)
    scheduler.until(lambda: len(scheduler.executor.running) == 3)
    scheduler.executor.revoke_task(ti=scheduler.ti("early", 1))
    assert len(scheduler.executor.running) == 2
    scheduler.settle("early", 1)
    cluster.fault("lift-quota")
    scheduler.until_running("early", 2)
    assert {pod["metadata"]["labels"]["map_index"] for pod in cluster.workers("early")} == {"0", "2"}
    assert scheduler.told("early", 1) == []


def test_a_task_is_taken_back_from_the_queue(scheduler: Scheduler) -> None:
    scheduler.make_tasks(1, dag_id="in_queue")
    scheduler.queue(dag_id="in_queue")
    executor, workload = scheduler.executor, scheduler._waiting.pop()
    executor.queue_workload(workload, session=None)
    executor.revoke_task(ti=scheduler.ti("in_queue"))
    assert not executor.queued_tasks
    scheduler.beat()
    assert not scheduler.jobs("in_queue")


def test_a_pending_and_a_running_pod_are_removed(scheduler: Scheduler) -> None:
    scheduler.hand_over("pending", executor_config=fated("stuck"))
    scheduler.run("running")
    scheduler.until(lambda: scheduler.cluster.phases("pending")["Pending"] == 1)
    for dag_id in ("pending", "running"):
        scheduler.executor.revoke_task(ti=scheduler.ti(dag_id))
    assert not scheduler.executor.running
    for dag_id in ("pending", "running"):
        scheduler.until_gone(dag_id)
        assert scheduler.told(dag_id) == []


def test_a_requeue_at_once_waits_for_the_first_pod_to_go(scheduler: Scheduler) -> None:
    """Same id, same try; the first pod takes its time to end. Two workers at once would run the task twice."""
    cluster = scheduler.cluster
    scheduler.hand_over("again")
    scheduler.until_running("again")
    first = cluster.only("again")["metadata"]
    # A finalizer keeps the deleted pod in sight until the test lets it go, as a long grace period would.
    name = first["name"]
    cluster.call(
        "PATCH",
        cluster.path(name),
        {"metadata": {"finalizers": ["example.com/slow"]}},
        content_type="application/merge-patch+json",
    )
    scheduler.executor.revoke_task(ti=scheduler.ti("again"))
    scheduler.requeue("again")
    scheduler.until(lambda: bool(cluster.only("again")["metadata"].get("deletionTimestamp")))
    assert len(scheduler.executor.running) == 1
    scheduler.beat_for(0.5)  # there is nothing to wait for: no second pod may come
    assert [pod["metadata"]["uid"] for pod in cluster.workers("again")] == [first["uid"]]
    cluster.call(
        "PATCH",
        cluster.path(name),
        {"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )
    scheduler.until(lambda: [pod["metadata"]["uid"] for pod in cluster.workers("again")] not in ([], [first["uid"]]))
    scheduler.until_running("again")
    scheduler.write("again", state="success")
    cluster.end_pod(cluster.only("again"))
    scheduler.until_told("again", "success")
    scheduler.until_gone("again")


def test_requeued_many_times_in_a_row_one_pod_at_a_time(scheduler: Scheduler) -> None:
    cluster = scheduler.cluster
    scheduler.hand_over("restless")
    alive = []
    for _ in range(5):
        for _ in range(2):  # at once, and once more when its pod may have been made
            scheduler.executor.revoke_task(ti=scheduler.ti("restless"))
            scheduler.requeue("restless")
            scheduler.beat()
            alive.append(len(cluster.workers("restless")))
        scheduler.until_running("restless")

    def only_the_last() -> bool:
        alive.append(len(cluster.workers("restless")))
        external = scheduler.ti("restless").external_executor_id
        ids = [pod["metadata"]["annotations"]["shard-executor/submission"] for pod in cluster.workers("restless")]
        return ids == [external] and len(scheduler.jobs("restless")) == 1

    scheduler.until(only_the_last)
    assert max(alive) <= 1
    scheduler.write("restless", state="success")
    cluster.end_pod(cluster.only("restless"))
    scheduler.until_told("restless", "success")
    scheduler.until_gone("restless")


def test_pods_of_a_task_that_it_does_not_know_are_removed(scheduler: Scheduler, start: Start) -> None:
    """A scheduler takes back a task of which it lost sight; a pod of another task stays."""
    cluster = scheduler.cluster
    scheduler.run("lost")
    scheduler.run("lost_not")
    stranger = start(where=cluster)
    stranger.executor.revoke_task(ti=scheduler.ti("lost"))
    scheduler.until(lambda: not cluster.workers("lost"), "its pod has been removed")
    assert cluster.phases("lost_not")["Running"] == 1
    for dag_id in ("lost", "lost_not"):
        scheduler.executor.revoke_task(ti=scheduler.ti(dag_id))
        scheduler.until_gone(dag_id)


def test_a_requeue_after_taking_back_the_unknown_keeps_its_pod(scheduler: Scheduler, start: Start) -> None:
    """The new pod has the same task instance, id and try as the one that is to go."""
    cluster = scheduler.cluster
    scheduler.run("known")
    other = start(where=cluster)
    other.run("warm")  # its builder has started: the next pod is made at once
    scheduler.write("known", state="queued")
    other.executor.revoke_task(ti=scheduler.ti("known"))
    other.requeue("known")
    old = cluster.only("known")["metadata"]["uid"]
    uids: set[str] = set()

    def old_is_gone() -> bool:
        now = {pod["metadata"]["uid"] for pod in cluster.workers("known")}
        uids.update(now)
        return bool(now) and old not in now

    other.until(old_is_gone, "the old pod is gone and the new one is there")
    other.beat_for(1.5)  # longer than the steward's turn
    assert len(uids) == 2
    assert cluster.phases("known")["Running"] == 1
    (job,) = other.jobs("known")
    assert job.launches == 0
    other.executor.revoke_task(ti=other.ti("known"))
    scheduler.executor.revoke_task(ti=other.ti("known"))
    other.until_gone("known")
    other.executor.revoke_task(ti=other.ti("warm"))
    other.until_gone("warm")


def test_taking_back_never_raises_while_the_server_is_away(scheduler: Scheduler) -> None:
    cluster = scheduler.cluster
    scheduler.run("away", 2)
    unknown = scheduler.ti("away", 1)
    with cluster.trouble("error", code=503):
        scheduler.executor.revoke_task(ti=scheduler.ti("away", 0))
        unknown.try_number = 7
        scheduler.executor.revoke_task(ti=unknown)
        scheduler.beat_for(1.5)
        assert len(scheduler.executor.running) == 1
    scheduler.until(lambda: len(cluster.workers("away")) == 1)
    scheduler.executor.revoke_task(ti=scheduler.ti("away", 1))
    scheduler.until_gone("away")
