"""Everything that a started ShardExecutor owns: shards, builder, and the threads that work beside the scheduler's."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from shard_executor.airflow import adoption, database
from shard_executor.airflow.book import Book, Job, TiKey
from shard_executor.airflow.builds import Builds
from shard_executor.airflow.clerk import Clerk, Ended, Running, submission_of
from shard_executor.airflow.cluster import Listed, list_pods
from shard_executor.airflow.generation import BuildError, PodFactory
from shard_executor.airflow.masking import masker
from shard_executor.airflow.metrics import Metrics, airflow_stats
from shard_executor.airflow.options import Options, credential_source, generation_settings
from shard_executor.airflow.results import QUEUED, RESTARTING, RUNNING, Policy
from shard_executor.airflow.steward import Steward
from shard_executor.airflow.words import event_extra, short_info
from shard_executor.supervisor import Report, ShardStats, Submission, Supervisor, SupervisorConfig
from shard_executor.supervisor.config import NAMESPACE

log = logging.getLogger(__name__)

END_LIMIT = 10.0  # seconds given to creates that are in flight
WORKER_CONTAINER = "base"
_WAITING_STATES = frozenset({QUEUED, RUNNING, RESTARTING})


class _Door(Supervisor):
    """A supervisor that several threads submit to."""

    def __init__(self, config: SupervisorConfig) -> None:
        super().__init__(config)
        self._door = threading.Lock()

    def submit(self, submission: Submission) -> None:
        with self._door:
            super().submit(submission)

    def is_open(self, ticket: str) -> bool:
        """Whether a reported ticket's pod may still be there: a revoked one is reported when its deletion begins."""
        return ticket in self._pump.ledger.tickets


