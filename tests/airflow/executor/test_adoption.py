"""Schedulers that die, are slow, or live side by side: whose pods are whose."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from airflow_scheduler import Cluster, Scheduler, Start, nothing_under_way
from devcluster_api import MERGE, until
from driving.driver import RUN_ID
from shard_executor.airflow import adopting

OURS = ("shard-executor/instance", "shard-executor/bin", "airflow-worker")


@pytest.fixture(autouse=True)
def _alone(airflow_database: None) -> None:
    nothing_under_way()


def labels(pod: dict[str, Any]) -> dict[str, str]:
    return pod["metadata"]["labels"]


def stock_pod(cluster: Cluster, dag_id: str, index: int, job_id: int) -> dict[str, Any]:
    """A pod as the provider's executor makes it, running."""
    base = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="base"),
        spec=k8s.V1PodSpec(restart_policy="Never", containers=[k8s.V1Container(name="base")]),
    )
    pod = PodGenerator.construct_pod(
        dag_id=dag_id,
        task_id="work",
        pod_id=f"{dag_id.replace('_', '-')}-work-{index}",
        try_number=1,
        kube_image="example/airflow:3",
        date=None,
        args=["run"],
        pod_override_object=None,
        base_worker_pod=base,
        namespace=cluster.namespace,
        scheduler_job_id=str(job_id),
        run_id=RUN_ID,
        map_index=index,
    )
    answer = cluster.call("POST", cluster.pods, ApiClient().sanitize_for_serialization(pod))
    assert answer.status == 201, answer
    name = answer.json["metadata"]["name"]
    return until(
        lambda: found if (found := cluster.get(name).json)["status"].get("phase") == "Running" else None, "it runs"
    )


def test_a_dead_schedulers_pods_are_taken_over(start: Start, cluster: Cluster) -> None:
    dead = start()
    dead.run("left", 3)
    dead.write("left", 1, state="queued")  # its pod runs, its worker has not reported yet
    dead.die()
    cluster.end_pod(cluster.only("left", map_index="2"), 137, "OOMKilled")
    heir = start()
    assert heir.adopt() == 0
    assert {heir.ti("left", index).queued_by_job_id for index in range(3)} == {heir.job_id}
    assert len(heir.executor.running) == 3
    heir.until_told("left", "failed", index=2)
    assert "OOMKilled" in heir.info("left", 2)
    heir.until(lambda: len(cluster.workers("left", **{"airflow-worker": str(heir.job_id)})) == 3)
    for index in range(2):
        heir.write("left", index, state="success")
        cluster.end_pod(cluster.only("left", map_index=str(index)))
        heir.until_told("left", "success", index=index)
    heir.until(lambda: len(cluster.workers("left")) == 1)  # the failed one is kept
    assert not heir.executor.running
    assert heir.requests("create pods") >= 3


def test_a_task_without_a_pod_is_given_back(start: Start, cluster: Cluster) -> None:
    dead = start()
    cluster.fault("quota", pods=1)
    dead.hand_over("poor", 2)
    dead.until(lambda: len(cluster.workers("poor")) == 1)
    alive = int(labels(cluster.only("poor"))["map_index"])
    dead.die()
    heir = start()
    before = heir.ti("poor", 1 - alive).id
    assert heir.adopt() == 1
    given_back = heir.ti("poor", 1 - alive)
    assert (given_back.state, given_back.queued_by_job_id) == (None, None)
    assert given_back.id != before
    assert heir.ti("poor", alive).queued_by_job_id == heir.job_id
    assert len(heir.executor.running) == 1


