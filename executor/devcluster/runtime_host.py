"""The process that owns all container processes: spawns them, writes their logs, reaps them, ends with its parent.

It stands apart from the API server for three reasons. A vfork from a small process costs a third of a millisecond,
whatever the server's size. The server's event loop is never blocked by a spawn. And as a child subreaper
(prctl(2), PR_SET_CHILD_SUBREAPER) it keeps hold of every descendant, so that nothing survives when the server is
killed with SIGKILL: the command pipe closes, and everything below this process is killed.

Commands come on standard input and events go to standard output, each as a 4-byte big-endian length and a JSON
object:

    {"op": "spawn", "id": n, "argv": [...], "env": {...}, "cwd": "...", "log": "path", "log_limit": bytes}
    {"op": "signal", "id": n, "signal": 15}
    {"event": "started", "id": n, "pid": n}
    {"event": "refused", "id": n, "message": "..."}       the process could not be started
    {"event": "exited", "id": n, "code": 0}               128 + n for signal n, as container runtimes report it

It is started by `runtime.Runtime` and of no use alone. Its one argument, if any, is a directory that it removes at the
end, because a server that was killed cannot.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

from shard_executor.devcluster.logfile import LogWriter

PR_SET_CHILD_SUBREAPER = 36
_READ = 1 << 16
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ignored signals stay ignored across exec; a container expects the defaults. The interpreter ignores the last two.
_RESET_SIGNALS = (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ)
# A process that leaves its group may hold the log pipe open for ever; what it prints later is not the container's.
_DRAIN_LIMIT = 64


class StartRefused(Exception):
    """A process cannot be started; the text is what a container runtime says."""


def _find_executable(name: str, path: str, cwd: str) -> str:
    """The file to execute for argv[0], as runc looks it up.

    Raises:
        StartRefused: it is missing or not executable.
    """
    if "/" in name:
        full = os.path.join(cwd, name)
        try:
            mode = os.stat(full).st_mode
        except OSError as error:
            raise StartRefused(f'exec: "{name}": stat {name}: {_words(error)}') from error
        if stat.S_ISDIR(mode):
            raise StartRefused(f'exec: "{name}": is a directory')
        if not os.access(full, os.X_OK):
            raise StartRefused(f'exec: "{name}": permission denied')
        return full
    for folder in path.split(os.pathsep):
        full = os.path.join(cwd, folder, name)
        if os.access(full, os.X_OK) and os.path.isfile(full):
            return full
    raise StartRefused(f'exec: "{name}": executable file not found in $PATH')


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _descendants(root: int) -> list[int]:
    """All live processes below `root`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # ended in between
        if fields[0] not in (b"Z", b"X"):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


class _Child:
    """One container's main process and the reading end of its output."""

    __slots__ = ("id", "log", "output", "pid")

    def __init__(self, identity: int, pid: int, output: int, log: LogWriter) -> None:
        self.id = identity
        self.pid = pid
        self.output = output
        self.log = log


