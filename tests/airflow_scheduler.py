"""A scheduler of one's own within the tests' process: several at once, each with an executor, on one database.

The cluster's pods hang until a test ends them, and a task instance's state is what a test writes: so each test decides
what happens first. Importing this imports Airflow.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from airflow.executors.executor_loader import ExecutorLoader
from airflow.executors.executor_utils import ExecutorName
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from kubernetes.client import models as k8s
from sqlalchemy import select, update

from devcluster_api import DevApi
from driving.driver import Driver, Pauses
from shard_executor.devcluster.fault_kinds import KINDS
from shard_executor.devcluster.process import DevClusterProcess

LIMIT = 25.0  # seconds for anything that a test waits for; only reached when something is broken
OUTCOME = "devcluster.shard-executor/outcome"
TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata: {name: replaced, labels: {release: airflow}}
spec:
  restartPolicy: Never
  containers: [{name: base, image: "example/airflow:3"}]
"""


def fated(outcome: str, **metadata: Any) -> dict[str, Any]:
    """An executor_config whose pod meets this outcome in the simulated kubelet; see its sim_outcomes."""
    override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(annotations={OUTCOME: outcome}, **metadata))
    return {"pod_override": override}


@contextmanager
def options(values: Mapping[str, str], team_name: str | None = None) -> Iterator[None]:
    """Airflow's options, or a team's, for what is constructed or started meanwhile: ``section.key`` -> value."""
    prefix = f"AIRFLOW__{team_name}___" if team_name else "AIRFLOW__"
    names = {f"{prefix}{name.replace('.', '__', 1)}".upper(): value for name, value in values.items()}
    with mock.patch.dict("os.environ", names):
        yield


