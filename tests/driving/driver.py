"""Does to one executor what Airflow's scheduler does: hand over workloads, heartbeat, take events, beat as a job.

Runs in a process of its own, in the environment of a `home.Home`: importing this imports Airflow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
from airflow.executors.executor_loader import ExecutorLoader
from airflow.executors.workloads import ExecuteTask
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import event, select, update
from sqlalchemy.orm import joinedload, selectinload

try:
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.sqlalchemy import random_db_uuid
except ImportError:  # before Airflow 3.2 one class does both, and nothing is assigned before the hand-over
    from airflow.serialization.serialized_objects import SerializedDAG

    DagSerialization = SerializedDAG

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
TASK_ID = "work"
_JOB_BEAT = 5.0  # seconds, as [scheduler] job_heartbeat_sec
_ENDED = ("success", "failed")


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat: when, seconds it took, seconds of CPU of the thread, workloads handed over just before it, tasks
    that the executor counts as running after it, and events it left."""

    at: float
    seconds: float
    cpu: float
    handed: int
    running: int
    events: int


@dataclass(slots=True)
class Pauses:
    """The rest of the scheduler's loop, in seconds.

    Args:
        loop: after every heartbeat, for what else the loop does.
        idle: where nothing was handed over and no event came, as ``[scheduler] scheduler_idle_sleep_time``.
    """

    loop: float = 0.01
    idle: float = 0.1


