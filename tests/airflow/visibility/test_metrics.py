"""Metrics from the shards' figures: what came since the last time, under the names that dashboards have."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shard_executor.airflow.metrics import Metrics, airflow_stats
from shard_executor.supervisor.config import ShardStats


class Recorder:
    """Keeps what it is told, with tags in the order of their names."""

    def __init__(self) -> None:
        self.counts: Counter[Any] = Counter()
        self.gauges: dict[Any, float] = {}
        self.timings: dict[Any, list[float]] = {}

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, Any] | None = None) -> None:
        assert count > 0
        self.counts[_named(stat, tags)] += count

    def gauge(
        self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: dict[str, Any] | None = None
    ) -> None:
        self.gauges[_named(stat, tags)] = value

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, Any] | None = None) -> None:
        self.timings.setdefault(_named(stat, tags), []).append(dt.total_seconds())


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _named(stat: str, tags: dict[str, Any] | None) -> str:
    return stat + "".join(f";{name}={value}" for name, value in sorted((tags or {}).items()))


def shard(number: int = 0, **figures: Any) -> ShardStats:
    return replace(ShardStats(shard=number, pid=10 + number, alive=True, restarts=0), **figures)


@pytest.fixture
def stats() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(stats: Recorder, clock: Clock) -> Metrics:
    return Metrics(stats, plain_names=False, clock=clock)


def test_stock_names_carry_on(metrics: Metrics, stats: Recorder, clock: Clock) -> None:
    calls = {"create 201": 5, "create 409": 1, "create timeout": 2, "delete 200": 3, "delete 404": 1, "patch 200": 2}
    latencies = {name: {"count": 4, "mean": 0.25, "p95": 0.5} for name in ("create", "delete", "patch")}
    clock.now += 5
    metrics.publish([shard(calls=calls, latencies=latencies)])
    assert {name: count for name, count in stats.counts.items() if name.startswith("kubernetes_executor.")} == {
        "kubernetes_executor.pod_creation_status;status=200": 5,
        "kubernetes_executor.pod_creation_status;status=409": 1,
        "kubernetes_executor.pod_creation_status;status=error": 2,
        "kubernetes_executor.pod_deletion_status;status=200": 3,
        "kubernetes_executor.pod_deletion_status;status=404": 1,
        "kubernetes_executor.pod_patching_status;status=200": 2,
    }
    for name in ("pod_creation", "pod_deletion", "pod_patching"):
        assert stats.timings[f"kubernetes_executor.{name}"] == [0.25]
    assert stats.gauges["kubernetes_executor.pod_creation_batch_size"] == 8
    assert stats.timings["kubernetes_executor.pod_creation_batch_duration"] == [5.0]


def test_only_what_is_new_is_published(metrics: Metrics, stats: Recorder) -> None:
    first = shard(calls={"create 201": 5}, latencies={"create": {"count": 5, "mean": 1.0, "p95": 1.0}})
    metrics.publish([first])
    stats.counts.clear()
    stats.timings.clear()
    metrics.publish([first])
    assert not stats.counts
    assert not stats.timings
    metrics.publish([shard(calls={"create 201": 7}, latencies={"create": {"count": 7, "mean": 2.0, "p95": 1.0}})])
    assert stats.counts["kubernetes_executor.pod_creation_status;status=200"] == 2
    assert stats.timings["kubernetes_executor.pod_creation"] == [pytest.approx(4.5)]


def test_a_restarted_shard_counts_from_nothing(metrics: Metrics, stats: Recorder) -> None:
    latency = {"create": {"count": 100, "mean": 1.0, "p95": 1.0}}
    metrics.publish([shard(calls={"create 201": 100}, latencies=latency, watch={"relist:start": 1})])
    metrics.publish([shard(pid=0, alive=False)])
    again = shard(pid=99, restarts=1)
    metrics.publish([again])
    later = replace(again, calls={"create 201": 120}, latencies={"create": {"count": 10, "mean": 3.0, "p95": 3.0}})
    metrics.publish([replace(later, watch={"relist:start": 1})])
    assert stats.counts["kubernetes_executor.pod_creation_status;status=200"] == 220
    assert stats.counts["shard_executor.relists;cause=start"] == 2
    assert stats.counts["shard_executor.shard_restarts"] == 1
    assert stats.timings["kubernetes_executor.pod_creation"] == [1.0, 3.0]


def test_a_figure_that_went_back_is_counted_from_nothing(metrics: Metrics, stats: Recorder) -> None:
    metrics.publish([shard(calls={"create 201": 100}, latencies={"create": {"count": 9, "mean": 1.0, "p95": 1.0}})])
    metrics.publish([shard(calls={"create 201": 3}, latencies={"create": {"count": 3, "mean": 2.0, "p95": 1.0}})])
    assert stats.counts["kubernetes_executor.pod_creation_status;status=200"] == 103
    assert stats.timings["kubernetes_executor.pod_creation"] == [1.0, 2.0]


def test_what_is_observed_between_two_publishings_survives_a_restart(metrics: Metrics, stats: Recorder) -> None:
    metrics.observe([shard(calls={"create 201": 5}, outcomes={"succeeded": 4})])
    metrics.observe([shard(pid=99, restarts=1, calls={"create 201": 1})])
    assert not stats.counts
    metrics.publish([shard(pid=99, restarts=1, calls={"create 201": 2}, outcomes={"succeeded": 1})])
    assert stats.counts["kubernetes_executor.pod_creation_status;status=200"] == 7
    assert stats.counts["shard_executor.results;outcome=succeeded"] == 5


def test_our_own(metrics: Metrics, stats: Recorder, clock: Clock) -> None:
    clock.now += 10
    watch = {"synced": True, "silent_seconds": 3.0, "state": "watching", "health": "ok", "lists": 2, "watches": 4}
    watch |= {"relist:expired": 2, "restart:ended": 3, "fault:timeout": 1, "undecodable": 1}
    one = shard(0, queued=1, creating=2, pending=3, running=4, cleaning=5, window=8, watch=watch, parked=["a"])
    one = replace(one, outcomes={"succeeded": 30, "oom-killed": 2}, table={"events": 50, "rows": 3})
    one = replace(one, latencies={"finished-to-reported": {"count": 2, "mean": 0.5, "p95": 1.0}})
    two = shard(1, queued=10, running=6, window=4, latencies={"create": {"count": 1, "mean": 0.1, "p95": 0.2}})
    two = replace(two, watch={"synced": False, "silent_seconds": None}, parked=["a", "b"], alive=False)
    metrics.publish([one, two], sync_seconds=0.004, failure=RuntimeError("x"))
    assert stats.counts == {
        "shard_executor.relists;cause=expired": 2,
        "shard_executor.watch_restarts;cause=ended": 3,
        "shard_executor.watch_faults;fault=timeout": 1,
        "shard_executor.undecodable_events": 1,
        "shard_executor.watches_opened": 4,
        "shard_executor.watch_events": 50,
        "shard_executor.results;outcome=succeeded": 30,
        "shard_executor.results;outcome=oom-killed": 2,
    }
    assert {name: value for name, value in stats.gauges.items() if ".shard." not in name} == {
        "shard_executor.queued": 11,
        "shard_executor.creating": 2,
        "shard_executor.pending": 3,
        "shard_executor.running": 10,
        "shard_executor.cleaning": 5,
        "shard_executor.window": 12,
        "shard_executor.watch_silence": 3.0,
        "shard_executor.shards_alive": 1,
        "shard_executor.shards_synced": 1,
        "shard_executor.parked_namespaces": 2,
        "shard_executor.results_per_second": pytest.approx(3.2),
        "shard_executor.sync_duration_max": pytest.approx(4.0),
        "shard_executor.failed": 1,
    }
    assert stats.gauges["shard_executor.shard.queued;shard=1"] == 10
    assert stats.gauges["shard_executor.shard.create_latency;shard=1"] == pytest.approx(100.0)
    assert stats.gauges["shard_executor.shard.create_latency_p95;shard=1"] == pytest.approx(200.0)
    assert "shard_executor.shard.watch_silence;shard=1" not in stats.gauges
    assert stats.timings["shard_executor.watch_lag"] == [0.5]
    assert stats.timings["shard_executor.sync_duration"] == [pytest.approx(0.004)]


def test_the_documentation_names_every_metric(metrics: Metrics, stats: Recorder) -> None:
    names = ("create", "delete", "patch", "get", "log", "LIST", "created-to-running", "finished-to-reported")
    watch = {"silent_seconds": 1.0, "relist:a": 1, "restart:a": 1, "fault:a": 1, "undecodable": 1, "watches": 1}
    full = shard(restarts=1, watch=watch, outcomes={"succeeded": 1}, table={"events": 1})
    full = replace(full, calls={f"{name} 200": 1 for name in ("create", "delete", "patch")})
    full = replace(full, latencies={name: {"count": 1, "mean": 0.1, "p95": 0.1} for name in names})
    metrics.publish([full], sync_seconds=0.1)
    with metrics.adopting():
        pass
    page = (Path(__file__).parents[3] / "docs" / "airflow-metrics.md").read_text()
    published = {named.partition(";")[0] for named in (*stats.counts, *stats.gauges, *stats.timings)}
    assert len(published) > 40
    missing = {name for name in published if f"`{name}`" not in page and f"`{name.rpartition('.')[2]}`" not in page}
    assert not missing


def test_plain_names_have_what_tags_tell_apart(stats: Recorder) -> None:
    shards = [shard(1, queued=3, calls={"create 201": 2, "LIST a fault": 1}, watch={"relist:too.large version": 1})]
    Metrics(stats).publish(shards)
    assert stats.gauges["shard_executor.shard.1.queued"] == 3
    assert stats.counts["shard_executor.api_calls.create.201"] == 2
    assert stats.counts["shard_executor.api_calls.LIST.a_fault"] == 1
    assert stats.counts["shard_executor.relists.too_large_version"] == 1
    assert stats.counts["shard_executor.api_calls;code=201;verb=create"] == 2


def test_a_teams_metrics_have_its_tag(stats: Recorder) -> None:
    metrics = Metrics(stats, "red")
    metrics.publish([shard(calls={"create 201": 2})], sync_seconds=0.1)
    with metrics.adopting():
        pass
    assert all(";team_name=red" in name for name in (*stats.counts, *stats.gauges, *stats.timings))


def test_an_adoption_is_timed_also_if_it_fails(metrics: Metrics, stats: Recorder, clock: Clock) -> None:
    def adopt() -> None:
        with metrics.adopting():
            clock.now += 2
            raise LookupError

    with pytest.raises(LookupError):
        adopt()
    assert stats.timings == {"kubernetes_executor.adopt_task_instances.duration": [2.0]}


def test_a_backend_that_fails_is_told_of_once_a_minute_and_stops_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics(None, clock=clock)  # type: ignore[arg-type]
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        metrics.publish([shard(calls={"create 201": 1})], sync_seconds=0.1)
        with metrics.adopting():
            pass
    metrics.observe([None])  # type: ignore[list-item]
    assert len(caplog.records) == 1
    clock.now += 61
    metrics.publish([])
    assert len(caplog.records) == 2


def test_no_shards_is_no_fault(metrics: Metrics, stats: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    metrics.publish([])
    assert stats.gauges["shard_executor.queued"] == 0
    assert not caplog.records


@pytest.fixture
def airflow_backend(stats: Recorder) -> Iterator[Recorder]:
    """Airflow's own front of its metrics, with a backend that keeps what it is told."""
    found = airflow_stats()
    before = found._factory, found._export_legacy_names
    found.initialize(factory=lambda: stats, export_legacy_names=True)
    yield stats
    found.initialize(factory=before[0], export_legacy_names=before[1])


def test_airflows_front_takes_them(airflow_backend: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    latencies = {"create": {"count": 1, "mean": 0.1, "p95": 0.1}}
    metrics = Metrics(airflow_stats())
    metrics.publish([shard(calls={"create 201": 2}, latencies=latencies)], sync_seconds=0.1)
    with metrics.adopting():
        pass
    assert airflow_backend.counts["kubernetes_executor.pod_creation_status;status=200"] == 2
    assert "kubernetes_executor.adopt_task_instances.duration" in airflow_backend.timings
    assert not caplog.records


def test_finding_stats_warns_of_nothing() -> None:
    code = "from shard_executor.airflow.metrics import airflow_stats; assert callable(airflow_stats().timing)"
    done = subprocess.run(
        [sys.executable, "-W", "error:::shard_executor", "-c", code], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
