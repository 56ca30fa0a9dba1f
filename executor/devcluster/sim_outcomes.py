"""The lives the simulated kubelet can give a pod: which one, how long, and how its containers end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from shard_executor.devcluster.kubelet import EXIT_CODE, OUTCOME, RUN_SECONDS
from shard_executor.devcluster.versions import Obj

OUTCOMES: Mapping[str, str] = {
    "ok": "runs and succeeds",
    "fail": "runs and fails with exit code 1, or the annotation's",
    "oom": "is killed by the kernel: 137, OOMKilled",
    "evict": "is evicted by its kubelet for memory pressure: Failed, Evicted",
    "preempt": "is preempted by the scheduler: DisruptionTarget, deleted",
    "drain": "is evicted through the eviction API, as in a drain: DisruptionTarget, deleted",
    "imagepull": "waits with ErrImagePull, then ImagePullBackOff, for ever",
    "deleted": "is deleted by someone else while it runs",
    "initfail": "its first init container fails (without one: StartError, exit code 128)",
    "deadline": "exceeds its deadline: Failed, DeadlineExceeded",
    "nodelost": "its node goes silent: phase Unknown, NodeLost, deleted by the garbage collector",
    "cfgerr": "waits with CreateContainerConfigError for ever",
    "hang": "runs for ever",
    "stuck": "waits with ContainerCreating for ever",
}
# The outcomes of which an exit code is the only thing that matters.
EXIT_CODES = {"ok": 0, "fail": 1, "oom": 137}


@dataclass(frozen=True, slots=True)
class SimSettings:
    """How simulated pods live.

    Args:
        start_seconds: from the binding to Running, drawn evenly from a range (lowest, highest).
        run_seconds: from Running to the end, likewise.
        stop_seconds: from a deletion to its end, at most the grace period.
        gc_seconds: from NodeLost to the deletion.
        mix: outcome -> probability; the rest is ``ok``.
        seed: of all draws; pods get theirs in the order in which they are bound.

    Raises:
        ValueError: an unknown outcome, probabilities that are negative or exceed 1, or an empty range.
    """

    start_seconds: tuple[float, float] = (0.2, 0.6)
    run_seconds: tuple[float, float] = (1.0, 2.0)
    stop_seconds: float = 0.2
    gc_seconds: float = 1.0
    mix: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        unknown = sorted(set(self.mix) - set(OUTCOMES))
        if unknown:
            raise ValueError(f"mix: unknown outcomes {', '.join(unknown)}; known: {', '.join(OUTCOMES)}")
        if min(self.mix.values(), default=0.0) < 0 or sum(self.mix.values()) > 1 + 1e-9:
            raise ValueError(f"mix: probabilities must not be negative and not exceed 1 together: {dict(self.mix)}")
        for name in ("start_seconds", "run_seconds"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name}: {low} to {high} is no range of seconds")


@dataclass(frozen=True, slots=True)
class Fate:
    """What was drawn for one pod; seconds as in `SimSettings`."""

    outcome: str
    start: float
    run: float
    exit_code: int


class Fates:
    """Draws fates, seeded; annotations on a pod go before the draw."""

    def __init__(self, settings: SimSettings) -> None:
        self._settings = settings
        self._rng = random.Random(settings.seed)

    def draw(self, pod: Obj) -> Fate:
        """The fate of a pod. An annotation that cannot be read counts as absent, unknown outcomes included."""
        settings, rng = self._settings, self._rng
        annotations = pod["metadata"].get("annotations") or {}
        drawn = self._outcome(rng.random())
        start = rng.uniform(*settings.start_seconds)
        run = rng.uniform(*settings.run_seconds)
        code = _number(annotations.get(EXIT_CODE))
        outcome = annotations.get(OUTCOME, "")
        if outcome not in OUTCOMES:
            outcome = drawn if code is None else ("fail" if code else "ok")
        seconds = _number(annotations.get(RUN_SECONDS))
        if seconds is not None and seconds >= 0:
            run = seconds
        own_code = outcome == "fail" and code is not None
        return Fate(outcome, start, run, int(code) if own_code and code is not None else EXIT_CODES.get(outcome, 137))

    def _outcome(self, draw: float) -> str:
        for outcome, probability in self._settings.mix.items():
            if draw < probability:
                return outcome
            draw -= probability
        return "ok"


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
