"""The provider's executor and this one, driven alike against the same development cluster in one run.

    python bench/under_airflow.py --json bench/results/under_airflow.json      # everything
    python bench/under_airflow.py --quick                                # 200 tasks, fewer cases

Needs an environment with Airflow and its cncf-kubernetes provider. Each case has a fresh cluster, a fresh metadata
database and a fresh process. The results are checked first: every task must have ended exactly once, in success, on one
pod, and no pod may be left; a case that is wrong gives no figures, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from driving.home import make_database
from under_airflow_case import Case, Peer, measure, ours, stock

_RUN_SECONDS = 3.0
_LONG_RUN_SECONDS = 20.0
_COLUMNS = (
    ("pods/s", "pods_per_second", 8),
    ("CPU ms/pod", "cpu_ms_per_pod", 11),
    ("hb p50 ms", "p50_ms", 10),
    ("hb p99 ms", "p99_ms", 10),
    ("hb max ms", "max_ms", 10),
    ("in hb s", "total_s", 8),
    ("PSS MB", "pss_mb", 7),
    ("peak RSS MB", "peak_rss_mb", 12),
)


def cases(arguments: argparse.Namespace) -> list[Case]:
    """All cases, peers beside each other.

    Creates one after the other take the latency each, so with latency the provider's sequential way gets fewer tasks:
    a minute's worth. Its rate does not depend on how many there are.
    """
    found: list[Case] = []
    only = arguments.only or ["stock", "ours"]
    for hook in {"both": (False, True), "with": (True,), "without": (False,)}[arguments.hook]:
        for latency in arguments.latency:
            if "stock" in only:
                few = min(arguments.tasks, int(60_000 / latency)) if latency else arguments.tasks
                found.append(_case(stock(16, concurrent=False), few, latency, hook))
                if not latency:
                    found.append(_case(stock(64, concurrent=False), few, latency, hook))
                found.append(_case(stock(64, concurrent=True), arguments.tasks, latency, hook))
            if "ours" in only:
                found.append(_case(ours(), arguments.tasks, latency, hook))
    if arguments.in_flight and "ours" in only:
        found.append(_many_in_flight(arguments.in_flight))
    return found


def _case(peer: Peer, tasks: int, latency: float, hook: bool) -> Case:
    name, path, options = peer
    return Case(name, path, tasks, latency, hook, _RUN_SECONDS, tasks, options)


def _many_in_flight(size: int) -> Case:
    """Twice as many tasks as there are slots: while the first end, the next begin."""
    name, path, options = ours()
    name = f"{name}, {size} in flight"
    return Case(name, path, 2 * size, 0.0, False, _LONG_RUN_SECONDS, size, options, full=int(0.98 * size))


def line(case: Case, figures: dict[str, Any]) -> str:
    """A case as a row of the table."""
    head = f"{case.name:30} {case.latency_ms:5.0f} {'yes' if case.hook else 'no':4} {case.tasks:6}"
    if figures["wrong"]:
        return f"{head}  wrong: {'; '.join(figures['wrong'])}"
    values = figures | figures["heartbeat"]
    cells = (f"{values[name]:{width}.1f}" if name in values else f"{'-':>{width}}" for _, name, width in _COLUMNS)
    return f"{head} {' '.join(cells)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 tasks, latency 0 and 150, no hook, 500 in flight")
    parser.add_argument("--tasks", type=int, help="default: 1000")
    parser.add_argument("--latency", type=float, nargs="*", metavar="MS", help="of creates; default: 0 150 500")
    parser.add_argument("--hook", choices=("without", "with", "both"), help="a pod_mutation_hook; default: both")
    parser.add_argument("--in-flight", type=int, metavar="N", help="of the last case; 0: without it; default: 5000")
    parser.add_argument("--only", nargs="*", choices=("stock", "ours"))
    parser.add_argument("--json", type=Path, help="write the figures and their conditions here")
    arguments = parser.parse_args()
    defaults = {"tasks": 1000, "latency": [0.0, 150.0, 500.0], "hook": "both", "in_flight": 5000}
    quick = {"tasks": 200, "latency": [0.0, 150.0], "hook": "without", "in_flight": 500}
    for name, value in (quick if arguments.quick else defaults).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)

    versions = {}
    for name in ("apache-airflow", "apache-airflow-providers-cncf-kubernetes", "shard-executor"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            sys.exit(f"{name} is not installed for {sys.executable}: an environment with Airflow is needed")
    began = time.monotonic()
    results: list[dict[str, Any]] = []
    print(f"{'executor':30} {'delay':>5} {'hook':4} {'tasks':>6}" + "".join(f" {t:>{w}}" for t, _, w in _COLUMNS))
    with tempfile.TemporaryDirectory(prefix="shard-executor-bench-") as folder:
        database = make_database(Path(folder))
        for case in cases(arguments):
            figures = measure(case, database)
            print(line(case, figures), flush=True)
            if case.full and not figures["wrong"]:
                full = figures["full"]
                words = ", ".join(f"{name} {full[name]:.2f}" for name in ("p50_ms", "p99_ms", "max_ms", "p99_cpu_ms"))
                print(f"  {full['count']} heartbeats with {case.full} or more in flight: {words}", flush=True)
            results.append(
                {
                    "executor": case.name,
                    "tasks": case.tasks,
                    "latency_ms": case.latency_ms,
                    "hook": case.hook,
                    **figures,
                }
            )
    if arguments.json:
        conditions = {
            "command": " ".join(["python", *sys.argv]),
            "seconds": round(time.monotonic() - began),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "versions": versions,
            "database": "SQLite",
            "cluster": f"development cluster, simulated kubelet, pods run {_RUN_SECONDS} s",
        }
        arguments.json.write_text(json.dumps({"conditions": conditions, "cases": results}, indent=1) + "\n")
    return 1 if any(result["wrong"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
