"""Disturbs a job on a development cluster: carries out the steps of a plan and counts what really happened."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from shard_executor.cli.chaos_plan import KILL, Step, plan
from shard_executor.cli.errors import EXIT_ENGINE, CommandError
from shard_executor.devcluster.process import DevClusterError

log = logging.getLogger(__name__)

_SLICE = 0.05  # seconds between two looks at what is due
_BEGIN_LIMIT = 20.0  # seconds that the first step waits for a process of a pod
_STALLED = 8.0  # seconds after which the next step comes although the job has not got that far
PATIENCE = 3.0
_END_LIMIT = 60.0  # seconds for the thread to end: it may be in a request
_RETRIED = frozenset({KILL, "cut-watches", "evict", "preempt", "pressure"})

# What a kind of fault is counted as. Of a rule it is the requests that it struck.
_RULES = {
    "lost-response": "create_answers_lost",
    "throttle": "requests_throttled",
    "error": "requests_failed",
    "garbage-watch": "watches_garbled",
    "flaky-watch": "watches_cut",
}
_PODS = {
    "evict": "pods_evicted",
    "preempt": "pods_preempted",
    "pressure": "pods_under_pressure",
    "drain": "pods_drained",
    "lose-node": "pods_on_lost_nodes",
}
_ONCE = {"drain": "nodes_drained", "lose-node": "nodes_lost", "compact": "compactions"}
COUNTS = (
    "shards_killed",
    "watches_cut",
    "create_answers_lost",
    "pods_evicted",
    "pods_preempted",
    "pods_under_pressure",
    "nodes_drained",
    "pods_drained",
    "nodes_lost",
    "pods_on_lost_nodes",
    "requests_throttled",
    "requests_failed",
    "compactions",
    "watches_garbled",
)
_PROMISED = ("shards_killed", "watches_cut", "create_answers_lost", "pods_evicted")


class ChaosError(CommandError):
    """The disturbances could not be carried out: what the run withstood is not known. Exit code 3."""

    exit_code = EXIT_ENGINE


class Cluster(Protocol):
    """What is used of `DevClusterProcess`."""

    def fault(self, kind: str, **arguments: Any) -> dict[str, Any]: ...
    def clear_faults(self) -> dict[str, Any]: ...
    def stats(self) -> dict[str, Any]: ...


def _tell(work: Future[None]) -> None:
    """Says at once that the chaos broke down; the error itself comes with `end`, when the job is over."""
    if (fault := work.exception()) is not None:
        log.error("the chaos broke down: %s", fault)


class Chaos:
    """A thread that carries out the plan of a seed. Constructing starts nothing.

    Args:
        cluster: the development cluster of the job.
        shard_pids: the shard processes that are up, in any order.
        seed: of the plan; see `chaos_plan.plan`.
        steps: how many disturbances.
        progress: the share of the tasks that has ended, 0 to 1.
        look: called every 50 ms or so and before a shard is killed, so that figures are read before they are lost.
        halted: True once the job is being stopped; nothing is disturbed any more then.
        patience: seconds for which a step that met nothing (no pod, no watch, no shard) is tried again.
    """

    def __init__(
        self,
        cluster: Cluster,
        shard_pids: Callable[[], list[int]],
        *,
        seed: int,
        steps: int,
        progress: Callable[[], float],
        look: Callable[[], None] = lambda: None,
        halted: Callable[[], bool] = lambda: False,
        patience: float = PATIENCE,
    ) -> None:
        self.seed = seed
        self.plan = plan(seed, steps)
        self.performed: Counter[str] = Counter()
        self.disrupted: set[str] = set()  # names of pods
        self._cluster = cluster
        self._shard_pids = shard_pids
        self._progress = progress
        self._look = look
        self._halted = halted
        self._patience = patience
        self._counts: Counter[str] = Counter()
        self._rules: dict[int, tuple[str, int]] = {}  # id of a rule -> its kind, and how many requests it strikes
        self._lost_nodes: list[tuple[float, str]] = []
        self._begun = False  # a process of a pod has been started
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(1, "shard-executor-chaos")
        self._work: Future[None] | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._work = self._pool.submit(self._run)
        self._work.add_done_callback(_tell)

    def end(self) -> None:
        """Stops disturbing, waits for the thread, counts what the rules struck, and undoes everything.

        Raises:
            ChaosError: the thread had failed, or the cluster does not answer any more.
        """
        work, self._work = self._work, None
        if work is None:
            return
        self._ending.set()
        try:
            try:
                work.result(_END_LIMIT)
            finally:
                self._pool.shutdown(wait=False)
                self._look()
                self._calm()
        except (DevClusterError, OSError) as fault:
            words = str(fault) or f"a step was still under way after {_END_LIMIT:.0f} s"
            raise ChaosError(f"the chaos broke down, so that the run proves nothing: {words}") from fault

    def report(self) -> dict[str, Any]:
        """What was done, by what the cluster and the system said of it; complete after `end`."""
        return {
            "seed": self.seed,
            "steps": {"planned": len(self.plan), "performed": self.performed.total()},
            **{name: self._counts[name] for name in COUNTS},
            "did_not_happen": [name for name in _PROMISED if not self._counts[name]],
        }

    # ---- the thread

    def _run(self) -> None:
        for step in self.plan:
            if step.kind not in _RULES:  # rules may be there before what they strike
                self._wait(_BEGIN_LIMIT, self._has_begun)
            self._wait(step.pause if step.at else 0.0)
            self._wait(_STALLED, partial(self._has_come_to, step.at))
            if self._over():
                break
            self._perform(step)
        self._wait(float("inf"))
        self._calm()  # at once, so that a job that was told to stop is not held up

    def _has_begun(self) -> bool:
        self._begun = self._begun or self._cluster.stats()["kubelet"]["started"] > 0
        return self._begun

    def _has_come_to(self, share: float) -> bool:
        return self._progress() >= share

    def _over(self) -> bool:
        return self._ending.is_set() or self._halted()

    def _wait(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Until the time is over, it is enough, or everything is; nodes come back meanwhile."""
        deadline = time.monotonic() + seconds
        while not (self._over() or enough()):
            self._look()
            now = time.monotonic()
            while self._lost_nodes and self._lost_nodes[0][0] <= now:
                self._cluster.fault("recover-node", node=self._lost_nodes.pop(0)[1])
            if now >= deadline:
                return
            self._ending.wait(min(_SLICE, deadline - now))

    def _perform(self, step: Step) -> None:
        deadline = time.monotonic() + self._patience
        while not self._strike(step):
            if step.kind not in _RETRIED or time.monotonic() >= deadline:
                break
            self._wait(2 * _SLICE)
            if self._over():
                return
        else:
            self.performed[step.kind] += 1

    def _strike(self, step: Step) -> bool:
        """Carries a step out once; False if there was nothing that it could meet."""
        if step.kind == KILL:
            return self._kill(step.arguments)
        answer = self._cluster.fault(step.kind, **step.arguments)
        if step.kind in _RULES:
            self._rules[answer["id"]] = step.kind, step.arguments["count"]
            return True
        pods = answer.get("pods", [])
        watches = answer.get("watches", 0)
        self.disrupted.update(pod.rpartition("/")[2] for pod in pods)
        self._counts["watches_cut"] += watches
        if step.kind in _PODS:
            self._counts[_PODS[step.kind]] += len(pods)
        if step.kind in _ONCE:
            self._counts[_ONCE[step.kind]] += 1
        if step.lasts:
            self._lost_nodes.append((time.monotonic() + step.lasts, answer["node"]))
            self._lost_nodes.sort()
        return bool(pods or watches or step.kind in _ONCE)

    def _kill(self, arguments: Mapping[str, Any]) -> bool:
        self._look()
        pids = sorted(self._shard_pids())
        if not arguments["all"]:
            place = int(arguments["which"] * len(pids))
            pids = pids[place : place + 1]
        killed = 0
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has just ended by itself
            killed += 1
        self._counts["shards_killed"] += killed
        return killed > 0

    def _calm(self) -> None:
        """Undoes everything, and counts what the rules have struck: one that is listed no more is used up."""
        active = {rule["id"]: rule["hits"] for rule in self._cluster.stats()["faults"]}
        for identity, (kind, most) in self._rules.items():
            self._counts[_RULES[kind]] += active.get(identity, most)
        self._rules.clear()
        self._cluster.clear_faults()
