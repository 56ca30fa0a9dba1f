"""The supervisor's configuration and the records that cross its front door."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from shard_executor.supervisor.credentials import CredentialSource

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Their requirements are part of every shard's selector.
_OWN_LABELS = ("shard-executor/instance", "shard-executor/bin", "airflow_executor_done")


class ConfigError(ValueError):
    """A setting that cannot work; the message names it and what is allowed."""


def cgroup_cpus() -> int:
    """CPUs that this process may use: its affinity, and the quota of its cgroup (v2) if there is one; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cpus = min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return max(1, cpus)  # no cgroup v2 here: nothing limits us further
    return max(1, cpus)


def default_shards() -> int:
    """min(CPUs, 2): every watch costs the API server work on each pod write, so more are asked for, not given."""
    return min(cgroup_cpus(), 2)


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """What a supervisor needs to know; all times in seconds.

    Args:
        instance: label value that keeps this executor's pods apart from any other's.
        owner: label value of this process's run or scheduler.
        namespace: the namespace that shards list and watch.
        namespaces: further ones; every shard has a watch for each, which costs the API server as `shards` does.
        credentials: where the API server is and how to sign in.
        shards: shard processes, 1 to 256.
        parallelism: pods alive at once over all shards; None is without limit.
        delete_pods, delete_failed_pods: remove pods after their result is safe; else they are labelled as done.
        log_tail_lines: lines of a failed pod's log to fetch; 0 fetches none.
        policy: overrides of `ShardPolicy`, by name.
        window: initial, minimum and maximum creates in flight per shard.
        request_timeout: limit of one create, read, delete or patch.
        beat_interval, beat_timeout: a shard reports each interval and is killed after the timeout without a word.
        watch: overrides of `WatchSettings`, by name.
        build: makes bodies just in time. Shards then ask for a body shortly before they create its pod, two create
            windows ahead at most, and use it for one request; `build` gets (ticket, launch attempt) of all that were
            asked for in one turn. It runs on the pump's thread, so it must only take them down; the answers are
            `Supervisor.provide` and `refuse_body`, in any order and from any thread. A ticket may be asked for again.
        selector: further labels that pods must have to be listed and watched, such as their owner's. A pod that loses
            one of them without being deleted has been handed over: its ticket ends as "handed-over", and the pod is
            left alone.
        all_namespaces: one list and watch over the whole cluster, and pods in any namespace.
        delete_options: fields of the DeleteOptions of every delete (gracePeriodSeconds, propagationPolicy); its
            preconditions are ours.
        worker_container: the container whose end is the pod's end, while others may still run. None: the pod's phase.
    """

    instance: str
    owner: str
    namespace: str
    credentials: CredentialSource
    shards: int = field(default_factory=default_shards)
    parallelism: int | None = None
    delete_pods: bool = True
    delete_failed_pods: bool = True
    log_tail_lines: int = 20
    policy: dict[str, Any] = field(default_factory=dict)
    window: tuple[int, int, int] = (8, 1, 64)
    request_timeout: float = 30.0
    beat_interval: float = 2.0
    beat_timeout: float = 30.0
    watch: dict[str, Any] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ()
    build: Callable[[list[tuple[str, int]]], None] | None = None
    selector: dict[str, str] = field(default_factory=dict)
    all_namespaces: bool = False
    delete_options: dict[str, Any] = field(default_factory=dict)
    worker_container: str | None = None

    def __post_init__(self) -> None:
        self._check_pods()
        for name in ("instance", "owner"):
            value = getattr(self, name)
            if not _LABEL_VALUE.fullmatch(value):
                raise ConfigError(
                    f"{name}: {value!r} is no label value (letters, digits, '-', '_', '.', at most 63 characters)"
                )
        for name, values in (("namespace", (self.namespace,)), ("namespaces", self.namespaces)):
            if isinstance(values, str):
                raise ConfigError(f"{name}: {values!r} is one name; several are meant to be in a tuple")
            for value in values:
                if not NAMESPACE.fullmatch(value):
                    raise ConfigError(f"{name}: {value!r} is no namespace name (an RFC 1123 label)")
        if not 1 <= self.shards <= 256:
            raise ConfigError(f"shards: {self.shards} is not between 1 and 256")
        if self.parallelism is not None and self.parallelism < 1:
            raise ConfigError(f"parallelism: {self.parallelism} is not at least 1")
        if not 0 <= self.log_tail_lines <= 1000:
            raise ConfigError(f"log_tail_lines: {self.log_tail_lines} is not between 0 and 1000")

    def _check_pods(self) -> None:
        for name, value in self.selector.items():
            if name in _OWN_LABELS:
                raise ConfigError(f"selector: {name!r} is the supervisor's own label")
            if not _LABEL_NAME.fullmatch(name):
                raise ConfigError(f"selector: {name!r} is no label name")
            if not _LABEL_VALUE.fullmatch(value):
                raise ConfigError(f"selector: {value!r} of {name!r} is no label value")
        if self.worker_container is not None and not NAMESPACE.fullmatch(self.worker_container):
            raise ConfigError(f"worker_container: {self.worker_container!r} is no container name (an RFC 1123 label)")
        try:
            orjson.dumps(self.delete_options)
        except TypeError as error:
            raise ConfigError(f"delete_options: {error}") from None
        if isinstance(self.policy.get("fatal_reasons"), str):
            raise ConfigError("policy: fatal_reasons is one text; several reasons are meant to be in a list")

    @property
    def watched(self) -> tuple[str, ...]:
        """Every namespace that is listed and watched, each once."""
        return tuple(dict.fromkeys((self.namespace, *self.namespaces)))


