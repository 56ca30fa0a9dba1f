"""What a shard sees of the cluster: a watch and a pod table for each namespace, their figures told as one.

A table belongs to one stream of lists and events, so namespaces do not share one. A namespace whose watch is refused
holds up no other.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from shard_executor._fast import PodChange, PodTable
from shard_executor.core.shard_base import EVERY_NAMESPACE
from shard_executor.core.watch_types import WatchSettings, start_delay
from shard_executor.shard.api import Api
from shard_executor.shard.settings import ShardSettings
from shard_executor.shard.watcher import Watcher

# Between the first lists of one shard; those of other shards fall in between (see `start_delay`). The last namespaces
# still have most of the time for which creates wait for their first list.
_SPACING = 0.1
_LONGEST = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """One namespace, or with the name "" all of them."""

    namespace: str
    table: PodTable
    watcher: Watcher


class Views:
    """All namespaces of a shard. Constructing starts nothing.

    Args:
        api: the API server.
        settings: the namespaces, the selector, the bins and the limits of the watches.
        on_changes: gets the changed rows, as `Watcher` hands them on.
        on_synced: called after each complete list with the time at which it was asked for and its namespace.
        on_unauthorized: called when the server refuses the credentials.
        rng: for jitter.
    """

    def __init__(
        self,
        api: Api,
        settings: ShardSettings,
        *,
        on_changes: Callable[[list[PodChange], float], None],
        on_synced: Callable[[float, str], None],
        on_unauthorized: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._on_synced = on_synced
        self._views: list[View] = []
        low, high = settings.bins
        for position, namespace in enumerate(settings.namespaces):
            delay = start_delay(settings.shard) + start_delay(position, _SPACING, _LONGEST)
            table = PodTable(bin_lo=low, bin_hi=high)
            watcher = Watcher(
                api,
                table,
                namespace=namespace or None,
                label_selector=settings.label_selector(),
                on_changes=on_changes,
                on_synced=partial(self._synced, position),
                rng=rng,
                settings=WatchSettings(**{"start_delay": delay, **settings.watch}),
                on_unauthorized=on_unauthorized,
            )
            self._views.append(View(namespace, table, watcher))

    def runs(self) -> list[Coroutine[Any, Any, None]]:
        """The watches, each to be run in a task of its own until it is cancelled."""
        return [view.watcher.run() for view in self._views]

    def credentials_replaced(self) -> None:
        """The Api has new credentials: watches that were refused need not wait out their long delays."""
        for view in self._views:
            view.watcher.credentials_replaced()

    def heard(self, namespace: str) -> float:
        """When the namespace's watch last had news before the list that is under way; see `Watcher.heard`."""
        for view in self._views:
            if view.namespace in (namespace, EVERY_NAMESPACE):
                return view.watcher.heard
        return float("-inf")

    def _synced(self, position: int) -> None:
        view = self._views[position]
        self._on_synced(view.watcher.list_started_at, view.namespace)

    def watch_figures(self) -> dict[str, Any]:
        """State, health, whether all have listed, the longest silence in seconds (None before any), counters summed.

        State and health are those of the first namespace that is not well; with several, its health names it.
        """
        watchers = [view.watcher for view in self._views]
        counters: Counter[str] = Counter()
        for watcher in watchers:
            counters.update(watcher.counters)
        heard = [watcher.last_event_at for watcher in watchers if watcher.last_event_at]
        return {
            "state": next((w.state for w in watchers if w.state != "watching"), "watching"),
            "health": next((self._words(view) for view in self._views if view.watcher.health != "ok"), "ok"),
            "synced": all(watcher.synced for watcher in watchers),
            "silent_seconds": time.monotonic() - min(heard) if heard else None,
            **counters,
        }

    def _words(self, view: View) -> str:
        health = view.watcher.health
        return f"namespace {view.namespace}: {health}" if len(self._views) > 1 else health

    def table_figures(self) -> dict[str, int]:
        """The counts of all tables, summed."""
        total: Counter[str] = Counter()
        for view in self._views:
            total.update(view.table.stats())
        return dict(total)
