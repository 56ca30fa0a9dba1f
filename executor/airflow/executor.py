"""ShardExecutor: Airflow's side of it. What the scheduler calls, and nothing that it would have to wait for.

`_process_workloads` hands tasks to the supervisor, `sync` empties a queue of results that have been decided elsewhere.
No call here asks the API server or the database, but `try_adopt_task_instances`, which must answer before it returns.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.executors.base_executor import BaseExecutor
from airflow.utils.state import TaskInstanceState

from shard_executor.airflow import adopting
from shard_executor.airflow.acceptance import fresh_token, job_of
from shard_executor.airflow.adoption import Orphan
from shard_executor.airflow.book import Book, Job, TiKey
from shard_executor.airflow.builds import unwatched
from shard_executor.airflow.clerk import Ended, Running, submission_of
from shard_executor.airflow.coordinators import coordinator_of
from shard_executor.airflow.engine import Engine
from shard_executor.airflow.generation import BuildError, executor_config_parts, namespace_of
from shard_executor.airflow.holding import Holding
from shard_executor.airflow.options import read_options

if TYPE_CHECKING:
    from airflow.cli.cli_config import GroupCommand
    from airflow.models.taskinstance import TaskInstance

OBSERVE_EVERY = 1.0  # seconds between looks at the shards' counters, which a shard that dies takes with it
NO_JOB = "none"  # owner label where no scheduler job is behind it


class ShardExecutor(BaseExecutor):
    """Runs each task as a Kubernetes pod; a drop-in for the KubernetesExecutor. Constructing starts nothing.

    Args:
        parallelism: taken from `[core] parallelism` whatever is given, as the KubernetesExecutor does, so that a
            team's own value holds.
        team_name: the team it works for, where Airflow has teams.
    """

    supports_ad_hoc_ti_run = True
    supports_multi_team = True
    supports_task_instance_uuid = hasattr(BaseExecutor, "get_task_key")
    # The scheduler then stores the submission's id with the queued state, in one transaction.
    pre_assigns_external_executor_id = hasattr(BaseExecutor, "pre_assigns_external_executor_id")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.__class__, "team_name") and not hasattr(self, "team_name"):
            self.team_name = None
        if not hasattr(getattr(self, "conf", None), "getint"):
            # Before Airflow 3.2 there is no configuration of a team's own that knows numbers.
            from airflow.configuration import conf

            self.conf = conf
        self.options = read_options(self.conf, team_name=self.team_name)
        self.parallelism = self.options.parallelism
        self._alias: str | None = None
        self.book = Book()
        self.scheduler_job_id: str | None = None
        self._engine: Engine | None = None
        self._news: deque[Running | Ended] = deque()
        self._told: dict[Hashable, list[str]] = {}  # tickets whose end is in the event buffer
        self._handed: list[str] = []  # tickets whose end the scheduler has taken out of it
        self._holding = Holding(self.book, self._is_open, self._is_leaving, self._submit)
        self._late: list[adopting.LateAdoption] = []
        self._audit_due = 0.0
        self._event_logs: list[Any] = []  # what is in `_task_event_logs`, kept alive
        self._observe_due = 0.0

    # ---- life

    def start(self) -> None:
        """Starts the shards and what works for them.

        Raises:
            OptionError: an option that cannot work.
            CredentialError: no usable credentials for the cluster; nothing has been started.
        """
        if self._engine is not None:
            return
        self._heed_alias()
        self.scheduler_job_id = str(self.job_id)
        engine = Engine(
            self.options,
            self.book,
            self._news,
            owner=self.scheduler_job_id if self.job_id is not None else NO_JOB,
            job_id=_number(self.job_id),
            sign=self._token,
            team_name=self.team_name,
        )
        engine.start()
        self._engine = engine
        coordinator_of("default")  # imports the task SDK, which takes half a second: now, not in a heartbeat
        for note in self.options.notes:
            self.log.warning("%s", note)
        self.log.info(
            "%s started: %d shards, namespaces %s, instance %s",
            type(self).__name__,
            self.options.shards,
            ", ".join(engine.namespaces),
            self.options.instance,
        )

    def _heed_alias(self) -> None:
        """Reads the options again for the name under which this executor was loaded; it is given after construction."""
        alias = getattr(self.name, "alias", None)
        if alias is not None and alias != self._alias:
            self._alias = alias
            self.options = read_options(self.conf, team_name=self.team_name, alias=alias)

    def end(self) -> None:
        """Stops the shards; pods run on and are adopted by the next scheduler. Harmless when it was not started."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        waiting = sum(job.state == "accepted" for job in self.book.jobs())
        if waiting:
            self.log.warning("Executor shutting down: %d tasks have no pod yet and will be scheduled anew", waiting)
        engine.end()

    def terminate(self) -> None:
        """Ends at once; as `end`."""
        self.end()

    # ---- work

    def key_of(self, ti: Any) -> Any:
        """What the event buffer calls a task instance."""
        return self.get_task_key(ti) if self.supports_task_instance_uuid else ti.key

    def _queued(self) -> dict[Any, Any]:
        """The queue of tasks that have been handed over and not been taken up."""
        queues = getattr(self, "executor_queues", None)  # from Airflow 3.4 on, by type of workload
        if queues is None:
            return self.queued_tasks  # type: ignore[no-any-return]
        from airflow.executors.workloads.base import WorkloadType

        return queues[WorkloadType.EXECUTE_TASK]  # type: ignore[no-any-return]

    def _process_workloads(self, workloads: Sequence[Any]) -> None:
        from airflow.executors.workloads import ExecuteTask

        for workload in workloads:
            if not isinstance(workload, ExecuteTask):
                raise RuntimeError(f"{type(self).__name__} cannot run workloads of type {type(workload).__name__}")
            key = self.key_of(workload.ti)
            self._queued().pop(key, None)
            # Before execute_async: that may fail the task, which must free the slot again.
            self.running.add(key)
            self.execute_async(
                key=key, command=[workload], queue=workload.ti.queue, executor_config=workload.ti.executor_config or {}
            )

    def execute_async(
        self, key: Any, command: Any, queue: str | None = None, executor_config: Any | None = None
    ) -> None:
        """Takes a task; its pod is created as soon as the cluster allows. Never blocks.

        Args:
            key: of the task instance.
            command: a list of one ExecuteTask workload.
            queue: of the task; a coordinator declared for it may bring its own template and image.
            executor_config: the task's.
        """
        workload = command[0]
        ti = workload.ti
        ti_key = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number)
        try:
            override, template = executor_config_parts(executor_config)
            namespace = namespace_of(override, self.options.namespace)
            if self._engine is not None and not self._engine.watches(namespace):
                raise unwatched(namespace)
        except BuildError as error:
            self._refused(key, ti_key, error)
            return
        job = job_of(self.options, self.book, workload, key, override, template, namespace, queue)
        waits = self._holding.must_wait(job)
        self.book.add(job)
        self.running.add(key)
        self.event_buffer[key] = (TaskInstanceState.QUEUED, job.submission_id)
        if waits:
            self._holding.hold(job)
        else:
            self._submit(job)

    def _is_open(self, ticket: str) -> bool:
        return self._engine is not None and self._engine.is_open(ticket)

    def _is_leaving(self, ti_key: TiKey) -> bool:
        return self._engine is not None and self._engine.is_leaving(ti_key)

    def _submit(self, job: Job) -> None:
        if self._engine is None:
            raise RuntimeError(f"{type(self).__name__} was given a task before start() or after end()")
        self._engine.submit(submission_of(job))

    def _refused(self, key: Any, ti_key: TiKey, error: BuildError) -> None:
        """Fails a task that no pod can be made for, with the reason where the user looks."""
        words = f"{error.reason}: {error.message}"
        self.log.error("%s.%s run %s: no pod can be made: %s", *ti_key[:3], words)
        self._log_event(key, ti_key, "no pod can be made", words)
        self.fail(key, info=words)

    def _token(self, ti_id: str) -> str | None:
        return fresh_token(getattr(self, "jwt_generator", None), ti_id)

    # ---- results

    def sync(self) -> None:
        """Takes what has been decided since the last call into the event buffer; asks nobody."""
        began = time.perf_counter()
        if self._engine is None:
            return
        for ticket in self._handed:
            self._engine.acknowledge(ticket)
        self._handed.clear()
        if not self._task_event_logs:
            self._event_logs.clear()
        for _ in range(len(self._news)):
            news = self._news.popleft()
            if isinstance(news, Running):
                self._is_running(news.job)
            else:
                self._has_ended(news)
        now = time.monotonic()
        self._holding.turn(now)
        if self._late:
            self._late = [late for late in self._late if late.turn(self, now)]
        if now >= self._observe_due:
            self._observe_due = now + OBSERVE_EVERY
            self._engine.observe()
        if now >= self._audit_due:
            self._audit_due = now + self.options.metrics_interval
            self._audit()
            self._engine.publish()
        self._engine.metrics.sync_took(time.perf_counter() - began)

    def _is_running(self, job: Job) -> None:
        counts = not (job.revoked or job.disowned or self.book.superseded(job))
        if counts and self.book.get(job.ticket) is job:
            self.event_buffer[job.key] = (TaskInstanceState.RUNNING, job.submission_id)

    def _has_ended(self, news: Ended) -> None:
        job = news.job
        open_job = self.book.close(job.ticket)
        if open_job is None:
            return
        if not any(not other.revoked and not other.disowned for other in self.book.of_key(job.key)):
            self.running.discard(job.key)
        if news.state is None or job.revoked or job.disowned:
            if job.revoked:
                self._holding.going(job)
            if self.event_buffer.get(job.key) == (TaskInstanceState.QUEUED, job.submission_id):
                del self.event_buffer[job.key]  # it was found stale before the scheduler had heard of it
            if news.state is not None and self._engine is not None:
                self._engine.acknowledge(job.ticket)
            return
        info = job.submission_id if news.state == TaskInstanceState.RUNNING else news.info
        if news.extra:
            self.log.warning("%s failed: %s", job.words, info)
            self._log_event(job.key, job.ti_key, "pod failed", news.extra)
        self.event_buffer[job.key] = (TaskInstanceState(news.state), info)
        self._told.setdefault(job.key, []).append(job.ticket)

    def _log_event(self, key: Any, ti_key: TiKey, event: str, extra: str) -> None:
        from airflow.models.taskinstancekey import TaskInstanceKey

        dag_id, task_id, run_id, map_index, try_number = ti_key
        named = key if not isinstance(key, tuple) else TaskInstanceKey(dag_id, task_id, run_id, try_number, map_index)
        self.log_task_event(event=event, extra=extra, ti_key=named)
        if self._task_event_logs:
            # The scheduler hands them to SQLAlchemy out of a generator, and SQLAlchemy only refers to them weakly: an
            # object that nobody else holds is gone before it is written, and takes the rest of the batch along.
            self._event_logs.append(self._task_event_logs[-1])

    def get_event_buffer(self, dag_ids: Any = None) -> dict[Any, Any]:
        """The events since the last call, of these DAGs or of all; see BaseExecutor.

        The pods behind them are removed at the next `sync`, when the scheduler has committed what it made of them.
        """
        events: dict[Any, Any] = super().get_event_buffer(dag_ids)
        for key in events:
            self._handed += self._told.pop(key, ())
        return events

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:
        """As BaseExecutor's; a task whose state somebody else decides is not told of again when its pod ends."""
        super().change_state(key, state, info, remove_running)
        if remove_running:
            self.book.mark(key, disowned=True)

    def _audit(self) -> None:
        """Slots are what the book says; a key that got lost or was left over is put right here."""
        slots = self.book.slots()
        if self.running != slots:
            over, lost = self.running - slots, slots - self.running
            self.log.warning("slots put right: %d freed, %d taken", len(over), len(lost))
            self.running -= over
            self.running |= lost

    # ---- revoking

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Takes a task back: no result of it is told, and its pods are removed. Never raises, never waits."""
        key = self.key_of(ti)
        self._queued().pop(key, None)
        self.running.discard(key)
        jobs = self.book.mark(key, revoked=True)
        if self._engine is None:
            return
        for job in jobs:
            if self._holding.drop(job.ticket):
                self.book.close(job.ticket)
            else:
                self._engine.revoke(job.ticket)
        if not jobs:
            self._engine.remove_pods_of((ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number), str(ti.id))

    def cleanup_stuck_queued_tasks(self, tis: list[TaskInstance]) -> list[str]:
        """For an Airflow that asks for it: revokes and fails tasks that were queued for too long."""
        for ti in tis:
            self.revoke_task(ti=ti)
            self.fail(self.key_of(ti))
        return [repr(ti) for ti in tis]

    # ---- adoption

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Takes over the pods of dead schedulers' tasks; see `adopting`.

        Returns:
            The task instances that have no pod and are to be scheduled anew.
        """
        if self._engine is None:
            return tis
        return adopting.adopt(self, self._engine, tis)

    def take_over(self, job: Job) -> None:
        """Opens the job of an adopted pod."""
        self.book.add(job)
        self.running.add(job.key)

    def look_again(self, orphans: list[Orphan], keys: dict[TiKey, Any], labels: set[str]) -> None:
        """Goes on looking for pods that the cluster did not tell of in time."""
        assert self._engine is not None
        self._late.append(adopting.LateAdoption(self._engine, orphans, keys, labels))

    # ---- looking at it

    def get_task_log(self, ti: TaskInstance, try_number: int) -> tuple[list[str], list[str]]:
        """The log of a task while its pod is there; also where the executor was not started."""
        from shard_executor.airflow.logs import task_log

        self._heed_alias()
        return task_log(self.options, ti, try_number, team_name=self.team_name)

    def get_streaming_task_log(self, ti: TaskInstance, try_number: int) -> Any:
        """As `get_task_log`, line by line."""
        from shard_executor.airflow.logs import streaming_task_log

        self._heed_alias()
        return streaming_task_log(self.options, ti, try_number, team_name=self.team_name)

    def debug_dump(self) -> None:
        """Writes what is open to the scheduler's log; the scheduler calls it on SIGUSR2."""
        super().debug_dump()
        now = time.monotonic()
        jobs = self.book.jobs()
        self.log.info(
            "open jobs (%d)\n\t%s",
            len(jobs),
            "\n\t".join(
                f"{job.words}: {job.state} {now - job.accepted_at:.0f} s, pod {job.pod or '-'}" for job in jobs
            ),
        )
        if self._engine is not None:
            self.log.info("shards\n\t%s", "\n\t".join(map(repr, self._engine.stats())))

    @staticmethod
    def get_cli_commands() -> list[GroupCommand]:
        """The commands under `airflow`."""
        from shard_executor.airflow.cli import get_cli_commands

        return get_cli_commands()


def _number(job_id: Any) -> int | None:
    try:
        return int(job_id)
    except (TypeError, ValueError):
        return None
