"""What the demo's run should have come to, compared with what Airflow says and what the tasks themselves wrote."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shard_executor.airflow.demo.api import Json

Position = tuple[str, int]  # task id and map index
# Task id -> state, tries that begin, tries that come to their end. The mapped task and its sum come on top.
_EXPECTED = {
    "second_time_lucky": ("success", 2, 1),
    "always_fails": ("failed", 2, 0),
    "with_override": ("success", 1, 1),
    "total": ("success", 1, 1),
}
_MAPPED = "squared"
_RUN_STATE = "failed"  # because of always_fails
_GREETING = "from the override"


@dataclass(frozen=True, slots=True)
class Row:
    """One task instance: what Airflow says, and the pod of its last try as the task itself wrote it."""

    task: str
    map_index: int
    state: str
    tries: int
    pod: str
    seconds: float | None

    @property
    def name(self) -> str:
        """As Airflow's pages write it."""
        return self.task if self.map_index < 0 else f"{self.task}[{self.map_index}]"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the whole run, in seconds: its duration, and from queued to the begin of the task."""

    duration: float
    to_begin_median: float
    to_begin_most: float


def read_records(file: Path) -> list[Json]:
    """What the tasks wrote, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def rows(tasks: Iterable[Json], records: Sequence[Json]) -> list[Row]:
    """One row for each task instance, in the order given."""
    pods = {(line["task"], line["map_index"]): str(line["pod"]) for line in records if line["event"] == "start"}
    return [
        Row(
            task["task_id"],
            task["map_index"],
            str(task["state"]),
            int(task["try_number"]),
            pods.get((task["task_id"], task["map_index"]), "-"),
            task["duration"],
        )
        for task in tasks
    ]


def problems(run: Json, tasks: Sequence[Json], records: Sequence[Json], mapped: int, pods: Iterable[Json]) -> list[str]:
    """What is not as it should be, one line each; empty if all is well.

    Args:
        run: the run, and `tasks` its task instances, as the REST API tells them.
        records: what the tasks wrote.
        mapped: how many mapped tasks there should be.
        pods: those that are still on the cluster.
    """
    expected: dict[Position, tuple[str, int, int]] = {(name, -1): values for name, values in _EXPECTED.items()}
    expected.update({(_MAPPED, index): ("success", 1, 1) for index in range(mapped)})
    found = {(task["task_id"], int(task["map_index"])): task for task in tasks}
    begun = _counts(records, "start")
    ended = _counts(records, "end")
    lines = [f"{_name(position)} should not exist" for position in found if position not in expected]
    if run["state"] != _RUN_STATE:
        lines.append(f"the run is {run['state']}, expected {_RUN_STATE} (always_fails fails)")
    for position, (state, begins, ends) in expected.items():
        task = found.get(position)
        if task is None:
            lines.append(f"{_name(position)} is missing")
            continue
        if (task["state"], task["try_number"]) != (state, begins):
            words = f"is {task['state']} after {task['try_number']} tries, expected {state} after {begins}"
            lines.append(f"{_name(position)} {words}")
        if (begun[position], ended[position]) != (begins, ends):
            lines.append(
                f"{_name(position)} began {begun[position]} times and came to its end {ended[position]} times, "
                f"expected {begins} and {ends}"
            )
    return lines + _contents(records, mapped) + _left(pods)


def _contents(records: Sequence[Json], mapped: int) -> list[str]:
    greetings = {line.get("greeting") for line in records if line["task"] == "with_override" and "greeting" in line}
    lines = [] if greetings == {_GREETING} else [f"with_override saw {greetings}, not what its pod_override brings"]
    totals = [line["total"] for line in records if "total" in line]
    right = sum(number * number for number in range(mapped))
    return lines if totals == [right] else [*lines, f"total computed {totals}, expected {right}"]


def _left(pods: Iterable[Json]) -> list[str]:
    """Pods of failed tries may stay (delete_worker_pods_on_failure is off by default), others should have gone."""
    may_stay = {("second_time_lucky", "1"), ("always_fails", "1"), ("always_fails", "2")}
    lines = []
    for pod in pods:
        notes = pod["metadata"].get("annotations") or {}
        if (notes.get("task_id"), notes.get("try_number")) not in may_stay:
            lines.append(f"pod {pod['metadata']['name']} of {notes.get('task_id')} is still there")
    return lines


def figures(run: Json, tasks: Iterable[Json]) -> Figures | None:
    """None if the run has no times."""
    if not run.get("start_date") or not run.get("end_date"):
        return None
    pairs = [(task.get("queued_when"), task.get("start_date")) for task in tasks]
    waits = [_seconds(queued, start) for queued, start in pairs if queued and start]
    if not waits:
        return None
    return Figures(_seconds(run["start_date"], run["end_date"]), statistics.median(waits), max(waits))


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _counts(records: Iterable[Json], event: str) -> Counter[Position]:
    return Counter((line["task"], int(line["map_index"])) for line in records if line["event"] == event)


def _name(position: Position) -> str:
    return position[0] if position[1] < 0 else f"{position[0]}[{position[1]}]"
