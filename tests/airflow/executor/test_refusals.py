"""Tasks that no pod can be made for fail alone, with a reason that a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import models as k8s

from airflow_scheduler import Cluster, Scheduler, Start

ELSEWHERE = {"pod_override": k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace="elsewhere"))}


def fails_alone(scheduler: Scheduler, dag_id: str, *words: str, **arguments: Any) -> None:
    """The DAG's task fails, with these words in the event and in the event log; another task beside it runs."""
    scheduler.make_tasks(1, dag_id=f"{dag_id}_fellow")
    scheduler.make_tasks(1, dag_id=dag_id, **arguments)
    scheduler.queue(dag_id=dag_id)
    scheduler.queue(dag_id=f"{dag_id}_fellow")
    scheduler.until_told(dag_id, "failed")
    for word in words:
        assert word in scheduler.info(dag_id)
        assert word in scheduler.event_log(dag_id)
    assert "None" not in scheduler.info(dag_id)
    assert not scheduler.cluster.workers(dag_id)
    scheduler.settle(dag_id)
    assert scheduler.states(dag_id) == {0: "failed"}
    scheduler.until_running(f"{dag_id}_fellow")
    scheduler.executor.revoke_task(ti=scheduler.ti(f"{dag_id}_fellow"))
    scheduler.until_gone(f"{dag_id}_fellow")
    assert not scheduler.executor.running


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("old", {"KubernetesExecutor": {"image": "x"}}, ["InvalidExecutorConfig", "pod_override"]),
        ("dict_for_a_pod", {"pod_override": {"spec": {}}}, ["InvalidExecutorConfig", "V1Pod", "dict"]),
        ("template_number", {"pod_template_file": 7}, ["InvalidExecutorConfig", "pod_template_file"]),
        ("no_template", {"pod_template_file": "/nowhere/pod.yaml"}, ["/nowhere/pod.yaml"]),
        ("unwatched", ELSEWHERE, ["NamespaceNotWatched", "'elsewhere'", "multi_namespace_mode_namespace_list"]),
    ],
)
def test_a_bad_executor_config(scheduler: Scheduler, name: str, config: dict[str, Any], words: list[str]) -> None:
    fails_alone(scheduler, f"config_{name}", *words, executor_config=config)


def test_a_template_that_is_no_pod(scheduler: Scheduler, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("spec: [")
    fails_alone(scheduler, "broken_template", str(path), executor_config={"pod_template_file": str(path)})


def test_a_pod_that_the_server_refuses(scheduler: Scheduler) -> None:
    """No spec that the API server accepts: a container name in capitals."""
    container = k8s.V1Container(name="Not_A_Name", image="x")
    override = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base"), container]))
    fails_alone(scheduler, "refused", "Not_A_Name", executor_config={"pod_override": override})


def test_a_namespace_that_cannot_be_where_all_are_watched(start: Start) -> None:
    scheduler = start({"kubernetes_executor.multi_namespace_mode": "True"})
    for number, namespace in enumerate(["Not A Namespace", "ünïcode", "x" * 64, "is-not-there"]):
        override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace=namespace))
        fails_alone(scheduler, f"nowhere_{number}", namespace, executor_config={"pod_override": override})


HOOK = """
def pod_mutation_hook(pod):
    if pod.metadata.labels["dag_id"] == "hook_raises":
        raise ValueError("the hook does not like this pod")
    if pod.metadata.labels["dag_id"] == "hook_moves":
        pod.metadata.namespace = "elsewhere"
    if pod.metadata.labels["dag_id"] == "hook_moves_home":
        pod.metadata.namespace = "{other}"
"""


def test_hooks_that_raise_or_move_pods(
    start: Start, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Cluster(cluster.process)
    (tmp_path / "airflow_local_settings.py").write_text(HOOK.format(other=other.namespace))
    monkeypatch.syspath_prepend(str(tmp_path))
    scheduler = start(
        {
            "kubernetes_executor.multi_namespace_mode": "True",
            "kubernetes_executor.multi_namespace_mode_namespace_list": other.namespace,
        }
    )
    fails_alone(scheduler, "hook_raises", "the hook does not like this pod")
    fails_alone(scheduler, "hook_moves", "NamespaceNotWatched", "'elsewhere'")
    scheduler.hand_over("hook_moves_home")
    scheduler.until(lambda: other.phases("hook_moves_home")["Running"] == 1, "the pod runs where the hook moved it")
    assert not cluster.workers("hook_moves_home")
    scheduler.write("hook_moves_home", state="success")
    other.end_pod(other.only("hook_moves_home"))
    scheduler.until_told("hook_moves_home", "success")
    scheduler.until(lambda: not other.workers("hook_moves_home"))


def test_two_namespaces_by_override(start: Start, cluster: Cluster) -> None:
    other = Cluster(cluster.process)
    scheduler = start(
        {
            "kubernetes_executor.multi_namespace_mode": "True",
            "kubernetes_executor.multi_namespace_mode_namespace_list": f"{other.namespace}, {cluster.namespace}",
        }
    )
    override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace=other.namespace))
    scheduler.hand_over("at_home")
    scheduler.hand_over("abroad", executor_config={"pod_override": override})
    scheduler.until_running("at_home")
    scheduler.until(lambda: other.phases("abroad")["Running"] == 1)
    other.end_pod(other.only("abroad"), 1)
    scheduler.write("abroad", state="running")
    scheduler.until_told("abroad", "failed")
