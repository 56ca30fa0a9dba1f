"""Runs that are taken up again while old pods do not go: their tasks wait, others run; removals are repeated."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3

import pytest

from command import LIMIT, stop, task_of, until

TEMPLATE = """
kind: Pod
spec:
  terminationGracePeriodSeconds: 600
  containers: [{name: base, image: tools}]
"""


def test_a_pod_that_does_not_go_holds_up_its_own_task_alone(here):
    (here.folder / "pod.yaml").write_text(TEMPLATE)
    stubborn = f"trap '' TERM; while [ ! -e {here.folder}/gate ]; do sleep 0.1; done"
    here.list(here.task("a", stubborn, priority=1), here.task("b"), here.task("c"))
    options = ["--run-id", "stuck", "--results", "out.jsonl", "--template", "pod.yaml"]
    process = here.start(*options, "--parallelism", "1", "--stop-timeout", "1")
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "running")
    stop(process)
    (pod,) = here.pods()
    assert "deletionTimestamp" in pod["metadata"]
    result = here.run(*options, "-o", "json", timeout=2 * LIMIT)
    assert result.returncode == 1, result.stderr
    name = pod["metadata"]["name"]
    assert f"task 'a': its pod default/{name} of before is still there (being deleted since 20" in result.stderr
    assert f"on node {pod['spec']['nodeName']}" in result.stderr
    summary = json.loads(result.stdout)
    assert (summary["succeeded"], summary["not_started"], summary["failed"]) == (2, 1, 0)
    assert summary["resume_with"].startswith("shard-executor run t.jsonl ")
    assert here.states() == {"a": "not-started", "b": "succeeded", "c": "succeeded"}
    assert name in here.results()["a"]["message"]
    assert [task_of(left) for left in here.pods()] == ["a"]
    here.delete("a")
    here.open_gate()
    assert here.run(*options).returncode == 0
    assert here.results()["a"]["tries"] == 2
    assert here.ran() == {"a": 2, "b": 1, "c": 1}


def test_interrupted_while_it_waits_for_old_pods_a_run_has_changed_nothing(here):
    (here.folder / "pod.yaml").write_text(TEMPLATE)
    stubborn = f"trap '' TERM; while [ ! -e {here.folder}/gate ]; do sleep 0.1; done"
    here.list(here.task("a", stubborn), here.task("bad", f"test -e {here.folder}/gate", priority=1))
    options = ["--run-id", "waits", "--results", "out.jsonl", "--template", "pod.yaml", "--journal", "j"]
    process = here.start(*options, "--stop-timeout", "1")
    here.until_ran("a", "bad")
    until(lambda: [pod["status"]["phase"] for pod in here.pods()] == ["Running"], "running")
    stop(process)
    before = journal_rows(here)
    here.list(here.task("a", stubborn), here.task("bad", f"test -e {here.folder}/gate", priority=1), here.task("new"))
    process = here.start(*options, "--retry-failed")
    here.until_logged("waiting for 1 pod of the interrupted run to go")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert "interrupted before anything was created" in here.log.read_text()
    assert journal_rows(here) == before
    here.delete("a")
    here.open_gate()
    assert here.run(*options, "--retry-failed").returncode == 0
    assert here.ran() == {"a": 2, "bad": 2, "new": 1}


def journal_rows(here):
    """What the journal says of tasks and results."""
    with contextlib.closing(sqlite3.connect(f"file:{here.folder}/j?mode=ro", uri=True)) as connection:
        return [connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in ("task", "result")]


@pytest.mark.parametrize("code", [429, 500])
def test_refused_removals_are_repeated(here, cluster, code):
    here.list(here.task("a"), here.gated("b"))
    options = ["--run-id", f"repeated-{code}", "--results", "out.jsonl"]
    cluster.fault("error", verb="delete", path="/pods/")
    process = here.start(*options)
    until(here.lines, "a result")
    here.kill(process)
    cluster.clear_faults()
    here.delete("b")
    here.open_gate()
    cluster.fault("refuse-delete", code=code, retry_after=1, count=3)
    result = here.run(*options, "--retries", "1", "--retry-delay", "0")
    assert result.returncode == 0, result.stderr
    assert "could not be removed" not in result.stdout
    assert here.states() == {"a": "succeeded", "b": "succeeded"}
