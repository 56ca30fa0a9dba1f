"""Ctrl-C and SIGTERM: the first stops cleanly, the second leaves at once."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import psutil
import pytest

from command import COMMAND, LIMIT, Terminal, interrupt_when, read_results, until, write_tasks
from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture
def here(tmp_path):
    with DevClusterProcess() as cluster:
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig.read_text())
        yield tmp_path, cluster


def start(folder, *arguments):
    command = [*COMMAND, "run", "t.jsonl", "--kubeconfig", "kubeconfig", *arguments]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)


def mixed_tasks(folder, count):
    """The first five end at once, the others not by themselves."""
    tasks = [{"id": f"t{n}", "command": ["true"] if n < 5 else ["sleep", "600"]} for n in range(count)]
    return write_tasks(folder / "t.jsonl", *tasks)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_deletes_what_is_under_way_and_writes_every_result(here, number, code):
    folder, cluster = here
    mixed_tasks(folder, 600)
    process = start(folder, "--results", "out.jsonl", "-o", "json", "--parallelism", "20")
    results = folder / "out.jsonl"
    until(lambda: results.exists() and len(results.read_text().splitlines()) >= 5, "five results")
    until(lambda: cluster.stats()["pods"] >= 10, "pods under way")
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    states = {name: record["state"] for name, record in read_results(results).items()}
    assert len(states) == 600
    assert [states[f"t{n}"] for n in range(5)] == ["succeeded"] * 5
    assert states["t5"] == "revoked"
    assert states["t599"] == "not-started"
    summary = json.loads(stdout)
    assert (summary["stopped_by"], summary["exit_code"]) == (number.name, code)
    assert summary["succeeded"] + summary["revoked"] + summary["not_started"] == 600
    assert cluster.stats()["pods"] == 0


def test_pods_that_do_not_go_hold_the_command_no_longer_than_its_limit(here):
    """A silent node ends nothing; without the limit the command would wait for as long as this test may take."""
    folder, cluster = here
    mixed_tasks(folder, 8)
    process = start(folder, "--results", "out.jsonl", "--stop-timeout", "3")
    until(lambda: (folder / "out.jsonl").exists() and len(read_results(folder / "out.jsonl")) == 5, "five results")
    until(lambda: cluster.stats()["pods"] == 3, "the others under way")
    cluster.fault("lose-node", gc_seconds=-1.0)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=LIMIT * 0.75)
    assert process.returncode == 130
    assert "5 succeeded, 0 failed, 3 revoked" in stdout
    assert "pods of this run may be left; remove them with: kubectl delete pods -n default" in stdout


def test_ctrl_c_on_a_terminal_stops_the_command_and_not_its_shards_first(here):
    folder, cluster = here
    mixed_tasks(folder, 30)
    terminal = Terminal("run", "t.jsonl", "--kubeconfig", "kubeconfig", cwd=folder)
    terminal.read_until("5/30 done")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    assert "stopped: 30 tasks: 5 succeeded, 0 failed, 25 revoked" in terminal.shown
    assert "was killed by signal" not in terminal.shown
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") > 0
    assert cluster.stats()["pods"] == 0


def test_the_second_ctrl_c_leaves_at_once_and_the_shards_follow(here):
    folder, cluster = here
    marker = folder / "ready"
    script = f"trap '' TERM; touch {marker}; while :; do sleep 1; done"
    write_tasks(folder / "t.jsonl", {"id": "stubborn", "command": ["sh", "-c", script]})
    process = start(folder, "--progress", "plain")
    until(marker.exists, "the task under way")
    shards = psutil.Process(process.pid).children()
    assert shards
    # Its pod ignores SIGTERM for its whole grace period; a delete that is refused keeps the command waiting too.
    cluster.fault("refuse-delete", code=403)
    process.send_signal(signal.SIGINT)
    interrupt_when(process, folder / "log", "stopping: ")
    process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    words = (folder / "log").read_text()
    run_id = re.search(r"^run (\w+): 1 task on http://127", words, re.MULTILINE)[1]
    label = f"shard-executor/instance=shard-executor.standalone-{run_id}"
    assert "leaving at once: pods that are still there stay; take the run up again with: shard-executor run" in words
    assert f" --run-id {run_id}; or remove them with: kubectl delete pods -n default" in words
    assert f"-l {label}\n" in words
    until(lambda: not any(shard.is_running() and shard.status() != "zombie" for shard in shards), "the shards ended")
    assert cluster.stats()["pods"] == 1


def test_a_stop_is_bounded_where_the_cluster_refuses_to_delete(here):
    folder, cluster = here
    mixed_tasks(folder, 8)
    process = start(folder, "--results", "out.jsonl", "--stop-timeout", "2")
    until(lambda: cluster.stats()["pods"] >= 3, "pods under way")
    results = folder / "out.jsonl"
    until(lambda: len(results.read_text().splitlines()) >= 5, "five results")
    cluster.fault("refuse-delete", code=403)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert len(read_results(results)) == 8
    assert "pods of this run may be left; remove them with: kubectl delete pods -n default -l" in stdout
