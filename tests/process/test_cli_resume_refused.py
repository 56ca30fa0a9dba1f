"""Which runs are taken up again and which are refused: changed lists, other places, ended runs, two parents."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from command import COMMAND, LIMIT, task_of
from shard_executor.devcluster.process import DevClusterProcess

TEMPLATE = """
kind: Pod
metadata: {labels: {team: data}}
spec:
  terminationGracePeriodSeconds: 3
  containers: [{name: base, image: tools}]
"""


def journal(run_id):
    return Path(os.environ["SHARD_EXECUTOR_STATE_DIR"], "runs", f"{run_id}.sqlite")


# ---- another list, another place


def test_a_list_may_grow_but_what_is_known_must_stay(here):
    here.left_run("grows")
    options = ["--run-id", "grows", "--results", "out.jsonl"]
    here.list(here.task("ended"), here.gated("open", then="exit 0"), here.gated("other"))
    words = here.refused(*options)
    assert "run grows was begun with another list: tasks may be added to it, not changed" in words
    assert "t.jsonl, line 2: task 'open' or its template is not what it was when the run began\n" in words
    assert "'other'" not in words
    here.list(here.task("ended", "exit 0"), here.gated("open"), here.gated("other"))
    assert "t.jsonl, line 1: task 'ended'" in here.refused(*options)
    here.list(here.task("ended"), here.gated("other"))
    assert "task 'open' is missing: it has not ended yet" in here.refused(*options)
    here.list(here.task("new"), here.gated("other"), here.gated("open"))  # another order; the ended one is not needed
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"ended": 1, "open": 1, "other": 1, "new": 1}
    assert here.states() == dict.fromkeys(("new", "open", "other"), "succeeded")
    here.list(here.task("ended"), here.task("new"), here.gated("other"), here.gated("open"), here.task("more"))
    assert here.run(*options).returncode == 0  # it was finished, and has a task more now
    assert here.ran() == {"ended": 1, "open": 1, "other": 1, "new": 1, "more": 1}
    assert len(here.results()) == 5


def test_a_template_is_part_of_its_tasks(here):
    (here.folder / "pod.yaml").write_text(TEMPLATE)
    here.left_run("template", "--template", "pod.yaml")
    options = ["--run-id", "template", "--results", "out.jsonl"]
    assert "line 1: task 'ended' or its template" in here.refused(*options)
    (here.folder / "pod.yaml").write_text(TEMPLATE.replace("team: data", "team: other"))
    assert "line 2: task 'open' or its template" in here.refused(*options, "--template", "pod.yaml")
    shutil.move(here.folder / "pod.yaml", here.folder / "moved.yaml")
    (here.folder / "moved.yaml").write_text("# a comment more\n" + TEMPLATE)
    here.open_gate()
    result = here.run(*options, "--template", "moved.yaml")
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"ended": 1, "open": 1, "other": 1}


def test_another_namespace_and_another_cluster_are_refused(here, cluster):
    here.left_run("place")
    options = ["--run-id", "place", "--results", "out.jsonl"]
    meta = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}}
    cluster.call("POST", "/api/v1/namespaces", meta)
    words = here.refused(*options, "--namespace", "elsewhere")
    assert "run place was begun in namespace 'default', not 'elsewhere': go on with --namespace default" in words
    config = here.folder / "kubeconfig"
    right = config.read_text()
    with DevClusterProcess() as wrong:
        config.write_text(wrong.kubeconfig.read_text())
        words = here.refused(*options)
        assert f"run place was begun on another cluster ({cluster.url}" in words
        assert f"this is {wrong.url}" in words
        assert wrong.stats()["pods"] == 0
    config.write_text(right)
    here.open_gate()
    assert here.run(*options).returncode == 0
    assert here.ran() == {"ended": 1, "open": 1, "other": 1}


# ---- a run that has ended, and its results


def test_a_finished_run_runs_nothing_and_gives_its_results_to_any_file(here):
    here.list(here.task("a"), here.task("b", "echo no luck; exit 2"))
    assert here.run("--run-id", "over", "--results", "out.jsonl").returncode == 1
    first = here.out.read_text()
    result = here.run("--run-id", "over", "--results", "out.jsonl")
    assert result.returncode == 1, result.stderr
    assert "taken up again: 2 had ended" in result.stderr
    assert "2 tasks: 1 succeeded, 1 failed (2 ended before this run was taken up again)" in result.stdout
    assert "failed: task 'b': container-error, Error, exit code 2" in result.stdout
    assert here.out.read_text() == first
    here.out.unlink()
    assert here.run("--run-id", "over", "--results", "out.jsonl").returncode == 1
    assert here.out.read_text() == first
    assert here.run("--run-id", "over", "--results", "more.jsonl").returncode == 1
    assert (here.folder / "more.jsonl").read_text() == first
    assert here.run("--run-id", "over", "--results", "-").stdout == first
    (here.folder / "foreign").write_text("mine\n")
    assert "--results foreign: the file exists" in here.refused("--run-id", "over", "--results", "foreign")
    assert (here.folder / "foreign").read_text() == "mine\n"
    assert here.run("--run-id", "over").returncode == 1
    assert here.ran() == {"a": 1, "b": 1}


def test_failed_tasks_are_run_again_on_demand_with_all_their_retries(here):
    tries = f'test "$(grep -cx bad {here.folder}/ran)" -ge 4'
    here.list(here.task("good"), here.task("bad", tries, retries=1))
    options = ["--run-id", "failed", "--results", "out.jsonl", "--retry-delay", "0.1"]
    assert here.run(*options).returncode == 1
    assert here.ran() == {"good": 1, "bad": 2}
    assert here.run(*options).returncode == 1
    assert here.ran() == {"good": 1, "bad": 2}
    result = here.run(*options, "--retry-failed")
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"good": 1, "bad": 4}
    assert here.states() == {"good": "succeeded", "bad": "succeeded"}
    assert here.results()["bad"]["tries"] == 4


def test_the_journal_is_not_taken_for_a_results_file(here):
    here.list(here.task("a"))
    assert here.run("--run-id", "own", "--journal", "j").returncode == 0
    words = here.refused("--run-id", "own", "--journal", "j", "--results", "j", "--overwrite")
    assert "--results j: is what the run reads" in words
    assert here.run("--run-id", "own", "--journal", "j", "--results", "out.jsonl").returncode == 0
    assert here.ran() == {"a": 1}


# ---- two at a time


def test_a_second_parent_is_refused_until_the_first_is_dead(here):
    here.list(here.gated("a"))
    process = here.start("--run-id", "two")
    here.until_ran("a")
    words = here.refused("--run-id", "two")
    assert f"is held by process {process.pid} on host {socket.gethostname()} since " in words
    process.send_signal(signal.SIGSTOP)  # not dead: it may go on at any time
    assert f"is held by process {process.pid} on host" in here.refused("--run-id", "two")
    before = here.uids()
    here.kill(process)
    here.open_gate()
    result = here.run("--run-id", "two", "--results", "out.jsonl")
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"a": 1}
    assert here.results()["a"]["uid"] == before["a"]


def test_of_many_parents_that_start_at_once_one_runs_the_list(here):
    here.list(*(here.task(f"t{n}", "sleep 0.5") for n in range(6)))
    command = [*COMMAND, *here.arguments("--run-id", "many")]
    settings = {"cwd": here.folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    several = [subprocess.Popen(command, **settings) for _ in range(3)]
    said = [process.communicate(timeout=LIMIT)[1] for process in several]
    codes = sorted(process.returncode for process in several)
    assert codes[0] == 0
    assert set(codes) <= {0, 2}  # one that was late may have found it finished
    for process, words in zip(several, said, strict=True):
        assert process.returncode == 0 or "is held by process " in words, words
    assert here.ran() == {f"t{n}": 1 for n in range(6)}


def test_one_whose_journal_was_taken_away_leaves_the_pods_to_its_successor(here):
    here.list(here.gated("a"), here.gated("b", "other"))
    process = here.start("--run-id", "fenced")
    here.until_ran("a", "b")
    process.send_signal(signal.SIGSTOP)
    journal("fenced").with_name("fenced.sqlite.lock").unlink()  # as on a file system that does not carry locks
    before = here.uids()
    first_log = here.log.rename(here.folder / "first")
    second = here.start("--run-id", "fenced", "--results", "out.jsonl")
    here.until_logged("taken up again: 0 had ended, 2 had a pod")
    process.send_signal(signal.SIGCONT)
    here.open_gate()  # its end is news to both
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 3, stdout
    assert f"process {second.pid} on host {socket.gethostname()} has taken it" in stdout
    assert "kubectl delete" not in stdout
    assert "Traceback" not in first_log.read_text()
    assert here.uids()["b"] == before["b"]
    assert not any("deletionTimestamp" in pod["metadata"] for pod in here.pods() if task_of(pod) == "b")
    here.open_gate("other")
    second.communicate(timeout=LIMIT)
    assert second.returncode == 0, here.log.read_text()
    assert {name: record["uid"] for name, record in here.results().items()} == before
    assert here.ran() == {"a": 1, "b": 1}
