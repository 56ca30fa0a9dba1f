"""From an executor's settings to a running engine: credentials, preflight, supervisor, dispatcher."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shard_executor.core.tries import TryLimits
from shard_executor.futures.dispatcher import END_LIMIT, Dispatcher
from shard_executor.futures.outcome import ClusterError
from shard_executor.status.server import StatusServer
from shard_executor.supervisor import ConfigError, Supervisor, SupervisorConfig
from shard_executor.supervisor.credentials import CredentialSource

if TYPE_CHECKING:
    from shard_executor.core.credentials import Credentials
    from shard_executor.futures.pods import TaskPods


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of `PodExecutor` that its engine needs, and the instance label that follows from the run id."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    shards: int
    parallelism: int
    run_id: str
    instance: str
    keep_pods: bool | Literal["failed"]
    log_tail: int
    access_timeout: float | None
    tries: TryLimits

    def check(self) -> None:
        """Raises ConfigError, naming the argument, for a setting that cannot work."""
        if self.keep_pods not in (False, True, "failed"):
            raise ConfigError(f'keep_pods: {self.keep_pods!r} is none of False, True, "failed"')
        for name in ("parallelism", "shards", "log_tail"):
            if not isinstance(getattr(self, name), int):
                raise ConfigError(f"{name}: {getattr(self, name)!r} is no whole number")
        _check_tries(self.tries)
        self._config(self.namespace or "default", self._source())

    def start(self, pods: TaskPods, ended: Callable[[], None]) -> Dispatcher:
        """Starts the engine; see `PodExecutor.start`. After an exception nothing of it is left.

        Args:
            pods: is told the namespace.
            ended: called when the engine has ended by itself or after a shutdown.
        """
        with ExitStack() as undo:
            source = self._source()
            undo.callback(source.close)
            credentials = source.load()
            namespace = self.namespace or credentials.namespace or "default"
            _ask_cluster(credentials, namespace, source.description, keeps_pods=self.keep_pods is not False)
            pods.settle(namespace)
            supervisor = Supervisor(self._config(namespace, source))
            undo.callback(supervisor.end, END_LIMIT)
            supervisor.start()

            def on_end() -> None:
                status.end()
                source.close()
                ended()

            dispatcher = Dispatcher(
                supervisor,
                pods.submission,
                self.tries,
                parallelism=self.parallelism,
                access_timeout=self.access_timeout,
                on_end=on_end,
            )
            status = StatusServer(dispatcher.describe, kind="pod-executor", name=self.run_id)
            undo.callback(status.end)
            status.try_start()  # before the thread that ends it
            dispatcher.start()
            undo.pop_all()
            return dispatcher

    def _source(self) -> CredentialSource:
        return CredentialSource(self.kubeconfig, self.context)

    def _config(self, namespace: str, source: CredentialSource) -> SupervisorConfig:
        return SupervisorConfig(
            instance=self.instance,
            owner=self.run_id,
            namespace=namespace,
            credentials=source,
            shards=self.shards,
            parallelism=self.parallelism,
            delete_pods=self.keep_pods is not True,
            delete_failed_pods=self.keep_pods is False,
            log_tail_lines=self.log_tail,
        )


def _check_tries(limits: TryLimits) -> None:
    for name in ("retries", "disruption_retries"):
        number = getattr(limits, name)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ConfigError(f"{name}: {number!r} is no whole number from 0")
    delay = limits.retry_delay
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not (math.isfinite(delay) and delay >= 0):
        raise ConfigError(f"retry_delay: {delay!r} is no number of seconds from 0")


def name_run(run_id: str | None) -> tuple[str, str]:
    """The run's id and the value of its instance label; raises ConfigError for an id that cannot stand in a label."""
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.run_settings import INSTANCE_PREFIX, check_run_id, new_run_id

    try:
        name = new_run_id() if run_id is None else check_run_id(run_id)
    except CommandError as fault:
        raise ConfigError(_without_dashes(fault)) from None
    return name, INSTANCE_PREFIX + name


def _ask_cluster(credentials: Credentials, namespace: str, origin: str, *, keeps_pods: bool) -> None:
    """The command's preflight. On a thread of its own: the caller's may be running an event loop."""
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.preflight import preflight

    pool = ThreadPoolExecutor(1, thread_name_prefix="shard-executor-preflight")
    try:
        pool.submit(preflight, credentials, namespace, origin, keeps_pods=keeps_pods).result()
    except CommandError as fault:
        raise ClusterError(_without_dashes(fault)) from None
    finally:
        pool.shutdown(wait=False)


def _without_dashes(fault: Exception) -> str:
    """The command's words, with its options named as the arguments of `PodExecutor` are."""
    return re.sub(r"--(kubeconfig|context|namespace)\b", r"\1", str(fault)).replace("--run-id", "run_id")
