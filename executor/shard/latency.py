"""A histogram of seconds with fixed bounds, cheap enough to add to on every request."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS: tuple[float, ...] = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)


class Latency:
    """buckets[i] counts values up to BOUNDS[i] and above the bound before; the last one counts what lies beyond."""

    __slots__ = ("buckets", "count", "highest", "total")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BOUNDS) + 1)
        self.count: int = 0
        self.total: float = 0.0
        self.highest: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value, in seconds."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.total += seconds
        if seconds > self.highest:
            self.highest = seconds

    def merge(self, other: Latency) -> None:
        """Count another histogram's values too."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.count += other.count
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    def percentile(self, share: float) -> float:
        """The value in seconds that `share` (0 to 1) of all values do not exceed; 0 without any.

        Values are taken to lie evenly within their bucket, so it is right to the width of a bucket.
        """
        wanted = share * self.count
        below = 0
        for index, found in enumerate(self.buckets):
            if found and below + found >= wanted:
                low = BOUNDS[index - 1] if index else 0.0
                high = min(BOUNDS[index], self.highest) if index < len(BOUNDS) else self.highest
                return low + (high - low) * (wanted - below) / found
            below += found
        return self.highest

    def summary(self) -> dict[str, float]:
        """count, mean, p50, p95 and p99."""
        mean = self.total / self.count if self.count else 0.0
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {"count": self.count, "mean": mean, **{name: self.percentile(share) for name, share in shares.items()}}
