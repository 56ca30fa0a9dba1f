"""When a re-list that somebody asked for is due, and how it is named in the counters."""

from __future__ import annotations

from shard_executor.core.watch_types import WatchSettings


class Relists:
    """At most one re-list is due; an earlier wish wins, and any list that begins fulfils the wish."""

    __slots__ = ("_listed_at", "_settings", "_undecodable_at", "cause", "due")

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._listed_at = float("-inf")
        self._undecodable_at = float("-inf")
        self.due: float | None = None
        self.cause = ""

    def ask(self, cause: str, now: float) -> None:
        """Ask for a list, `relist_spacing` after the last one ended or now."""
        self.schedule(cause, max(now, self._listed_at + self._settings.relist_spacing))

    def undecodable(self, now: float) -> None:
        """An object was skipped; an object that stays undecodable must not make us list without end."""
        at = max(now + self._settings.undecodable_delay, self._undecodable_at + self._settings.undecodable_spacing)
        if self.schedule("undecodable", at):
            self._undecodable_at = at

    def schedule(self, cause: str, at: float) -> bool:
        """Make a list due at `at`; False if one is due by then anyway."""
        if self.due is not None and self.due <= at:
            return False
        self.due = at
        self.cause = cause
        return True

    def is_due(self, now: float) -> bool:
        """Whether a list should begin."""
        return self.due is not None and self.due <= now

    def begun(self) -> None:
        """A list begins; what it finds is newer than every wish so far."""
        self.due = None

    def ended(self, now: float) -> None:
        """A list was completed."""
        self._listed_at = now
