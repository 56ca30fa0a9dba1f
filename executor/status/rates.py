"""What changed between two answers of the same executors, per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def add_rates(before: Sequence[Mapping[str, Any]], after: Sequence[dict[str, Any]], seconds: float) -> None:
    """Gives each of `after` that was there before its `rates`, and the others None.

    Args:
        before, after: answers, told apart by their `socket`.
        seconds: between the two.
    """
    earlier = {answer["socket"]: answer for answer in before}
    for answer in after:
        first = earlier.get(answer["socket"])
        answer["rates"] = None if first is None or seconds <= 0 else _rates(first, answer, seconds)


def _rates(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> dict[str, float]:
    cpu = _cpu(after) - _cpu(before)
    return {
        "seconds": seconds,
        "pods_per_second": max(0, _ended(after) - _ended(before)) / seconds,
        "parent_cpu_percent": 100 * max(0.0, cpu) / seconds,
    }


def _cpu(answer: Mapping[str, Any]) -> float:
    return float((answer.get("parent") or {}).get("cpu_seconds", 0.0))


def _ended(answer: Mapping[str, Any]) -> int:
    """Tasks that ended by the owner's count, else by that of the shards, which is as old as their heartbeats."""
    totals = answer.get("totals") or {}
    return int(totals["done"] if "done" in totals else sum((answer.get("outcomes") or {}).values()))
