"""A histogram of seconds with fixed bounds, cheap enough to add to on every request."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Latency:
    """buckets[i] counts values up to BOUNDS[i] and above the bound before; the last one counts what lies beyond."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BOUNDS) + 1)
        self.count: int = 0
        self.total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value, in seconds."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.total += seconds
