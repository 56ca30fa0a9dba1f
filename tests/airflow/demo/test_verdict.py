"""The demo's judgement of its run."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from shard_executor.airflow.demo.show import summary, table
from shard_executor.airflow.demo.verdict import figures, problems, rows

MAPPED = 2
TIMES = {"queued_when": "2026-01-01T00:00:00Z", "start_date": "2026-01-01T00:00:04Z", "duration": 1.25}
RUN = {"state": "failed", "start_date": "2026-01-01T00:00:00Z", "end_date": "2026-01-01T00:01:00Z"}


def task(name: str, index: int, state: str, tries: int) -> dict[str, Any]:
    return {"task_id": name, "map_index": index, "state": state, "try_number": tries, **TIMES}


def lines(name: str, index: int, number: int, ends: bool, **more: object) -> list[dict[str, Any]]:
    common = {"task": name, "map_index": index, "try": number, "pod": f"{name}-{index}-{number}"}
    start = [{"event": "start", **common, **({} if "total" in more else more)}]
    return [*start, {"event": "end", **common, **(more if "total" in more else {})}] if ends else start


TASKS = [
    task("always_fails", -1, "failed", 2),
    task("second_time_lucky", -1, "success", 2),
    task("squared", 0, "success", 1),
    task("squared", 1, "success", 1),
    task("total", -1, "success", 1),
    task("with_override", -1, "success", 1),
]
RECORDS = [
    *lines("always_fails", -1, 1, False),
    *lines("always_fails", -1, 2, False),
    *lines("second_time_lucky", -1, 1, False),
    *lines("second_time_lucky", -1, 2, True),
    *lines("squared", 0, 1, True),
    *lines("squared", 1, 1, True),
    *lines("with_override", -1, 1, True, greeting="from the override"),
    *lines("total", -1, 1, True, total=1),
]
KEPT = [{"metadata": {"name": "p", "annotations": {"task_id": "always_fails", "try_number": "2"}}}]


def test_a_run_as_it_should_be() -> None:
    assert problems(RUN, TASKS, RECORDS, MAPPED, KEPT) == []


@pytest.mark.parametrize(
    ("where", "index", "key", "value", "words"),
    [
        ("tasks", 2, "state", "failed", r"squared[0] is failed after 1 tries, expected success after 1"),
        ("tasks", 0, "try_number", 1, "always_fails is failed after 1 tries, expected failed after 2"),
        ("tasks", 5, "task_id", "other", "with_override is missing"),
        ("records", 6, "event", "other", "squared[0] began 1 times and came to its end 0 times, expected 1 and 1"),
        ("records", 9, "greeting", None, "with_override saw {None}, not what its pod_override brings"),
        ("records", 12, "total", 5, "total computed [5], expected 1"),
    ],
)
def test_what_is_not_as_it_should_be(where: str, index: int, key: str, value: Any, words: str) -> None:
    tasks, records = copy.deepcopy(TASKS), copy.deepcopy(RECORDS)
    {"tasks": tasks, "records": records}[where][index][key] = value
    assert words in problems(RUN, tasks, records, MAPPED, [])


def test_a_task_that_ran_twice_and_a_pod_that_stayed() -> None:
    pod = {"metadata": {"name": "stray", "annotations": {"task_id": "total", "try_number": "1"}}}
    twice = [*RECORDS, *lines("squared", 1, 1, True)]
    assert problems({**RUN, "state": "success"}, TASKS, twice, MAPPED, [pod]) == [
        "the run is success, expected failed (always_fails fails)",
        "squared[1] began 2 times and came to its end 2 times, expected 1 and 1",
        "pod stray of total is still there",
    ]


def test_the_table_and_the_summary() -> None:
    found = rows(TASKS, RECORDS)
    assert [line.split() for line in table(found)][:2] == [
        ["TASK", "STATE", "TRIES", "SECONDS", "POD", "OF", "THE", "LAST", "TRY"],
        ["always_fails", "failed", "2", "1.2", "always_fails--1-2"],
    ]
    words = summary(found, figures(RUN, TASKS), 8, [])
    assert words[:2] == [
        "6 tasks: 5 success, 1 failed; 8 tries in 8 pods",
        "the run took 60.0 s; from queued to the begin of a task 4.0 s in the median, 4.0 s at most",
    ]
    assert summary(found, None, 8, ["a problem"])[1:] == ["NOT as expected:", "  a problem"]
