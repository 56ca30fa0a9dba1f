"""One case of `airflow.py`: a fresh cluster, a fresh home and stand-in workers around one executor's process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from driving.home import HOOK, OURS, STOCK, Home, make_home
from driving.processes import role_of
from shard_executor.devcluster.process import DevClusterProcess

HERE = Path(__file__).resolve().parent
# Tasks before anything is measured: connections are open then, and processes there that start when they are needed.
WARM = 20
_SAMPLE = 0.5  # seconds between looks at resident memory
_END_LIMIT = 60.0
_START_SECONDS = 0.1  # a simulated pod's time from binding to Running
_STARTING = 120.0  # seconds that imports, the DAG and the executor's start may take on top of the limit

Peer = tuple[str, str, dict[str, str]]  # name, import path of the class, options


@dataclass(frozen=True, slots=True)
class Case:
    """What is driven, on what.

    Args:
        name: of the executor and its settings, as the table shows it.
        executor: import path of its class.
        tasks: how many.
        latency_ms: that each create of a pod takes longer on the cluster.
        hook: whether there is a pod_mutation_hook.
        run_seconds: how long a pod runs.
        parallelism: ``[core] parallelism``.
        options: further Airflow options, ``section.key`` -> value.
        full: tasks in flight that count as full; 0 for no such figure.
        per_loop, loop_pause, idle_pause: see `driving.driver.Driver`.
        limit: seconds until a case is given up.
    """

    name: str
    executor: str
    tasks: int
    latency_ms: float
    hook: bool
    run_seconds: float
    parallelism: int
    options: Mapping[str, str] = field(default_factory=dict)
    full: int = 0
    per_loop: int = 64
    loop_pause: float = 0.01
    idle_pause: float = 0.1
    limit: float = 900.0


def stock(batch: int, *, concurrent: bool) -> Peer:
    """Name, class and options of the provider's executor."""
    options = {
        "kubernetes_executor.worker_pods_creation_batch_size": str(batch),
        "kubernetes_executor.async_pod_creation": str(concurrent),
    }
    return f"stock, batch {batch}{', async' if concurrent else ''}", STOCK, options


def ours() -> Peer:
    """Name, class and options of this project's executor: its defaults."""
    return "shard-executor", OURS, {}


def measure(case: Case, database: Path) -> dict[str, Any]:
    """Runs a case and checks it.

    Args:
        database: an empty metadata database, to be copied.

    Returns: the figures; ``wrong`` lists what was wrong with the results, and is empty when they count.
    """
    arguments = ["--kubelet", "simulated", "--capacity", "100000", "--start-seconds", str(_START_SECONDS)]
    with (
        tempfile.TemporaryDirectory(prefix="shard-executor-bench-") as folder,
        DevClusterProcess([*arguments, "--run-seconds", str(case.run_seconds)]) as cluster,
    ):
        if case.latency_ms:
            cluster.fault("latency", ms=case.latency_ms, verb="create", path="/pods")
        options = {"core.parallelism": str(case.parallelism), **case.options}
        home = make_home(
            Path(folder) / "home",
            database,
            case.executor,
            cluster.kubeconfig,
            options=options,
            hook=HOOK if case.hook else None,
        )
        with _standin(cluster, home, 0.4 * case.run_seconds) as counts:
            figures = _drive(case, cluster, home)
        figures["cluster_cpu_seconds"] = sum(psutil.Process(cluster.pid).cpu_times()[:2])
        figures["requests"] = cluster.stats()["requests"]
    figures["workers"] = counts
    if "seconds" in figures and not case.full:
        # The life of the last pod is no one's work; where the number in flight is the limit, a rate says nothing.
        figures["pods_per_second"] = case.tasks / (figures["seconds"] - case.run_seconds - _START_SECONDS)
    figures["wrong"] = _check(case, figures)
    return figures


