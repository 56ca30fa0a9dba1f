"""One run from checked tasks to its outcome: credentials, preflight, journal, supervisor, job. For `run` and `demo`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from shard_executor.cli.errors import CommandError
from shard_executor.cli.run_settings import INSTANCE_PREFIX, Outcome, RunSettings, new_run_id
from shard_executor.cli.tasklist import TaskList

if TYPE_CHECKING:
    from shard_executor.cli.job import Job
    from shard_executor.cli.preflight import Cluster
    from shard_executor.cli.progress import View
    from shard_executor.cli.results import ResultFile
    from shard_executor.cli.run_book import Opened, RunBook
    from shard_executor.cli.stop import StopRequest
    from shard_executor.cli.tally import Tally
    from shard_executor.core.credentials import Credentials
    from shard_executor.pods.body import PodBuilder
    from shard_executor.supervisor import Supervisor
    from shard_executor.supervisor.credentials import CredentialSource

BEAT_EVERY = 1.0  # seconds between two heartbeats of a shard: what the display shows of it is that old
END_LIMIT = 15.0  # seconds that shard processes have to leave

Beside = Callable[["Supervisor"], AbstractContextManager[object]]


class Session:
    """Everything that stands before a pod is created. Constructing reads nothing."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.run_id = new_run_id() if settings.run_id is None else settings.run_id
        self.instance = INSTANCE_PREFIX + self.run_id
        self.namespace = ""
        self.namespaces: list[str] = []
        self.book: RunBook | None = None
        self._digests: list[str] = []
        self._source: CredentialSource | None = None

    def connect(self, listed: TaskList) -> Cluster:
        """Resolves credentials and namespaces and asks the cluster what the run needs.

        Args:
            listed: its tasks may name namespaces of their own.

        Raises:
            CommandError: says what is missing and what to do next.
        """
        from shard_executor.cli.access import open_access
        from shard_executor.cli.preflight import preflight

        settings = self.settings
        access = open_access(settings.kubeconfig, settings.context, settings.namespace)
        self._source, self.namespace = access.source, access.namespace
        self.namespaces = [self.namespace]
        for task in listed.tasks:
            if task.namespace is not None and task.namespace not in self.namespaces:
                self.namespaces.append(task.namespace)
        return preflight(
            access.credentials,
            self.namespace,
            access.source.description,
            keeps_pods=settings.keep_pods != "never",
            others=self.namespaces[1:],
        )

    def check_images(self, listed: TaskList) -> None:
        """Raises CommandError naming each task, with its line, that would have a container without an image."""
        from shard_executor.pods.task import TaskError
        from shard_executor.pods.template import EMPTY, require_image

        problems = []
        default = self.settings.template or EMPTY
        for task, place in zip(listed.tasks, listed.places, strict=True):
            try:
                require_image(task, listed.templates[task.template] if task.template is not None else default)
            except TaskError as fault:
                problems.append(f"{place}: {fault}")
        if problems:
            raise CommandError(f"{listed.name} has tasks without an image; nothing was created:", problems)

    def builder(self, listed: TaskList) -> PodBuilder:
        """The pod builder for a list in the namespace that `connect` found.

        Raises:
            CommandError: a template is meant for another namespace.
        """
        from shard_executor.pods.body import PodBuilder
        from shard_executor.pods.template import TemplateError

        try:
            return PodBuilder(
                namespace=self.namespace,
                instance=self.instance,
                owner=self.run_id,
                run_id=self.run_id,
                template=self.settings.template,
                templates=listed.templates,
            )
        except TemplateError as fault:
            raise CommandError(str(fault)) from fault

    def open_journal(self) -> RunBook:
        """Opens the run's journal, and holds it until `close`.

        Raises:
            CommandError: it cannot be used, or another process has it.
        """
        from shard_executor.cli.run_book import RunBook

        settings = self.settings
        book = RunBook(settings.journal, self.run_id, self.instance, settings.keep_pods, named=settings.journal_named)
        book.start()
        self.book = book
        return book

    def check_journal(self, listed: TaskList, builder: PodBuilder, cluster: Cluster) -> None:
        """Raises CommandError for a list, namespace or cluster that is not the run's, and says what differs."""
        assert self.book is not None
        self._digests = [builder.digest(task) for task in listed.tasks]
        self.book.check(listed, self._digests, cluster, self.namespace)

    def begin(self, listed: TaskList, cluster: Cluster, results: str | None) -> Opened:
        """Writes the run into its journal and says which tasks are open. The first thing that lasts.

        Args:
            listed: the whole list.
            cluster: as `connect` found it.
            results: absolute path of the results file, if there is one.

        Raises:
            CommandError: the journal cannot be written, or what an earlier process left cannot be sorted out.
        """
        from shard_executor.runs.journal import RunHeader

        assert self.book is not None
        results = results or self.book.results
        header = RunHeader(self.run_id, self.namespace, cluster.host, cluster.namespace_uid, time.time(), results)
        return self.book.open(
            listed,
            self._digests,
            header,
            self._credentials,
            self.namespaces,
            look=not self.settings.fresh,
            retry_failed=self.settings.retry_failed,
        )

    def _credentials(self) -> Credentials:
        if self._source is None:
            raise ValueError("connect() comes first")
        return self._source.current()

    def run(
        self,
        listed: TaskList,
        builder: PodBuilder,
        cluster: Cluster,
        *,
        opened: Opened | None = None,
        results: ResultFile | None,
        on_records: Callable[[list[dict[str, Any]]], None] | None = None,
        view: View,
        stop: StopRequest,
        beside: Beside | None = None,
    ) -> Outcome:
        """Runs the list on the cluster that `connect` found. Blocking; returns when all is done or stopped.

        Args:
            listed, builder, cluster: from the steps before.
            opened: what `begin` returned; None opens a journal in memory.
            results: open, or None.
            on_records: sees the records of tasks that have ended, after they have been written.
            view: shows progress.
            stop: asked to stop by a signal.
            beside: makes a context that is entered when the supervisor has started and left when the job is over.
        """
        from shard_executor.cli.job import Job
        from shard_executor.cli.tally import Tally
        from shard_executor.runs.tries import Tries, ahead_of
        from shard_executor.status.server import StatusServer
        from shard_executor.supervisor import Supervisor, SupervisorConfig
        from shard_executor.supervisor.config import default_shards

        if self._source is None:
            raise ValueError("connect() comes first")
        settings = self.settings
        if opened is None:
            self.open_journal()
            self.check_journal(listed, builder, cluster)
            opened = self.begin(listed, cluster, None)
        assert self.book is not None
        shards = settings.shards or default_shards()
        supervisor = Supervisor(
            SupervisorConfig(
                instance=self.instance,
                owner=self.run_id,
                namespace=self.namespace,
                namespaces=tuple(self.namespaces[1:]),
                credentials=self._source,
                shards=shards,
                parallelism=settings.parallelism,
                delete_pods=settings.keep_pods != "always",
                delete_failed_pods=settings.keep_pods == "never",
                log_tail_lines=settings.log_tail_lines,
                beat_interval=BEAT_EVERY,
                # A finished pod without a ticket may be that of a task whose turn has not come: it has the result.
                policy={"sweep": False},
            )
        )

        def write(records: list[dict[str, Any]]) -> None:
            if results is not None:
                results.append(records)
            if on_records is not None:
                on_records(records)

        tally = Tally(total=len(listed.tasks), earlier=len(opened.ended))
        for record in (*opened.ended, *opened.held):
            tally.count(record)
        started = time.time()
        if results is not None:
            try:
                results.append([*opened.ended, *opened.held])
            except OSError as fault:
                tally.write_error = fault
        if opened.tasks and not tally.broken:
            supervisor.start()
            try:
                job = Job(
                    Tries(supervisor, settings.tries, ahead=ahead_of(settings.parallelism)),
                    builder,
                    opened.tasks,
                    journal=self.book.journal,
                    starts=opened.starts,
                    tally=tally,
                    write=write,
                    view=view,
                    stop=stop,
                    stop_limit=settings.stop_limit,
                    leave=settings.leave,
                    end_engine=lambda: supervisor.end(timeout=END_LIMIT),
                )
                view.start()
                try:
                    status = StatusServer(lambda: self._describe(supervisor, job), kind="run", name=self.run_id)
                    with status, beside(supervisor) if beside is not None else nullcontext():
                        job.run()
                finally:
                    view.end()
            finally:
                supervisor.end(timeout=END_LIMIT)
        self._close_run(tally)
        return Outcome(
            self.run_id,
            self.namespace,
            self.instance,
            cluster,
            shards,
            settings.parallelism,
            tally,
            started,
            stop.signal.name if stop.signal else None,
            settings.journal,
            opened.resumed,
            self.namespaces,
        )

    def _describe(self, supervisor: Supervisor, job: Job) -> dict[str, Any]:
        """What `shard-executor status` is told. Called by another thread: it reads the last snapshot."""
        from shard_executor.status.describe import describe

        totals, seen = {}, job.latest
        if seen is not None:
            totals = {"total": seen.total, "done": seen.done, "failed": seen.failed}
            totals |= {"running": seen.running, "pending": seen.pending, "retrying": seen.retrying}
        return describe(
            supervisor.stats(),
            namespaces=self.namespaces,
            parallelism=self.settings.parallelism,
            totals=totals,
            phase=seen.phase if seen is not None else "starting",
            failure=supervisor.failure,
        )

    def _close_run(self, tally: Tally) -> None:
        """Where every task has ended for good: nothing of the run stays on the cluster."""
        from shard_executor.cli.errors import warn
        from shard_executor.runs.cluster_pods import PodsError
        from shard_executor.runs.journal import JournalError, JournalHeld

        assert self.book is not None
        ended = tally.states["succeeded"] + tally.failed
        if ended < tally.total or tally.unconfirmed or tally.unsaved or tally.engine_error is not None:
            return
        try:
            tally.pods_left = [*tally.pods_left, *self.book.close_run(self._credentials, self.namespaces)]
        except JournalHeld as fault:
            warn(f"{fault}; pods that are left are left to it")
        except (PodsError, JournalError) as fault:
            tally.cleaned = False
            warn(str(fault))

    def pods_left(self) -> list[str]:
        """The names of this run's pods that are still on the cluster. Blocking; raises CommandError."""
        from shard_executor.cli.local_cluster import pods_of

        if self._source is None:
            raise ValueError("connect() comes first")
        credentials = self._source.current()
        return [name for namespace in self.namespaces for name in pods_of(credentials, namespace, self.instance)]

    def close(self) -> None:
        """Closes the journal and removes the private files of the credentials. Safe to call again."""
        book, self.book = self.book, None
        source, self._source = self._source, None
        try:
            if book is not None:
                book.end()
        finally:  # keys of the credentials must not stay, whatever is wrong with the journal
            if source is not None:
                source.close()
