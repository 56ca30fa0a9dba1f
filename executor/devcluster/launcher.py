"""Starts one container: pulls its image (by rule), builds its configuration, starts its process, retries as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shard_executor.devcluster.container import (
    NO_COMMAND,
    TERMINATION_LOG,
    ConfigError,
    PodPlace,
    base_environment,
    command_line,
    environment,
)
from shard_executor.devcluster.images import Images, backing_off
from shard_executor.devcluster.logfile import last_output
from shard_executor.devcluster.pod_events import PodEvents
from shard_executor.devcluster.podstatus import ContainerRecord, waiting
from shard_executor.devcluster.runtime import Launch, RunningProcess, Runtime, StartError
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

START_FAILED = 128  # the exit code containerd reports for a container whose start failed
_MESSAGE_LIMIT = 4096  # bytes of a termination message (kubelet, MaxContainerTerminationMessageLength)
_LOG_MESSAGE_LINES, _LOG_MESSAGE_LIMIT = 80, 2048  # of FallbackToLogsOnError


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between attempts; the defaults are a kubelet's.

    `restart` doubles up to `restart_limit` between restarts of a container; `pull` likewise between image pulls;
    `pull_report` is how long ErrImagePull shows before ImagePullBackOff; `retry` lies between looks for missing
    ConfigMaps and Secrets.
    """

    restart: float = 10.0
    restart_limit: float = 300.0
    pull: float = 10.0
    pull_limit: float = 300.0
    pull_report: float = 1.0
    retry: float = 5.0


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What all pods of a process kubelet share."""

    store: Store
    runtime: Runtime
    images: Images
    events: PodEvents
    root: Path
    pauses: Pauses
    base_env: dict[str, str] = field(default_factory=base_environment)

    def termination_message(self, container: Obj, root: Path, log: str, code: int) -> str | None:
        """What a container left as its last words: its termination file, or the end of its log if it failed and
        its terminationMessagePolicy is FallbackToLogsOnError."""
        path = termination_file(root, container["name"])
        try:
            message = path.read_bytes()[:_MESSAGE_LIMIT].decode(errors="replace")
        except FileNotFoundError:
            message = ""
        if not message and code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = last_output(log, lines=_LOG_MESSAGE_LINES, limit=_LOG_MESSAGE_LIMIT)
        return message or None


def termination_file(root: Path, container: str) -> Path:
    """Where a container may write its termination message."""
    return root / f"{container}.termination"


class ContainerStarter:
    """Starts the containers of one pod.

    Args:
        services: what the kubelet shares.
        pod: the pod.
        place: its addresses and directories.
        report: writes the pod's status; called when a container's waiting reason changes.
    """

    def __init__(self, services: NodeServices, pod: Obj, place: PodPlace, report: Callable[[], None]) -> None:
        self._services = services
        self._pod = pod
        self._place = place
        self._report = report

    async def start(self, container: Obj, record: ContainerRecord, log: str) -> RunningProcess | None:
        """Starts the container's process, however long its image or its configuration takes.

        Returns: the process; None if it cannot be started, which `record` then says (StartError, exit code 128).
        """
        await self._pull(container, record)
        env = await self._configure(container, record)
        argv = command_line(container, env)
        if not argv:
            self._fail(record, NO_COMMAND)
            return None
        cwd = self._working_directory(container)
        try:
            process = await self._services.runtime.start(Launch(argv, env, cwd, log))
        except StartError as error:
            self._fail(
                record,
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
                f"failed: unable to start container process: error during container init: {error}: unknown",
            )
            return None
        self._services.events.normal(self._pod, "Started", f"Started container {record.name}")
        return process

    async def _pull(self, container: Obj, record: ContainerRecord) -> None:
        services, image, pauses = self._services, container.get("image", ""), self._services.pauses
        metadata = self._pod["metadata"]
        labels, uid = metadata.get("labels") or {}, metadata["uid"]
        pause = pauses.pull
        while failure := services.images.failure(image, labels, uid, services.store.clock()):
            record.state = waiting(failure.reason, failure.message)
            self._report()
            services.events.warning(self._pod, "Failed", f'Failed to pull image "{image}": {failure.message}')
            if not failure.final:
                await asyncio.sleep(pauses.pull_report)
                record.state = waiting("ImagePullBackOff", backing_off(image, failure))
                self._report()
            await asyncio.sleep(pause)
            pause = min(pause * 2, pauses.pull_limit)
        services.events.normal(self._pod, "Pulled", f'Container image "{image}" already present on machine')

    async def _configure(self, container: Obj, record: ContainerRecord) -> dict[str, str]:
        services = self._services
        while True:
            try:
                env = environment(services.store, self._pod, container, self._place, services.base_env)
            except ConfigError as error:
                record.state = waiting("CreateContainerConfigError", str(error))
                self._report()
                services.events.warning(self._pod, "Failed", f"Error: {error}")
                await asyncio.sleep(services.pauses.retry)
            else:
                env[TERMINATION_LOG] = str(termination_file(self._place.root, container["name"]))
                return env

    def _working_directory(self, container: Obj) -> str:
        chosen = container.get("workingDir")
        if chosen:
            return str(chosen)
        own = self._place.root / "work"
        own.mkdir(exist_ok=True)
        return str(own)

    def _fail(self, record: ContainerRecord, message: str) -> None:
        record.finish(START_FAILED, self._services.store.clock(), reason="StartError", message=message)
        self._services.events.warning(self._pod, "Failed", f"Error: {message}")
