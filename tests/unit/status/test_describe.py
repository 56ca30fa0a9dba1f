"""From the shards' heartbeats to the object that is told, and from that to what a person reads."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from rich.console import Console

from shard_executor.status.describe import describe, merged_latencies
from shard_executor.status.rates import add_rates
from shard_executor.status.view import failed_calls, plain, rich_view
from shard_executor.supervisor import ShardStats

STARTED = 1_769_860_800.0  # 2026-01-31T12:00:00Z


def shard(number: int = 0, **figures: Any) -> ShardStats:
    values: dict[str, Any] = {
        "shard": number,
        "pid": 100 + number,
        "alive": True,
        "restarts": 0,
        "cpu_seconds": 1.23456,
        "rss_mb": 40.5,
        "peak_rss_mb": 41.5,
        "running": 3,
        "pending": 1,
        "watch": {"state": "watching", "health": "ok", "synced": True, "silent_seconds": 2.0, "lists": 1},
        **figures,
    }
    return ShardStats(**values)


def executor(**changes: Any) -> dict[str, Any]:
    figures = describe([shard(0), shard(1)], namespaces=["jobs"], parallelism=50, totals={"total": 40, "done": 10})
    head = {"kind": "run", "name": "nightly", "pid": 42, "host": "here", "started": "2026-01-31T12:00:00Z"}
    return {**head, "socket": "/x/42-1.sock", **figures, **changes}


def test_what_is_told_of_a_supervisor() -> None:
    shards = [
        shard(
            0,
            outcomes={"succeeded": 5, "oom-killed": 1},
            calls={"create 201": 6, "create 503": 2},
            latencies={"create": {"count": 8, "mean": 0.1, "p50": 0.1, "p95": 0.2, "p99": 0.3}},
            watch={
                "state": "watching",
                "health": "ok",
                "synced": True,
                "silent_seconds": 0.12345,
                "lists": 2,
                "relist:expired": 1,
                "restart:idle": 2,
                "fault:expired": 1,
            },
        ),
        shard(1, outcomes={"succeeded": 4}, calls={"create 201": 4}, watch={}, alive=False, restarts=2, last_error="x"),
    ]
    found = describe(shards, namespaces=("jobs", "more"), parallelism=50, phase="running")
    assert json.loads(orjson.dumps(found)) == found
    assert (found["namespaces"], found["parallelism"], found["phase"]) == (["jobs", "more"], 50, "running")
    assert found["outcomes"] == {"succeeded": 9, "oom-killed": 1}
    assert found["calls"] == {"create 201": 10, "create 503": 2}
    assert found["relists"] == {"expired": 1}
    assert found["totals"] == {"running": 6, "pending": 2}
    assert found["parent"]["peak_rss_mb"] >= found["parent"]["rss_mb"] > 1
    assert found["shards"][0]["watch"] == {
        "state": "watching",
        "health": "ok",
        "synced": True,
        "silent_seconds": 0.123,
        "lists": 2,
        "relists": {"expired": 1},
        "restarts": {"idle": 2},
        "faults": {"expired": 1},
    }
    assert found["shards"][0]["cpu_seconds"] == 1.235
    assert found["latencies"]["create"] == shards[0].latencies["create"]
    assert [each["last_error"] for each in found["shards"]] == [None, "x"]
    assert found["shards"][1]["watch"]["state"] is None
    assert (found["shards"][1]["alive"], found["shards"][1]["restarts"]) == (False, 2)


def test_a_supervisor_that_has_not_been_heard_yet() -> None:
    found = describe([ShardStats(0, 1, True, 0)], namespaces=["jobs"])
    assert found["latencies"] == found["calls"] == {}
    assert "0 running, 0 pending" in plain([{**executor(), **found}], STARTED)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"total": 40, "done": 10}, {"total": 40, "done": 10, "running": 6, "pending": 2, "waiting": 22}),
        # The owner knows of ends before the heartbeat does: what is open is never less than nothing.
        ({"total": 40, "done": 37}, {"total": 40, "done": 37, "running": 3, "pending": 0, "waiting": 0}),
        ({"total": 9, "done": 0, "running": 1, "pending": 1, "waiting": 7}, None),
        ({"total": 9, "done": 9, "failed": 2}, {"total": 9, "done": 9, "failed": 2, **dict.fromkeys(
            ("running", "pending", "waiting"), 0)}),
    ],
)  # fmt: skip
def test_totals(given: dict[str, int], wanted: dict[str, int] | None) -> None:
    found = describe([shard(0), shard(1)], namespaces=["jobs"], totals=given)["totals"]
    assert found == (wanted or given)


def test_latencies_of_several_shards() -> None:
    one = {"create": {"count": 1, "mean": 1.0, "p50": 1.0, "p95": 1.0, "p99": 1.0}}
    many = {
        "create": {"count": 3, "mean": 0.2, "p50": 0.1, "p95": 0.4, "p99": 2.0},
        "get": {"count": 0, "mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0},
    }
    assert merged_latencies([one, many, {}]) == {
        "create": {"count": 4, "mean": pytest.approx(0.4), "p50": 1.0, "p95": 1.0, "p99": 2.0}
    }


def test_rates_come_from_two_answers() -> None:
    before = executor(parent={"cpu_seconds": 1.0, "rss_mb": 1, "peak_rss_mb": 1})
    after = executor(parent={"cpu_seconds": 1.5, "rss_mb": 1, "peak_rss_mb": 1})
    after["totals"] = {**after["totals"], "done": 30}
    other = executor(socket="/x/other")
    answers = [after, other]
    add_rates([before], answers, 2.0)
    assert after["rates"] == {"seconds": 2.0, "pods_per_second": 10.0, "parent_cpu_percent": 25.0}
    assert other["rates"] is None
    uncounted = [{"socket": "/x/42-1.sock", "outcomes": {"succeeded": n}} for n in (5, 9)]
    add_rates(uncounted[:1], uncounted[1:], 4.0)
    assert uncounted[1]["rates"] == {"seconds": 4.0, "pods_per_second": 1.0, "parent_cpu_percent": 0.0}


def test_plain_text_is_aligned() -> None:
    text = plain([executor(), executor(name="other", totals={"running": 3}, phase="broken")], STARTED + 3725)
    first, second = text.split("\n\n")
    lines = first.splitlines()
    assert lines[0].startswith("run nightly: pid 42 on here, since 2026-01-3")
    assert lines[0].endswith("(1 h 2 min), namespace jobs")
    assert lines[1] == "  tasks: 10/40 done (25.0 %), 6 running, 2 pending, 22 waiting, parallelism 50"
    table = lines[2:5]
    assert table[0].split()[:4] == ["shard", "pid", "queued", "creating"]
    assert len({len(line) for line in table}) == 1
    assert table[1].split()[:2] == ["0", "100"]
    assert "watching" in table[1]
    assert lines[5].startswith("  memory: parent ")
    assert "shards 81 MiB together (peak 83); CPU: parent " in lines[5]
    assert second.splitlines()[1] == "  broken: 3 running, parallelism 50"


def test_everything_that_is_amiss_is_said() -> None:
    sick = describe(
        [
            shard(0, watch={"state": "backing-off", "health": "unauthorized: 401", "relist:expired": 2}),
            shard(1, alive=False, restarts=2, last_error="boom\n\x1b[31mred"),
        ],
        namespaces=["jobs"],
        failure="shard 1 ended 5 times in a row",
    )
    sick["calls"] = {"create 201": 10, "create 503": 2, "WATCH refused": 5, "delete 404": 1}
    sick["outcomes"] = {"succeeded": 3, "oom-killed": 1}
    sick["shards"][1]["parked"] = ["jobs"]
    text = plain([{**executor(), **sick}], STARTED)
    for words in (
        "it cannot go on: shard 1 ended 5 times in a row",
        "shard 0: its watch waits: unauthorized: 401",
        "shard 1 was started again 2 times; last error: boom \\x1b[31mred",
        "shard 1 waits for quota in jobs",
        "ended: 3 x succeeded, 1 x oom-killed",
        "calls that failed: 5 x WATCH refused, 2 x create 503, 1 x delete 404",
        "re-lists: 2 x expired",
        " dead ",
    ):
        assert words in text
    assert "\x1b" not in text
    assert failed_calls({"create 201": 1, "WATCH 200": 3, "get 304": 1, "LIST 101": 1}) == {}


def test_latencies_are_a_table() -> None:
    answer = executor(
        latencies={
            "create": {"count": 12, "mean": 0.0123, "p50": 0.01, "p95": 0.25, "p99": 2.5},
            "created-to-running": {"count": 3, "mean": 1.0, "p50": 1.0, "p95": 1.0, "p99": 1.0},
        }
    )
    lines = plain([answer], STARTED).splitlines()
    (create,) = [line.split() for line in lines if line.split()[0] == "create"]
    assert create == ["create", "12", *(["12.3", "ms", "10.0", "ms", "250", "ms", "2.50", "s"])]
    assert any(line.split()[:1] == ["created-to-running"] for line in lines)


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "a", "pid": 1, "socket": "/x"},
        {"name": "a", "pid": 1, "socket": "/x", "started": "yesterday", "shards": [{}], "totals": None, "new": [1]},
        {"name": "a\x1b[2J[bold]", "pid": 1, "socket": "/x", "shards": [{"alive": True, "watch": None}]},
    ],
    ids=["bare", "odd", "hostile"],
)
def test_answers_of_other_versions_can_be_shown(answer: dict[str, Any]) -> None:
    text = plain([answer], STARTED)
    assert text.startswith("executor a")
    assert "\x1b" not in text
    console = Console(width=120, force_terminal=True)
    with console.capture() as captured:
        console.print(rich_view([answer], 120))
    assert ("[bold]" in captured.get()) == ("[bold]" in text)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_gets_what_fits(width: int) -> None:
    console = Console(width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(rich_view([executor(), executor()], width))
    text = captured.get()
    assert "━" in text, "there is no bar"
    assert ("peak" in text.partition("memory")[0]) == (width == 160)
