"""End to end: tasks as pods on the development cluster's simulated kubelet, through the supervisor and its shards.

    python bench/e2e.py --tasks 10000 --shards 4 --json results.json

Correctness comes first: every ticket must have exactly one terminal report, all must have succeeded, and no pod may be
left; otherwise nothing is printed but what went wrong. Then: pods per second, CPU of the client per pod (the parent
and its shards, by psutil; the cluster's own process is not counted) and each shard's peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from shard_executor._fast.keys import bin_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import Submission, Supervisor, SupervisorConfig
from shard_executor.supervisor.credentials import CredentialSource

LIMIT_SECONDS = 1800.0


def body(ticket: str, number: int, bin_number: int, instance: str) -> str:
    """A pod as an Airflow deployment makes it, about 1.5 KB: labels, annotations, environment, resources."""
    labels = {
        "shard-executor/instance": instance,
        "shard-executor/owner": "bench",
        "shard-executor/bin": str(bin_number),
        "dag_id": "bench_dag",
        "task_id": ticket,
        "try_number": "1",
        "component": "worker",
        "release": "airflow",
    }
    annotations = {
        "shard-executor/submission": ticket,
        "shard-executor/attempt": "\x00A",
        "dag_id": "bench_dag",
        "task_id": ticket,
        "run_id": "manual__2026-01-01T00:00:00+00:00",
        "try_number": "1",
    }
    env = [{"name": f"AIRFLOW__SECTION__OPTION_{n}", "value": f"value-{n}"} for n in range(12)]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "\x00N", "labels": labels, "annotations": annotations},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "base",
                    "image": "example/worker:1",
                    "args": ["airflow", "tasks", "run", "bench_dag", ticket, str(number)],
                    "env": env,
                    "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}},
                }
            ],
        },
    }
    text = json.dumps(pod, separators=(",", ":"), ensure_ascii=False)
    return text.replace("\\u0000", "\x00")


def run(arguments: argparse.Namespace, cluster: DevClusterProcess) -> dict[str, Any]:
    config = SupervisorConfig(
        instance="bench",
        owner="bench",
        namespace="default",
        credentials=CredentialSource(kubeconfig=str(cluster.kubeconfig)),
        shards=arguments.shards,
        parallelism=arguments.parallelism,
    )
    supervisor = Supervisor(config)
    parent = psutil.Process()
    tickets = [f"task-{number:06d}" for number in range(arguments.tasks)]
    ends: Counter[str] = Counter()
    states: Counter[str] = Counter()
    cpu_before = sum(parent.cpu_times()[:2])
    supervisor.start()
    try:
        began = time.monotonic()
        for number, ticket in enumerate(tickets):
            bin_number = bin_of("bench", ticket)
            supervisor.submit(
                Submission(ticket, bin_number, "default", ticket, ticket, body(ticket, number, bin_number, "bench"))
            )
        while not supervisor.idle():
            if time.monotonic() - began > LIMIT_SECONDS or supervisor.failure:
                sys.exit(f"not finished: {supervisor.failure or 'time is up'}; {supervisor.stats()}")
            supervisor.wait(1.0)
            for report in supervisor.drain():
                if report.terminal:
                    ends[report.ticket] += 1
                    states[report.state] += 1
                    supervisor.acknowledge(report.ticket)
        seconds = time.monotonic() - began
        time.sleep(2 * config.beat_interval)  # the last heartbeats carry the final figures
        shards = supervisor.stats()
        parent_cpu = sum(parent.cpu_times()[:2]) - cpu_before
    finally:
        supervisor.end()
    wrong = [ticket for ticket in tickets if ends[ticket] != 1]
    left = len(cluster.call("GET", "/api/v1/namespaces/default/pods")["items"])
    if wrong or states != {"succeeded": len(tickets)} or left:
        sys.exit(f"wrong result: {len(wrong)} tickets without exactly one end, states {dict(states)}, pods left {left}")
    shard_cpu = sum(shard.cpu_seconds for shard in shards)
    calls: Counter[str] = Counter()
    for shard in shards:
        calls.update(shard.calls)
    return {
        "seconds": seconds,
        "pods_per_second": len(tickets) / seconds,
        "cpu_ms_per_pod": 1000 * (parent_cpu + shard_cpu) / len(tickets),
        "parent_cpu_ms_per_pod": 1000 * parent_cpu / len(tickets),
        "shards_cpu_ms_per_pod": 1000 * shard_cpu / len(tickets),
        "shard_peak_rss_mb": [round(shard.peak_rss_mb, 1) for shard in shards],
        "parent_rss_mb": round(parent.memory_info().rss / 2**20, 1),
        "calls": dict(calls),
        "watch": [shard.watch for shard in shards],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--parallelism", type=int, default=None, help="pods alive at once (default: no limit)")
    parser.add_argument("--run-seconds", type=float, default=1.0, help="how long a simulated pod runs (default: 1)")
    parser.add_argument("--json", type=Path, help="write the figures and their conditions here")
    arguments = parser.parse_args()
    seconds = str(arguments.run_seconds)
    with DevClusterProcess(
        ["--kubelet", "simulated", "--capacity", "100000", "--start-seconds", "0.1", "--run-seconds", seconds]
    ) as cluster:
        figures = run(arguments, cluster)
    conditions = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tasks": arguments.tasks,
        "shards": arguments.shards,
        "run_seconds": arguments.run_seconds,
    }
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:24} {value:10.2f}")
        elif name not in ("calls", "watch"):
            print(f"{name:24} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"conditions": conditions, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
