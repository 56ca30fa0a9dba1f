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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
