"""One shard process as its parent sees it: started on a socket pair, read and written without blocking, reaped."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from shard_executor.core.backoff import backoff_delay
from shard_executor.supervisor import messages as msg

_READ_SIZE = 256 * 1024
_SOCKET_BUFFER = 1024 * 1024
_HEALTHY_AFTER = 60.0  # seconds of life after which an end counts as the first of its kind again


@dataclass(slots=True)
class ShardProcess:
    """`epoch` counts starts, `beats_at` is when the shard was last heard (monotonic seconds), `figures` its last beat.

    `last_words` is the last error that it logged, `last_error` how its predecessor ended, with those words;
    `cpu_before` adds up the CPU seconds of its earlier incarnations.
    """

    shard: int
    process: subprocess.Popen[bytes] | None = None
    sock: socket.socket | None = None
    reader: msg.FrameReader = field(default_factory=msg.FrameReader)
    out: list[msg.Message] = field(default_factory=list)
    unsent: bytearray = field(default_factory=bytearray)
    epoch: int = 0
    ready: bool = False
    stopped: bool = False
    started_at: float = 0.0
    beats_at: float = 0.0
    restart_at: float | None = None
    failures: int = 0
    last_words: str = ""
    last_error: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    cpu_before: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None

    def spawn(self, now: float, parent_pid: int) -> None:
        """Starts the process in a session of its own, so that a terminal's signals reach only the parent.

        Raises:
            OSError: no process or no sockets to be had.
        """
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shard_executor.shard", str(theirs.fileno()), str(parent_pid)],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self.sock = ours
        self.reader = msg.FrameReader()
        self.out = []
        self.unsent = bytearray()
        self.epoch += 1
        self.ready = self.stopped = False
        self.last_words = ""
        self.started_at = self.beats_at = now
        self.restart_at = None

    def receive(self) -> tuple[list[msg.Message], bool]:
        """What has arrived, and whether the channel is still open."""
        assert self.sock is not None
        messages: list[msg.Message] = []
        while True:
            try:
                data = self.sock.recv(_READ_SIZE)
            except BlockingIOError:
                return messages, True
            except OSError:
                return messages, False
            if not data:
                return messages, False
            try:
                messages += self.reader.feed(data)
            except msg.FrameError as error:
                self.last_words = f"it sent {error}"
                self.kill()
                return messages, False

    def flush(self) -> bool:
        """Writes what has gathered; True if some of it has to wait for the socket."""
        if self.sock is None:
            self.out.clear()
            return False
        if self.out:
            self.unsent += msg.encode(self.out)
            self.out.clear()
        try:
            while self.unsent:
                sent = self.sock.send(self.unsent)
                del self.unsent[:sent]
        except BlockingIOError:
            return True
        except OSError:
            self.unsent.clear()  # it has died: reading its channel says so next
        return False

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def reap(self, now: float, rng: random.Random) -> int:
        """Takes leave of a process whose channel has ended; returns its exit code and sets when to start the next."""
        assert self.process is not None
        try:
            code = self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its channel is closed, so it can do no more good
            code = self.process.wait()
        if self.sock is not None:
            self.sock.close()
        self.sock = None
        self.process = None
        self.cpu_before += float(self.figures.get("cpu_seconds", 0.0))
        self.figures = {}
        self.failures = 1 if now - self.started_at >= _HEALTHY_AFTER else self.failures + 1
        self.restart_at = now + (0.0 if self.failures == 1 else backoff_delay(self.failures - 1, rng))
        self.ready = False
        return code