@dataclass(slots=True)
class Driver:
    """A scheduler without scheduling. Constructing starts nothing and touches no database.

    Args:
        per_loop: workloads handed over at most before one heartbeat, as ``[scheduler] max_tis_per_query``.
        pauses: between heartbeats.
        process_events: lets the scheduler's own code process the events and write the task event log, as it would;
            without, events are only taken.
    """

    per_loop: int = 64
    pauses: Pauses = field(default_factory=Pauses)
    process_events: bool = True
    executor: Any = None
    job_id: int = 0
    beats: list[Beat] = field(default_factory=list)
    events: list[tuple[int, str, Any]] = field(default_factory=list)  # map index, state, info
    ended: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    _waiting: list[ExecuteTask] = field(default_factory=list)
    _next_job_beat: float = 0.0
    _taken: int = 0

    def make_job(self) -> None:
        """Writes the row of a live scheduler, and loads the configured executor for it."""
        now = datetime.now(UTC)
        with create_session() as session:
            job = Job(job_type="SchedulerJob", state="running", start_date=now, latest_heartbeat=now, hostname="driver")
            session.add(job)
            session.flush()
            self.job_id = job.id
        self._next_job_beat = time.monotonic() + _JOB_BEAT
        self.executor = ExecutorLoader.init_executors()[0]
        take = self.executor.get_event_buffer

        def recording(*args: Any) -> Any:
            found = take(*args)
            self._taken = len(found)
            for key, (state, info) in found.items():
                self._record(key.map_index, str(getattr(state, "value", state)), info)
            return found

        self.executor.get_event_buffer = recording

    def _record(self, index: int, state: str, info: Any) -> None:
        self.events.append((index, state, info))
        if state in _ENDED:
            self.ended[index].append(state)

    def make_tasks(self, count: int, *, dag_id: str = "driven", **arguments: Any) -> None:
        """Writes a DAG with one mapped task and a run of it, all task instances queued by this scheduler.

        Args:
            count: how many task instances; their map indexes are 0 to count - 1.
            dag_id: of the DAG; one call for each.
            arguments: further arguments of the operator, such as ``executor_config``.
        """
        with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            commands = [f"echo {number}" for number in range(count)]
            BashOperator.partial(task_id=TASK_ID, **arguments).expand(bash_command=commands)
        dag.fileloc = __file__  # its code is stored, so it must be a file
        dag.relative_fileloc = "driven.py"
        now = datetime.now(UTC)
        with create_session() as session:
            session.merge(DagBundleModel(name="driven"))
            session.flush()
            SerializedDAG.bulk_write_to_db("driven", None, [dag], session=session)
            data = DagSerialization.to_dict(dag)
            SerializedDagModel.write_dag(LazyDeserializedDAG(data=data), "driven", session=session)
            session.flush()
            DagSerialization.from_dict(data).create_dagrun(
                run_id=RUN_ID,
                run_after=now,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
            session.flush()
            queued = {"state": "queued", "try_number": 1, "queued_by_job_id": self.job_id, "queued_dttm": now}
            if self.executor.pre_assigns_external_executor_id:
                queued["external_executor_id"] = random_db_uuid()
            session.execute(update(TaskInstance).where(TaskInstance.dag_id == dag_id).values(**queued))

    def queue(self, *, dag_id: str = "driven", indexes: Sequence[int] | None = None) -> int:
        """Makes the workloads of queued task instances; they are handed over by the next heartbeats.

        Returns: how many.
        """
        with create_session() as session:
            query = (
                select(TaskInstance)
                .where(TaskInstance.dag_id == dag_id, TaskInstance.state == "queued")
                .options(joinedload(TaskInstance.dag_run), selectinload(TaskInstance.dag_model))
                .order_by(TaskInstance.map_index)
            )
            if indexes is not None:
                query = query.where(TaskInstance.map_index.in_(indexes))
            generator = self.executor.jwt_generator
            made = [ExecuteTask.make(instance, generator=generator) for instance in session.scalars(query)]
        self._waiting.extend(made)
        return len(made)

    def start(self) -> None:
        """Starts the executor."""
        self.executor.job_id = self.job_id
        self.executor.callback_sink = DatabaseCallbackSink()
        self.executor.start()

    def end(self) -> None:
        """Ends the executor as a scheduler does that stops."""
        self.executor.end()

    def beat(self) -> Beat:
        """One turn of the scheduler's loop, without the pause at its end."""
        # As the scheduler: no more than there are slots for.
        count = max(min(self.per_loop, self.executor.slots_available), 0)
        handed, self._waiting = self._waiting[:count], self._waiting[count:]
        for workload in handed:
            self.executor.queue_workload(workload, session=None)
        at, cpu = time.monotonic(), time.thread_time()
        self.executor.heartbeat()
        done, cpu_done = time.monotonic(), time.thread_time()
        running = len(self.executor.running)
        self._taken = 0
        if self.process_events:
            with create_session() as session:
                SchedulerJobRunner.process_executor_events(
                    executor=self.executor, job_id=self.job_id, scheduler_dag_bag=DBDagBag(), session=session
                )
            with create_session() as session:
                SchedulerJobRunner._process_task_event_logs(self.executor._task_event_logs, session)
        else:
            self.executor.get_event_buffer()
            self.executor._task_event_logs.clear()
        if done >= self._next_job_beat:
            self._next_job_beat = done + _JOB_BEAT
            with create_session() as session:
                session.execute(update(Job).where(Job.id == self.job_id).values(latest_heartbeat=datetime.now(UTC)))
        turn = Beat(at, done - at, cpu_done - cpu, len(handed), running, self._taken)
        self.beats.append(turn)
        return turn

    def beat_until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Loops until something is so, or the time is up.

        Returns: whether it was reached.
        """
        deadline = time.monotonic() + seconds
        while True:
            turn = self.beat()
            if reached():
                return True
            if time.monotonic() >= deadline:
                return False
            idle = not turn.handed and not turn.events
            time.sleep(self.pauses.idle if idle else self.pauses.loop)

    def beat_for(self, seconds: float) -> None:
        """Loops for a while."""
        self.beat_until(lambda: False, seconds)

    def states(self, dag_id: str = "driven") -> dict[int, str]:
        """What the database says: map index -> state."""
        with create_session() as session:
            query = select(TaskInstance.map_index, TaskInstance.state).where(TaskInstance.dag_id == dag_id)
            return {index: str(state) for index, state in session.execute(query)}

    def write_state(self, index: int, state: str, *, dag_id: str = "driven") -> None:
        """Writes a state as the API server would for a worker."""
        with create_session() as session:
            session.execute(
                update(TaskInstance)
                .where(TaskInstance.dag_id == dag_id, TaskInstance.map_index == index)
                .values(state=TaskInstanceState(state))
            )

    def age_job(self, seconds: float) -> None:
        """Lets this scheduler look as if it had not beaten for so long."""
        with create_session() as session:
            past = datetime.now(UTC) - timedelta(seconds=seconds)
            session.execute(update(Job).where(Job.id == self.job_id).values(latest_heartbeat=past))


@contextlib.contextmanager
def counted_queries() -> Iterator[list[tuple[int, str]]]:
    """Collects the statements that this process sends to the database: (identity of the thread, text)."""
    from airflow import settings

    statements: list[tuple[int, str]] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append((threading.get_ident(), statement))

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)
