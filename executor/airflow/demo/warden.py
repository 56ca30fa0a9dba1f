"""Runs one command and answers for all of its descendants: they end when whoever started this file ends.

A file of its own, run by path, with the standard library and psutil only:
``warden.py LOG GRACE SIGNAL USER COMMAND...``; USER is a user id, empty for the present user.

- The command runs in a session of its own, its output goes to the file LOG. Standard output gets two lines at most:
  ``started PID`` and ``ended CODE`` (minus the signal's number where a signal ended it).
- At the end of standard input (its owner closed it, or is dead), SIGTERM or SIGINT the command gets SIGNAL (a number),
  and after GRACE seconds, or its end, whatever descends from it gets SIGKILL.
- As child subreaper (prctl(2), Linux) it keeps descendants whose parent has died, so that none gets away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

import psutil

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LAST_LIMIT = 5.0  # seconds for killed processes to disappear


class _Warden:
    def __init__(self, log: str, grace: float, number: int, user: int | None, command: list[str]) -> None:
        self._log, self._grace, self._signal, self._user, self._command = log, grace, number, user, command
        self._wake_read, wake_write = os.pipe()
        for end in (self._wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._stopped = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake up
        self._pid = 0
        self._code: int | None = None

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopped = True

    def run(self) -> int:
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        self._pid = process.pid
        _say(f"started {self._pid}")
        while not self._stopped:
            self._wait(None, [0])
            self._reap()
        self._finish()
        return 0

    def _wait(self, seconds: float | None, further: list[int]) -> None:
        ready, _, _ = select.select([self._wake_read, *further], [], [], seconds)
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if 0 in ready and not os.read(0, 4096):
            self._stopped = True

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self._pid:
                    self._code = os.waitstatus_to_exitcode(status)
                    _say(f"ended {self._code}")

    def _finish(self) -> None:
        deadline = time.monotonic() + self._grace
        if self._code is None:
            os.kill(self._pid, self._signal)
        while self._code is None and time.monotonic() < deadline:
            self._wait(max(deadline - time.monotonic(), 0), [])
            self._reap()
        deadline = time.monotonic() + _LAST_LIMIT
        while time.monotonic() < deadline:
            self._reap()
            left = psutil.Process().children(recursive=True)
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._wait(0.05, [])


def _say(line: str) -> None:
    # The owner may be gone already; its descendants are looked after all the same.
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    _log, _seconds, _number, _user = sys.argv[1:5]
    sys.exit(_Warden(_log, float(_seconds), int(_number), int(_user) if _user else None, sys.argv[5:]).run())
