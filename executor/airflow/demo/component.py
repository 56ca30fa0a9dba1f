"""One long-running command of the environment, such as the scheduler, with its log in a file."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from shard_executor.airflow.demo import warden

_TAIL = 4000  # bytes of a log that go into an error
_SPAWN_LIMIT = 15.0  # seconds until the warden says that the command was started
_END_MARGIN = 10.0  # seconds that the warden may take beyond the command's grace


class DemoError(Exception):
    """Something of the environment did not start, ended by itself or did not answer; the words say what and why."""


class Component:
    """A command under a warden, which ends it with all its descendants when this process ends, however it does.

    Constructing starts nothing.

    Args:
        name: for words.
        command: the program and its arguments.
        env: its whole environment.
        log: the file its output is appended to; the command runs in the folder of it.
        grace: seconds from the first signal to SIGKILL.
        end_signal: the first signal that is to end it.
        user: the user id it runs as, None for the present one.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        grace: float = 15.0,
        end_signal: int = signal.SIGTERM,
        user: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command, self._env, self._grace = list(command), dict(env), grace
        self._end_signal, self._user = int(end_signal), user
        self._warden: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._code: int | None = None
        self._unread = b""

    def start(self) -> None:
        """Starts the command; it is not awaited until it works.

        Raises:
            DemoError: it could not be started.
        """
        user = "" if self._user is None else str(self._user)
        arguments = [sys.executable, "-I", str(warden.__file__), str(self.log), str(self._grace)]
        arguments += [str(self._end_signal), user, *self._command]
        with self.log.open("ab") as log:
            self._warden = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._env,
                cwd=self.log.parent,  # `python -m` looks for modules here first
                start_new_session=True,  # Ctrl-C reaches the owner only, which then ends everything in order
            )
        deadline = time.monotonic() + _SPAWN_LIMIT
        while self._pid is None:
            if time.monotonic() >= deadline or (self._warden.poll() is not None and not self._read(0.1)):
                self.end()
                raise DemoError(f"{self.name} could not be started; {self.tail()}")
            self._read(0.1)

    @property
    def pid(self) -> int:
        """The command's process id.

        Raises:
            DemoError: it has not been started.
        """
        if self._pid is None:
            raise DemoError(f"{self.name} has not been started")
        return self._pid

    def exit_code(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        self._read(0)
        if self._code is None and self._warden is not None and self._warden.poll() is not None and not self._read(0):
            self._code = self._warden.returncode
        return self._code

    def check(self) -> None:
        """Raises DemoError, with the end of the log, if it has ended."""
        code = self.exit_code()
        if code is not None:
            raise DemoError(f"{self.name} ended with {code}; {self.tail()}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends the command itself a signal, nothing to its children; waits for its end where it is SIGKILL."""
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            deadline = time.monotonic() + _SPAWN_LIMIT
            while self.exit_code() is None and time.monotonic() < deadline:
                self._read(0.1)

    def descendants(self) -> list[psutil.Process]:
        """What lives of the command and of all processes that descend from it, orphans included."""
        if self._warden is None:
            return []
        try:
            below = psutil.Process(self._warden.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def ask_to_end(self) -> None:
        """Begins the end without waiting for it; `end` waits."""
        if self._warden is not None and self._warden.stdin is not None and not self._warden.stdin.closed:
            self._warden.stdin.close()

    def end(self) -> None:
        """The first signal to the command, then SIGKILL to all that descends from it; may be called again."""
        process, self._warden = self._warden, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(self._grace + _END_MARGIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def tail(self, limit: int = _TAIL) -> str:
        """The end of its log, in words that say where the whole of it is."""
        try:
            text = self.log.read_bytes()[-limit:].decode(errors="replace")
        except FileNotFoundError:
            text = ""
        return f"the end of {self.log}:\n{text.strip() or '(empty)'}"

    def _read(self, seconds: float) -> bool:
        """Takes what the warden says; whether there was something."""
        process = self._warden
        if process is None or process.stdout is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return False
        data = os.read(process.stdout.fileno(), 4096)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "started":
                self._pid = int(number)
            elif word == "ended":
                self._code = int(number)
        return bool(data)
