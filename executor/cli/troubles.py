"""What keeps a run from getting on, by its shards' heartbeats: failing requests, a watch that needs a person."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shard_executor.supervisor import ShardStats

LOOK_BACK = 10.0  # seconds: a failure is news for that long
MAX_KINDS = 3
# What a healthy run meets too: pods that have gone, creates that had arrived, versions that have expired; and what is
# one task's own fault, which that task's result says.
_NO_NEWS = frozenset({"400", "404", "409", "410", "413", "422"})


class Troubles:
    """Failures of the last LOOK_BACK seconds, from counters that only grow (and restart with their shard)."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}
        self._marks: deque[tuple[float, Counter[str]]] = deque()

    def update(self, now: float, shards: Sequence[ShardStats]) -> str:
        """One line for a person, or nothing if all is well.

        Args:
            now: seconds of a clock that does not jump.
            shards: what each shard said last.
        """
        fresh: Counter[str] = Counter()
        for shard in shards:
            for call, count in shard.calls.items():
                code = call.rpartition(" ")[2]
                if code.startswith(("1", "2", "3")) or code in _NO_NEWS:
                    continue
                before = self._seen.get((shard.shard, call), 0)
                if count != before:
                    fresh[call.lower()] += count - before if count > before else count
                self._seen[shard.shard, call] = count
        if fresh:
            self._marks.append((now, fresh))
        while self._marks and now - self._marks[0][0] > LOOK_BACK:
            self._marks.popleft()
        parts = []
        recent: Counter[str] = Counter()
        for _, counts in self._marks:
            recent.update(counts)
        if recent:
            kinds = ", ".join(f"{count} x {call}" for call, count in recent.most_common(MAX_KINDS))
            more = ", ..." if len(recent) > MAX_KINDS else ""
            parts.append(f"requests that failed in the last {LOOK_BACK:.0f} s: {kinds}{more}")
        for shard in shards:
            health = shard.watch.get("health", "ok")
            if health != "ok":
                parts.append(f"the watch of shard {shard.shard} waits: {health}")
                break  # the others say the same
        return "; ".join(parts)
