"""Figures of the shards as metrics of Airflow: the names of the KubernetesExecutor, so that dashboards keep working,
and `shard_executor.*`. docs/airflow-metrics.md lists them.

Called from the scheduler's loop: it asks nobody, and no fault of a metrics backend gets out of here.
"""

from __future__ import annotations

import importlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from shard_executor.supervisor.config import ShardStats

log = logging.getLogger(__name__)

_NO_STATUS = "error"  # what the KubernetesExecutor calls a request without an answer
_STOCK_VERBS = {"create": "pod_creation", "delete": "pod_deletion", "patch": "pod_patching"}
_TIMINGS = {
    **{verb: f"kubernetes_executor.{name}" for verb, name in _STOCK_VERBS.items()},
    "get": "shard_executor.pod_read",
    "log": "shard_executor.log_read",
    "LIST": "shard_executor.pod_list",
    "created-to-running": "shard_executor.created_to_running",
    "finished-to-reported": "shard_executor.watch_lag",
}
_DEPTHS = ("queued", "creating", "pending", "running", "cleaning", "window")
# Counters of a watch are named <kind>:<cause>, or stand alone.
_WATCH_KINDS = {"relist": "relists", "restart": "watch_restarts", "fault": "watch_faults"}
_WATCH_COUNTERS = {"undecodable": "undecodable_events", "watches": "watches_opened"}
_INVALID = re.compile(r"[^a-zA-Z0-9_.-]")
_COMPLAIN_EVERY = 60.0  # seconds between two log lines about a backend that fails


class StatsLike(Protocol):
    """What Airflow's metrics backends have in common; a module or a class of Airflow's does as well."""

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, Any] | None = None) -> object: ...
    def gauge(self, stat: str, value: float, *, tags: dict[str, Any] | None = None) -> object: ...
    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, Any] | None = None) -> object: ...


def airflow_stats() -> Any:
    """The thing with `incr`, `gauge` and `timing` that this Airflow's own executors use.

    Raises:
        ImportError: this Airflow has none at any known place.
    """
    # BaseExecutor sets up the one it imported, so that one has a backend in every process with an executor.
    base = importlib.import_module("airflow.executors.base_executor")
    for name in ("stats", "Stats"):
        if hasattr(getattr(base, name, None), "timing"):
            return getattr(base, name)
    for module in ("airflow._shared.observability.metrics.stats", "airflow.observability.stats", "airflow.stats"):
        try:
            return importlib.import_module(module).Stats
        except (ImportError, AttributeError):
            log.debug("no Stats at %s", module)
    raise ImportError("this Airflow has no Stats where releases 3.1 to 3.3 have it")


class _Seen:
    """What has been counted of one process of a shard."""

    __slots__ = ("counts", "latencies", "process")

    def __init__(self, process: tuple[int, int]) -> None:
        self.process = process
        self.counts: dict[tuple[str, str], int] = {}
        self.latencies: dict[str, tuple[float, float]] = {}


