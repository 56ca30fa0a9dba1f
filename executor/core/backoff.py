"""Growing, jittered delays between attempts, without a clock of its own."""

from __future__ import annotations

import random


def backoff_delay(tries: int, rng: random.Random, base: float = 0.5, ceiling: float = 30.0) -> float:
    """Seconds before another attempt after `tries` failures (from 1), for those who count their tries themselves.

    Doubled with each failure up to `ceiling`, and drawn between half and the whole of that.
    """
    return float(min(ceiling, base * 2 ** min(tries - 1, 16)) * rng.uniform(0.5, 1.0))


class Backoff:
    """Delays from `initial` to `ceiling` seconds, growing by `factor` and spread by `jitter`, forgotten after calm.

    Each delay is base * (1 + jitter * random), base growing until base * (1 + jitter) reaches the ceiling, so that
    every delay lies within [initial, ceiling] and clients that failed together do not come back together. The
    defaults are client-go's (tools/cache/reflector.go: 800 ms to 30 s, factor 2, reset after 2 minutes), except that
    its jitter doubles the ceiling too.
    """

    __slots__ = ("_attempts", "_calm", "_ceiling", "_factor", "_initial", "_jitter", "_last_end", "_rng")

    def __init__(
        self,
        rng: random.Random,
        *,
        initial: float = 0.8,
        ceiling: float = 30.0,
        factor: float = 2.0,
        jitter: float = 0.5,
        calm: float = 120.0,
    ) -> None:
        """initial, ceiling, calm: seconds. Raises ValueError for values that give no growing positive delays."""
        if initial <= 0 or factor < 1 or jitter < 0 or ceiling < initial * (1 + jitter):
            raise ValueError(f"backoff cannot grow from {initial} to {ceiling} by {factor} with jitter {jitter}")
        self._rng = rng
        self._initial = initial
        self._ceiling = ceiling
        self._factor = factor
        self._jitter = jitter
        self._calm = calm
        self._attempts = 0
        self._last_end = float("-inf")

    @property
    def attempts(self) -> int:
        """Failures since the last calm."""
        return self._attempts

    def next(self, now: float, at_least: float | None = None) -> float:
        """Seconds to wait after a failure at `now` (seconds of any monotonic clock).

        at_least: a server's Retry-After in seconds; it wins where it is longer than our own delay.
        """
        if now - self._last_end >= self._calm:
            self._attempts = 0
        highest_base = self._ceiling / (1 + self._jitter)
        # The exponent is bounded because a float overflows long before a cluster's worst day ends.
        base = min(self._initial * self._factor ** min(self._attempts, 64), highest_base)
        delay = base * (1 + self._jitter * self._rng.random())
        if at_least is not None and at_least > delay:
            delay = at_least
        self._attempts += 1
        self._last_end = now + delay
        return delay

    def reset(self) -> None:
        """Start again from `initial`."""
        self._attempts = 0
