"""The executor's questions to Airflow's database, and the one row it changes. Blocking; never on the scheduler's loop.

Each call has a session of its own: a scoped one could be the scheduler's, whose transaction would be committed early.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from airflow.jobs.job import Job as AirflowJob
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.sqlalchemy import with_row_locks
from airflow.utils.state import JobState, TaskInstanceState
from sqlalchemy import select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from shard_executor.airflow.book import TiKey
from shard_executor.airflow.results import Row

log = logging.getLogger(__name__)

BATCH = 200  # rows asked for at once: keeps one statement's parameters within SQLite's old limit of 999
DatabaseError = SQLAlchemyError


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """What a create needs to know of its task instance."""

    state: str | None
    try_number: int
    queued_by_job_id: int | None
    external_executor_id: str | None
    logical_date: datetime | None


def _current(query: Any) -> Any:
    # Airflow 3.4 keeps earlier tries in the same table and marks the rows that count.
    working_set = getattr(TaskInstance, "working_set", None)
    return query if working_set is None else query.where(working_set.is_(True))


def _id_value(ti_id: str) -> Any:
    """The id as the column's own type, so that its index is used: a native Uuid from Airflow 3.2 on, a text before."""
    try:
        kind = TaskInstance.id.type.python_type
    except NotImplementedError:
        kind = str
    return UUID(ti_id) if kind is UUID else ti_id


def queued_rows(ti_ids: Sequence[str]) -> dict[str, QueuedRow]:
    """The task instances of these ids, at most `BATCH`, by id; one that is gone is missing.

    Raises:
        DatabaseError: the database did not answer.
    """
    query = (
        select(
            TaskInstance.id,
            TaskInstance.state,
            TaskInstance.try_number,
            TaskInstance.queued_by_job_id,
            TaskInstance.external_executor_id,
            DagRun.logical_date,
        )
        .join(DagRun, (TaskInstance.dag_id == DagRun.dag_id) & (TaskInstance.run_id == DagRun.run_id))
        .where(TaskInstance.id.in_([_id_value(ti_id) for ti_id in ti_ids]))
    )
    with create_session(scoped=False) as session:
        return {str(row[0]): QueuedRow(*row[1:]) for row in session.execute(_current(query))}


def rows_by_key(keys: Collection[TiKey]) -> dict[tuple[str, str, str, int], Row]:
    """The task instances of these keys as they are now, by the key without its try.

    By key and not by id: clearing a task instance changes its id and then waits for news of the old key.

    Raises:
        DatabaseError: the database did not answer.
    """
    found: dict[tuple[str, str, str, int], Row] = {}
    columns = (TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.run_id, TaskInstance.map_index)
    query = select(
        *columns,
        TaskInstance.id,
        TaskInstance.state,
        TaskInstance.try_number,
        TaskInstance.queued_by_job_id,
        TaskInstance.external_executor_id,
    ).where(tuple_(*columns).in_([key[:4] for key in keys]))
    with create_session(scoped=False) as session:
        for row in session.execute(_current(query)):
            state = str(row[5].value if isinstance(row[5], TaskInstanceState) else row[5]) if row[5] else None
            found[row[0], row[1], row[2], row[3]] = Row(str(row[4]), state, *row[6:])
    return found


def live_schedulers(threshold: float) -> set[str]:
    """Ids of the scheduler jobs that have had a heartbeat within `threshold` seconds.

    Raises:
        DatabaseError: the database did not answer.
    """
    cutoff = datetime.now(UTC) - timedelta(seconds=threshold)
    query = select(AirflowJob.id).where(
        AirflowJob.job_type == "SchedulerJob",
        AirflowJob.state == JobState.RUNNING,
        AirflowJob.latest_heartbeat >= cutoff,
    )
    with create_session(scoped=False) as session:
        return {str(job_id) for job_id in session.scalars(query)}


def reset_disrupted(ti_key: TiKey, ti_id: str, words: str) -> str | None:
    """Makes a running task instance whose pod was taken away schedulable again, as the scheduler does with orphans.

    Its row is locked first, and changed only if it is still RUNNING under this id: a worker that told its end within
    its grace period is left alone. `max_tries` grows by one, so that no retry is used.

    Args:
        ti_key: dag id, task id, run id, map index, try number.
        ti_id: the id that the pod's worker had.
        words: for the task's event log.

    Returns:
        None if it was reset, else the state in which it was found ("gone" if it was not).

    Raises:
        DatabaseError: the database did not answer; nothing was changed.
    """
    query = select(TaskInstance).where(TaskInstance.id == _id_value(ti_id))
    with create_session(scoped=False) as session:
        ti = session.scalar(with_row_locks(_current(query), of=TaskInstance, session=session))
        if ti is None:
            return "gone"
        if ti.state != TaskInstanceState.RUNNING or ti.try_number != ti_key[4]:
            return str(ti.state)
        session.add(Log(event="resubmitted after a disruption", task_instance=ti.key, extra=words))
        ti.prepare_db_for_next_try(session=session)
        ti.max_tries += 1
        ti.state = None
        ti.queued_by_job_id = None
        ti.external_executor_id = None
        ti.clear_next_method_args()
        session.flush()
    return None