class Cluster(DevApi):
    """One namespace of the development cluster, and what is done to the pods in it."""

    def __init__(self, process: DevClusterProcess) -> None:
        super().__init__(process.url, process.token)
        self.process = process

    def workers(self, dag_id: str | None = None, **more: str) -> list[dict[str, Any]]:
        """The executors' pods that are there now, oldest first: all, or a DAG's, with further labels if need be."""
        wanted = {"kubernetes_executor": "True", **({"dag_id": dag_id} if dag_id else {}), **more}
        found = self.list(labelSelector=",".join(f"{name}={value}" for name, value in wanted.items()))["items"]
        return sorted(found, key=lambda pod: int(pod["metadata"]["resourceVersion"]))

    def phases(self, dag_id: str | None = None) -> Counter[str]:
        """How many of them are in which phase."""
        return Counter(pod["status"].get("phase", "") for pod in self.workers(dag_id))

    def only(self, dag_id: str | None = None, **more: str) -> dict[str, Any]:
        """The one pod there is."""
        (pod,) = self.workers(dag_id, **more)
        return pod

    def end_pod(self, pod: Mapping[str, Any], code: int = 0, reason: str | None = None) -> None:
        """The pod's container ends, as a kubelet would tell it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        why = reason or ("Error" if code else "Completed")
        state = {"terminated": {"exitCode": code, "reason": why, "startedAt": now, "finishedAt": now}}
        record = {"name": "base", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        phase = "Failed" if code else "Succeeded"
        self.set_status(pod["metadata"]["name"], phase=phase, containerStatuses=[record])

    def fault(self, kind: str, **arguments: Any) -> dict[str, Any]:
        """A fault on this namespace only."""
        if KINDS[kind].rule:
            arguments.setdefault("path", f"namespaces/{self.namespace}/pods")
        else:
            arguments.setdefault("namespace", self.namespace)
        return self.process.fault(kind, **arguments)

    @contextmanager
    def trouble(self, kind: str, **arguments: Any) -> Iterator[None]:
        """A fault on this namespace that holds for as long as this lasts; all faults end with it."""
        self.fault(kind, **arguments)
        try:
            yield
        finally:
            self.process.clear_faults()


@dataclass(slots=True)
class Seen:
    """One event as the scheduler took it."""

    dag_id: str
    index: int
    state: str
    info: Any


@dataclass
class Scheduler(Driver):
    """A `Driver` that is given its executor, and remembers events with their DAG."""

    seen: list[Seen] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    pauses: Pauses = field(default_factory=lambda: Pauses(loop=0.01, idle=0.03))
    cluster: Cluster = field(init=False)

    @classmethod
    def of(cls, executor: Any, cluster: Cluster) -> Scheduler:
        """The scheduler of this executor, which is not started yet."""
        scheduler = cls()
        scheduler.cluster = cluster
        now = datetime.now(UTC)
        with create_session() as session:
            job = Job(job_type="SchedulerJob", state="running", start_date=now, latest_heartbeat=now, hostname="driver")
            session.add(job)
            session.flush()
            scheduler.job_id = job.id
        scheduler._next_job_beat = time.monotonic() + 5.0
        scheduler.executor = executor
        take = executor.get_event_buffer

        def recording(*args: Any) -> Any:
            found = take(*args)
            scheduler._taken = len(found)
            for key, (state, info) in found.items():
                scheduler.seen.append(Seen(key.dag_id, key.map_index, str(getattr(state, "value", state)), info))
            return found

        executor.get_event_buffer = recording
        return scheduler

    def hand_over(self, dag_id: str, count: int = 1, **arguments: Any) -> None:
        """A new DAG of so many task instances, all of which are handed over by the next heartbeats."""
        self.make_tasks(count, dag_id=dag_id, **arguments)
        self.queue(dag_id=dag_id)

    def until(self, reached: Callable[[], bool], what: str = "", seconds: float = LIMIT) -> None:
        """Loops until something is so.

        Raises:
            AssertionError: it was not, within the limit.
        """
        assert self.beat_until(reached, seconds), (
            f"not within {seconds:.0f} s: {what or reached}; seen {self.seen[-9:]}"
        )

    def run(self, dag_id: str, count: int = 1, **arguments: Any) -> dict[str, Any]:
        """Hands over a new DAG's task instances and loops until their pods run, and the tasks do.

        Returns: the last of the pods.
        """
        self.hand_over(dag_id, count, **arguments)
        self.until_running(dag_id, count)
        for index in range(count):
            self.write(dag_id, index, state="running")
        return self.cluster.workers(dag_id)[-1]

    def until_running(self, dag_id: str, count: int = 1) -> None:
        """Loops until so many pods run and the executor knows it."""
        self.until(lambda: self.cluster.phases(dag_id)["Running"] == count, f"{count} running pods of {dag_id}")
        began = lambda: sum(job.began for job in self.executor.book.jobs() if job.ti_key[0] == dag_id) >= count  # noqa: E731
        self.until(began, f"the executor knows that the pods of {dag_id} run")

    def until_gone(self, dag_id: str) -> None:
        """Loops until no pod of a DAG is there, and no job of it is open."""
        self.until(lambda: not self.cluster.workers(dag_id), f"no pods of {dag_id}")
        self.until(lambda: not any(job.ti_key[0] == dag_id for job in self.executor.book.jobs()), "no open jobs")

    def until_told(self, dag_id: str, *ends: str, index: int = 0) -> None:
        """Loops until these ends have been told of a task instance, and no others."""
        self.until(lambda: self.told(dag_id, index) == list(ends), f"{dag_id} told as {ends}")

    def deadline(self, seconds: float = LIMIT) -> Callable[..., None]:
        """For a loop of a test's own: each call pauses a little, and fails once the time is over."""
        over = time.monotonic() + seconds

        def pause(length: float = 0.01) -> None:
            assert time.monotonic() < over, f"not within {seconds:.0f} s; seen {self.seen[-9:]}"
            time.sleep(length)

        return pause

    def requests(self, what: str) -> int:
        """How many requests of a kind the cluster has carried out for anybody, such as ``delete pods``."""
        return int(self.cluster.process.stats()["requests"].get(what, 0))

    def settle(self, dag_id: str, index: int = 0) -> None:
        """Loops until the executor has nothing more open of a task instance."""
        self.until(lambda: not self.jobs(dag_id, index), "no open job")

    def jobs(self, dag_id: str, index: int = 0) -> list[Any]:
        """The executor's open jobs of a task instance."""
        return [job for job in self.executor.book.jobs() if job.ti_key[0] == dag_id and job.ti_key[3] == index]

    def told(self, dag_id: str, index: int = 0) -> list[str]:
        """The ends that were told of a task instance."""
        ends = ("success", "failed")
        return [one.state for one in self.seen if (one.dag_id, one.index) == (dag_id, index) and one.state in ends]

    def info(self, dag_id: str, index: int = 0) -> str:
        """The words that came with the last failure."""
        for one in reversed(self.seen):
            if (one.dag_id, one.index, one.state) == (dag_id, index, "failed"):
                return str(one.info)
        raise AssertionError(f"no failure of {dag_id} was told: {self.seen}")

    def event_log(self, dag_id: str) -> str:
        """What the user finds in the tasks' event log."""
        with create_session() as session:
            query = select(Log.event, Log.extra).where(Log.dag_id == dag_id).order_by(Log.id)
            return "\n".join(f"{event}: {extra}" for event, extra in session.execute(query))

    def ti(self, dag_id: str, index: int = 0) -> TaskInstance:
        """The task instance as it is now."""
        with create_session() as session:
            ti = session.scalar(
                select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.map_index == index)
            )
            session.expunge_all()
            assert ti is not None
            return ti

    def write(self, dag_id: str, index: int = 0, **values: Any) -> None:
        """Writes columns of a task instance."""
        with create_session() as session:
            here = (TaskInstance.dag_id == dag_id, TaskInstance.map_index == index)
            session.execute(update(TaskInstance).where(*here).values(**values))

    def requeue(self, dag_id: str, index: int = 0, **values: Any) -> None:
        """Queues a task instance again, as the scheduler would, and hands it over."""
        queued = {"state": "queued", "queued_by_job_id": self.job_id, "queued_dttm": datetime.now(UTC)}
        if self.executor.pre_assigns_external_executor_id:
            from airflow.utils.sqlalchemy import random_db_uuid

            queued["external_executor_id"] = random_db_uuid()
        self.write(dag_id, index, **{**queued, **values})
        self.queue(dag_id=dag_id, indexes=[index])

    def runner(self) -> SchedulerJobRunner:
        """The scheduler's own code, around this executor."""
        with create_session() as session:
            job = session.get(Job, self.job_id)
            session.expunge_all()
        job.__dict__.update(executor=self.executor, executors=[self.executor])  # where Airflow 3.1 looks for them
        with mock.patch.object(ExecutorLoader, "init_executors", return_value=[self.executor]):
            return SchedulerJobRunner(job=job)

    def die(self) -> None:
        """Stops without a word to the cluster; its pods are left, and its row says that it is dead."""
        self.end()
        with create_session() as session:
            session.execute(update(Job).where(Job.id == self.job_id).values(state="failed"))

    def orphans(self, *dag_ids: str) -> list[TaskInstance]:
        """The task instances of these DAGs, for `try_adopt_task_instances`."""
        with create_session() as session:
            found = list(session.scalars(select(TaskInstance).where(TaskInstance.dag_id.in_(dag_ids))))
            session.expunge_all()
        return found

    def adopt(self) -> int:
        """Adopts or resets what dead schedulers left; returns how many were reset."""
        return self.runner().adopt_or_reset_orphaned_tasks()


