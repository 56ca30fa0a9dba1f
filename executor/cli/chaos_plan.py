"""What a chaos run does, drawn from its seed: which disturbances, with which arguments, at which point of the job."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KILL = "kill-shards"  # the one disturbance that is not the cluster's
FEWEST, MOST = 8, 40  # steps of a plan
TASKS_A_STEP = 20
# A shard that dies again and again is started later and later, and one whose watch is refused again and again comes
# back later and later: both are as they should be, but the job should not wait for that most of its time.
MOST_OF = {KILL: 4, "compact": 2, "flaky-watch": 2, "garbage-watch": 3}
_OPENING = 0.2  # share of the job within which the promised kinds come
_LAST = 0.9  # share after which nothing new begins, so that what was begun still meets tasks
_PAUSE = (0.1, 0.4)  # seconds between two steps at the least


@dataclass(frozen=True, slots=True)
class Step:
    """One disturbance.

    `kind` is KILL or a kind of `devcluster.fault_kinds`, with its `arguments`. It is performed when the share `at` of
    the tasks has ended, at least `pause` seconds after the step before it. A node that it takes away comes back after
    `lasts` seconds.
    """

    kind: str
    at: float
    pause: float
    arguments: dict[str, Any] = field(default_factory=dict)
    lasts: float = 0.0


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    draw: Callable[[random.Random], dict[str, Any]]
    lasts: tuple[float, float] = (0.0, 0.0)


def _kill(rng: random.Random) -> dict[str, Any]:
    """`which` is the victim's place among the living, as a share; `all` kills every one of them."""
    return {"which": round(rng.random(), 3), "all": rng.random() < 0.25}


def _cut(rng: random.Random) -> dict[str, Any]:
    return {"mode": rng.choice(["reset", "end"])}


def _pods(rng: random.Random) -> dict[str, Any]:
    return {"count": rng.randint(1, 4)}


def _lose_node(rng: random.Random) -> dict[str, Any]:
    return {"manner": rng.choice(["unknown", "taint", "gc"]), "gc_seconds": round(rng.uniform(0.2, 1.0), 2)}


def _nothing(rng: random.Random) -> dict[str, Any]:
    return {}


def _rule(rng: random.Random, low: int, high: int) -> dict[str, Any]:
    """Strikes between `low` and `high` requests for pods, then it is used up."""
    share = rng.choice([0.3, 0.6, 1.0])
    return {"path": "/pods", "count": rng.randint(low, high), "probability": share, "seed": rng.randrange(1000)}


def _lose_creates(rng: random.Random) -> dict[str, Any]:
    return {"verb": "create", **_rule(rng, 3, 12)}


def _refuse(rng: random.Random) -> dict[str, Any]:
    verb = rng.choice(["create", "create", "delete", "list,watch"])
    return {"verb": verb, **(_rule(rng, 1, 1) if verb == "list,watch" else _rule(rng, 2, 8))}


def _error(rng: random.Random) -> dict[str, Any]:
    return {"code": rng.choice([500, 503, 504]), **_refuse(rng)}


def _break_watch(rng: random.Random) -> dict[str, Any]:
    return _rule(rng, 1, 2)


# These happen in every run that lasts long enough to be disturbed at all.
_LOSE_CREATES = _Kind("lost-response", _lose_creates)
_PROMISED = (_LOSE_CREATES, _Kind(KILL, _kill), _Kind("cut-watches", _cut), _Kind("evict", _pods))
_FURTHER = (
    _Kind("preempt", _pods),
    _Kind("pressure", _pods),
    _Kind("drain", _nothing, (0.5, 1.5)),
    _Kind("lose-node", _lose_node, (1.2, 2.0)),
    _Kind("throttle", _refuse),
    _Kind("error", _error),
    _Kind("compact", _nothing),
    _Kind("garbage-watch", _break_watch),
    _Kind("flaky-watch", _break_watch),
)
PROMISED = tuple(kind.name for kind in _PROMISED)
EVERY_KIND = PROMISED + tuple(kind.name for kind in _FURTHER)


def steps_for(tasks: int) -> int:
    """How many steps a job of so many tasks gets."""
    return max(FEWEST, min(MOST, tasks // TASKS_A_STEP))


def plan(seed: int, steps: int) -> list[Step]:
    """The disturbances of a run: a pure function of its arguments.

    The promised kinds come at the beginning: lost creates first, as all pods of a small job are created at once, the
    others in any order. Then comes each further kind once, then any.

    Args:
        seed: any integer.
        steps: how many; the promised kinds are always among them.
    """
    rng = random.Random(seed)
    others, further = [kind for kind in _PROMISED if kind is not _LOSE_CREATES], list(_FURTHER)
    rng.shuffle(others)
    rng.shuffle(further)
    opening = [_LOSE_CREATES, *others]
    chosen = Counter(EVERY_KIND)
    while len(opening) + len(further) < steps:
        kind = rng.choice(_PROMISED + _FURTHER)
        if chosen[kind.name] < MOST_OF.get(kind.name, steps):
            chosen[kind.name] += 1
            further.append(kind)
    del further[max(0, steps - len(opening)) :]
    width = (_LAST - _OPENING) / max(1, len(further))
    places = [_OPENING * number / len(opening) for number in range(len(opening))]
    places += [_OPENING + width * (number + rng.random()) for number in range(len(further))]
    return [
        Step(
            kind.name,
            round(place, 4),
            round(rng.uniform(*_PAUSE), 2),
            kind.draw(rng),
            round(rng.uniform(*kind.lasts), 2),
        )
        for place, kind in zip(places, opening + further, strict=True)
    ]
