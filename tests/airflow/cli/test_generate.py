"""`airflow shard-executor generate-dag-yaml`: the pods that a DAG's tasks would get."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Airflow = Callable[..., "subprocess.CompletedProcess[str]"]

DAG = """
from datetime import datetime

from airflow.sdk import DAG, task
from kubernetes.client import models as k8s

OVERRIDE = k8s.V1Pod(
    metadata=k8s.V1ObjectMeta(labels={"team": "red"}, namespace="jobs"),
    spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", image="own:1")]),
)
with DAG("pods", schedule=None, start_date=datetime(2025, 1, 1)):

    @task
    def plain(): ...

    @task(executor_config={"pod_override": OVERRIDE})
    def special(): ...

    @task
    def mapped(number): ...

    plain() >> special() >> mapped.expand(number=[1, 2])
    BROKEN
"""
BROKEN = """
    @task(executor_config={"pod_override": {"spec": 3}})
    def broken(): ...

    broken()
"""


def written(folder: Path) -> dict[str, Any]:
    pods = {}
    for path in (folder / "airflow_yaml_output").iterdir():
        pod = yaml.safe_load(path.read_text())
        pods[pod["metadata"]["annotations"]["task_id"]] = pod
    return pods


@pytest.mark.usefixtures("airflow_database")
def test_every_task_gets_a_file_or_a_reason(airflow: Airflow, tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "pods.py").write_text(DAG.replace("    BROKEN", BROKEN))
    template = tmp_path / "template.yaml"
    template.write_text("kind: Pod\nspec:\n  serviceAccountName: worker\n  containers: [{name: base, image: base:2}]\n")
    done = airflow(
        "shard-executor",
        "generate-dag-yaml",
        "pods",
        "--logical-date",
        "2026-01-02",
        "--output-path",
        str(tmp_path),
        options={"kubernetes_executor__pod_template_file": str(template), "shard_executor__deployment": "production"},
    )
    assert done.returncode == 1, done.stderr
    assert "pods_broken_2026-01-02T00_00_00: no pod can be made: InvalidExecutorConfig" in done.stderr
    pods = written(tmp_path)
    assert pods.keys() == {"plain", "special", "mapped"}
    plain, special = pods["plain"], pods["special"]
    assert plain["spec"]["containers"][0]["image"] == "base:2"
    assert plain["spec"]["serviceAccountName"] == "worker"
    assert plain["metadata"]["namespace"] == "default"
    assert plain["metadata"]["annotations"]["dag_id"] == "pods"
    assert plain["metadata"]["labels"]["shard-executor/instance"] == "production.default"
    assert plain["metadata"]["name"].startswith("pods-plain-")
    assert special["spec"]["containers"][0]["image"] == "own:1"
    assert special["metadata"]["namespace"] == "jobs"
    assert special["metadata"]["labels"]["team"] == "red"
    workload = json.loads(plain["spec"]["containers"][0]["args"][-1])
    assert (workload["ti"]["dag_id"], workload["ti"]["task_id"], workload["ti"]["try_number"]) == ("pods", "plain", 1)
    assert workload["dag_rel_path"] == "pods.py"
    assert workload["bundle_info"]["name"] == "dags-folder"


@pytest.mark.usefixtures("airflow_database")
def test_a_dag_that_is_not_there(airflow: Airflow, tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    done = airflow("shard-executor", "generate-dag-yaml", "absent", "--output-path", str(tmp_path))
    assert done.returncode == 1
    assert "'absent' could not be found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "airflow_yaml_output").exists()


def test_a_wrong_option_is_named(airflow: Airflow) -> None:
    done = airflow("shard-executor", "cleanup-pods", options={"shard_executor__shards": "lots"})
    assert done.returncode == 1
    assert "[shard_executor] shards (AIRFLOW__SHARD_EXECUTOR__SHARDS): 'lots' is not allowed" in done.stderr
    assert "Traceback" not in done.stderr