def make_executor(
    cluster: Cluster,
    template: Path,
    values: Mapping[str, str] | None = None,
    *,
    alias: str | None = None,
    team_name: str | None = None,
) -> tuple[Any, dict[str, str]]:
    """An executor that works in the cluster's namespace, not started, and the options to start it with."""
    from shard_executor import ShardExecutor

    given = {
        "kubernetes_executor.in_cluster": "False",
        "kubernetes_executor.config_file": str(cluster.process.kubeconfig),
        "kubernetes_executor.namespace": cluster.namespace,
        "kubernetes_executor.pod_template_file": str(template),
        "shard_executor.shards": "1",
        "shard_executor.metrics_interval": "0.5",
        **(values or {}),
    }
    with options(given, team_name):
        executor = ShardExecutor(**({"team_name": team_name} if team_name else {}))
    executor.name = ExecutorName("shard_executor.ShardExecutor", alias=alias, team_name=team_name)
    return executor, given


def nothing_under_way() -> None:
    """Ends in the database whatever earlier tests left there: no scheduler is alive, no task waits for one."""
    with create_session() as session:
        session.execute(update(Job).values(state="success"))
        session.execute(
            update(TaskInstance).where(TaskInstance.state.in_(("queued", "running"))).values(state="failed")
        )


Start = Callable[..., Scheduler]
