"""`shard-executor status` as a user runs it, beside programs with a `PodExecutor` on a development cluster."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command import COMMAND, LIMIT, Terminal, run_command, until
from engine import outcome
from shard_executor import PodExecutor, TaskSpec
from shard_executor.devcluster.process import DevClusterProcess

SIMULATED = ("--kubelet", "simulated", "--capacity", "10000", "--start-seconds", "0.05", "--run-seconds", "0.2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevClusterProcess]:
    with DevClusterProcess(SIMULATED) as started:
        yield started


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets lie, of this test alone; afterwards nothing of a living executor may be there."""
    with tempfile.TemporaryDirectory(prefix="se-") as base:
        folder = Path(base, "sockets")
        monkeypatch.setenv("SHARD_EXECUTOR_RUNTIME_DIR", str(folder))
        yield folder
        assert not folder.exists()


PROGRAM = """
import sys
from shard_executor import PodExecutor, TaskSpec
annotations = {"devcluster.shard-executor/outcome": "hang"}
with PodExecutor(kubeconfig=sys.argv[1], run_id=sys.argv[2], shards=1, parallelism=5) as executor:
    tasks = [TaskSpec(f"t{n}", image="x", command=["true"], annotations=annotations) for n in range(7)]
    futures = [executor.submit(task) for task in tasks]
    print("up", flush=True)
    input()
    executor.stop()
"""


