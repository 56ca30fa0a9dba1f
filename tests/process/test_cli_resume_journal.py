"""Journals that cannot be used, are full, elsewhere or none at all; pods that are kept over a run taken up again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from command import COMMAND, LIMIT, stop, task_of, until


def journal(run_id):
    return Path(os.environ["SHARD_EXECUTOR_STATE_DIR"], "runs", f"{run_id}.sqlite")


# ---- the journal


def garbage(path):
    path.write_bytes(b"not a journal\n" * 100)


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def overwritten(path):
    content = bytearray(path.read_bytes())
    content[5000:12000] = os.urandom(7000)
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [garbage, cut_off, overwritten], ids=lambda harm: harm.__name__)
def test_a_damaged_journal_is_refused_and_left_as_it_is(here, harm):
    here.list(*(here.task(f"t{n}") for n in range(30)))
    assert here.run("--run-id", "harmed").returncode == 0
    harm(journal("harmed"))
    content = journal("harmed").read_bytes()
    words = here.refused("--run-id", "harmed")
    assert f"journal {journal('harmed')}: " in words
    assert "Nothing was changed" in words
    assert "nothing was created" in words
    assert "Traceback" not in words
    assert journal("harmed").read_bytes() == content
    assert set(here.ran().values()) == {1}


def test_an_empty_file_is_a_new_journal(here):
    here.list(here.task("a"))
    (here.folder / "j").touch()
    assert here.run("--run-id", "empty", "--journal", "j").returncode == 0
    assert here.run("--run-id", "empty", "--journal", "j").returncode == 0
    assert here.ran() == {"a": 1}


def test_a_journal_that_cannot_be_there_is_named(here):
    here.list(here.task("a"))
    (here.folder / "folder").mkdir()
    assert f"journal {here.folder}/folder: is a folder" in here.refused("--journal", "folder")
    words = here.refused("--journal", "/proc/shard-executor.sqlite")
    assert words.startswith("error: journal /proc/shard-executor.sqlite: ")
    assert words.endswith("nothing was created\n")
    assert "name another file with --journal" in here.refused("--journal", "missing/folder/j")
    assert not (here.folder / "missing").exists()
    words = here.refused("--journal", "t.jsonl")
    assert f"journal {here.folder}/t.jsonl: is no SQLite database" in words
    assert "--journal: is empty" in here.refused("--journal", "")
    assert here.ran() == {}


def test_a_journal_of_another_run_is_refused(here):
    here.list(here.task("a"))
    assert here.run("--run-id", "one", "--journal", "j").returncode == 0
    assert "holds run 'one', not 'two'; give that run id" in here.refused("--run-id", "two", "--journal", "j")
    assert "holds run 'one'" in here.refused("--journal", "j")
    assert here.ran() == {"a": 1}


def limited(here, size, *arguments):
    """The command where no file may grow beyond a size."""
    script = f"ulimit -f {size}; trap '' XFSZ; exec \"$@\""
    command = ["bash", "-c", script, "bash", *COMMAND, *here.arguments(*arguments)]
    return subprocess.run(command, cwd=here.folder, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_without_room_for_a_journal_nothing_is_created(here):
    here.list(here.task("a"))
    result = limited(here, 8, "--run-id", "small")
    assert result.returncode == 2, result.stderr
    assert f"error: journal {journal('small')}: cannot be " in result.stderr
    assert "nothing was created" in result.stderr
    assert here.ran() == {}
    assert here.run("--run-id", "small").returncode == 0
    assert here.ran() == {"a": 1}


def test_a_disk_that_gets_full_breaks_the_run_off_and_loses_nothing(here):
    names = [f"t{n}" for n in range(60)]
    loud = "head -c 5000 /dev/zero | tr '\\0' x; exit 1"
    here.list(here.gated("long", priority=1), *(here.task(name, loud) for name in names))
    options = ["--run-id", "full", "--parallelism", "5", "--shards", "1"]
    result = limited(here, 120, *options)
    assert result.returncode == 3, result.stdout + result.stderr
    assert f"journal {journal('full')}: cannot be written: " in result.stdout
    assert "take it up again with: shard-executor run t.jsonl" in result.stdout
    assert "Traceback" not in result.stderr
    assert 1 < len(here.ran()) < 61
    assert "long" in here.uids()  # what could not be noted as stopped is not stopped
    here.open_gate()
    again = here.run(*options, "--results", "out.jsonl")
    assert again.returncode == 1, again.stderr
    assert here.states() == {"long": "succeeded", **dict.fromkeys(names, "failed")}
    assert here.ran() == dict.fromkeys(("long", *names), 1)


def test_without_a_journal_there_is_nothing_to_take_up_again(here):
    here.list(here.gated("a"))
    process = here.start("--journal", "none", "--run-id", "none", "--on-interrupt", "leave")
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "running")
    stdout = stop(process)
    assert "1 left running" in stdout
    assert "take it up again" not in stdout + here.log.read_text()
    assert "remove them with: kubectl delete pods -n default -l" in stdout
    assert not journal("none").exists()
    words = here.refused("--run-id", "none")
    assert "there is 1 pod of a run none in namespace default that the journal" in words
    assert f"{here.pods()[0]['metadata']['name']}: go on where that run's journal is (--journal)" in words
    assert "kubectl delete pods -n default -l shard-executor/instance=shard-executor.standalone-none" in words
    assert "a run without a journal knows nothing of" in here.refused("--run-id", "none", "--journal", "none")
    here.delete()
    here.open_gate()
    assert here.run("--run-id", "none").returncode == 0


def test_a_journal_may_lie_elsewhere(here, monkeypatch):
    here.list(here.task("ended"), here.gated("a"))
    process = here.start("--journal", "runs.db", "--run-id", "elsewhere", "--results", "out.jsonl")
    here.until_ran("ended", "a")
    until(lambda: here.lines(), "a result")
    here.kill(process)
    assert not journal("elsewhere").exists()
    monkeypatch.setenv("SHARD_EXECUTOR_STATE_DIR", str(here.folder / "state"))
    assert "knows nothing of" in here.refused("--run-id", "elsewhere")
    here.open_gate()
    assert here.run("--journal", "runs.db", "--run-id", "elsewhere", "--results", "out.jsonl").returncode == 0
    assert here.ran() == {"ended": 1, "a": 1}


def test_a_run_that_was_refused_leaves_no_journal(here):
    here.list(here.task("a"))
    here.refused("--run-id", "nothing", "--results", "missing/out.jsonl")
    here.refused("--namespace", "missing")
    assert list(journal("x").parent.glob("*.sqlite")) == []


# ---- pods that are kept


def test_a_pod_that_was_handed_over_is_left_alone_at_the_end_and_afterwards(here, cluster):
    here.list(here.gated("a"), here.gated("b", "other"))
    options = ["--run-id", "handed", "--results", "out.jsonl", "--shards", "2"]
    process = here.start(*options)
    here.until_ran("a", "b")
    until(lambda: all(pod["status"]["phase"] == "Running" for pod in here.pods()), "both running")
    (pod,) = [pod for pod in here.pods() if task_of(pod) == "a"]
    labels = pod["metadata"]["labels"]
    labels["shard-executor/bin"] = str((int(labels["shard-executor/bin"]) + 128) % 256)
    cluster.call("PUT", f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}", pod)
    until(here.lines, "a result")
    here.open_gate("other")
    process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert here.results()["a"]["class"] == "handed-over"
    assert here.run(*options).returncode == 1
    (left,) = here.pods()
    assert (task_of(left), "deletionTimestamp" in left["metadata"]) == ("a", False)
    here.open_gate()
    here.delete()


def test_pods_that_are_kept_stay_over_a_run_that_is_taken_up_again(here):
    here.list(here.task("bad", "exit 1"), here.task("good"), here.gated("open", then="exit 2"))
    options = ["--run-id", "kept", "--results", "out.jsonl", "--keep-pods", "failed"]
    process = here.start(*options)
    here.until_ran("bad", "good", "open")
    until(lambda: len(here.lines()) == 2, "two results")
    until(lambda: {task_of(pod) for pod in here.pods()} == {"bad", "open"}, "the good one's pod gone")
    here.kill(process)
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 1, result.stderr
    assert here.ran() == {"bad": 1, "good": 1, "open": 1}
    assert sorted(task_of(pod) for pod in here.pods()) == ["bad", "open"]
    assert {pod["metadata"]["labels"]["airflow_executor_done"] for pod in here.pods()} == {"True"}
    again = here.run(*options, "--retry-failed")
    assert again.returncode == 1, again.stderr
    assert here.ran() == {"bad": 2, "good": 1, "open": 2}
    assert sorted(task_of(pod) for pod in here.pods()) == ["bad", "bad", "open", "open"]
    here.delete()


@pytest.mark.parametrize("keep", ["failed", "always", "never"])
def test_pods_of_earlier_tries_are_kept_like_others(here, cluster, keep):
    here.list(here.task("a", f"test -e {here.folder}/gate", retries=1))
    options = ["--run-id", f"tries-{keep}", "--results", "out.jsonl", "--retry-delay", "3", "--keep-pods", keep]
    cluster.fault("error", verb="patch,delete", path="/pods/")  # dies before its pod is labelled or deleted
    process = here.start(*options)
    here.until_logged("again in ")
    here.kill(process)
    cluster.clear_faults()
    assert len(here.pods()) == 1
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    kept = sorted(pod["status"]["phase"] for pod in here.pods())
    assert kept == {"failed": ["Failed"], "always": ["Failed", "Succeeded"], "never": []}[keep]
    assert {pod["metadata"]["labels"].get("airflow_executor_done") for pod in here.pods()} <= {"True"}
    here.delete()


def test_every_pod_is_kept_where_that_was_said_also_those_that_ended_meanwhile(here):
    here.list(here.task("good"), here.gated("open"))
    options = ["--run-id", "all", "--results", "out.jsonl", "--keep-pods", "always"]
    process = here.start(*options, "--on-interrupt", "leave")
    here.until_ran("good", "open")
    until(lambda: here.lines(), "a result")
    stop(process)
    here.open_gate()
    assert here.run(*options).returncode == 0
    assert sorted(task_of(pod) for pod in here.pods()) == ["good", "open"]
    assert {pod["metadata"]["labels"].get("airflow_executor_done") for pod in here.pods()} == {"True"}
    assert here.run(*options).returncode == 0
    assert here.ran() == {"good": 1, "open": 1}
    here.delete()