class Host:
    """The loop: commands, outputs and deaths.

    Args:
        commands: file descriptor of the commands.
        events: file descriptor of the events; written blocking.
    """

    def __init__(self, commands: int, events: int) -> None:
        self._commands = commands
        self._events = events
        self._buffer = bytearray()
        self._children: dict[int, _Child] = {}  # by pid
        self._pids: dict[int, int] = {}  # container id -> pid
        self._ending: set[int] = set()  # sessions whose first process has ended
        self._selector = selectors.DefaultSelector()
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._ended = False

    def run(self) -> None:
        """Serves until the commands end, then kills every descendant."""
        woken, wake = os.pipe()
        for end in (woken, wake, self._commands):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._reap(woken))
        self._selector.register(self._commands, selectors.EVENT_READ, self._receive)
        while not self._ended:
            for key, _ in self._selector.select():
                handler: Callable[[], None] = key.data
                handler()
        _kill_all(os.getpid())
        for child in self._children.values():
            child.log.close()

    def _receive(self) -> None:
        try:
            data = os.read(self._commands, _READ)
        except BlockingIOError:
            return
        if not data:
            self._ended = True
            return
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < 4 + size:
                return
            command = json.loads(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            if command["op"] == "spawn":
                self._spawn(command)
            else:
                self._signal(command["id"], command["signal"])

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        data = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while data:
                data = data[os.write(self._events, data) :]
        except BrokenPipeError:
            self._ended = True

    def _spawn(self, command: dict[str, Any]) -> None:
        identity = command["id"]
        reading, writing = os.pipe()
        try:
            pid = self._start(command, writing)
        except (StartRefused, OSError, ValueError) as error:
            os.close(reading)
            words = _words(error) if isinstance(error, OSError) else str(error)
            self._send({"event": "refused", "id": identity, "message": words})
            return
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        child = _Child(identity, pid, reading, LogWriter(command["log"], limit=command["log_limit"]))
        self._ending.discard(pid)
        self._children[pid] = child
        self._pids[identity] = pid
        self._selector.register(reading, selectors.EVENT_READ, lambda: self._read(child))
        self._send({"event": "started", "id": identity, "pid": pid})

    def _start(self, command: dict[str, Any], output: int) -> int:
        argv, env, cwd = command["argv"], command["env"], command["cwd"]
        try:
            os.chdir(cwd)
        except OSError as error:
            raise StartRefused(f'chdir to cwd ("{cwd}") set in config.json failed: {_words(error)}') from error
        try:
            executable = _find_executable(argv[0], env.get("PATH", os.defpath), cwd)
            actions = [
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ]
            return os.posix_spawn(
                executable, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET_SIGNALS
            )
        except OSError as error:
            raise StartRefused(f'exec: "{argv[0]}": {_words(error)}') from error

    def _signal(self, identity: int, number: int) -> None:
        pid = self._pids.get(identity)
        if pid is not None:
            _signal_group(pid, number)

    def _read(self, child: _Child) -> bool:
        """Moves one piece of output to the log; False when there is none at present or any more."""
        if child.output < 0:
            return False
        try:
            data = os.read(child.output, _READ)
        except BlockingIOError:
            return False
        if data:
            child.log.write(data, time.time())
            return True
        self._close_output(child)
        return False

    def _close_output(self, child: _Child) -> None:
        if child.output >= 0:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = -1

    def _reap(self, woken: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(woken, _READ)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                self._kill_sessions()
                return
            pid = ended.si_pid
            child = self._children.pop(pid, None)
            if child is not None:  # else an orphan of some container, adopted as a subreaper
                # As in a container's PID namespace: with the first process all others go. It is still a zombie
                # here, so the number of its group cannot have passed to anyone else.
                _signal_group(pid, signal.SIGKILL)
                self._ending.add(pid)
            _, status = os.waitpid(pid, 0)
            if child is not None:
                self._finish(child, os.waitstatus_to_exitcode(status))

    def _kill_sessions(self) -> None:
        """Kills what a container leaves outside its first process's group, such as Airflow's task processes.

        The deaths of those found call this again, until none are left. The number of a session is not given to
        another process while the session has members.
        """
        left: set[int] = set()
        for pid in _descendants(os.getpid()) if self._ending else ():
            with contextlib.suppress(ProcessLookupError):
                if pid not in self._children and (session := os.getsid(pid)) in self._ending:
                    left.add(session)
                    os.kill(pid, signal.SIGKILL)
        self._ending = left

    def _finish(self, child: _Child, code: int) -> None:
        del self._pids[child.id]
        for _ in range(_DRAIN_LIMIT):
            if not self._read(child):
                break
        self._close_output(child)
        child.log.close()
        self._send({"event": "exited", "id": child.id, "code": code if code >= 0 else 128 - code})


def _signal_group(pid: int, number: int) -> None:
    # A group that has emptied meanwhile has nothing left to stop.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _kill_all(root: int) -> None:
    """Kills every descendant; again until there is none, because they may fork in between."""
    for _ in range(100):
        below = _descendants(root)
        if not below:
            return
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def main() -> None:
    """Serves the pipes it was started with."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
    # Only the end of the commands ends this process: a Ctrl-C is for the server, which still has to stop the pods.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    Host(0, 1).run()
    if len(sys.argv) > 1:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