@contextmanager
def program(cluster: DevClusterProcess, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A program whose executor has five pods that hang and two tasks that wait; it ends by itself or is killed."""
    words = [sys.executable, "-W", "error", "-c", PROGRAM, str(cluster.kubeconfig), run_id]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
        if process.poll() is None:
            _, complaints = process.communicate("\n", timeout=LIMIT)
            assert (process.returncode, complaints) == (0, "")
    finally:
        process.kill()
        process.communicate()


def status(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("status", *arguments, cwd=tmp_path)


def told(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The object of `-o json`, which agrees with the exit code."""
    result = status(tmp_path, "-o", "json", *arguments)
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["exit_code"] == result.returncode
    return found


def settled(tmp_path: Path, name: str) -> dict[str, Any]:
    """What an executor of `program` tells once a heartbeat has come from its running pods."""

    def look() -> dict[str, Any] | None:
        found = told(tmp_path, "--interval", "0", name)["executors"]
        return found[0] if found and found[0]["totals"]["running"] == 5 else None

    return dict(until(look, "five pods run"))


def test_a_running_executor_tells_how_it_stands(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "nightly") as process:
        found = settled(tmp_path, "nightly")
        assert (found["kind"], found["name"], found["pid"]) == ("pod-executor", "nightly", process.pid)
        assert (found["phase"], found["failure"], found["rates"]) == ("running", None, None)
        assert (found["namespaces"], found["parallelism"]) == (["default"], 5)
        assert found["totals"] == {"total": 7, "done": 0, "failed": 0, "running": 5, "pending": 0, "waiting": 2}
        assert found["calls"]["create 201"] == 5
        (shard,) = found["shards"]
        assert shard["alive"]
        assert shard["pid"] != process.pid
        assert shard["running"] == 5
        assert shard["watch"]["state"] == "watching"
        assert shard["rss_mb"] > 10
        assert shard["cpu_seconds"] > 0
        assert found["latencies"]["create"]["count"] == 5
        assert 0 < found["latencies"]["create"]["p50"] <= found["latencies"]["create"]["p99"]
        rated = told(tmp_path, "--interval", "0.2")["executors"][0]["rates"]
        assert rated["seconds"] >= 0.2
        assert rated["pods_per_second"] == 0
        text = status(tmp_path, "--interval", "0.2")
        assert (text.returncode, text.stderr) == (0, "")
        head, totals, columns, row, *rest = text.stdout.splitlines()
        assert head.startswith(f"pod-executor nightly: pid {process.pid} on ")
        assert head.endswith("namespace default")
        assert totals == "  running: 0/7 done (0.0 %), 0 failed, 5 running, 0 pending, 2 waiting, parallelism 5"
        assert dict(zip(columns.split(), row.split(), strict=False))["running"] == "5"
        assert any(line.startswith("  rates over ") and "0.0 pods/s" in line for line in rest)
        assert any(line.startswith("  memory: parent ") for line in rest)
        assert any(line.split()[:2] == ["create", "5"] for line in rest)
        assert "\x1b" not in text.stdout


def test_ends_failures_and_rates_are_counted(cluster: DevClusterProcess, tmp_path: Path, runtime: Path) -> None:
    with PodExecutor(kubeconfig=cluster.kubeconfig, shards=2, parallelism=50, run_id="mine") as executor:
        tasks = [TaskSpec(f"t{n}", image="x", command=["true"]) for n in range(60)]
        failing = TaskSpec("bad", image="x", command=["true"], annotations=outcome("fail"))
        futures = [executor.submit(task) for task in (*tasks, failing)]
        wait(futures, LIMIT)
        found = until(
            lambda: next(
                (
                    each
                    for each in told(tmp_path, "--interval", "0")["executors"]
                    if each["outcomes"].get("succeeded") == 60
                ),
                None,
            ),
            "the heartbeats have all ends",
        )
        assert found["totals"] == {"total": 61, "done": 61, "failed": 1, "running": 0, "pending": 0, "waiting": 0}
        assert found["outcomes"] == {"succeeded": 60, "container-error": 1}
        assert len(found["shards"]) == 2
        text = status(tmp_path, "mi", "--interval", "0").stdout
        assert "61/61 done (100.0 %), 1 failed" in text
        assert "ended: 60 x succeeded, 1 x container-error" in text
        assert "rates" not in text
    assert not runtime.exists()


def test_two_executors_and_names(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "job-one") as one, program(cluster, "job-two") as two:
        everybody = status(tmp_path)
        assert everybody.returncode == 0
        blocks = everybody.stdout.split("\n\n")
        assert [block.split()[1] for block in blocks] == ["job-one:", "job-two:"]
        for name, pid in (("job-one", one.pid), (str(one.pid), one.pid), ("job-t", two.pid)):
            assert [each["pid"] for each in told(tmp_path, name, "--interval", "0")["executors"]] == [pid]
        ambiguous = status(tmp_path, "job")
        assert (ambiguous.returncode, ambiguous.stdout) == (2, "")
        assert "error: 'job' may be any of these" in ambiguous.stderr
        assert f"pod-executor job-one, pid {one.pid}\n" in ambiguous.stderr
        assert f"pod-executor job-two, pid {two.pid}\n" in ambiguous.stderr
        absent = status(tmp_path, "weekly")
        assert (absent.returncode, absent.stdout) == (1, "")
        assert "no executor named weekly runs here" in absent.stderr


def test_two_executors_in_one_process(cluster: DevClusterProcess, tmp_path: Path) -> None:
    first = PodExecutor(kubeconfig=cluster.kubeconfig, shards=1, run_id="a")
    with first, PodExecutor(kubeconfig=cluster.kubeconfig, shards=1, run_id="b"):
        found = told(tmp_path, str(os.getpid()), "--interval", "0")
        assert [each["name"] for each in found["executors"]] == ["a", "b"]


def test_nothing_runs(tmp_path: Path, runtime: Path) -> None:
    result = status(tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"no executor runs here: none answers in {runtime}; `shard-executor status --help` says which are found\n"
    )
    assert told(tmp_path) == {"executors": [], "unresponsive": [], "problems": [], "exit_code": 1}
    assert "no executor of process 123456 runs here" in status(tmp_path, "123456").stderr
    assert status(tmp_path, "--watch").returncode == 1


def test_a_killed_program_is_not_shown_and_its_socket_goes(
    cluster: DevClusterProcess, tmp_path: Path, runtime: Path
) -> None:
    with program(cluster, "killed") as process:
        settled(tmp_path, "killed")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(runtime.iterdir())) == 1
        assert status(tmp_path).returncode == 1
        assert list(runtime.iterdir()) == []
    runtime.rmdir()  # a killed program cannot tidy up


