"""One run from checked tasks to a summary: credentials, preflight, supervisor, job. Used by `run` and `demo`."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shard_executor.cli.errors import CommandError
from shard_executor.cli.tasklist import TaskList

if TYPE_CHECKING:
    from shard_executor.cli.job import Tally
    from shard_executor.cli.preflight import Cluster
    from shard_executor.cli.progress import View
    from shard_executor.cli.results import ResultFile
    from shard_executor.cli.stop import StopRequest
    from shard_executor.pods.body import PodBuilder
    from shard_executor.pods.template import PodTemplate
    from shard_executor.supervisor.credentials import CredentialSource

INSTANCE_PREFIX = "shard-executor.standalone-"
MAX_RUN_ID = 63 - len(INSTANCE_PREFIX)  # the instance label's value has at most 63 characters
_RUN_ID = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{MAX_RUN_ID - 2}}}[A-Za-z0-9])?")
BEAT_EVERY = 1.0  # seconds between two heartbeats of a shard: what the display shows of it is that old
END_LIMIT = 15.0  # seconds that shard processes have to leave


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a list; see `shard-executor run --help`. None means the default, resolved later."""

    shards: int | None = None
    parallelism: int = 100
    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    template: PodTemplate | None = None
    run_id: str | None = None
    keep_pods: str = "never"
    log_tail_lines: int = 20
    stop_limit: float = 45.0


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    run_id: str
    namespace: str
    instance: str
    cluster: Cluster
    shards: int
    parallelism: int
    tally: Tally
    started: float
    stopped_by: str | None = None
    notes: list[str] = field(default_factory=list)


def new_run_id() -> str:
    """A short random id: 40 bits, so that two runs in one namespace do not meet."""
    return secrets.token_hex(5)


def delete_command(namespace: str, instance: str) -> str:
    """The command with which a user removes the pods of a run."""
    return f"kubectl delete pods -n {namespace} -l shard-executor/instance={instance}"


def check_run_id(run_id: str) -> str:
    """The run id if it can stand in a label, else CommandError."""
    if not _RUN_ID.fullmatch(run_id):
        raise CommandError(
            f"--run-id {run_id!r}: must have 1 to {MAX_RUN_ID} letters, digits, '-', '_' or '.', "
            "and begin and end with a letter or digit"
        )
    return run_id


class Session:
    """Everything that stands before a pod is created. Constructing reads nothing."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.run_id = new_run_id() if settings.run_id is None else check_run_id(settings.run_id)
        self.instance = INSTANCE_PREFIX + self.run_id
        self.namespace = ""
        self._source: CredentialSource | None = None

    def connect(self) -> Cluster:
        """Resolves credentials and namespace and asks the cluster what the run needs.

        Raises:
            CommandError: says what is missing and what to do next.
        """
        from shard_executor.cli.access import open_access
        from shard_executor.cli.preflight import preflight

        settings = self.settings
        access = open_access(settings.kubeconfig, settings.context, settings.namespace)
        self._source, self.namespace = access.source, access.namespace
        keeps_pods = settings.keep_pods != "never"
        return preflight(access.credentials, self.namespace, access.source.description, keeps_pods=keeps_pods)

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

    def run(
        self,
        listed: TaskList,
        builder: PodBuilder,
        cluster: Cluster,
        *,
        results: ResultFile | None,
        on_records: Callable[[list[dict[str, Any]]], None] | None = None,
        view: View,
        stop: StopRequest,
    ) -> Outcome:
        """Runs the list on the cluster that `connect` found. Blocking; returns when all is done or stopped.

        `on_records` sees result records after they have been written.
        """
        from shard_executor.cli.job import Job
        from shard_executor.supervisor import Supervisor, SupervisorConfig
        from shard_executor.supervisor.config import default_shards

        if self._source is None:
            raise ValueError("connect() comes first")
        settings = self.settings
        shards = settings.shards or default_shards()
        supervisor = Supervisor(
            SupervisorConfig(
                instance=self.instance,
                owner=self.run_id,
                namespace=self.namespace,
                credentials=self._source,
                shards=shards,
                parallelism=settings.parallelism,
                delete_pods=settings.keep_pods != "always",
                delete_failed_pods=settings.keep_pods == "never",
                log_tail_lines=settings.log_tail_lines,
                beat_interval=BEAT_EVERY,
            )
        )

        def write(records: list[dict[str, Any]]) -> None:
            if results is not None:
                results.append(records)
            if on_records is not None:
                on_records(records)

        started = time.time()
        supervisor.start()
        try:
            view.start()
            try:
                job = Job(
                    supervisor,
                    builder,
                    listed.tasks,
                    namespace=self.namespace,
                    parallelism=settings.parallelism,
                    write=write,
                    view=view,
                    stop=stop,
                    stop_limit=settings.stop_limit,
                )
                tally = job.run()
            finally:
                view.end()
        finally:
            supervisor.end(timeout=END_LIMIT)
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
        )

    def pods_left(self) -> list[str]:
        """The names of this run's pods that are still on the cluster. Blocking; raises CommandError."""
        from shard_executor.cli.local_cluster import pods_of

        if self._source is None:
            raise ValueError("connect() comes first")
        return pods_of(self._source.current(), self.namespace, self.instance)

    def close(self) -> None:
        """Removes the private files of the credentials. Safe to call again."""
        if self._source is not None:
            self._source.close()
            self._source = None