class Metrics:
    """Publishes what shards say of themselves.

    Shards count from the start of their process. What is published is what came since the last time, from 0 again for
    a new process, so that nothing is negative. What a shard counted after it was last looked at and before it died is
    not known to anybody; `observe` may be called more often than `publish` to keep that small.

    Args:
        stats: see `StatsLike`; `airflow_stats()` finds Airflow's.
        team_name: a tag of every metric where Airflow has teams.
        plain_names: publish what tags tell apart also under names that have the tag's value in them, for backends
            without tags such as plain StatsD. Airflow's option for that is `[metrics] legacy_names_on`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        stats: StatsLike,
        team_name: str | None = None,
        *,
        plain_names: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stats = stats
        self._team = {"team_name": team_name} if team_name else {}
        self._plain_names = plain_names
        self._clock = clock
        self._published_at = clock()
        self._complain_at = float("-inf")
        self._seen: dict[int, _Seen] = {}
        self._restarts: dict[int, int] = {}
        self._tags: dict[tuple[str, ...], dict[str, Any]] = {}
        # Waiting to be published: counts by (kind, detail), and count and seconds by (shard, name).
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latencies: dict[tuple[int, str], tuple[float, float]] = {}
        self._syncs = (0, 0.0, 0.0)  # count, sum, highest

    # ---- the executor's own

    def sync_took(self, seconds: float) -> None:
        """Notes how long a `sync` of the executor took. Cheap enough for every one."""
        count, total, highest = self._syncs
        self._syncs = (count + 1, total + seconds, max(highest, seconds))

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """Times an adoption of task instances, whether it succeeds or not."""
        began = self._clock()
        try:
            yield
        finally:
            took = timedelta(seconds=self._clock() - began)
            self._safely(lambda: self._timing("kubernetes_executor.adopt_task_instances.duration", took))

    # ---- the shards'

    def observe(self, shards: Sequence[ShardStats]) -> None:
        """Takes note of the figures without publishing; never raises."""
        self._safely(lambda: self._observe(shards))

    def publish(
        self, shards: Sequence[ShardStats], *, sync_seconds: float | None = None, failure: object = None
    ) -> None:
        """Publishes all that came since the last call, and the state of now; never raises.

        Args:
            shards: what `Supervisor.stats()` gives.
            sync_seconds: the longest `sync` since the last call, where each was not told with `sync_took`.
            failure: why the supervisor has given up; None if it has not.
        """
        if sync_seconds is not None:
            self.sync_took(sync_seconds)
        self._safely(lambda: self._publish(shards, failed=failure is not None))

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:  # whatever a backend raises: the scheduler is worth more than its metrics
            now = self._clock()
            if now >= self._complain_at:
                self._complain_at = now + _COMPLAIN_EVERY
                log.warning("metrics could not be published", exc_info=True)

    def _observe(self, shards: Sequence[ShardStats]) -> None:
        for shard in shards:
            process = (shard.restarts, shard.pid)
            seen = self._seen.get(shard.shard)
            if seen is None or seen.process != process:
                seen = self._seen[shard.shard] = _Seen(process)
            self._add("shard_restarts", "", shard.restarts - self._restarts.get(shard.shard, 0))
            self._restarts[shard.shard] = shard.restarts
            for key, value in _counters(shard):
                before = seen.counts.get(key, 0)
                seen.counts[key] = value
                self._add(*key, value - before if value >= before else value)
            for name, figures in shard.latencies.items():
                self._add_latency(seen, shard.shard, name, figures)

    def _add(self, kind: str, detail: str, count: int) -> None:
        if count > 0:
            self._counts[kind, detail] += count

    def _add_latency(self, seen: _Seen, shard: int, name: str, figures: Mapping[str, float]) -> None:
        count, total = figures["count"], figures["count"] * figures["mean"]
        count_before, total_before = seen.latencies.get(name, (0.0, 0.0))
        seen.latencies[name] = (count, total)
        if count < count_before:
            count_before = total_before = 0.0
        if count > count_before:
            more, seconds = self._latencies.get((shard, name), (0.0, 0.0))
            added = max(0.0, total - total_before)
            self._latencies[shard, name] = (more + count - count_before, seconds + added)

    def _publish(self, shards: Sequence[ShardStats], *, failed: bool) -> None:
        self._observe(shards)
        now = self._clock()
        seconds, self._published_at = now - self._published_at, now
        # What is waiting is taken out first: if the backend fails halfway, nothing is published twice.
        counts, self._counts = self._counts, Counter()
        latencies, self._latencies = self._latencies, {}
        syncs, self._syncs = self._syncs, (0, 0.0, 0.0)
        self._publish_counts(counts, seconds)
        self._publish_latencies(latencies)
        self._publish_state(shards)
        self._gauge("shard_executor.failed", int(failed))
        if syncs[0]:
            self._timing("shard_executor.sync_duration", timedelta(seconds=syncs[1] / syncs[0]))
            self._gauge("shard_executor.sync_duration_max", 1000 * syncs[2])

    def _publish_counts(self, counts: Counter[tuple[str, str]], seconds: float) -> None:
        creates = results = 0
        for (kind, detail), count in counts.items():
            if kind == "calls":
                verb, _, code = detail.partition(" ")
                self._publish_calls(verb, code, count)
                creates += count if verb == "create" else 0
            elif kind == "results":
                self._incr("shard_executor.results", count, "outcome", detail)
                results += count
            elif kind in _WATCH_KINDS.values():
                self._incr(f"shard_executor.{kind}", count, "fault" if kind == "watch_faults" else "cause", detail)
            else:
                self._stats.incr(f"shard_executor.{kind}", count, tags=self._tagged())
        if seconds > 0:
            self._gauge("shard_executor.results_per_second", results / seconds)
        if creates:
            self._gauge("kubernetes_executor.pod_creation_batch_size", creates)
            self._timing("kubernetes_executor.pod_creation_batch_duration", timedelta(seconds=max(0.0, seconds)))

    def _publish_calls(self, verb: str, code: str, count: int) -> None:
        tags = self._tagged("verb", verb, "code", code)
        self._stats.incr("shard_executor.api_calls", count, tags=tags)
        if self._plain_names:
            self._stats.incr(f"shard_executor.api_calls.{_valid(verb)}.{_valid(code)}", count, tags=self._tagged())
        if verb in _STOCK_VERBS:
            status = code if code.isdigit() else _NO_STATUS
            status = "200" if status.startswith("2") else status  # that executor's one word for success
            name = f"kubernetes_executor.{_STOCK_VERBS[verb]}_status"
            self._stats.incr(name, count, tags=self._tagged("status", status))

    def _publish_latencies(self, latencies: Mapping[tuple[int, str], tuple[float, float]]) -> None:
        for (shard, name), (count, total) in latencies.items():
            mean = total / count
            if name in _TIMINGS:
                self._timing(_TIMINGS[name], timedelta(seconds=mean))
            if name == "create":
                self._shard_gauge(shard, "create_latency", 1000 * mean)

    def _publish_state(self, shards: Sequence[ShardStats]) -> None:
        silence = 0.0
        parked: set[str] = set()
        for shard in shards:
            for name in _DEPTHS:
                self._shard_gauge(shard.shard, name, getattr(shard, name))
            silent = shard.watch.get("silent_seconds")
            if silent is not None:
                self._shard_gauge(shard.shard, "watch_silence", silent)
                silence = max(silence, silent)
            create = shard.latencies.get("create")
            if create is not None:
                self._shard_gauge(shard.shard, "create_latency_p95", 1000 * create["p95"])
            parked.update(shard.parked)
        for name in _DEPTHS:
            self._gauge(f"shard_executor.{name}", sum(getattr(shard, name) for shard in shards))
        self._gauge("shard_executor.watch_silence", silence)
        self._gauge("shard_executor.shards_alive", sum(shard.alive for shard in shards))
        self._gauge("shard_executor.shards_synced", sum(bool(shard.watch.get("synced")) for shard in shards))
        self._gauge("shard_executor.parked_namespaces", len(parked))

    # ---- to the backend

    def _tagged(self, *pairs: str) -> dict[str, Any]:
        """The tags for names and values in turn, with the team's; made once for each combination."""
        tags = self._tags.get(pairs)
        if tags is None:
            tags = self._tags[pairs] = {**dict(zip(pairs[::2], pairs[1::2], strict=True)), **self._team}
        return tags

    def _incr(self, name: str, count: int, tag: str, value: str) -> None:
        self._stats.incr(name, count, tags=self._tagged(tag, value))
        if self._plain_names:
            self._stats.incr(f"{name}.{_valid(value)}", count, tags=self._tagged())

    def _gauge(self, name: str, value: float) -> None:
        self._stats.gauge(name, value, tags=self._tagged())

    def _shard_gauge(self, shard: int, name: str, value: float) -> None:
        self._stats.gauge(f"shard_executor.shard.{name}", value, tags=self._tagged("shard", str(shard)))
        if self._plain_names:
            self._stats.gauge(f"shard_executor.shard.{shard}.{name}", value, tags=self._tagged())

    def _timing(self, name: str, took: timedelta) -> None:
        self._stats.timing(name, took, tags=self._tagged())


def _counters(shard: ShardStats) -> Iterator[tuple[tuple[str, str], int]]:
    """Everything that a shard counts, by (kind, detail)."""
    for call, count in shard.calls.items():
        yield ("calls", call), count
    for outcome, count in shard.outcomes.items():
        yield ("results", outcome), count
    for name, value in shard.watch.items():
        kind, colon, cause = name.partition(":")
        if colon and kind in _WATCH_KINDS:
            yield (_WATCH_KINDS[kind], cause), value
        elif name in _WATCH_COUNTERS:
            yield (_WATCH_COUNTERS[name], ""), value
    if "events" in shard.table:
        yield ("watch_events", ""), shard.table["events"]


def _valid(value: str) -> str:
    """As a part of a metric's name, in which a dot would begin another part."""
    return _INVALID.sub("_", value).replace(".", "_")