@dataclass(frozen=True, slots=True)
class Submission:
    """A task handed over.

    Args:
        ticket: the caller's name for it, unique while the supervisor lives.
        bin: hash bin of the task's key, 0 to 255; chooses the shard.
        namespace: where its pod is created; it must be one of the supervisor's `watched`.
        name_stem: what the pod's name begins with.
        submission_id: names this hand-over; with the launch attempt it makes the pod's name.
        body: the pod as compact JSON text in which the raw characters NUL N stand for the pod's name and NUL A for
            the launch attempt. Valid JSON text holds no NUL, so they cannot collide with the user's own values. None
            only with `SupervisorConfig.build`, which is then asked for it.
        priority: higher is created first.
        attempt, uid, began: what an earlier process of the same run knew of this submission: its last launch attempt,
            that attempt's pod if it had been created, and whether its task had begun. The pod is then not created but
            looked for: still there, finished, or vanished, which is reported as lost. All pods of earlier processes
            of a run are found only if `ShardPolicy.sweep` is off: else those that finished may be removed first.
        pod: name of a pod that is there, where it is not the one that these values give; it needs `uid`. It may be
            another executor's: it is labelled as ours, and followed from the start.
        adopt_labels, adopt_annotations: written on the pod `uid` besides the labels of the supervisor's selector.
    """

    ticket: str
    bin: int
    namespace: str
    name_stem: str
    submission_id: str
    body: str | None = None
    priority: int = 0
    attempt: int = 0
    uid: str | None = None
    began: bool = False
    pod: str | None = None
    adopt_labels: dict[str, str] = field(default_factory=dict)
    adopt_annotations: dict[str, str] = field(default_factory=dict)

    @property
    def adopts(self) -> bool:
        """Whether its pod is to be labelled as ours."""
        return self.pod is not None or bool(self.adopt_labels or self.adopt_annotations)


@dataclass(frozen=True, slots=True)
class Report:
    """News of a ticket; exactly one of a ticket's reports is terminal.

    `state` is waiting, pending or running, or, terminal: succeeded, failed, lost, revoked or handed-over. `times` are
    unix seconds by name: submitted, created, started, finished, reported. `container` is the one that the words are
    about.
    """

    ticket: str
    state: str
    terminal: bool
    failure_class: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    message: str | None = None
    log_tail: str | None = None
    pod: str = ""
    namespace: str = ""
    uid: str | None = None
    attempt: int = 0
    times: dict[str, float] = field(default_factory=dict)
    container: str | None = None


@dataclass(frozen=True, slots=True)
class ShardStats:
    """What a shard said of itself last; CPU in seconds over all its processes so far, memory in MiB.

    `latencies` has count, mean, p50, p95 and p99 in seconds, by name, of its present process: API requests by verb
    (create, get, delete, patch, log, LIST), answered, refused and failed ones alike, to the last byte; and

    - created-to-running: from the answer to a create to the news that the pod runs;
    - finished-to-reported: from the end of a task to its report. The kubelet gives that end in whole seconds by its
      node's clock, so that values are up to a second too large, and 0 where that clock is ahead.

    `last_error` says how the last process ended that had to be replaced, and its last words; "" if there was none.
    `parked` are the namespaces whose quota is waited for, `asked` counts the tickets that wait for a body to be built
    just in time, `adopting` the pods that are still to be labelled.
    """

    shard: int
    pid: int
    alive: bool
    restarts: int
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0
    queued: int = 0
    creating: int = 0
    pending: int = 0
    running: int = 0
    cleaning: int = 0
    window: int = 0
    watch: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    table: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    parked: list[str] = field(default_factory=list)
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)
    last_error: str = ""
    asked: int = 0
    adopting: int = 0
