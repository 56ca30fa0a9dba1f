"""`shard-executor demo --chaos` as a user runs it: every result once, whatever is done to shards and cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import psutil
import pytest

from command import COMMAND, LIMIT, run_command, until

FILES = 120


@pytest.fixture
def folder(tmp_path):
    """Small files, some thousand bytes each."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(FILES):
        (files / f"f{number}").write_bytes(os.urandom(8) * number * 10)
    return files


def test_every_task_succeeds_exactly_once(folder, tmp_path):
    result = run_command("demo", "files", "--group", "1", "--chaos", "--seed", "7", "-o", "json", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert (report["verified"], report["pods"], report["succeeded"]) == (True, FILES, FILES)
    assert report["pods_left"] == []
    chaos = report["chaos"]
    assert chaos["seed"] == 7
    assert chaos["did_not_happen"] == []
    for count in ("shards_killed", "watches_cut", "create_answers_lost", "pods_evicted"):
        assert chaos[count] >= 1
    took = chaos["took"]
    assert took["shard_restarts"] <= chaos["shards_killed"]
    assert took["creates"] >= FILES
    assert took["commands_started"] >= took["commands_completed"] >= FILES
    proof = chaos["exactly_once"]
    assert (proof["holds"], proof["tasks"], proof["problems"]) == (True, FILES, [])
    assert "chaos with seed 7; repeat it with --chaos --seed 7" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_summary_says_what_was_done_what_it_took_and_what_did_not_happen(tmp_path):
    """A job that is over at once leaves no time for most of it, which is said and is no failure."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "one").write_text("1")
    result = run_command("demo", "files", "--chaos", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    (done,) = [line for line in lines if line.startswith("chaos (seed ")]
    seed = done.removeprefix("chaos (seed ").partition(")")[0]
    assert f"--chaos --seed {seed}" in result.stderr
    (missing,) = [line for line in lines if "did not happen before the job was over: " in line]
    promised = {"shards killed", "watches cut", "create answers lost", "pods evicted"}
    assert set(missing.partition(": ")[2].split(", ")) <= promised
    assert any(line.startswith("it took: ") and "commands started" in line for line in lines)
    assert any(line.startswith("exactly once: 1 task") for line in lines)
    assert lines[-1].startswith("verified: 1 of 1 hashes")


def test_without_chaos_none_is_reported(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "one").write_text("1")
    result = run_command("demo", "files", "-o", "json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["chaos"] is None


def test_a_seed_is_nothing_without_chaos(folder, tmp_path):
    result = run_command("demo", "files", "--seed", "7", cwd=tmp_path)
    assert result.returncode == 2
    assert "--seed: is the seed of --chaos; give both" in result.stderr
    assert "development cluster" not in result.stderr


def test_ctrl_c_during_the_chaos_leaves_nothing_behind(folder, tmp_path):
    arguments = ["demo", "files", "--group", "1", "--parallelism", "2", "--chaos", "--seed", "3"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=log, stderr=log)
    below: list[psutil.Process] = []

    def killed() -> bool:
        below.extend(psutil.Process(process.pid).children(recursive=True))
        return "killed by signal 9; starting it again" in (tmp_path / "log").read_text() or process.poll() is not None

    until(killed, "a shard is killed")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    shown = (tmp_path / "log").read_text()
    assert "stopped by SIGINT; nothing was compared" in shown
    assert "Traceback" not in shown
    until(lambda: not [child for child in below if child.is_running()], "every process is gone", 10.0)


def test_a_chaos_that_breaks_down_is_an_error(folder, tmp_path):
    """Its cluster refuses a step."""
    script = (
        "import shard_executor.cli as cli, shard_executor.cli.chaos as chaos\n"
        "from shard_executor.cli.chaos_plan import Step\n"
        "chaos.plan = lambda seed, steps: [Step('earthquake', 0.0, 0.0)]\n"
        "cli.main(['demo', 'files', '--chaos', '--progress', 'none'])\n"
    )
    command = [COMMAND[0], "-c", script]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert result.returncode == 3
    assert result.stdout == ""
    assert "error: the chaos broke down, so that the run proves nothing" in result.stderr
    assert "unknown kind 'earthquake'" in result.stderr
    assert "Traceback" not in result.stderr
