"""The history behind watches and pages: what changed at which version, within a bounded window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from shard_executor.devcluster import errors

Obj = dict[str, Any]
Objs = list[Obj]  # named, because Store has a method called list


WARM = 2_000  # changes that watchers may still have to send: twice the longest queue of one


@dataclass(frozen=True, slots=True)
class Change:
    """One write of one object.

    `type` is ADDED, MODIFIED or DELETED; `previous` is the state before it, None for ADDED. The object of DELETED
    is the last state at the version of the deletion.
    """

    type: str
    version: int
    key: str
    obj: Obj
    previous: Obj | None


class History:
    """The latest changes of one resource, oldest first.

    Args:
        limit: how many changes are kept.
        floor: the version before which nothing is known; 1 or more.
    """

    def __init__(self, limit: int, floor: int) -> None:
        self._limit = limit
        self._changes: deque[Change] = deque()
        self.floor = floor

    def append(self, change: Change) -> Change | None:
        """Records a change; the oldest one goes when the window is full.

        Returns: the change that is no longer among the latest `WARM`, if there is one.
        """
        if len(self._changes) >= self._limit:
            self.floor = self._changes.popleft().version
        self._changes.append(change)
        return self._changes[-WARM - 1] if len(self._changes) > WARM else None

    def forget(self, version: int) -> None:
        """Drops everything up to `version`, as compaction does."""
        while self._changes and self._changes[0].version <= version:
            self._changes.popleft()
        self.floor = max(self.floor, version)

    def after(self, version: int) -> list[Change]:
        """The changes with a higher version.

        Raises:
            ApiError: 410 if the window no longer reaches back to `version`.
        """
        if version < self.floor:
            raise errors.expired(version, self.floor)
        count = sum(1 for _ in self._newest(version))
        return list(islice(self._changes, len(self._changes) - count, None))

    def undo(self, state: dict[str, Obj], version: int) -> dict[str, Obj]:
        """The state of the resource as it was at `version`, computed backwards from the present one.

        Raises:
            ApiError: 410 if the window no longer reaches back to `version`.
        """
        if version < self.floor:
            raise errors.expired(version, self.floor)
        past = dict(state)
        for change in self._newest(version):
            if change.previous is None:
                past.pop(change.key, None)
            else:
                past[change.key] = change.previous
        return past

    def _newest(self, version: int) -> Iterator[Change]:
        for change in reversed(self._changes):
            if change.version <= version:
                return
            yield change