def _check(case: Case, figures: dict[str, Any]) -> list[str]:
    """Every task must have ended exactly once, in success, on one pod, and no pod may be left."""
    if "failure" in figures:
        return [figures["failure"]]
    wrong: list[str] = []
    expected = {
        "made": case.tasks,
        "finished": True,
        "pods_gone": True,
        "database": {"success": case.tasks},
        "ends": {"success": case.tasks},
    }
    wrong += [f"{name}: {figures[name]}, not {value}" for name, value in expected.items() if figures[name] != value]
    expected = {"running": case.tasks + WARM, "success": case.tasks + WARM}
    if figures["workers"] != expected:
        wrong.append(f"the workers saw {figures['workers']}")
    return wrong


@contextmanager
def _standin(cluster: DevClusterProcess, home: Home, after: float) -> Iterator[dict[str, int]]:
    """The workers that simulated pods lack, in a process of their own that no figure counts."""
    command = [sys.executable, "-m", "driving.standin", "--url", cluster.url, "--database", str(home.database)]
    command += ["--after", str(after)] + (["--token", cluster.token] if cluster.token else [])
    counts: dict[str, int] = {}
    process = subprocess.Popen(
        command, cwd=HERE.parent / "tests", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError("the stand-in for the workers did not start")
        yield counts
        words, _ = process.communicate("", timeout=_END_LIMIT)
        counts.update(json.loads(words))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _drive(case: Case, cluster: DevClusterProcess, home: Home) -> dict[str, Any]:
    result, log = home.folder / "result.json", home.folder / "scheduler.log"
    spec = {
        "tasks": case.tasks,
        "warm": WARM,
        "per_loop": case.per_loop,
        "loop_pause": case.loop_pause,
        "idle_pause": case.idle_pause,
        "full": case.full,
        "limit": case.limit,
        "url": cluster.url,
        "token": cluster.token,
        "result": str(result),
    }
    environment = {**home.environment, "PYTHONPATH": str(HERE.parent / "tests")}
    with log.open("w") as output:  # Airflow's log goes where a scheduler's goes: to a file
        process = subprocess.Popen(
            # -P: with this folder on the path, airflow.py would be found in the place of Airflow.
            [sys.executable, "-P", str(HERE / "under_airflow_run.py"), json.dumps(spec)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        memory = _accompany(process, result, case.limit + _STARTING, cluster)
    finally:
        _end(process)
    if memory is None or process.returncode != 0:
        return {"failure": f"the executor's process gave no figures: {log.read_text(errors='replace')[-1500:]}"}
    figures: dict[str, Any] = json.loads(result.read_text())
    return figures | memory


def _accompany(
    process: subprocess.Popen[str], result: Path, limit: float, cluster: DevClusterProcess
) -> dict[str, Any] | None:
    """Looks at memory until the result is there, and then once more closely.

    Returns: None where the process ended, or took too long, without a result.
    """
    root = psutil.Process(process.pid)
    deadline = time.monotonic() + limit
    peak, alive, looks = 0.0, 0, 0
    while process.poll() is None and time.monotonic() < deadline:
        if result.exists():
            parts = [(role_of(found, root.pid), found.memory_full_info().pss / 2**20) for found in _tree(root)]
            process.communicate("go on\n", timeout=_END_LIMIT)
            return {
                "peak_rss_mb": peak,
                "pss_mb": sum(pss for _, pss in parts),
                "pss_mb_by_process": parts,
                "most_pods": alive,
            }
        peak = max(peak, sum(_rss(found) for found in _tree(root)))
        looks += 1
        if looks % 4 == 0:
            alive = max(alive, cluster.stats()["pods"])
        time.sleep(_SAMPLE)
    return None


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _rss(process: psutil.Process) -> float:
    """Megabytes; shared pages count for each process that has them."""
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the executor's process and whatever it started, however it went."""
    if process.poll() is not None:
        return
    left = _tree(psutil.Process(process.pid))
    for found in reversed(left):
        with suppress(psutil.NoSuchProcess):
            found.kill()
    process.communicate()
