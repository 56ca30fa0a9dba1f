"""How long a stream has lived, how long it has been silent, and when that is too long."""

from __future__ import annotations

from shard_executor.core.watch_types import WatchSettings


class StreamClock:
    """The times of the open stream, in seconds of the caller's clock.

    timeout_seconds: what the server was asked for. last_received: the last bytes of any stream, None before the
    first. progress: this stream brought the version forward. silent: streams in a row without a byte.
    """

    __slots__ = ("_opened_at", "_settings", "last_received", "progress", "silent", "timeout_seconds")

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._opened_at = 0.0
        self.timeout_seconds = 0
        self.last_received: float | None = None
        self.progress = False
        self.silent = 0

    def opened(self, now: float) -> None:
        """The headers came."""
        self._opened_at = self.last_received = now
        self.progress = False

    def received(self, now: float) -> None:
        """Bytes came."""
        self.last_received = now
        self.silent = 0

    def limit(self, initial: bool) -> float:
        """When the stream has lived or been silent for too long. initial: its first events are still to come."""
        limits = self._settings
        last = self.last_received or self._opened_at
        if initial:
            return min(self._end(), self._opened_at + limits.initial_limit, last + limits.initial_idle_limit)
        return min(self._end(), last + limits.idle_limit)

    def is_new(self, now: float) -> bool:
        """It has not lived long enough to have worked."""
        return now - self._opened_at < self._settings.short_watch

    def overstayed(self, now: float) -> str:
        """Why it is given up at its limit: "overdue" past the server's own timeout, else "idle", which is counted."""
        self.silent += self.last_received == self._opened_at
        return "overdue" if now >= self._end() else "idle"

    def _end(self) -> float:
        return self._opened_at + self.timeout_seconds + self._settings.watch_margin
