"""A complete Airflow on this machine: database, scheduler, API server, DAG processor, triggerer as processes."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from shard_executor.airflow.demo.api import AirflowApi, wait_for
from shard_executor.airflow.demo.component import Component, DemoError
from shard_executor.airflow.demo.layout import USER, HomeSettings, Layout

MIGRATE_LIMIT = 180.0  # seconds; on an idle machine it takes ten
START_LIMIT = 120.0  # seconds until a component beats
_MIGRATE_PAUSE = 0.1
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "scheduler": ("scheduler",),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "api-server": ("api-server", "--host", "127.0.0.1", "--workers", "1"),
}
# What the API server calls them: job types, and parts of its health.
_JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}
_GRACE = {"api-server": 5.0, "triggerer": 5.0, "dag-processor": 5.0}  # seconds; they have nothing to finish here


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class AirflowHome:
    """An Airflow with a folder, database and processes of its own; a context manager. Constructing starts nothing.

    All processes end, with all that descends from them, at `end` or when this process ends, however it does.

    Args:
        folder: an existing folder that is its own; it stays.
        kubeconfig: of the cluster for the workers; their pods have to reach this machine's loopback.
        settings: what may be chosen.
    """

    def __init__(self, folder: Path, kubeconfig: Path, settings: HomeSettings | None = None) -> None:
        chosen = settings or HomeSettings()
        self.layout = Layout(folder, kubeconfig, chosen.port or free_port(), chosen)
        self.api = AirflowApi(self.layout.url, USER, self.layout.password)
        self._components: dict[str, Component] = {}

    def prepare(self, dags: Iterable[Path] = ()) -> None:
        """Makes folders, configuration and the database's tables; copies the DAG files.

        Raises:
            DemoError: the tables could not be made; the message has the end of the log.
        """
        self.layout.write()
        for dag in dags:
            shutil.copy(dag, self.layout.dags)
        self.command("db", "migrate", limit=MIGRATE_LIMIT)

    def command(self, *arguments: str, limit: float = 60.0) -> str:
        """Runs an ``airflow`` command to its end and returns what it printed, logs included.

        Raises:
            DemoError: it did not end within `limit` seconds or with an exit code other than 0.
        """
        name = "airflow " + " ".join(arguments)
        log = self.layout.folder / f"{'-'.join(arguments[:2]).strip('-')}.log"
        begin = log.stat().st_size if log.exists() else 0
        component = Component(name, _airflow(*arguments), self.layout.environment(), log, grace=5)
        component.start()
        try:
            deadline = time.monotonic() + limit
            while (code := component.exit_code()) is None:
                if time.monotonic() >= deadline:
                    raise DemoError(f"{name} did not end within {limit:.0f} s; {component.tail()}")
                time.sleep(_MIGRATE_PAUSE)
            if code != 0:
                raise DemoError(f"{name} ended with {code}; {component.tail()}")
        finally:
            component.end()
        return log.read_bytes()[begin:].decode(errors="replace")

    def start(self, kind: str, name: str | None = None, options: Mapping[str, str] | None = None) -> Component:
        """Starts a component and does not wait for it.

        Args:
            kind: scheduler, dag-processor, triggerer or api-server.
            name: for a second one of a kind, such as a scheduler beside another; the default is `kind`.
            options: ``section.key`` to value, over those of the settings.

        Raises:
            DemoError: one of this name runs already, or it could not be started.
        """
        key = name or kind
        if key in self._components and self._components[key].exit_code() is None:
            raise DemoError(f"{key} runs already")
        self.end_component(key)
        words = _COMMANDS[kind]
        if kind == "api-server":
            words = (*words, "--port", str(self.layout.port))
        log = self.layout.folder / f"{key}.log"
        component = Component(
            key, _airflow(*words), self.layout.environment(options), log, grace=_GRACE.get(kind, 20.0)
        )
        component.start()
        self._components[key] = component
        return component

    def start_scheduler(self, name: str = "scheduler", options: Mapping[str, str] | None = None) -> Component:
        """Starts a scheduler and waits until it beats. The API server has to be there.

        Raises:
            DemoError: it ended, or did not beat within START_LIMIT.
        """
        before = {job["id"] for job in self.api.jobs("SchedulerJob")}
        component = self.start("scheduler", name, options)

        def beats() -> bool:
            jobs = self.api.jobs("SchedulerJob", alive=True)
            return any(job["id"] not in before and job["state"] == "running" for job in jobs)

        wait_for(beats, f"the heartbeat of {name}", START_LIMIT, check=component.check)
        return component

    def start_all(self, *, triggerer: bool = False, options: Mapping[str, str] | None = None) -> None:
        """Starts API server, DAG processor and scheduler (with `options`) and waits until all of them beat.

        Raises:
            DemoError: one of them ended, or did not beat within START_LIMIT.
        """
        kinds = ["dag-processor", "scheduler", *(["triggerer"] if triggerer else [])]
        self.start("api-server")
        for kind in kinds:
            self.start(kind, options=options if kind == "scheduler" else None)
        parts = [kind.replace("-", "_") for kind in kinds]
        wait_for(lambda: self.api.healthy(*parts), f"the health of {', '.join(kinds)}", START_LIMIT, check=self.check)

    def wait_for_dags(self, *dag_ids: str, seconds: float = START_LIMIT) -> None:
        """Waits until the DAG processor has read these DAGs.

        Raises:
            DemoError: after `seconds`, with the import errors that Airflow knows.
        """
        for dag_id in dag_ids:
            try:
                wait_for(partial(self.api.dag, dag_id), f"DAG {dag_id}", seconds, check=self.check)
            except DemoError as error:
                faults = self.api.call("GET", "/importErrors").get("import_errors") or []
                words = "\n".join(str(fault["stack_trace"]) for fault in faults)
                raise DemoError(f"{error}; import errors: {words or 'none'}") from error

    def component(self, name: str) -> Component:
        """A component that was started.

        Raises:
            DemoError: there is none of this name.
        """
        if name not in self._components:
            raise DemoError(f"{name} has not been started")
        return self._components[name]

    def check(self) -> None:
        """Raises DemoError if a component has ended by itself."""
        for component in self._components.values():
            component.check()

    def component_tails(self) -> str:
        """The ends of all logs, for the words of an error."""
        return "\n".join(component.tail() for component in self._components.values())

    def end_component(self, name: str) -> None:
        """Ends a component, if there is one of this name, and waits for its end."""
        component = self._components.pop(name, None)
        if component is not None:
            component.end()

    def open_gate(self, name: str) -> None:
        """Lets the tasks go on that wait for the file of this name."""
        (self.layout.gates / name).touch()

    def end(self) -> None:
        """Ends everything, the API server last: what workers there are can still say goodbye."""
        names = sorted(self._components, key=lambda name: name == "api-server")
        for name in names:
            if name != "api-server":
                self._components[name].ask_to_end()
        for name in names:
            self.end_component(name)

    def __enter__(self) -> AirflowHome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]
