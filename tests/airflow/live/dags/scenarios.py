"""The DAGs of the scenario tests. Tasks write what they do to a file, and wait for files that the tests make."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import timedelta

from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag, get_current_context, task
from kubernetes.client import models as k8s

RECORDS = os.environ.get("SHARD_EXECUTOR_DEMO_RECORDS", "")
GATES = os.environ.get("SHARD_EXECUTOR_DEMO_GATES", "")
GATE_LIMIT = 180.0
SOON = timedelta(seconds=1)


def record(event, **more):
    ti = get_current_context()["ti"]
    line = {
        "event": event,
        "run": ti.run_id,
        "task": ti.task_id,
        "map_index": ti.map_index,
        "try": ti.try_number,
        "pod": os.environ.get("HOSTNAME"),
        "pid": os.getpid(),
        "time": time.time(),
        **more,
    }
    with open(RECORDS, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line) + "\n")


def wait_for_gate():
    """Until the test opens the gate of all tasks of this run, or of this map index.

    Ends with its parent, the supervisor of the task: on a node the whole container would be gone with that.
    """
    ti = get_current_context()["ti"]
    names = [f"{ti.run_id}.all", f"{ti.run_id}.{ti.map_index}"]
    deadline, parent = time.monotonic() + GATE_LIMIT, os.getppid()
    while not any(os.path.exists(os.path.join(GATES, name)) for name in names):
        if os.getppid() != parent:
            os._exit(1)
        if time.monotonic() > deadline:
            raise TimeoutError(f"none of the gates {names} was opened")
        time.sleep(0.1)


@dag(schedule=None)
def plain():
    @task
    def first():
        record("start")
        record("end")
        return 21

    greeting = k8s.V1EnvVar(name="GREETING", value="from the override")
    override = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"scenario": "plain"}),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", env=[greeting])]),
    )

    @task(executor_config={"pod_override": override})
    def second(number):
        record("start", greeting=os.environ.get("GREETING"), number=number)
        record("end")

    second(first())


@dag(schedule=None)
def retried():
    @task(retries=1, retry_delay=SOON)
    def flaky():
        record("start")
        if get_current_context()["ti"].try_number == 1:
            raise RuntimeError("the first try fails")
        record("end")

    @task(retries=1, retry_delay=SOON)
    def hopeless():
        record("start")
        raise RuntimeError("fails every time")

    flaky()
    hopeless()


@dag(schedule=None)
def mapped():
    @task
    def doubled(number):
        record("start")
        record("end", result=2 * number)

    doubled.expand(number=[0, 1, 2, 3])


class Deferring(BaseOperator):
    def execute(self, context):
        record("start")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="resumed")

    def resumed(self, context, event=None):
        record("end")


@dag(schedule=None)
def deferred():
    Deferring(task_id="deferring")


def poke():
    record("poke")
    ti = get_current_context()["ti"]
    with open(RECORDS) as file:
        lines = [json.loads(line) for line in file]
    return sum(line["run"] == ti.run_id and line["event"] == "poke" for line in lines) >= 2


@dag(schedule=None)
def sensed():
    PythonSensor(task_id="sensing", python_callable=poke, mode="reschedule", poke_interval=1, timeout=170)


@dag(schedule=None)
def held():
    @task(retries=1, retry_delay=SOON)
    def hold():
        record("start")
        print("the task is being held")
        wait_for_gate()
        record("end")

    hold()


@dag(schedule=None)
def fragile():
    @task
    def hold():
        """Has no retries."""
        record("start")
        wait_for_gate()
        record("end")

    hold()


@dag(schedule=None)
def many():
    @task
    def hold(number):
        record("start")
        wait_for_gate()
        record("end")

    hold.expand(number=list(range(6)))


plain()
retried()
mapped()
deferred()
sensed()
held()
fragile()
many()
