"""Words and metrics of pods that really ended on a development cluster."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from engine import outcome, running, until
from shard_executor.airflow.metrics import Metrics
from shard_executor.airflow.words import event_extra, masker, short_info
from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture(scope="module")
def simulated() -> Iterator[DevClusterProcess]:
    arguments = ["--kubelet", "simulated", "--capacity", "1000", "--start-seconds", "0.02", "--run-seconds", "0.1"]
    with DevClusterProcess(arguments) as started:
        yield started


class Counts:
    """Adds up counters by name and tags; keeps the last gauges."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, Any] | None = None) -> None:
        assert count > 0
        self.counts[" ".join((stat, *(tags or {}).values()))] += count

    def gauge(self, stat: str, value: float, *, tags: dict[str, Any] | None = None) -> None:
        self.gauges[" ".join((stat, *(tags or {}).values()))] = value

    def timing(self, stat: str, dt: Any, *, tags: dict[str, Any] | None = None) -> None:
        assert 0 <= dt.total_seconds() < 100
        self.counts[f"{stat} timed"] += 1


def test_what_a_program_printed_is_shown_masked(cluster: DevClusterProcess) -> None:
    script = "echo starting; echo DB_PASSWORD=hunter2; echo giving up >&2; exit 3"
    with running(cluster, shards=1) as run:
        run.submit("task", command=["sh", "-c", script])
        report = run.finish()["task"]
    assert short_info(report).startswith(f"pod default/{report.pod}: container-error (")
    assert "exit code 3)" in short_info(report)
    lines = event_extra(report, masker()).splitlines()
    assert lines[-4:] == ["the end of its log:", "  starting", "  DB_PASSWORD=***", "  giving up"]
    assert any(line.startswith("created 20") and "started 20" in line for line in lines)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("oom", {}, "oom-killed ("),
        ("failed", {"exit_code": "7"}, "exit code 7)"),
        ("evict", {}, "evicted ("),
        ("imagepull", {}, "image-error ("),
        ("cfgerr", {}, "config-error ("),
    ],
)
def test_other_ends(simulated: DevClusterProcess, kind: str, more: dict[str, str], words: str) -> None:
    with running(simulated, shards=1, policy={"pending_grace": 0.2, "launch_failure_retries": 0}) as run:
        run.submit("task", annotations=outcome(kind, **more))
        report = run.finish()["task"]
    for text in (short_info(report), event_extra(report, masker())):
        assert words in text
        assert "None" not in text


def test_figures_of_real_shards(simulated: DevClusterProcess) -> None:
    stats = Counts()
    metrics = Metrics(stats)
    before = Counter(simulated.stats()["requests"])
    with running(simulated) as run:
        run.submit(*(f"m{n}" for n in range(100)))
        run.finish()

        def published() -> bool:
            metrics.publish(run.supervisor.stats(), sync_seconds=0.001)
            return stats.counts["shard_executor.results succeeded"] >= 100

        until(published, "all results in the metrics")
        creates = simulated.stats()["requests"]["create pods"] - before["create pods"]
        assert stats.counts["kubernetes_executor.pod_creation_status 200"] == creates == 100
        assert stats.counts["shard_executor.results succeeded"] == 100
        assert stats.counts["shard_executor.api_calls create 201"] == 100
        assert stats.gauges["shard_executor.shards_synced"] == 2
        assert stats.gauges["shard_executor.queued"] == 0
        assert stats.counts["kubernetes_executor.pod_creation timed"] >= 2

        pid = next(shard.pid for shard in run.supervisor.stats() if shard.alive)
        os.kill(pid, signal.SIGKILL)

        def restarted() -> bool:
            metrics.publish(run.supervisor.stats())
            return (
                stats.counts["shard_executor.shard_restarts"] == 1 and stats.gauges["shard_executor.shards_synced"] == 2
            )

        until(restarted, "the restart in the metrics")
        run.submit(*(f"n{n}" for n in range(50)))
        run.finish()
        until(lambda: published() and stats.counts["shard_executor.results succeeded"] >= 150, "the later results")
        assert stats.counts["shard_executor.results succeeded"] == 150
        assert stats.counts["kubernetes_executor.pod_creation_status 200"] == 150
