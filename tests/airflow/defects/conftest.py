"""Plays a scene with one executor: a cluster, a home and stand-in workers of its own, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from driving.home import make_database, make_home
from driving.standin import StandIn
from shard_executor.devcluster.process import DevClusterProcess

_LIMIT = 90.0  # seconds for a scene
_SCENES = Path(__file__).with_name("scenes.py")
_TESTS = _SCENES.parent.parent.parent

Play = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata database that homes get copies of."""
    return make_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def play(tmp_path: Path, empty_database: Path) -> Play:
    """Plays a scene and gives what was seen.

    Arguments: the scene's name, the executor's class; ``options`` of Airflow; ``start_seconds`` until a pod runs and
    ``run_seconds`` that it does; ``workers``: seconds after its begin that a stand-in worker reports success, None for
    no workers at all.
    """

    def run(
        scene: str,
        executor: str,
        *,
        options: Mapping[str, str] | None = None,
        start_seconds: float = 0.1,
        run_seconds: float = 2.0,
        workers: float | None = 0.5,
    ) -> dict[str, Any]:
        arguments = ["--start-seconds", str(start_seconds), "--run-seconds", str(run_seconds)]
        with DevClusterProcess(["--kubelet", "simulated", *arguments]) as cluster:
            given = {"core.parallelism": "100", **(options or {})}
            home = make_home(tmp_path / "home", empty_database, executor, cluster.kubeconfig, options=given)
            standin = StandIn(cluster.url, cluster.token, home.database, workers or 0.0)
            if workers is not None:
                standin.start()
            try:
                result = tmp_path / "seen.json"
                _run(
                    [sys.executable, "-P", str(_SCENES), scene, cluster.url, cluster.token or "", str(result)],
                    {**home.environment, "PYTHONPATH": str(_TESTS)},
                    tmp_path / "scheduler.log",
                )
            finally:
                standin.end()
            if standin.failure is not None:
                raise standin.failure
        return {**json.loads(result.read_text()), "workers": dict(standin.counts)}

    return run


def _run(command: list[str], environment: Mapping[str, str], log: Path) -> None:
    """Runs a scene's process and ends what it may have left."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    family: dict[int, psutil.Process] = {}
    try:
        process.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        family = {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
        raise AssertionError(f"the scene took more than {_LIMIT:.0f} s; the end of its log:\n{_tail(log)}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for child in family.values():
            with suppress(psutil.NoSuchProcess):
                child.kill()
    if process.returncode != 0:
        raise AssertionError(f"the scene ended with {process.returncode}; the end of its log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-6000:]


def pytest_report_header() -> str:
    """The interpreter that scenes run with."""
    return f"scenes run with {sys.executable}, {os.cpu_count()} CPUs"
