"""Retries, resubmissions after disruptions, and what the fields of tasks do, through the real command."""

from __future__ import annotations

import json
import signal
from datetime import datetime

import pytest

from command import LIMIT, task_of, until
from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture(scope="module")
def cluster():
    with DevClusterProcess(["--nodes", "2"]) as started:
        yield started


def summary_of(result):
    return json.loads(result.stdout)


def failing_until(here, name, good):
    """A task whose first tries fail, and whose try number `good` (from 1) succeeds."""
    count = f'test "$(grep -cx {name} {here.folder}/ran)" -ge {good}'
    return here.task(name, f"{count} || {{ echo no luck; exit 7; }}")


def test_a_task_is_run_again_until_it_succeeds_or_its_retries_are_used_up(here):
    here.list(
        failing_until(here, "third", 3),
        here.task("never", "echo no luck >&2; exit 3"),
        here.task("own", "exit 4", retries=1),
        here.task("none", "exit 5", retries=0),
        here.task("good"),
    )
    result = here.run("--retries", "2", "--retry-delay", "0.2", "--results", "out.jsonl", "-o", "json")
    assert result.returncode == 1, result.stderr
    assert here.ran() == {"third": 3, "never": 3, "own": 2, "none": 1, "good": 1}
    results = here.results()
    assert {name: (record["state"], record["tries"], record["exit_code"]) for name, record in results.items()} == {
        "third": ("succeeded", 3, 0),
        "never": ("failed", 3, 3),
        "own": ("failed", 2, 4),
        "none": ("failed", 1, 5),
        "good": ("succeeded", 1, 0),
    }
    assert results["never"]["log_tail"] == "no luck\n"
    assert not any("disruptions" in record for record in results.values())
    summary = summary_of(result)
    assert (summary["succeeded"], summary["failed"], summary["retried"], summary["resubmitted"]) == (2, 3, 5, 0)
    ((group,),) = [summary["failures"]]
    assert (group["class"], group["count"], group["example"]["state"]) == ("container-error", 3, "failed")
    assert "(retry 1): failed: task 'third': container-error" in result.stderr
    assert "(retry 2): failed: task 'third': container-error" in result.stderr


def test_a_retry_waits_longer_each_time_and_a_clean_stop_while_it_waits_uses_nothing_up(here):
    here.list(here.task("a", f"date +%s.%N >> {here.folder}/times; exit 1"))
    options = ["--run-id", "waits", "--results", "out.jsonl", "--retries", "2"]
    process = here.start(*options, "--retry-delay", "4")
    here.until_logged("again in ")
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "take it up again with: shard-executor run t.jsonl" in stdout
    record = here.results()["a"]
    assert record["state"] == "not-started"  # its turn had not come again
    assert "container-error" in record["message"]
    again = here.run(*options, "--retry-delay", "0.2")
    assert again.returncode == 1, again.stderr
    assert here.ran() == {"a": 3}
    assert here.results()["a"]["tries"] == 3
    first, second, _ = map(float, (here.folder / "times").read_text().split())
    assert second - first >= 2  # the wait began before the stop, and outlasts it


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"kind": "pressure"}, "evicted"),
        ({"kind": "evict", "grace": 0}, "drained"),
        ({"kind": "preempt", "grace": 0}, "preempted"),
        ({"kind": "drain", "grace": 0}, "drained"),
        ({"kind": "lose-node", "manner": "taint", "gc_seconds": 0.1}, "node-lost"),
        ({"kind": "lose-node", "manner": "unknown", "gc_seconds": 0.1}, "node-lost"),
        ({"kind": "lose-node", "manner": "gc", "gc_seconds": 0.1}, "node-lost"),
    ],
    ids=lambda value: f"{value['kind']}-{value.get('manner', '')}".strip("-") if isinstance(value, dict) else value,
)
def test_a_pod_that_the_cluster_takes_away_costs_no_retry(here, cluster, fault, name):
    here.list(here.gated("a"))
    process = here.start("--results", "out.jsonl", "-o", "json")
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "the pod running")
    cluster.fault(**fault)
    until(lambda: here.ran()["a"] == 2, "the second try")
    here.open_gate()
    stdout, _ = process.communicate(timeout=LIMIT)
    log = here.log.read_text()
    assert process.returncode == 0, log
    assert f"(disruption 1): failed: task 'a': {name}" in log or f"(disruption 1): lost: task 'a': {name}" in log
    record = here.results()["a"]
    assert (record["state"], record["tries"], record["disruptions"]) == ("succeeded", 2, 1)
    summary = json.loads(stdout)
    assert (summary["retried"], summary["resubmitted"]) == (0, 1)


