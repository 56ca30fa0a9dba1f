"""Several executors of one scheduler, and of teams: each has its own pods."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.executors.base_executor import BaseExecutor

from airflow_scheduler import Cluster, Scheduler, Start, make_executor, options
from driving.driver import RUN_ID


def instance(cluster: Cluster, dag_id: str) -> str:
    return cluster.only(dag_id)["metadata"]["labels"]["shard-executor/instance"]


def test_two_aliases_in_one_process_do_not_touch_each_others_pods(start: Start, cluster: Cluster) -> None:
    """They share the scheduler's id, the namespace and the process."""
    one = start(alias="KubernetesExecutor")
    two = start(
        {"scheduler.orphaned_tasks_check_interval": "1", "kubernetes_executor.delete_worker_pods_on_failure": "True"},
        alias="batch",
        beside=one,
    )
    assert one.job_id == two.job_id
    one.run("of_one", 2)
    two.run("of_two")
    assert {pod["metadata"]["labels"]["airflow-worker"] for pod in cluster.workers()} == {str(one.job_id)}
    assert instance(cluster, "of_two") == "airflow.batch"
    # A finished pod of the first is no business of the second, not even of its sweeps.
    one.write("of_one", 0, state="success")
    cluster.end_pod(cluster.only("of_one", map_index="0"))
    two.beat_for(2.0)
    assert len(cluster.workers("of_one")) == 2
    assert not two.jobs("of_one")
    two.executor.revoke_task(ti=one.ti("of_one", 1))  # a task that the other one has
    two.beat_for(1.5)
    assert cluster.phases("of_one")["Running"] == 1
    assert two.executor.try_adopt_task_instances([]) == []
    two.end()
    one.until_told("of_one", "success", index=0)
    one.write("of_one", 1, state="success")
    cluster.end_pod(cluster.only("of_one", map_index="1"))
    one.until_told("of_one", "success", index=1)
    one.until_gone("of_one")
    assert cluster.phases("of_two")["Running"] == 1


@pytest.mark.skipif(not hasattr(BaseExecutor, "supports_multi_team"), reason="this Airflow has no teams")
def test_a_team_has_an_executor_of_its_own(start: Start, cluster: Cluster) -> None:
    everybody = start()
    team = start(team_name="blue")
    assert repr(team.executor) == "ShardExecutor(parallelism=32, team_name='blue')"
    for scheduler, dag_id in ((everybody, "for_all"), (team, "for_blue")):
        scheduler.run(dag_id)
    assert instance(cluster, "for_all") == "airflow.default"
    assert instance(cluster, "for_blue") == "airflow.blue.default"
    assert not everybody.jobs("for_blue")
    team.write("for_blue", state="success")
    cluster.end_pod(cluster.only("for_blue"))
    team.until_told("for_blue", "success")
    team.until_gone("for_blue")
    assert cluster.phases("for_all")["Running"] == 1


def test_an_executor_without_a_scheduler(start: Start, scheduler: Scheduler) -> None:
    """`dag.test` with an executor: no job, so nothing is stale and nobody else's."""
    alone = start(where=scheduler.cluster)
    alone.executor.end()
    alone.executor.job_id = None
    template = scheduler.executor.options.pod_template_file
    executor, given = make_executor(scheduler.cluster, template)
    with options(given):
        executor.start()
    alone.executor = executor
    try:
        alone.make_tasks(1, dag_id="ad_hoc")
        alone.write("ad_hoc", queued_by_job_id=None, queued_dttm=datetime.now(UTC))
        alone.queue(dag_id="ad_hoc")
        alone.until(lambda: alone.cluster.phases("ad_hoc")["Running"] == 1)
        alone.write("ad_hoc", state="success")
        assert alone.cluster.only("ad_hoc")["metadata"]["annotations"]["run_id"] == RUN_ID
        alone.cluster.end_pod(alone.cluster.only("ad_hoc"))
        alone.until_gone("ad_hoc")
        assert not executor.running
    finally:
        executor.end()