def test_one_that_does_not_answer_is_named(cluster: DevClusterProcess, tmp_path: Path, runtime: Path) -> None:
    with program(cluster, "stopped") as process, program(cluster, "lives"):
        process.send_signal(signal.SIGSTOP)
        try:
            result = status(tmp_path, "--interval", "0")
            assert result.returncode == 1
            assert result.stdout.startswith("pod-executor lives: ")
            assert f"the executor of process {process.pid}: it does not answer within 2 s ({runtime}" in result.stderr
            found = told(tmp_path, str(process.pid))
            assert [each["pid"] for each in found["unresponsive"]] == [process.pid]
            assert found["executors"] == []
            assert told(tmp_path, "lives", "--interval", "0")["exit_code"] == 0
        finally:
            process.send_signal(signal.SIGCONT)


def test_a_folder_that_is_not_private_ends_no_run(
    cluster: DevClusterProcess, tmp_path: Path, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    with PodExecutor(kubeconfig=cluster.kubeconfig, shards=1, run_id="open") as executor:
        assert executor.submit(TaskSpec("a", image="x", command=["true"])).result(LIMIT).id == "a"
        result = status(tmp_path)
        assert result.returncode == 1
        assert f"warning: {runtime} may be written by others (mode 0777)" in result.stderr
        assert "chmod 0700" in told(tmp_path)["problems"][0]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["pod-executor open cannot be seen" in words for words in warnings] == [True]
    runtime.rmdir()


def test_on_a_terminal_it_has_colours_and_a_bar(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "nightly"):
        settled(tmp_path, "nightly")
        terminal = Terminal("status", "--interval", "0.1", cwd=tmp_path)
        assert terminal.wait() == 0
        for words in ("\x1b[1mpod-executor nightly", "0/7 done", "━━━", "watching", "rates over"):
            assert words in terminal.shown


def test_a_watch_on_a_terminal_goes_on_until_ctrl_c(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "nightly"):
        terminal = Terminal("status", "nightly", "--watch", "--interval", "0.1", cwd=tmp_path)
        terminal.read_until("5 running")
        terminal.read_until("rates over")
        terminal.press_ctrl_c()
        assert terminal.wait() == 0
        assert "interrupted" not in terminal.shown
        assert terminal.shown.endswith("\x1b[?25h"), "the cursor is left hidden"


def test_a_watch_ends_with_what_it_watches(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "nightly") as process:
        words = [*COMMAND, "status", "night", "--watch", "--interval", "0.1", "-o", "json"]
        watch = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
        assert first["executors"][0]["rates"] is None
        assert second["executors"][0]["rates"]["seconds"] >= 0.1
        process.communicate("\n", timeout=LIMIT)
        rest, complaints = watch.communicate(timeout=LIMIT)
        assert (watch.returncode, complaints) == (0, "night does not run any more\n")
        for line in rest.splitlines():
            assert [each["name"] for each in json.loads(line)["executors"]] == ["nightly"]


def test_a_watch_ends_with_its_reader(cluster: DevClusterProcess, tmp_path: Path) -> None:
    with program(cluster, "nightly"):
        words = [*COMMAND, "status", "--watch", "--interval", "0.05"]
        watch = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        assert watch.stdout.readline().count(":") == 2  # the time
        assert watch.stdout.readline().startswith("pod-executor nightly")
        watch.stdout.close()
        watch.stdout = None
        _, complaints = watch.communicate(timeout=LIMIT)
        assert (watch.returncode, complaints) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--interval", "-1"),
        ("--interval", "nan"),
        ("--interval", "soon"),
        ("--watch", "--interval", "0"),
        ("-o", "yaml"),
        ("a", "b"),
        ("",),
    ],
    ids=" ".join,
)
def test_bad_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = status(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_standard_output_that_cannot_be_written(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = run_command(
            "status", "-o", "json", cwd=tmp_path, capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert result.returncode == 3
    assert result.stderr.startswith("error: standard output cannot be written")


def test_help_says_where_it_looks(tmp_path: Path) -> None:
    shown = status(tmp_path, "--help").stdout
    for words in ("[NAME|PID]", "SHARD_EXECUTOR_RUNTIME_DIR", "kubectl exec", "Exit codes", "--watch"):
        assert words in shown
    assert "  status " in run_command("--help", cwd=tmp_path).stdout