@pytest.mark.parametrize(("retries", "runs"), [("0", 1), ("1", 2)])
def test_beyond_its_budget_a_disruption_counts_as_a_failure(here, cluster, retries, runs):
    here.list(here.gated("a"))
    options = ["--disruption-retries", "0", "--retries", retries, "--retry-delay", "0.1"]
    process = here.start(*options, "--results", "out.jsonl")
    for number in range(1, runs + 1):
        until(lambda number=number: here.ran()["a"] == number, f"try {number}")
        until(lambda: [pod["status"]["phase"] for pod in here.pods()] == ["Running"], "its pod alone and running")
        cluster.fault("pressure")
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, stdout
    record = here.results()["a"]
    assert (record["state"], record["class"], record["tries"]) == ("failed", "evicted", runs)
    assert "1 x evicted:\n    failed: task 'a': evicted" in stdout


def test_a_pod_that_the_server_refuses_is_not_tried_again(here, cluster):
    here.list(here.task("refused", labels={"not a label": "x"}), here.task("good"))
    result = here.run("--retries", "3", "--retry-delay", "0.1", "--results", "out.jsonl")
    assert result.returncode == 1, result.stderr
    record = here.results()["refused"]
    assert (record["class"], record["reason"], record["tries"]) == ("create-refused", "Invalid", 1)
    assert "not a label" in record["message"]
    assert "again in" not in result.stderr
    assert "1 x create-refused:\n    failed: task 'refused': create-refused, Invalid: " in result.stdout


def test_a_task_over_its_timeout_is_ended_and_may_be_retried(here):
    here.list(here.task("slow", "sleep 600", timeout=1, retries=1), here.task("quick", timeout=60))
    result = here.run("--retry-delay", "0.1", "--results", "out.jsonl")
    assert result.returncode == 1, result.stderr
    slow = here.results()["slow"]
    assert (slow["state"], slow["class"], slow["reason"], slow["tries"]) == (
        "failed",
        "deadline-exceeded",
        "DeadlineExceeded",
        2,
    )
    assert here.ran() == {"slow": 2, "quick": 1}
    assert "1 x deadline-exceeded:\n    failed: task 'slow': deadline-exceeded" in result.stdout


def test_higher_priorities_come_first(here):
    order = [0, 5, -3, 9, 1, 5]
    here.list(*(here.task(f"p{priority}-{n}", priority=priority) for n, priority in enumerate(order)))
    result = here.run("--parallelism", "1", "--shards", "1", "--results", "out.jsonl")
    assert result.returncode == 0, result.stderr
    begun = (here.folder / "ran").read_text().split()
    assert [int(name[1:].rpartition("-")[0]) for name in begun] == sorted(order, reverse=True)


def test_tasks_of_several_namespaces_and_how_to_remove_all_their_pods(here, cluster):
    for name in ("blue", "green"):
        cluster.call(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
    here.list(here.gated("a"), here.gated("b", namespace="blue"), here.gated("c", then="exit 6", namespace="green"))
    options = ["--run-id", "colours", "--results", "out.jsonl"]
    process = here.start(*options, "--on-interrupt", "leave")
    here.until_ran("a", "b", "c")
    here.until_logged("namespaces default, blue, green")
    where = {task_of(pod): pod["metadata"]["namespace"] for pod in here.pods()}
    assert where == {"a": "default", "b": "blue", "c": "green"}
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=LIMIT)
    assert {record["state"] for record in here.results().values()} == {"left"}
    for name in ("default", "blue", "green"):  # the command that removes them must find them all
        assert f"kubectl delete pods -n {name} -l shard-executor/instance=shard-executor.standalone-colours" in stdout
    here.open_gate()
    again = here.run(*options)
    assert again.returncode == 1, again.stderr
    states = {name: (record["state"], record["namespace"]) for name, record in here.results().items()}
    assert states == {"a": ("succeeded", "default"), "b": ("succeeded", "blue"), "c": ("failed", "green")}
    assert here.ran() == {"a": 1, "b": 1, "c": 1}


