"""What crosses between a supervisor's configuration and its shards: their settings out, their figures in."""

from __future__ import annotations

from typing import Any

from shard_executor.core.credentials import Credentials
from shard_executor.shard.settings import ShardSettings
from shard_executor.supervisor.config import ShardStats, SupervisorConfig
from shard_executor.supervisor.ledger import bins_of
from shard_executor.supervisor.shard_process import ShardProcess

_FIGURES = (
    "rss_mb",
    "peak_rss_mb",
    "queued",
    "creating",
    "pending",
    "running",
    "cleaning",
    "asked",
    "adopting",
    "window",
    "watch",
    "calls",
    "table",
    "outcomes",
    "parked",
    "latencies",
)


def settings_of(
    config: SupervisorConfig, shard: int, credentials: Credentials, parent_pid: int, log_level: int
) -> ShardSettings:
    """The settings of one shard; `log_level` is the least that it sends."""
    return ShardSettings(
        shard=shard,
        shards=config.shards,
        bins=bins_of(shard, config.shards),
        parent_pid=parent_pid,
        instance=config.instance,
        owner=config.owner,
        namespaces=("",) if config.all_namespaces else config.watched,
        credentials=credentials,
        log_tail_lines=config.log_tail_lines,
        request_timeout=config.request_timeout,
        beat_interval=config.beat_interval,
        log_level=log_level,
        window=config.window,
        policy=_policy_of(config),
        watch=config.watch,
        selector=config.selector,
        delete_options=config.delete_options,
        worker_container=config.worker_container,
    )


def _policy_of(config: SupervisorConfig) -> dict[str, Any]:
    policy = {**config.policy, "fresh_bodies": config.build is not None, "hand_over": bool(config.selector)}
    if policy.get("fatal_reasons") is not None:
        policy["fatal_reasons"] = sorted(policy["fatal_reasons"])  # a set is nothing that JSON knows
    return policy


def stats_of(shard: ShardProcess) -> ShardStats:
    """What a shard's last heartbeat said."""
    figures = shard.figures
    process = shard.process
    return ShardStats(
        shard=shard.shard,
        pid=process.pid if process is not None else 0,
        alive=process is not None,
        restarts=max(0, shard.epoch - 1),
        cpu_seconds=shard.cpu_before + figures.get("cpu_seconds", 0.0),
        last_error=shard.last_error,
        **{name: figures[name] for name in _FIGURES if name in figures},
    )
