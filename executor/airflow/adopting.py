"""try_adopt_task_instances: one bounded look at the cluster, then each task instance is adopted or given back.

What is given back gets a new id at once, and a live worker of it would be cut off. So where the cluster did not answer
in time, nothing is given back whose pod may be alive: such task instances are this scheduler's from then on, and are
looked for again until the cluster answers; Airflow's own limits for queued and silent tasks hold for them as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from sqlalchemy import inspect, select

from shard_executor._fast import bin_of
from shard_executor.airflow import adoption
from shard_executor.airflow.adoption import Orphan
from shard_executor.airflow.book import Job, TiKey
from shard_executor.airflow.cluster import Listed, PodMeta
from shard_executor.airflow.database import BATCH
from shard_executor.airflow.generation.labels import label_value

if TYPE_CHECKING:
    from shard_executor.airflow.engine import Engine
    from shard_executor.airflow.executor import ShardExecutor

AGAIN = 5.0  # seconds between looks at a cluster that did not answer
AGAIN_LIMIT = 300.0  # seconds for which such looks go on


def adopt(executor: ShardExecutor, engine: Engine, tis: Sequence[TaskInstance]) -> list[TaskInstance]:
    """Adopts what has a pod.

    Args:
        executor: whose jobs they become.
        engine: of the executor.
        tis: task instances whose scheduler is dead, locked by the caller.

    Returns:
        Those that have none and are to be scheduled anew.
    """
    with engine.metrics.adopting():
        owners = _owners(tis)
        by_key: dict[TiKey, TaskInstance] = {}
        orphans: list[Orphan] = []
        back: list[TaskInstance] = []
        for ti in tis:
            found = owners.get(str(ti.id))
            if found is None or found[0] is None:
                back.append(ti)
                continue
            owner, try_number, external_id = found
            key = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index, try_number)
            by_key[key] = ti
            if executor.book.of_key(executor.key_of(ti)):
                continue  # adopted by a first call whose transaction was repeated
            orphans.append(Orphan(key, str(ti.id), external_id, ti.state == TaskInstanceState.RUNNING, owner))
        if not orphans:
            return back
        labels = {label_value(str(found[0])) for found in owners.values() if found[0] is not None}
        listed = _list(engine, labels)
        pairs, without = adoption.match(orphans, listed.pods, engine.options.instance, engine.options.deployment)
        for orphan, pod in pairs:
            _take_over(executor, engine, orphan, pod, executor.key_of(by_key[orphan.ti_key]))
        if not listed.problems:
            back += [by_key[orphan.ti_key] for orphan in without]
        elif without:
            executor.log.error(
                "The cluster could not be asked for the pods of %d task instances of dead schedulers (%s). They are "
                "kept, and looked for again",
                len(without),
                "; ".join(f"{where}: {words}" for where, words in listed.problems.items()),
            )
            keys = {orphan.ti_key: executor.key_of(by_key[orphan.ti_key]) for orphan in without}
            executor.look_again(without, keys, labels)
        executor.log.info("Adopted the pods of %d task instances, gave %d back", len(pairs), len(back))
        return back


def _owners(tis: Sequence[TaskInstance]) -> dict[str, tuple[int | None, int, str | None]]:
    """Scheduler job, try and external id of task instances, by id: one query, where attributes would cost one each."""
    found: dict[str, tuple[int | None, int, str | None]] = {}
    states = [inspect(ti) for ti in tis]
    session = states[0].session if states else None
    if session is None:
        return {str(ti.id): (ti.queued_by_job_id, ti.try_number, ti.external_executor_id) for ti in tis}
    ids = [ti.id for ti in tis]
    for start in range(0, len(ids), BATCH):
        query = select(
            TaskInstance.id, TaskInstance.queued_by_job_id, TaskInstance.try_number, TaskInstance.external_executor_id
        ).where(TaskInstance.id.in_(ids[start : start + BATCH]))
        with session.no_autoflush:
            found.update({str(row[0]): (row[1], row[2], row[3]) for row in session.execute(query)})
    return found


def _list(engine: Engine, labels: set[str]) -> Listed:
    """The pods of dead schedulers, within the limit even where a name server or a plugin for credentials hangs."""
    limit = engine.options.adoption_timeout
    answer: list[Listed] = []

    def ask() -> None:
        try:
            answer.append(engine.list_orphaned_pods(labels, limit))
        except Exception as error:  # noqa: BLE001 - whatever it is becomes a problem that is told, not the scheduler's end
            answer.append(Listed(problems={"the cluster": f"{type(error).__name__}: {error}"}))

    thread = threading.Thread(target=ask, name="shard-executor-adoption", daemon=True)
    thread.start()
    thread.join(limit + 0.5)
    return answer[0] if answer else Listed(problems={"the cluster": f"no answer within {limit:g} s"})


def _take_over(executor: ShardExecutor, engine: Engine, orphan: Orphan, pod: PodMeta, key: Any) -> None:
    submission_id = adoption.submission_of(pod)
    executor.book.remember([submission_id])
    dag_id, task_id, run_id, map_index, _ = orphan.ti_key
    job = Job(
        ticket=f"{submission_id}/adopted.{pod.uid}",
        key=key,
        ti_key=orphan.ti_key,
        ti_id=orphan.ti_id,
        submission_id=submission_id,
        bin=bin_of(dag_id, task_id, run_id, str(map_index)),
        namespace=pod.namespace,
        attempt=adoption.attempt_of(pod),
        began=orphan.began,
        adopted_from=orphan.queued_by_job_id,
        accepted_at=time.monotonic(),
        state="adopted",
        pod=pod.name,
    )
    executor.take_over(job)
    engine.adopt(job, pod)


class LateAdoption:
    """Looks again for pods that could not be asked for in time, away from the scheduler's loop; see `adopt`."""

    def __init__(self, engine: Engine, orphans: list[Orphan], keys: dict[TiKey, Any], labels: set[str]) -> None:
        self._engine = engine
        self._labels = labels
        self._limit = time.monotonic() + AGAIN_LIMIT
        self._due = time.monotonic() + AGAIN
        self._asking: threading.Thread | None = None
        self._answer: Listed | None = None
        self.orphans = orphans
        self.keys = keys

    def turn(self, executor: ShardExecutor, now: float) -> bool:
        """Called by `sync`; False when there is nothing more to look for."""
        answer = self._answer
        if answer is not None:
            self._answer, self._asking, self._due = None, None, now + AGAIN
            options = self._engine.options
            pairs, self.orphans = adoption.match(self.orphans, answer.pods, options.instance, options.deployment)
            for orphan, pod in pairs:
                if not executor.book.of_key(self.keys[orphan.ti_key]):
                    _take_over(executor, self._engine, orphan, pod, self.keys[orphan.ti_key])
            if not answer.problems or not self.orphans or now >= self._limit:
                if self.orphans:
                    executor.log.warning(
                        "%d task instances of dead schedulers have no pod; Airflow's limits for queued and silent "
                        "tasks settle them",
                        len(self.orphans),
                    )
                return False
        elif self._asking is None and now >= self._due:
            self._asking = threading.Thread(target=self._ask, name="shard-executor-adoption", daemon=True)
            self._asking.start()
        return True

    def _ask(self) -> None:
        self._answer = _list(self._engine, self._labels)
