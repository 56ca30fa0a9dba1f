"""Starts and signals container processes through the process host; the kubelet's side of its two pipes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shard_executor.devcluster.logfile import DEFAULT_LIMIT

_END_LIMIT = 10.0  # seconds for the host to kill everything and end
KILLED = 128 + signal.SIGKILL


class StartError(Exception):
    """A process could not be started; the text is the container runtime's."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to start.

    `argv` without the executable's lookup, which follows `env`'s PATH; `cwd` and `log` are absolute paths.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str


@dataclass(slots=True, eq=False)
class RunningProcess:
    """A started process. `exited` resolves to its exit code, 128 + n for signal n."""

    id: int
    exited: asyncio.Future[int]


@dataclass(slots=True)
class _Entry:
    started: asyncio.Future[None]
    exited: asyncio.Future[int]
    pid: int = 0


@dataclass(slots=True)
class RuntimeCounts:
    """What the runtime did so far."""

    started: int = 0
    refused: int = 0
    exited: int = 0
    hosts: int = 0


class Runtime:
    """The processes of one kubelet. Constructing starts nothing.

    Should the host die, its processes are counted as killed (137) and the next start gets a new host.

    Args:
        log_limit: bytes after which a container's log is rotated.
    """

    def __init__(self, *, log_limit: int = DEFAULT_LIMIT) -> None:
        self._log_limit = log_limit
        self.scratch: Path | None = None  # removed by the host when it ends, even if this process was killed
        self._host: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._entries: dict[int, _Entry] = {}
        self._next = 0
        self._lock = asyncio.Lock()
        self.counts = RuntimeCounts()

    @property
    def host_pid(self) -> int | None:
        """The process id of the host, None before the first start and after the end."""
        return self._host.pid if self._host is not None else None

    async def start(self, launch: Launch) -> RunningProcess:
        """Starts a process.

        Raises:
            StartError: the executable or the working directory is missing or unusable.
        """
        host = await self._ensure_host()
        loop = asyncio.get_running_loop()
        self._next += 1
        identity = self._next
        entry = self._entries[identity] = _Entry(loop.create_future(), loop.create_future())
        command = {"op": "spawn", "id": identity, "argv": launch.argv, "env": launch.env, "cwd": launch.cwd}
        self._send(host, {**command, "log": launch.log, "log_limit": self._log_limit})
        try:
            await entry.started
        except asyncio.CancelledError:
            # The host may start it all the same: its group is ended as soon as it has.
            self._send(host, {"op": "signal", "id": identity, "signal": signal.SIGKILL})
            raise
        return RunningProcess(identity, entry.exited)

    def signal(self, process: RunningProcess, number: int) -> None:
        """Sends a signal to the process and its group; nothing happens if it has ended."""
        if self._host is not None and process.id in self._entries:
            self._send(self._host, {"op": "signal", "id": process.id, "signal": int(number)})

    async def end(self) -> None:
        """Kills all processes and waits for the host to go."""
        host, self._host = self._host, None
        if host is None:
            return
        assert host.stdin is not None
        host.stdin.close()
        try:
            await asyncio.wait_for(host.wait(), _END_LIMIT)
        except TimeoutError:
            host.kill()
            await host.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    async def _ensure_host(self) -> asyncio.subprocess.Process:
        async with self._lock:
            if self._host is None:
                self._host = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "shard_executor.devcluster.runtime_host",
                    *([str(self.scratch)] if self.scratch is not None else []),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    start_new_session=True,  # a signal to the server's group must not take the host with it
                    cwd="/",
                )
                self.counts.hosts += 1
                self._reader = asyncio.create_task(self._receive(self._host), name="devcluster runtime events")
            return self._host

    def _send(self, host: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        if host.stdin is not None and not host.stdin.is_closing():
            host.stdin.write(len(body).to_bytes(4, "big") + body)

    async def _receive(self, host: asyncio.subprocess.Process) -> None:
        assert host.stdout is not None
        # A clean end or a cut in the middle of an event: either way the host has gone.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while True:
                size = int.from_bytes(await host.stdout.readexactly(4), "big")
                self._handle(json.loads(await host.stdout.readexactly(size)))
        await host.wait()
        if self._host is host:
            self._host = None
            self._kill_orphans()
        for identity in list(self._entries):
            self._exited(identity, KILLED)

    def _handle(self, event: dict[str, Any]) -> None:
        identity, kind = event["id"], event["event"]
        if kind == "started":
            self.counts.started += 1
            entry = self._entries[identity]
            entry.pid = event["pid"]
            if not entry.started.done():
                entry.started.set_result(None)
        elif kind == "refused":
            self.counts.refused += 1
            entry = self._entries.pop(identity)
            if not entry.started.done():
                entry.started.set_exception(StartError(event["message"]))
        else:
            self._exited(identity, event["code"])

    def _exited(self, identity: int, code: int) -> None:
        entry = self._entries.pop(identity)
        self.counts.exited += 1
        if not entry.started.done():
            entry.started.set_result(None)
        if not entry.exited.done():
            entry.exited.set_result(code)

    def _kill_orphans(self) -> None:
        """After the host's own death: ends the groups it led, which nobody else watches now."""
        for entry in self._entries.values():
            if entry.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(entry.pid, signal.SIGKILL)