class Engine:
    """See the module. Constructing starts nothing.

    Args:
        options: see `Options`.
        book: the open jobs.
        news: where the scheduler finds results.
        owner: value of the label airflow-worker.
        job_id: of the scheduler, None where there is none.
        sign: a fresh token for a task instance's id.
        team_name: for the metrics' tags.
    """

    def __init__(
        self,
        options: Options,
        book: Book,
        news: deque[Running | Ended],
        *,
        owner: str,
        job_id: int | None,
        sign: Callable[[str], str | None],
        team_name: str | None,
    ) -> None:
        self.options = options
        self.owner = owner
        self.book = book
        self.job_id = job_id
        self.metrics = Metrics(airflow_stats(), team_name)
        self._masker = masker()
        self._source = credential_source(options)
        self._factory = PodFactory(generation_settings(options, owner))
        self._builds = Builds(book, self._factory, database.queued_rows, sign, self.watches, job_id)
        self._clerk = Clerk(
            book,
            Policy(
                options.pod_launch_failure_retries,
                options.excluded_container_reasons,
                options.disruption_policy == "resubmit",
                job_id,
            ),
            database.rows_by_key,
            database.reset_disrupted,
            self._words,
            news,
        )
        self._supervisor = _Door(self._config())
        self._steward = Steward(
            self._source.current,
            self._places,
            options.instance,
            owner,
            self._keeps,
            lambda: database.live_schedulers(options.scheduler_health_check_threshold),
            waiting_for_a_pod,
            lambda: {job.submission_id for job in book.jobs() if not job.revoked},
            options.orphaned_check_interval,
        )

    def _config(self) -> SupervisorConfig:
        options = self.options
        policy: dict[str, Any] = {
            # What failed before its task began is decided by the task instance's state, not by the pod's.
            "launch_failure_retries": 0,
            "create_timeout": options.create_timeout,
            "start_timeout": options.start_timeout,
            "fatal_reasons": list(options.fatal_reasons),
        }
        return SupervisorConfig(
            instance=options.instance,
            owner=self.owner,
            namespace=options.namespace,
            namespaces=options.namespaces,
            all_namespaces=options.all_namespaces,
            credentials=self._source,
            shards=options.shards,
            delete_pods=options.delete_worker_pods,
            delete_failed_pods=options.delete_worker_pods and options.delete_worker_pods_on_failure,
            delete_options=options.delete_options,
            log_tail_lines=options.log_tail_lines,
            request_timeout=options.request_timeout,
            policy=policy,
            window=options.window,
            selector={adoption.OWNER_LABEL: self.owner},
            worker_container=WORKER_CONTAINER if options.worker_container_decides else None,
            build=self._builds.want,
        )

    def _keeps(self, succeeded: bool) -> bool:
        options = self.options
        return not (options.delete_worker_pods and (succeeded or options.delete_worker_pods_on_failure))

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The watched namespaces, in words."""
        return ("all",) if self.options.all_namespaces else self._supervisor.config.watched

    @property
    def _places(self) -> tuple[str | None, ...]:
        """Where pods are looked for; None is the whole cluster."""
        return (None,) if self.options.all_namespaces else self._supervisor.config.watched

    def watches(self, namespace: str) -> bool:
        """Whether pods of this namespace are watched; one that cannot be never is."""
        if self.options.all_namespaces:
            return NAMESPACE.fullmatch(namespace) is not None
        return namespace in self._supervisor.config.watched

    def start(self) -> None:
        """Starts the shards, the builder and the threads.

        Raises:
            CredentialError: no usable credentials; nothing has been started.
            OSError: a shard could not be started.
        """
        self._supervisor.start()
        try:
            self._factory.start()
        except BuildError as error:
            log.warning("%s; it is tried again when a pod is to be built", error)
        self._builds.start(self._supervisor)
        self._clerk.start(self._supervisor)
        self._steward.start()

    def end(self) -> None:
        """Ends all of it; pods are left as they are."""
        self._steward.end()
        self._builds.end()
        self._supervisor.end(END_LIMIT)
        self._clerk.end()
        self._factory.end()

    # ---- for the executor: nothing here waits

    def submit(self, submission: Submission) -> None:
        self._supervisor.submit(submission)

    def acknowledge(self, ticket: str) -> None:
        self._supervisor.acknowledge(ticket)

    def revoke(self, ticket: str) -> None:
        self._supervisor.revoke(ticket)

    def is_open(self, ticket: str) -> bool:
        """Whether the pod of a ticket that has ended may still be there."""
        return self._supervisor.is_open(ticket)

    def remove_pods_of(self, ti_key: TiKey, ti_id: str) -> None:
        """Removes the pods of a task instance that has no job here."""
        self._steward.remove_pods_of(adoption.labels_of(ti_key), ti_key, ti_id)

    def is_leaving(self, ti_key: TiKey) -> bool:
        """Whether pods that `remove_pods_of` is to remove may still be there."""
        return self._steward.is_leaving(ti_key)

    def stats(self) -> list[ShardStats]:
        return self._supervisor.stats()

    def observe(self) -> None:
        """Takes note of the shards' counters."""
        self.metrics.observe(self._supervisor.stats())

    def publish(self) -> None:
        """Sends the metrics, and says again if the shards cannot go on."""
        failure = self._supervisor.failure
        if failure is not None:
            log.error("no task can be run: %s", failure)
        self.metrics.publish(self._supervisor.stats(), failure=failure)

    def _words(self, report: Report) -> tuple[str, str]:
        return short_info(report, self._masker), event_extra(report, self._masker)

    # ---- for adoption, which waits within its limit

    def list_orphaned_pods(self, owners: Collection[str], limit: float) -> Listed:
        """The pods that dead schedulers left, without those that succeeded: their task instances have ended."""
        selector = adoption.owned_selector(owners)
        return list_pods(self._source.current(), self._places, selector, "status.phase!=Succeeded", limit)

    def adopt(self, job: Job, pod: Any) -> None:
        """Lets the shards follow a pod that is there, and label it as ours."""
        submission = submission_of(job)
        self._supervisor.submit(
            Submission(
                ticket=submission.ticket,
                bin=submission.bin,
                namespace=pod.namespace,
                name_stem=submission.name_stem,
                submission_id=submission.submission_id,
                body=None,
                priority=0,
                attempt=job.attempt,
                uid=pod.uid,
                began=job.began,
                pod=pod.name,
                adopt_labels=adoption.adopting_labels(self.owner, self.options.instance, job.bin),
                adopt_annotations=adoption.adopting_annotations(job.submission_id, job.attempt),
            )
        )


def waiting_for_a_pod(keys: Collection[TiKey]) -> set[TiKey]:
    """Which of these task instances are in a state that a pod's end decides about."""
    waiting: set[TiKey] = set()
    ordered = sorted(keys)
    for start in range(0, len(ordered), database.BATCH):
        batch = ordered[start : start + database.BATCH]
        rows = database.rows_by_key(batch)
        for key in batch:
            row = rows.get(key[:4])
            if row is not None and row.try_number == key[4] and row.state in _WAITING_STATES:
                waiting.add(key)
    return waiting
