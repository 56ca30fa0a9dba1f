"""Slots, under load and trouble: never leaked, never negative; every end is told once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from airflow import settings
from airflow_scheduler import OUTCOME, Cluster, Scheduler, Start, fated
from driving.standin import StandIn
from shard_executor.devcluster.kubelet import RUN_SECONDS

TASKS = 600
PARALLELISM = 200
WORKS, RUNS = 0.2, 1.5  # seconds from a pod's start to its worker's report, and to its own end


def slots_are_right(scheduler: Scheduler) -> None:
    executor = scheduler.executor
    taken = len(executor.running) + len(executor.queued_tasks)
    assert executor.slots_available == PARALLELISM - taken
    assert len(executor.running) <= PARALLELISM
    assert executor.running >= executor.book.slots()


def test_slots_through_many_ends_relists_and_a_killed_shard(start: Start, cluster: Cluster) -> None:
    scheduler = start(
        {
            "core.parallelism": str(PARALLELISM),
            "shard_executor.shards": "2",
            "kubernetes_executor.delete_worker_pods_on_failure": "True",
        }
    )
    config = fated("ok")
    config["pod_override"].metadata.annotations[RUN_SECONDS] = str(RUNS)
    failing = fated("fail")
    failing["pod_override"].metadata.annotations[RUN_SECONDS] = str(RUNS)
    assert OUTCOME in config["pod_override"].metadata.annotations
    scheduler.make_tasks(TASKS, dag_id="many", executor_config=config)
    scheduler.make_tasks(30, dag_id="many_fail", executor_config=failing)
    scheduler.queue(dag_id="many")
    scheduler.queue(dag_id="many_fail")
    standin = StandIn(cluster.process.url, cluster.token, Path(settings.engine.url.database), WORKS)
    standin.start()
    try:
        told = lambda: len([one for one in scheduler.seen if one.state in ("success", "failed")])  # noqa: E731
        troubles = [
            lambda: os.kill(scheduler.executor._engine.stats()[0].pid, signal.SIGKILL),
            lambda: cluster.process.fault("compact"),
            lambda: cluster.process.fault("cut-watches"),
            lambda: os.kill(scheduler.executor._engine.stats()[1].pid, signal.SIGKILL),
        ]
        for number, trouble in enumerate(troubles):

            def reached(enough: int = (number + 1) * 100) -> bool:
                slots_are_right(scheduler)
                return told() >= enough

            scheduler.until(reached, "some more ends", 60.0)
            trouble()
        scheduler.until(lambda: told() >= TASKS + 30, "all ends", 60.0)
    finally:
        standin.end()
    assert standin.failure is None
    ends = Counter((one.dag_id, one.index) for one in scheduler.seen if one.state in ("success", "failed"))
    assert set(ends.values()) == {1}
    assert len(ends) == TASKS + 30
    assert set(Counter(scheduler.states("many").values())) == {"success"}
    scheduler.until(lambda: not cluster.workers(), "all pods are gone")
    scheduler.until(lambda: not len(scheduler.executor.book))
    assert scheduler.executor.slots_available == PARALLELISM
    # The workers of failing pods had told success before; each task ran once, none was refused.
    assert standin.counts["refused"] == 0


def test_a_slot_that_was_lost_is_found_again(scheduler: Scheduler) -> None:
    """However a key got into the set, or out of it: the book of open jobs decides, looked at now and then."""
    scheduler.run("audited")
    executor = scheduler.executor
    real = scheduler.ti("audited").key
    executor.running.discard(real)
    executor.running.add(real.with_try_number(9))
    scheduler.until(lambda: executor.running == {real})
    executor.revoke_task(ti=scheduler.ti("audited"))
    scheduler.until_gone("audited")
    assert not executor.running


def test_a_killed_shard_in_the_middle_of_a_creation(start: Start, cluster: Cluster) -> None:
    """Creates that hang when the shard dies have reached the server or not: each task gets one pod."""
    scheduler = start({"core.parallelism": "100"})
    creates = scheduler.requests("create pods")
    scheduler.hand_over("halfway", 40)
    with cluster.trouble("latency", verb="create", ms=400.0):
        scheduler.until(lambda: scheduler.requests("create pods") > creates, "the first creates")
        os.kill(scheduler.executor._engine.stats()[0].pid, signal.SIGKILL)
    scheduler.until_running("halfway", 40)
    indexes = [pod["metadata"]["labels"]["map_index"] for pod in cluster.workers("halfway")]
    assert sorted(map(int, indexes)) == list(range(40))
    assert len(scheduler.executor.running) == 40


@pytest.mark.parametrize("parallelism", [3])
def test_no_more_pods_than_slots(start: Start, cluster: Cluster, parallelism: int) -> None:
    scheduler = start({"core.parallelism": str(parallelism)})
    scheduler.make_tasks(9, dag_id="narrow")
    scheduler.queue(dag_id="narrow")
    done = 0
    while done < 9:
        scheduler.until(lambda: cluster.phases("narrow")["Running"] >= 1)
        assert len(cluster.workers("narrow")) - cluster.phases("narrow")["Succeeded"] <= parallelism
        pod = next(pod for pod in cluster.workers("narrow") if pod["status"].get("phase") == "Running")
        index = int(pod["metadata"]["labels"]["map_index"])
        scheduler.write("narrow", index, state="success")
        cluster.end_pod(pod)
        scheduler.until_told("narrow", "success", index=index)
        done += 1
    assert scheduler.executor.slots_available == parallelism