def test_pods_of_the_providers_executor_are_taken_over(start: Start, cluster: Cluster) -> None:
    """The option was switched in the middle of a run."""
    before = start()  # only for its tasks
    before.make_tasks(2, dag_id="switched")
    before.die()
    pods = [stock_pod(cluster, "switched", index, before.job_id) for index in range(2)]
    assert not set(labels(pods[0])) & set(OURS[:2])
    heir = start()
    heir.write("switched", 0, state="running")
    assert heir.adopt() == 0
    heir.until(lambda: len(cluster.workers("switched", **{"airflow-worker": str(heir.job_id)})) == 2)
    for pod in cluster.workers("switched"):
        assert set(labels(pod)) >= set(OURS)
        assert "shard-executor/submission" in pod["metadata"]["annotations"]
    heir.write("switched", 0, state="success")
    cluster.end_pod(pods[0])
    heir.until_told("switched", "success", index=0)
    cluster.end_pod(pods[1], 137, "OOMKilled")  # it never began, and what it was made from is not known here
    heir.until_told("switched", "failed", index=1)
    heir.until(lambda: len(cluster.workers("switched")) == 1)
    assert not heir.executor.running


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("latency", {"ms": 60_000.0}), ("error", {"code": 500}), ("error", {"code": 403}), ("drop", {})],
    ids=["hangs", "500", "403", "resets"],
)
def test_a_server_that_does_not_answer_costs_the_limit_and_no_task(
    start: Start, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, kind: str, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr(adopting, "AGAIN", 0.3)
    dag_id = f"unanswered_{kind}_{arguments.get('code', 0)}"
    dead = start()
    dead.run(dag_id, 2)
    dead.die()
    heir = start({"shard_executor.adoption_timeout": "0.5"})
    ids = {index: heir.ti(dag_id, index).id for index in range(2)}
    with cluster.trouble(kind, verb="list", **arguments):
        began = time.monotonic()
        assert heir.adopt() == 0
        assert time.monotonic() - began < 10  # it would be a minute
        for _ in range(3):
            heir.beat()
        assert [heir.ti(dag_id, index).id for index in range(2)] == list(ids.values())
    heir.until(lambda: len(heir.executor.running) == 2, "taken over once the server answers")
    for index in range(2):
        heir.write(dag_id, index, state="success")
        cluster.end_pod(cluster.only(dag_id, map_index=str(index)))
        heir.until_told(dag_id, "success", index=index)
    heir.until_gone(dag_id)


def test_a_repeated_call_takes_over_once(start: Start, cluster: Cluster) -> None:
    """The scheduler repeats the whole transaction after an error of the database."""
    dead = start()
    dead.run("twice", 2)
    dead.die()
    heir = start()
    orphans = heir.orphans("twice")
    assert heir.executor.try_adopt_task_instances(orphans) == []
    assert heir.executor.try_adopt_task_instances(orphans) == []
    assert len(heir.executor.book) == 2
    assert heir.adopt() == 0
    assert len(heir.executor.book) == 2
    for index in range(2):
        heir.write("twice", index, state="success")
        cluster.end_pod(cluster.only("twice", map_index=str(index)))
        heir.until_told("twice", "success", index=index)


def test_two_live_schedulers_leave_each_others_pods_alone(start: Start, cluster: Cluster) -> None:
    quick = {"scheduler.orphaned_tasks_check_interval": "1"}
    pair = [start(quick), start(quick)]
    for number, scheduler in enumerate(pair):
        scheduler.run(f"live_{number}", 2)

    def versions() -> dict[str, str]:
        return {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in cluster.workers()}

    before, patches = versions(), pair[0].requests("patch pods")
    over = time.monotonic() + 3.0
    while time.monotonic() < over:
        for scheduler in pair:
            scheduler.beat()
            assert scheduler.adopt() == 0
    assert versions() == before
    assert pair[0].requests("patch pods") == patches
    for number, scheduler in enumerate(pair):
        assert len(scheduler.executor.running) == 2
        for index in range(2):
            scheduler.write(f"live_{number}", index, state="success")
            cluster.end_pod(cluster.only(f"live_{number}", map_index=str(index)))
            scheduler.until_told(f"live_{number}", "success", index=index)


def test_a_scheduler_that_was_slow_loses_its_pods_and_nothing_else(start: Start, cluster: Cluster) -> None:
    slow = start()
    slow.run("slow", 2)
    slow.age_job(120)
    heir = start()
    assert heir.adopt() == 0
    heir.until(lambda: len(cluster.workers("slow", **{"airflow-worker": str(heir.job_id)})) == 2)
    slow.until(lambda: not slow.executor.running, "its slots are free")
    assert slow.executor.slots_available == slow.executor.parallelism
    assert slow.told("slow", 0) == slow.told("slow", 1) == []
    assert cluster.phases("slow")["Running"] == 2
    heir.write("slow", 0, state="success")
    for index in range(2):
        cluster.end_pod(cluster.only("slow", map_index=str(index)), index)
    heir.until_told("slow", "success", index=0)
    heir.until_told("slow", "failed", index=1)
    slow.beat()
    assert slow.told("slow", 0) == slow.told("slow", 1) == []
    # It is alive, and goes on with new tasks.
    slow.run("slow_no_more")
    slow.write("slow_no_more", state="success")
    cluster.end_pod(cluster.only("slow_no_more"))
    slow.until_told("slow_no_more", "success")


def test_a_pod_of_another_deployment_is_not_taken(start: Start, cluster: Cluster) -> None:
    """Two Airflows in one namespace, whose DAGs, runs and scheduler ids are the same."""
    theirs = start({"shard_executor.deployment": "theirs"})
    theirs.run("common")
    theirs.die()
    pod = cluster.only("common")
    ours = start({"shard_executor.deployment": "ours"})
    assert ours.adopt() == 1
    assert cluster.only("common")["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]
    assert not ours.executor.running


def test_an_alias_that_is_new_does_not_matter(start: Start, cluster: Cluster) -> None:
    dead = start()
    dead.run("renamed")
    dead.die()
    heir = start(alias="KubernetesExecutor")
    assert heir.adopt() == 0
    heir.write("renamed", state="success")
    cluster.end_pod(cluster.only("renamed"))
    heir.until_told("renamed", "success")
    heir.until_gone("renamed")


# ---- finished pods that nobody owns


def test_finished_pods_of_dead_schedulers_are_swept(start: Start, cluster: Cluster) -> None:
    delete = {"kubernetes_executor.delete_worker_pods_on_failure": "True"}
    quick = {**delete, "scheduler.orphaned_tasks_check_interval": "1"}
    dead, foreign, live = start(delete), start({**delete, "shard_executor.deployment": "foreign"}), start(delete)
    dead.run("dead", 3)
    foreign.run("foreign")
    live.run("live")
    dead.die()
    foreign.die()
    dead.write("dead", 0, state="success")
    dead.write("dead", 1, state="failed")  # but 2 waits for its pod's end: the pod is its news
    foreign.write("foreign", state="success")
    live.write("live", state="success")
    for pod in cluster.workers():
        failed = labels(pod)["dag_id"] == "dead" and labels(pod)["map_index"] != "0"
        cluster.end_pod(pod, int(failed))
    sweeper = start(quick)
    sweeper.until(lambda: len(cluster.workers("dead")) == 1, "two of the three are swept")
    assert labels(cluster.only("dead"))["map_index"] == "2"
    sweeper.until(lambda: sweeper.executor._engine._steward.swept >= 2)
    sweeper.beat_for(1.5)  # another sweep
    for dag_id in ("foreign", "live"):
        assert cluster.only(dag_id)["metadata"].get("deletionTimestamp") is None
    assert sweeper.adopt() == 0
    sweeper.until_told("dead", "failed", index=2)
    live.until_told("live", "success")
    live.until_gone("live")


def test_kept_pods_of_dead_schedulers_are_marked(start: Start, cluster: Cluster) -> None:
    dead = start()
    dead.run("marked")
    dead.die()
    dead.write("marked", state="success")
    cluster.end_pod(cluster.only("marked"))
    keep = {"kubernetes_executor.delete_worker_pods": "False", "scheduler.orphaned_tasks_check_interval": "1"}
    sweeper = start(keep)
    sweeper.until(lambda: cluster.workers("marked", airflow_executor_done="True"))


def test_a_pod_whose_label_was_changed_by_hand(scheduler: Scheduler) -> None:
    """A pod that leaves the selector without being deleted is somebody else's; nothing is deleted."""
    cluster = scheduler.cluster
    pod = scheduler.run("relabelled")
    name = pod["metadata"]["name"]
    path = cluster.path(name)
    cluster.call("PATCH", path, {"metadata": {"labels": {"airflow-worker": "424242"}}}, content_type=MERGE)
    scheduler.until(lambda: not scheduler.executor.running)
    assert scheduler.told("relabelled") == []
    assert cluster.get(name).json["metadata"].get("deletionTimestamp") is None
    cluster.delete(name)
