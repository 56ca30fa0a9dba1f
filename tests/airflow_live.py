"""A real Airflow for the scenario tests: runs, what tasks really did, pods, and waits for all of them.

SHARD_EXECUTOR_TEST_EXECUTOR chooses the executor that is tested: a class path, or `stock`.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from shard_executor.airflow.demo.api import TERMINAL, Json, wait_for
from shard_executor.airflow.demo.component import Component, DemoError
from shard_executor.airflow.demo.home import AirflowHome
from shard_executor.airflow.demo.layout import OURS, STOCK
from shard_executor.devcluster.process import DevClusterProcess

_CHOSEN = os.environ.get("SHARD_EXECUTOR_TEST_EXECUTOR", OURS)
EXECUTOR = STOCK if _CHOSEN == "stock" else _CHOSEN
IS_STOCK = EXECUTOR == STOCK
DAGS = Path(__file__).parent / "airflow" / "live" / "dags" / "scenarios.py"
# The stock executor creates one pod a heartbeat by default.
BATCH = {"kubernetes_executor.worker_pods_creation_batch_size": "8"}
DAG_IDS = ("plain", "retried", "mapped", "deferred", "sensed", "held", "fragile", "many")
LIMIT = 120.0  # seconds for anything that is awaited; the machine may be busy
_NUMBERS = itertools.count(1)
T = TypeVar("T")
Position = tuple[str, int]  # task id and map index


class Run:
    """One run of a DAG of the scenarios."""

    def __init__(self, live: Live, dag_id: str, run_id: str) -> None:
        self.live, self.dag_id, self.run_id = live, dag_id, run_id

    def state_at_end(self) -> str | None:
        """How the run ended; None while it goes on."""
        found = str(self.live.home.api.run(self.dag_id, self.run_id)["state"])
        return found if found in TERMINAL else None

    def wait(self, state: str, seconds: float = LIMIT) -> None:
        """Until the run is over; asserts how."""
        try:
            found = self.live.wait(self.state_at_end, f"the end of run {self.run_id}", seconds)
        except DemoError as error:
            raise DemoError(f"{error}\n{self.describe()}") from error
        assert found == state, self.describe()

    def tasks(self) -> list[Json]:
        return self.live.home.api.tasks(self.dag_id, self.run_id)

    def task(self, task_id: str, map_index: int = -1) -> Json:
        return self.live.home.api.task(self.dag_id, self.run_id, task_id, map_index)

    def states(self) -> Counter[str]:
        return Counter(str(task["state"]) for task in self.tasks())

    def tries(self, task_id: str, map_index: int = -1) -> list[Json]:
        return self.live.home.api.tries(self.dag_id, self.run_id, task_id, map_index)

    def events(self) -> list[Json]:
        return self.live.home.api.events(self.dag_id, self.run_id)

    def log(self, task_id: str, try_number: int = 1) -> list[str]:
        return self.live.home.api.log(self.dag_id, self.run_id, task_id, try_number)

    def records(self, event: str | None = None) -> list[Json]:
        """What the tasks of this run wrote, in order."""
        lines = self.live.home.layout.records.read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [line for line in found if line["run"] == self.run_id and event in (None, line["event"])]

    def counts(self, event: str) -> Counter[Position]:
        """How often each task wrote an event."""
        return Counter((line["task"], line["map_index"]) for line in self.records(event))

    def wait_records(self, event: str, number: int) -> list[Json]:
        """Until the tasks wrote an event so many times."""

        def enough() -> list[Json] | None:
            found = self.records(event)
            return found if len(found) >= number else None

        return self.live.wait(enough, f"{number} records {event!r} of run {self.run_id}")

    def open_gate(self, name: str = "all") -> None:
        """Lets the held tasks go on: all, or the one of a map index."""
        self.live.home.open_gate(f"{self.run_id}.{name}")

    def pods(self) -> list[Json]:
        """The pods of this run that are on the cluster now."""
        return [
            pod
            for pod in self.live.pods()
            if pod["metadata"].get("annotations", {}).get("run_id") == self.run_id
            and pod["metadata"].get("annotations", {}).get("dag_id") == self.dag_id
        ]

    def wait_pods_gone(self) -> None:
        self.live.wait(lambda: not self.pods(), f"the end of the pods of run {self.run_id}")

    def describe(self) -> str:
        """Everything that explains a wrong end."""
        tasks = [(t["task_id"], t["map_index"], t["state"], t["try_number"]) for t in self.tasks()]
        records = [(r["event"], r["task"], r["map_index"], r["try"], r["pid"]) for r in self.records()]
        events = [(e["event"], e.get("task_id"), e.get("extra")) for e in self.events()]
        return f"tasks {tasks}\nrecords {records}\nevents {events}\n{self.live.home.component_tails()}"


class Live:
    """An Airflow with its cluster."""

    def __init__(self, home: AirflowHome, cluster: DevClusterProcess) -> None:
        self.home, self.cluster = home, cluster
        self._runs: list[Run] = []
        self._schedulers: dict[str, dict[str, str]] = {}  # the options of those that were started, by name

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        run_id = f"{dag_id}-{next(_NUMBERS)}"
        self._runs.append(Run(self, dag_id, self.home.api.trigger(dag_id, run_id, conf)))
        return self._runs[-1]

    def finish(self) -> None:
        """Opens the gates of all runs and waits for their end: what a failed test leaves does not hold up the next."""
        runs, self._runs = self._runs, []
        for run in runs:
            run.open_gate()
        for run in runs:
            self.wait(run.state_at_end, f"the end of run {run.run_id}")

    def wait(self, question: Callable[[], T | None], what: str, seconds: float = LIMIT) -> T:
        return wait_for(question, what, seconds, check=self.home.check)

    def scheduler(self, options: Mapping[str, str] | None = None, name: str = "scheduler") -> Component:
        """A scheduler with these options: the one of this name if it has them and lives, else another in its place."""
        chosen = dict(options or {})
        if self._schedulers.get(name) == chosen and self.home.component(name).exit_code() is None:
            return self.home.component(name)
        self.end_scheduler(name)
        self._schedulers[name] = chosen
        return self.home.start_scheduler(name, options)

    def end_scheduler(self, name: str = "scheduler") -> None:
        """Ends the scheduler of this name if there is one."""
        self._schedulers.pop(name, None)
        self.home.end_component(name)

    def pods(self) -> list[Json]:
        return list(self.cluster.call("GET", "/api/v1/namespaces/default/pods")["items"])

    def nodes(self) -> list[str]:
        return [node["metadata"]["name"] for node in self.cluster.call("GET", "/api/v1/nodes")["items"]]

    def delete_pods(self) -> None:
        """Removes all pods, whoever made them."""
        self.cluster.call("DELETE", "/api/v1/namespaces/default/pods")
        self.wait(lambda: not self.pods(), "a cluster without pods")


def once_each(run: Run, positions: list[Position]) -> None:
    """Asserts that each of these tasks, and no other, began once and came to its end once."""
    expected = Counter(positions)
    assert run.counts("start") == expected, run.describe()
    assert run.counts("end") == expected, run.describe()
