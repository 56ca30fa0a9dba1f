"""The demo's DAG: a mapped task, one that succeeds on its second try, one that always fails, one with a pod_override.

A DAG file: it is copied into the demo's dags folder, and read by Airflow only. Each task appends to a file what it
does, so that the demo can compare what really ran with what Airflow says.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import timedelta

from airflow.sdk import dag, get_current_context, task
from kubernetes.client import models as k8s

RECORDS = os.environ.get("SHARD_EXECUTOR_DEMO_RECORDS", "")
MAPPED = int(os.environ.get("SHARD_EXECUTOR_DEMO_MAPPED", "30"))
_SOON = timedelta(seconds=1)


def record(event: str, **more: object) -> None:
    """Appends one line: event, task, map index, try, pod, process and time."""
    found = get_current_context()["ti"]
    line = {
        "event": event,
        "dag": found.dag_id,
        "run": found.run_id,
        "task": found.task_id,
        "map_index": found.map_index,
        "try": found.try_number,
        "pod": os.environ.get("HOSTNAME"),
        "pid": os.getpid(),
        "time": time.time(),
        **more,
    }
    with open(RECORDS, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line) + "\n")


@dag(schedule=None, catchup=False, tags=["demo"])
def shard_executor_demo() -> None:
    """What the demo runs."""

    @task
    def squared(number: int) -> int:
        """One of the mapped tasks."""
        record("start")
        print(f"{number} squared is {number * number}")
        record("end")
        return number * number

    @task(retries=2, retry_delay=_SOON)
    def second_time_lucky() -> None:
        """Fails on its first try."""
        record("start")
        if get_current_context()["ti"].try_number == 1:
            raise RuntimeError("the first try fails on purpose")
        record("end")

    @task(retries=1, retry_delay=_SOON)
    def always_fails() -> None:
        """Fails on both of its tries."""
        record("start")
        raise RuntimeError("fails on purpose, every time")

    greeting = k8s.V1EnvVar(name="DEMO_GREETING", value="from the override")
    override = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"demo": "override"}),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", env=[greeting])]),
    )

    @task(executor_config={"pod_override": override})
    def with_override() -> None:
        """Sees the variable that its pod_override brings."""
        record("start", greeting=os.environ.get("DEMO_GREETING"))
        record("end")

    @task(trigger_rule="all_done")
    def total(squares: list[int]) -> int:
        """Adds up what the mapped tasks returned."""
        record("start")
        result = sum(squares)
        record("end", total=result)
        return result

    second_time_lucky()
    always_fails()
    with_override()
    total(squared.expand(number=list(range(MAPPED))))


shard_executor_demo()
