"""The adaptive create window: how many creates a shard keeps in flight.

Slow start, then additive increase and multiplicative decrease, as TCP's congestion control (RFC 5681): an API server
tells a client to slow down by 429 (API Priority and Fairness) and by latency, and what it can take changes with its
other load. Until it has done so once, the window doubles with every round trip: behind webhooks that take half a second
each, one more per round trip would take half a minute to reach 64.
"""

from __future__ import annotations

from dataclasses import dataclass

# Failures in a row after which no create is sent for a while: tickets that wait for their own retry make room for
# others, so that a server that answers nothing but errors would be asked as fast as it can refuse.
FAILURES_IN_A_ROW = 8
HOLD_BASE = 0.25
HOLD_CAP = 5.0


@dataclass(slots=True)
class CreateWindow:
    """Counts creates in flight against an adaptive limit.

    Args:
        initial, minimum, maximum: limits of creates in flight, at least 1.
        cooldown: seconds within which further refusals do not shrink the window again (they answer the same burst).
    """

    initial: int = 8
    minimum: int = 1
    maximum: int = 64
    cooldown: float = 1.0
    in_flight: int = 0
    size: float = 0.0
    held_until: float = 0.0
    best_latency: float = 0.0
    _shrunk_at: float = -1e9
    _failures: int = 0
    _holds: int = 0
    _slow_start: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.initial <= self.maximum:
            raise ValueError(
                "create window needs 1 <= minimum <= initial <= maximum, "
                f"got {self.minimum}, {self.initial}, {self.maximum}"
            )
        self.size = float(self.initial)

    def free(self, now: float) -> int:
        """How many creates may start now; 0 while a Retry-After holds."""
        if now < self.held_until:
            return 0
        return max(0, int(self.size) - self.in_flight)

    def started(self) -> None:
        self.in_flight += 1

    def answered(self, latency: float) -> None:
        """A create was answered by a decision of the server (created, exists, refused).

        Grows only while the window is the bottleneck, and not while answers take over four times the best seen
        (beyond 250 ms), which is what a server does that queues before it refuses.
        """
        full = self.in_flight >= int(self.size)
        self.in_flight -= 1
        self._failures = self._holds = 0
        self.best_latency = latency if not self.best_latency else min(latency, self.best_latency * 1.001)
        if latency > 0.25 and latency > 4 * self.best_latency:
            self._slow_start = False
        elif full:
            step = 1.0 if self._slow_start else 0.5 if self.size <= 16 else 1.0 / self.size
            self.size = min(float(self.maximum), self.size + step)

    def refused(self, now: float, retry_after: float | None) -> None:
        """A create was throttled or failed on the way: halves the window, and holds it for `retry_after` seconds."""
        self.in_flight -= 1
        self._slow_start = False
        if now - self._shrunk_at >= self.cooldown:
            self._shrunk_at = now
            self.size = max(float(self.minimum), self.size / 2)
        if retry_after:
            self.held_until = max(self.held_until, now + retry_after)
        self._failed(now)

    def abandoned(self, now: float) -> None:
        """A create failed without saying anything about the server's load."""
        self.in_flight -= 1
        self._failed(now)

    def _failed(self, now: float) -> None:
        self._failures += 1
        if self._failures > FAILURES_IN_A_ROW and now >= self.held_until:
            self.held_until = now + min(HOLD_CAP, HOLD_BASE * 2.0 ** min(self._holds, 16))
            self._holds += 1
