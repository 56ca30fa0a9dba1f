"""What an executor tells about itself: the figures of its shards and their sums, as one JSON object."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psutil

from shard_executor.supervisor import ShardStats

_WATCH = ("state", "health", "synced", "silent_seconds")
_COUNTERS = ("relist", "restart", "fault")
_PERCENTILES = ("p50", "p95", "p99")
_SHARD = (
    *("shard", "pid", "alive", "restarts", "queued", "creating", "pending", "running", "cleaning", "window"),
    *("cpu_seconds", "rss_mb", "peak_rss_mb", "outcomes", "calls"),
)


def describe(
    supervisor_stats: Sequence[ShardStats],
    *,
    namespaces: Iterable[str],
    parallelism: int | None = None,
    totals: Mapping[str, int] | None = None,
    phase: str | None = None,
    failure: str | None = None,
) -> dict[str, Any]:
    """What `shard-executor status` shows of a supervisor. Reads memory, and this process's own CPU and memory.

    Args:
        supervisor_stats: what `Supervisor.stats()` gives.
        namespaces: that are watched.
        parallelism: pods alive at a time, None without limit.
        totals: counts of tasks by name: total, done (ended in any way), failed, running, pending, waiting, and others.
            Where total and done are given, what is missing of running, pending and waiting is worked out.
        phase: what the owner is doing, such as running, stopping, cleaning up.
        failure: why it cannot go on, if so.
    """
    shards = [_shard(stats) for stats in supervisor_stats]
    return {
        "phase": phase,
        "failure": failure,
        "namespaces": list(namespaces),
        "parallelism": parallelism,
        "totals": _totals(totals, shards),
        "outcomes": _sum(shard["outcomes"] for shard in shards),
        "calls": _sum(shard["calls"] for shard in shards),
        "relists": _sum(shard["watch"]["relists"] for shard in shards),
        "latencies": merged_latencies([shard["latencies"] for shard in shards]),
        "parent": _parent(),
        "shards": shards,
    }


def _shard(stats: ShardStats) -> dict[str, Any]:
    return {
        **{name: _rounded(getattr(stats, name)) for name in _SHARD},
        "last_error": stats.last_error or None,
        "parked": stats.parked,
        "watch": _watch(stats.watch),
        "latencies": stats.latencies,
    }


def _watch(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The watch's figures with its counters `relist:<cause>` and so on as objects, `relists` by cause."""
    watch: dict[str, Any] = {name: _rounded(figures.get(name)) for name in _WATCH}
    watch |= {f"{kind}s": {} for kind in _COUNTERS}
    for name, value in figures.items():
        kind, colon, cause = name.partition(":")
        if colon and kind in _COUNTERS:
            watch[f"{kind}s"][cause] = value
        elif name not in watch:
            watch[name] = value
    return watch


def _totals(given: Mapping[str, int] | None, shards: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The owner's counts. What shards count is as old as their heartbeats, so a difference may be off for a moment."""
    totals = dict(given or {})
    for name in ("running", "pending"):
        totals.setdefault(name, sum(shard[name] for shard in shards))
    if "total" in totals and "done" in totals:
        open_ones = totals["total"] - totals["done"]
        totals["running"] = min(totals["running"], open_ones)
        totals["pending"] = min(totals["pending"], open_ones - totals["running"])
        totals.setdefault("waiting", open_ones - totals["running"] - totals["pending"])
    return totals


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def merged_latencies(shards: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Latencies of all shards by name: counts added, the mean of all, and the highest percentile of any shard.

    Percentiles cannot be added; that of all values is at most the highest of the parts.
    """
    merged: dict[str, dict[str, float]] = {}
    for name in sorted({name for shard in shards for name in shard}):
        parts = [shard[name] for shard in shards if shard.get(name, {}).get("count")]
        count = sum(part["count"] for part in parts)
        if not count:
            continue
        merged[name] = {"count": count, "mean": sum(part["mean"] * part["count"] for part in parts) / count}
        for percentile in _PERCENTILES:
            merged[name][percentile] = max(part[percentile] for part in parts)
    return merged


def _parent() -> dict[str, float]:
    process = psutil.Process()
    cpu = process.cpu_times()
    rss = process.memory_info().rss / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB, and is a little behind
    return {
        "cpu_seconds": _rounded(cpu.user + cpu.system),
        "rss_mb": _rounded(rss),
        "peak_rss_mb": _rounded(max(rss, peak)),
    }


def _rounded(value: Any) -> Any:
    """Numbers with a fraction to three places: more is noise."""
    return round(value, 3) if isinstance(value, float) else value
