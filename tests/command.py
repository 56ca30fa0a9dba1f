"""What the tests of the command line share: the real command as a process, also on a terminal, and polling."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from shard_executor.devcluster.process import DevClusterProcess

LIMIT = 60.0  # seconds; far beyond what any of these tests needs
COMMAND = (sys.executable, "-m", "shard_executor.cli")


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Polls until the condition holds; fails by name when it does not."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit:.0f} s: {what}")


def run_command(
    *arguments: str, cwd: Path, text: str | None = None, **changes: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    settings = {"cwd": cwd, "input": text, "capture_output": True, "text": True, "timeout": LIMIT, "check": False}
    return subprocess.run([*COMMAND, *arguments], **{**settings, **changes})


def write_tasks(path: Path, *tasks: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"image": "tools", **task}) + "\n" for task in tasks))
    return path


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The result lines by id; a second line for one id is an error."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == len(records), "a task has two result lines"
    return by_id


class Terminal:
    """The command on a terminal of its own; what it shows is gathered as it comes."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.environ.update(TERM="xterm", COLUMNS="120", LINES="40")
            os.execv(COMMAND[0], [*COMMAND, *arguments])
        self.shown = ""

    def read_until(self, words: str) -> None:
        def seen() -> bool:
            self._read(0.1)
            return words in self.shown

        until(seen, f"{words!r} on the terminal")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def wait(self) -> int:
        """Reads to the end; the exit code."""
        until(lambda: not self._read(0.1), "the end of the command")
        _, status = os.waitpid(self.pid, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)

    def _read(self, timeout: float) -> bool:
        if not select.select([self._master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO where the other side has closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def interrupt_when(process: subprocess.Popen[str], log: Path, words: str, number: int = signal.SIGINT) -> None:
    """Sends a signal once the words stand in the log that the process writes to."""
    until(lambda: words in log.read_text() or process.poll() is not None, f"{words!r} in the log")
    process.send_signal(number)


class Workplace:
    """A folder with a task list, a results file and the marks that its tasks leave, and a cluster to run them on.

    Tasks run as processes of this host: each try appends its id to one file, and waits where the test says so for a
    file that the test makes.
    """

    def __init__(self, folder: Path, cluster: DevClusterProcess) -> None:
        self.folder, self.cluster = folder, cluster
        self.log, self.out = folder / "log", folder / "out.jsonl"
        self._started: list[psutil.Process] = []
        (folder / "kubeconfig").write_text(cluster.kubeconfig.read_text())

    # ---- tasks

    def task(self, name: str, then: str = "true", **fields: Any) -> dict[str, Any]:
        """A task that marks that it ran and then does `then`."""
        return {"id": name, "command": ["sh", "-c", f"echo {name} >> {self.folder}/ran; {then}"], **fields}

    def gated(self, name: str, gate: str = "gate", then: str = "true", **fields: Any) -> dict[str, Any]:
        """A task that marks that it ran and goes on when the test opens the gate."""
        return self.task(name, f"while [ ! -e {self.folder}/{gate} ]; do sleep 0.1; done; {then}", **fields)

    def open_gate(self, gate: str = "gate") -> None:
        (self.folder / gate).touch()

    def list(self, *tasks: Mapping[str, Any]) -> None:
        write_tasks(self.folder / "t.jsonl", *tasks)

    def ran(self) -> Counter[str]:
        """How often each task has begun."""
        marks = self.folder / "ran"
        return Counter(marks.read_text().split()) if marks.exists() else Counter()

    def until_ran(self, *names: str) -> None:
        until(lambda: set(names) <= set(self.ran()), f"{', '.join(names)} running")

    # ---- the command

    def arguments(self, *more: str) -> list[str]:
        return ["run", "t.jsonl", "--kubeconfig", "kubeconfig", "--progress", "plain", *more]

    def run(self, *more: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        return run_command(*self.arguments(*more), cwd=self.folder, **changes)

    def start(self, *more: str) -> subprocess.Popen[str]:
        """The command in the background; its standard error goes to `log`, anew each time."""
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, *self.arguments(*more)], cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._started.append(psutil.Process(process.pid))
        return process

    def until_logged(self, words: str) -> None:
        until(lambda: words in self.log.read_text(), f"{words!r} in the log")

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL to the command; its shards notice by themselves."""
        self._started += psutil.Process(process.pid).children()
        process.kill()
        process.communicate(timeout=LIMIT)

    def results(self) -> dict[str, dict[str, Any]]:
        return read_results(self.out)

    def lines(self) -> list[str]:
        """The result lines so far."""
        return self.out.read_text().splitlines() if self.out.exists() else []

    def states(self) -> dict[str, str]:
        """What the results say that became of each task."""
        return {name: record["state"] for name, record in self.results().items()}

    def refused(self, *arguments: str) -> str:
        """What the command says to arguments that it refuses; it must not have touched anything."""
        before = self.uids(), self.lines()
        result = self.run(*arguments)
        assert result.returncode == 2, result.stderr
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert (self.uids(), self.lines()) == before
        return result.stderr

    def left_run(self, run_id: str, *more: str) -> None:
        """A run of three tasks, one of which has ended; the pods of the others wait for the gate."""
        self.list(self.task("ended"), self.gated("open"), self.gated("other"))
        process = self.start("--run-id", run_id, "--results", "out.jsonl", "--on-interrupt", "leave", *more)
        self.until_ran("ended", "open", "other")
        until(self.lines, "a result")
        stop(process)

    # ---- the cluster

    def uids(self) -> dict[str, str]:
        """The uid of each task's pod that is there."""
        return {task_of(pod): pod["metadata"]["uid"] for pod in self.pods()}

    def pods(self) -> list[dict[str, Any]]:
        return list(self.cluster.call("GET", "/api/v1/pods")["items"])

    def delete(self, *task_ids: str) -> None:
        """Deletes the pods of these tasks as somebody with kubectl might, and waits until they have gone."""
        gone = [pod["metadata"] for pod in self.pods() if not task_ids or task_of(pod) in task_ids]
        for meta in gone:
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
            self.cluster.call("DELETE", path, {"gracePeriodSeconds": 0})
        uids = {meta["uid"] for meta in gone}
        until(lambda: not uids & {pod["metadata"]["uid"] for pod in self.pods()}, "the pods gone")

    def leaves_nothing(self) -> None:
        """Fails if a pod or a process of the commands is left."""
        assert [pod["metadata"]["name"] for pod in self.pods()] == []
        until(lambda: not any(map(_is_alive, self._started)), "the end of every process of the commands")


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Stops the command as the first Ctrl-C does; what its summary says."""
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number
    return stdout


def task_of(pod: Mapping[str, Any]) -> str:
    """The task id of a pod."""
    return str(pod["metadata"]["annotations"]["shard-executor/submission"].split("/")[1])


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
