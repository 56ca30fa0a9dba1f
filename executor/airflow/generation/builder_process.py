"""The builder process as the factory sees it: started when needed, asked in batches, replaced when it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shard_executor.airflow.generation import wire
from shard_executor.airflow.generation.request import BuildError, GenerationSettings
from shard_executor.airflow.generation.subject import Subject

log = logging.getLogger(__name__)

Job = tuple[int, Subject]  # wire.COMPILE or wire.BUILD
Answer = tuple[Any, ...]

_MODULE = "shard_executor.airflow.generation.builder"
_SOCKET_BUFFER = 1024 * 1024
_STRIKES = 2  # a job that was in hand when a builder died this often fails alone
_LAST_LINES = 3
_PAUSE = (1.0, 60.0)  # seconds after a failed start before the next: the first, doubled up to the second
_END_LIMIT = 2.0  # seconds to end by itself


_GONE = (wire.ChannelEnded, OSError, ValueError)  # ValueError: closed by another thread meanwhile


class _Ended(Exception):
    """The builder ended or hangs; `hung` if it was given up."""

    def __init__(self, words: str, *, hung: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.hung = hung


class BuilderProcess:
    """Constructing starts nothing. Not thread-safe: one thread asks.

    Args:
        settings: sent to each process that is started.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._frames: wire.Frames | None = None
        self._ready = False
        self._failures = 0
        self._start_at = 0.0  # monotonic seconds: not before
        self._last_words = ""
        self._over = False
        self.hooks: list[str] | None = None  # the mutation hook's sources; None until a builder has told

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Starts the process if it does not run, and does not wait for it.

        Raises:
            BuildError: BuilderUnavailable, transient: it cannot be started, or did not start a moment ago.
        """
        self._over = False
        self._run()

    def _run(self) -> None:
        self._reap()
        if self._process is not None:
            return
        if self._over or time.monotonic() < self._start_at:
            raise self._unavailable()
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self._process = subprocess.Popen(
                # -P: what lies in the working directory is not to be taken for a package.
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            self._failed(f"no process to be had: {error}")
            raise self._unavailable() from error
        finally:
            theirs.close()
        self._sock = ours
        self._frames = wire.Frames(ours)
        self._ready = False
        ours.settimeout(self._settings.start_timeout)
        try:
            wire.send(ours, ([part for part in sys.path if isinstance(part, str)], asdict(self._settings)))
        except OSError as error:
            log.debug("the builder ended as soon as it was started: %s", error)  # waiting for it says so next

    def know_hooks(self) -> list[str]:
        """Where the deployment's mutation hooks come from, if need be from a process that is started for it.

        Raises:
            BuildError: BuilderUnavailable, transient.
        """
        self._reap()
        if self.hooks is None or (self._process is not None and not self._ready):
            self._be_ready()
        assert self.hooks is not None
        return self.hooks

    def ask(self, jobs: Sequence[Job]) -> list[Answer]:
        """An answer for each job, in order. A process that dies is replaced and the rest asked again.

        A job that two processes died of, or one hung with, gets an ERROR of its own; where no process can be started,
        all that are left get one, with a fifth element that is true: the task is not at fault.
        """
        answers: list[Answer] = []
        strikes = 0
        while len(answers) < len(jobs):
            done = len(answers)
            try:
                self._be_ready()
                self._converse(jobs[done:], answers)
            except BuildError as error:
                unavailable = (wire.ERROR, error.reason, error.message, False, True)
                answers += [unavailable] * (len(jobs) - len(answers))
            except _Ended as end:
                strikes = strikes + 1 if len(answers) == done else 1
                log.warning("the pod builder %s; %d pods are still to be built", end.words, len(jobs) - len(answers))
                if end.hung or strikes >= _STRIKES:
                    answers.append(_poison(end, self._settings.answer_timeout))
                    strikes = 0
        return answers

    def end(self) -> None:
        """Ends the process, also while another thread asks it; none is started again until `start` is called."""
        self._over = True
        process, sock = self._process, self._sock
        if process is None:
            return
        if sock is not None:
            with contextlib.suppress(OSError):  # the other end has gone already
                sock.shutdown(socket.SHUT_RDWR)
        try:
            process.wait(timeout=_END_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()  # in a hook that does not return, for instance
        self._take_leave()

    def _reap(self) -> None:
        """Takes leave of a process that has ended by itself, as one does that was idle."""
        if self._process is not None and self._process.poll() is not None:
            self._take_leave()

    def _be_ready(self) -> None:
        self._run()
        if self._ready:
            return
        frames, sock = self._frames, self._sock
        if frames is None or sock is None:
            raise self._unavailable()  # ended by another thread this moment
        try:
            kind, words = frames.read()
        except TimeoutError:
            self._failed(f"it did not start within {self._settings.start_timeout:g} s")
            raise self._unavailable() from None
        except _GONE as error:
            self._failed(f"it ended while it started ({error})")
            raise self._unavailable() from None
        if kind != wire.READY:
            self._failed(" | ".join(words.strip().splitlines()[-_LAST_LINES:]))
            raise self._unavailable()
        self._ready = True
        self._failures = 0
        self.hooks = list(words)
        sock.settimeout(self._settings.answer_timeout)

    def _converse(self, jobs: Sequence[Job], answers: list[Answer]) -> None:
        frames, sock = self._frames, self._sock
        if frames is None or sock is None:
            raise _Ended("was ended")
        try:
            wire.send(sock, [(kind, tuple(subject)) for kind, subject in jobs])
            for _ in jobs:
                answers.append(frames.read())
        except TimeoutError:
            self._give_up()
            raise _Ended(f"gave no answer within {self._settings.answer_timeout:g} s", hung=True) from None
        except _GONE:
            raise _Ended(self._give_up()) from None

    def _failed(self, words: str) -> None:
        how = self._give_up()
        self._last_words = f"{words}; {how}" if how else words
        first, most = _PAUSE
        self._start_at = time.monotonic() + min(first * 2**self._failures, most)
        self._failures += 1

    def _give_up(self) -> str:
        """Takes leave of a process that is of no more use; returns how it ended."""
        process = self._process
        self._close()
        if process is not None:
            try:
                process.wait(timeout=_END_LIMIT / 4)
            except subprocess.TimeoutExpired:
                process.kill()
        return self._take_leave()

    def _take_leave(self) -> str:
        process = self._process
        self._close()
        if process is None:
            return ""
        code = process.wait()
        self._process = None
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._ready = False

    def _unavailable(self) -> BuildError:
        if self._over:
            return BuildError("BuilderUnavailable", "the executor is ending", transient=True)
        return BuildError(
            "BuilderUnavailable",
            f"the process that generates pods cannot be started: {self._last_words}; the scheduler's log says more",
            transient=True,
        )


def _poison(end: _Ended, limit: float) -> Answer:
    if end.hung:
        words = f"generating this pod took more than {limit:g} s: does the pod_mutation_hook wait for something?"
        return (wire.ERROR, "BuildTimedOut", words, False)
    words = f"the process that generates pods {end.words} each time it was given this one, {_STRIKES} times"
    return (wire.ERROR, "BuilderDied", words, False)
