"""The names of pods whose tickets a shard has closed, so that a create which lands late is known for what it is."""

from __future__ import annotations

from collections import OrderedDict

LIMIT = 20_000


class ClosedNames:
    """The last `limit` names, each with the uid of the pod that bore it, None if none is known to have been created.

    A pod's name is derived from its submission and attempt. So another pod under a name that was closed is the work of
    a create that was given up, delayed in the network, or sent by a parent that has died since; its task has ended or
    runs under another name. The pod that was closed is not meant: it may be terminating, kept or handed over.

    20,000 names take 6 MB (tracemalloc, CPython 3.11; 63 characters each). A shard that is
    started again begins without any.
    """

    __slots__ = ("_limit", "_uids")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._uids: OrderedDict[str, str | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uids)

    def add(self, namespace: str, name: str, uid: str | None) -> None:
        """Remembers a name, and forgets the one that was closed longest ago if there are too many."""
        key = f"{namespace}/{name}"
        self._uids[key] = uid
        self._uids.move_to_end(key)
        if len(self._uids) > self._limit:
            self._uids.popitem(last=False)

    def discard(self, namespace: str, name: str) -> None:
        """A ticket asks for this name again: its pod is wanted."""
        self._uids.pop(f"{namespace}/{name}", None)

    def again(self, namespace: str, name: str, uid: str) -> bool:
        """Whether this pod has a closed name and is not the pod that the name was closed with."""
        key = f"{namespace}/{name}"
        return key in self._uids and self._uids[key] != uid
