"""A development cluster in a process of its own, for tests, the demo and the bench."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

_START_LIMIT = 30.0  # seconds until the ready line
_END_LIMIT = 15.0  # seconds from SIGTERM to the end
_REQUEST_LIMIT = 30.0  # seconds for one call


class DevClusterError(Exception):
    """The development cluster did not start, or refused a call."""


class DevClusterProcess:
    """Starts ``python -m shard_executor.devcluster`` and talks to it; a context manager. Constructing starts nothing.

    Args:
        arguments: further arguments of the command line, such as ``--kubelet simulated``.
        folder: where kubeconfig and log go; by default a temporary folder, removed at the end.
    """

    def __init__(self, arguments: Sequence[str] = (), *, folder: Path | None = None) -> None:
        self._arguments = list(arguments)
        self._given_folder = folder
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.token: str | None = None

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig; it exists once the cluster has started."""
        return self._home / "kubeconfig"

    @property
    def log(self) -> Path:
        """What the process wrote to its standard error."""
        return self._home / "devcluster.log"

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise DevClusterError("the development cluster has not been started")
        return self._process.pid

    @property
    def _home(self) -> Path:
        if self._folder is None:
            raise DevClusterError("the development cluster has not been started")
        return self._folder

    def start(self) -> None:
        """Starts the process and waits until it serves.

        Raises:
            DevClusterError: if it ends or is not ready within 30 s; the message has the end of its log.
        """
        self._folder = self._given_folder or Path(tempfile.mkdtemp(prefix="shard-executor-devcluster-"))
        command = [sys.executable, "-m", "shard_executor.devcluster"]
        command += ["--kubeconfig", str(self.kubeconfig), "--parent-pid", str(os.getpid()), *self._arguments]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        try:
            self.url = self._read_ready_line()
        except DevClusterError:
            self.end()
            raise
        users = yaml.safe_load(self.kubeconfig.read_text())["users"]
        self.token = users[0]["user"].get("token")

    def _read_ready_line(self) -> str:
        process = self._process
        if process is None or process.stdout is None:
            raise DevClusterError("the development cluster has not been started")
        deadline = time.monotonic() + _START_LIMIT
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise DevClusterError(f"the development cluster was not ready within {_START_LIMIT:.0f} s")
                data = os.read(process.stdout.fileno(), 4096)
                if not data:
                    tail = self.log.read_text(errors="replace")[-2000:]
                    raise DevClusterError(f"the development cluster ended while starting:\n{tail}")
                line += data
        word, _, url = line.decode().strip().partition(" ")
        if word != "ready":
            raise DevClusterError(f"unexpected first line of the development cluster: {line!r}")
        return url

    def end(self) -> None:
        """Stops the process, its pods included, and removes the temporary folder."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._folder is not None and self._given_folder is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def fault(self, kind: str, **arguments: Any) -> dict[str, Any]:
        """Asks for a fault; see `fault_kinds`.

        Returns: what was done.
        Raises:
            DevClusterError: for an unknown fault or wrong arguments.
        """
        return self.call("POST", "/devcluster/faults", {"kind": kind, **arguments})

    def clear_faults(self) -> dict[str, Any]:
        """Undoes what can be undone."""
        return self.call("DELETE", "/devcluster/faults")

    def stats(self) -> dict[str, Any]:
        """Counts: version, pods, watches, requests, kubelet, faults."""
        return self.call("GET", "/devcluster/stats")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request with a JSON answer; only for clusters served over plain HTTP.

        Raises:
            DevClusterError: if the cluster refuses it; the message has status and words.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                words = error.read().decode(errors="replace")
            raise DevClusterError(f"{method} {path}: HTTP {error.code} {words}") from error

    def __enter__(self) -> DevClusterProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