def test_a_namespace_of_a_task_that_does_not_exist_is_named_and_nothing_created(here):
    here.list(here.task("a"), here.task("b", namespace="nowhere"))
    result = here.run()
    assert result.returncode == 2
    assert "namespace 'nowhere' does not exist" in result.stderr
    assert here.ran() == {}


def test_the_summary_groups_failures_by_class_with_one_example_of_each(here):
    here.list(
        *(here.task(f"bad{n}", f"for i in 1 2 3 4 5 6 7; do echo line $i of {n}; done; exit {n}") for n in (3, 4, 5)),
        here.task("refused", labels={"not a label": "x"}),
        here.task("slow", "sleep 600", timeout=1),
        *(here.task(f"good{n}") for n in range(4)),
    )
    result = here.run("--run-id", "groups", "--parallelism", "1", "--shards", "1")
    assert result.returncode == 1, result.stderr
    head, *lines = result.stdout.splitlines()
    assert head.startswith("finished: 9 tasks: 4 succeeded, 5 failed; ")
    assert "(run groups, namespace default)" in head
    blocks = "\n".join(lines)
    assert blocks.startswith(
        "  3 x container-error, for example:\n    failed: task 'bad3': container-error, Error, exit"
    )
    assert blocks.count("container-error") == 2
    assert [line for line in lines if line.startswith("      | ")] == [f"      | line {n} of 3" for n in range(3, 8)]
    assert "  1 x create-refused:\n" in blocks
    assert "  1 x deadline-exceeded:\n" in blocks
    again = here.run("--run-id", "groups", "-o", "json")  # from the journal alone
    summary = summary_of(again)
    assert again.returncode == 1
    assert {group["class"]: group["count"] for group in summary["failures"]} == {
        "container-error": 3,
        "create-refused": 1,
        "deadline-exceeded": 1,
    }
    example = summary["failures"][0]["example"]
    assert (example["id"], example["exit_code"], example["reason"]) == ("bad3", 3, "Error")
    assert example["log_tail"].splitlines()[-1] == "line 7 of 3"
    assert (summary["tasks"], summary["succeeded"], summary["failed"], summary["ended_earlier"]) == (9, 4, 5, 9)
    assert (summary["resume_with"], summary["clean_up_with"], summary["error"]) == (None, None, None)
    assert summary["exit_code"] == 1
    assert summary["journal"].endswith("/runs/groups.sqlite")
    datetime.fromisoformat(summary["started"])


@pytest.mark.parametrize(
    ("field", "value"), [("retries", -1), ("timeout", 0), ("priority", "high"), ("namespace", "No_Good"), ("retry", 3)]
)
def test_a_wrong_field_is_named_with_its_line_and_nothing_is_created(here, field, value):
    here.list(here.task("a"), {**here.task("b"), field: value})
    result = here.run("--run-id", "wrong")
    assert result.returncode == 2
    assert "line 2" in result.stderr
    assert field in result.stderr
    assert here.ran() == {}


@pytest.mark.parametrize(
    "option", [("--retries", "-1"), ("--retry-delay", "-2"), ("--disruption-retries", "x"), ("--run-id", "no/good")]
)
def test_a_wrong_option_is_named(here, option):
    here.list(here.task("a"))
    result = here.run(*option)
    assert result.returncode == 2
    assert option[0] in result.stderr
    assert option[1] in result.stderr
