"""What the tests of the engine share: pods, a supervisor on a development cluster, polling with a deadline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from shard_executor._fast.keys import bin_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import Report, Submission, Supervisor, SupervisorConfig
from shard_executor.supervisor.credentials import CredentialSource

LIMIT = 90.0  # seconds; far beyond what any of these tests needs


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Polls until the condition holds; fails by name when it does not."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit:.0f} s: {what}")


def pod_body(ticket: str, *, instance: str = "tests", annotations: dict[str, str] | None = None, **spec: Any) -> str:
    """The body of a submission: one container that succeeds at once on a process kubelet."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "\x00N",
            "labels": {
                "shard-executor/instance": instance,
                "shard-executor/owner": "tests",
                "shard-executor/bin": str(bin_of("run", ticket)),
            },
            "annotations": {
                "shard-executor/submission": f"run/{ticket}/0",
                "shard-executor/attempt": "\x00A",
                **(annotations or {}),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "base", "image": "example/task:1", "command": ["true"], **spec}],
        },
    }
    return json.dumps(pod, separators=(",", ":")).replace("\\u0000", "\x00")


def submission(
    ticket: str,
    *,
    namespace: str = "default",
    attempt: int = 0,
    uid: str | None = None,
    began: bool = False,
    **kwargs: Any,
) -> Submission:
    known = {"attempt": attempt, "uid": uid, "began": began}
    body = pod_body(ticket, **kwargs)
    return Submission(ticket, bin_of("run", ticket), namespace, ticket, f"run/{ticket}/0", body, **known)


def outcome(kind: str, **more: str) -> dict[str, str]:
    """Annotations that tell the simulated kubelet how a pod ends."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {f"devcluster.shard-executor/{name}": value for name, value in {"outcome": kind, **named}.items()}


class Run:
    """A supervisor and what it has reported so far."""

    def __init__(self, cluster: DevClusterProcess, **config: Any) -> None:
        values: dict[str, Any] = {"instance": "tests", "owner": "tests", "namespace": "default", "shards": 2}
        values["credentials"] = CredentialSource(kubeconfig=str(cluster.kubeconfig))
        self.supervisor = Supervisor(SupervisorConfig(**{**values, **config}))
        self.cluster = cluster
        self.ends: dict[str, list[Report]] = {}
        self.progress: list[Report] = []
        self.acknowledging = True

    def submit(self, *tickets: str, **kwargs: Any) -> None:
        for ticket in tickets:
            self.supervisor.submit(submission(ticket, **kwargs))

    def collect(self) -> None:
        for report in self.supervisor.drain():
            if not report.terminal:
                self.progress.append(report)
                continue
            self.ends.setdefault(report.ticket, []).append(report)
            if self.acknowledging:
                self.supervisor.acknowledge(report.ticket)

    def finish(self, limit: float = LIMIT) -> dict[str, Report]:
        """Runs until every ticket is closed; the one report of each."""

        def closed() -> bool:
            self.supervisor.wait(0.2)
            self.collect()
            assert self.supervisor.failure is None
            return self.supervisor.idle()

        until(closed, "every ticket closed", limit)
        assert dict.fromkeys(self.ends, 1) == {t: len(r) for t, r in self.ends.items()}, "a ticket was reported twice"
        return {ticket: reports[0] for ticket, reports in self.ends.items()}

    def ended(self, count: int) -> None:
        """Waits until at least `count` tickets have ended."""

        def enough() -> bool:
            self.supervisor.wait(0.2)
            self.collect()
            return len(self.ends) >= count

        until(enough, f"{count} tickets ended")

    def shard_pids(self) -> list[int]:
        return [shard.pid for shard in self.supervisor.stats() if shard.alive]


@contextmanager
def running(cluster: DevClusterProcess, **config: Any) -> Iterator[Run]:
    """A started supervisor; afterwards none of its processes may be left."""
    run = Run(cluster, **config)
    others = _shards()
    run.supervisor.start()
    try:
        yield run
    finally:
        pids = run.shard_pids()
        run.supervisor.end()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the shard processes are gone", 10.0)
    assert _shards() <= others


def _shards() -> set[int]:
    """The shard processes of this process's supervisors."""
    return {child.pid for child in psutil.Process().children() if "shard_executor.shard" in _command(child)}


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def parent_process(kubeconfig: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """A process in which `run`, a `Run` that has been started, is at the script's hand; killed in the end."""
    head = f"""
        import sys, time
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from types import SimpleNamespace
        from engine import Run
        run = Run(SimpleNamespace(kubeconfig={kubeconfig!r}))
        run.supervisor.start()
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        yield parent
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def pods(cluster: DevClusterProcess, namespace: str = "default") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def states(reports: dict[str, Report]) -> dict[str, int]:
    return dict(Counter(report.state for report in reports.values()))


def alive(pid: int) -> bool:
    """The process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


__all__ = [
    "LIMIT",
    "Run",
    "alive",
    "outcome",
    "parent_process",
    "pod_body",
    "pods",
    "running",
    "states",
    "submission",
    "until",
]
