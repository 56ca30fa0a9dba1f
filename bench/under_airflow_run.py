"""One executor in a process of its own, driven as a scheduler drives it; writes what was measured as JSON.

Started by `under_airflow_case.py` in the environment of a home. Once its result is there, the executor goes on until a
line comes in, so that the memory of its processes can be read.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from driving.driver import Beat, Driver, Pauses
from driving.processes import cpu_by_role

_SETTLE = 2.0  # seconds of heartbeats after the first tasks
_WARM_LIMIT = 120.0
_GONE_LIMIT = 60.0  # seconds until all pods are deleted
_LOOK = 0.5  # seconds between looks at the cluster's counts


def quantiles(beats: list[Beat]) -> dict[str, Any]:
    """Heartbeats: how many, p50, p99 and maximum in milliseconds, the same p99 of the thread's CPU, and the worst three
    as (ms, ms of CPU, tasks handed over, events)."""
    if not beats:
        return {"count": 0}

    def p99(values: list[float]) -> float:
        return 1000 * sorted(values)[min(int(len(values) * 0.99), len(values) - 1)]

    seconds = [beat.seconds for beat in beats]
    worst = sorted(beats, key=lambda beat: beat.seconds)[-3:]
    return {
        "count": len(beats),
        "p50_ms": 1000 * statistics.median(seconds),
        "p99_ms": p99(seconds),
        "max_ms": 1000 * max(seconds),
        "p99_cpu_ms": p99([beat.cpu for beat in beats]),
        "total_s": sum(seconds),
        "worst": [(1000 * beat.seconds, 1000 * beat.cpu, beat.handed, beat.events) for beat in worst],
    }


class Collections:
    """Full garbage collections of the scheduler's process: whoever allocates pays for them, often the heartbeat."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != 2:
            return
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds.append(time.perf_counter() - self._began)


class Cluster:
    """The development cluster's counts, asked for seldom: each call costs this process some CPU."""

    def __init__(self, url: str, token: str | None) -> None:
        self._request = urllib.request.Request(f"{url}/devcluster/stats")
        if token:
            self._request.add_header("Authorization", f"Bearer {token}")
        self._next = 0.0
        self._last: dict[str, Any] = {"pods": -1}

    def pods(self) -> int:
        """How many pods there are; at most half a second old."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK
            with urllib.request.urlopen(self._request, timeout=30) as response:
                self._last = json.load(response)
        return int(self._last["pods"])


def run(spec: dict[str, Any]) -> None:
    """Drives the tasks of a specification to their end, writes what was measured, and ends when it is told to."""
    driver = Driver(
        per_loop=spec["per_loop"], pauses=Pauses(spec["loop_pause"], spec["idle_pause"]), process_events=False
    )
    tasks: int = spec["tasks"]
    warm: int = spec["warm"]
    driver.make_job()
    driver.make_tasks(warm, dag_id="warm")
    driver.make_tasks(tasks)
    cluster = Cluster(spec["url"], spec["token"])
    me = psutil.Process()
    driver.start()
    try:
        driver.queue(dag_id="warm")
        if not driver.beat_until(lambda: len(driver.ended) == warm and cluster.pods() == 0, _WARM_LIMIT):
            raise RuntimeError(f"the first {warm} tasks did not end: {driver.ended}")
        driver.beat_for(_SETTLE)
        made = driver.queue()
        driver.ended.clear()
        driver.beats.clear()
        collections = Collections()
        gc.callbacks.append(collections)
        cpu, began = cpu_by_role(me), time.monotonic()
        finished = driver.beat_until(lambda: len(driver.ended) == tasks, spec["limit"])
        seconds = time.monotonic() - began
        beats = list(driver.beats)
        gone = driver.beat_until(lambda: cluster.pods() == 0, _GONE_LIMIT) if finished else False
        seconds_to_clean = time.monotonic() - began
        used = Counter(cpu_by_role(me))
        used.subtract(cpu)
        states = Counter(driver.states().values())
        ends = Counter("+".join(ends) for ends in driver.ended.values())
        result = {
            "made": made,
            "finished": finished,
            "pods_gone": gone,
            "database": dict(states),
            "ends": dict(ends),
            "seconds": seconds,
            "seconds_to_clean": seconds_to_clean,
            "cpu_ms_per_pod": 1000 * sum(used.values()) / tasks,
            "cpu_ms_per_pod_by_process": {role: 1000 * seconds / tasks for role, seconds in used.items()},
            "heartbeat_cpu_ms_per_pod": 1000 * sum(beat.cpu for beat in beats) / tasks,
            "heartbeat": quantiles(beats),
            "full": quantiles([beat for beat in beats if spec["full"] and beat.running >= spec["full"]]),
            "full_collections_ms": [1000 * seconds for seconds in collections.seconds],
            "most_running": max(beat.running for beat in beats),
        }
        path = Path(spec["result"])
        path.with_suffix(".part").write_text(json.dumps(result))
        path.with_suffix(".part").rename(path)
        sys.stdin.readline()
    finally:
        driver.end()


def main() -> None:
    run(json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
