"""The objects of the development cluster: one version counter, no-op detection, finalizers, change events.

Everything happens on one thread, the event loop's. Objects handed out are shared with watchers and caches: treat
them as immutable and copy what you change.
"""

from __future__ import annotations

import random
import time
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any

from shard_executor.devcluster import errors
from shard_executor.devcluster.versions import Change, History, Obj, Objs

Callback = Callable[[str, Obj, Obj | None], None]

# Order of ObjectMeta's fields on the wire (meta/v1 generated.proto); encoders rely on it to look like the real server.
METADATA_ORDER = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
)
_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # without vowels, as apimachinery's rand.String, so no words appear


class Stored(dict[str, Any]):
    """An object, or the spec of one, that carries its own serialised bytes.

    Encoders fill `encoded` once for each form (``json``, ``protobuf``, ...), and every watcher and list shares it.
    """

    __slots__ = ("encoded",)

    def __init__(self, content: Obj) -> None:
        super().__init__(content)
        self.encoded: dict[str, bytes] = {}


def timestamp(seconds: float) -> str:
    """Unix seconds as the wire's time: ``2024-01-01T00:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def key_of(namespace: str, name: str) -> str:
    """The storage key; its order is the order of lists."""
    return f"{namespace}/{name}" if namespace else name


def ordered_metadata(metadata: Obj) -> Obj:
    """A copy in wire order, with sorted labels and annotations, without empty and unknown fields."""
    result: Obj = {}
    for field in METADATA_ORDER:
        value = metadata.get(field)
        if value is None or value == "" or value == {} or value == []:
            continue
        result[field] = dict(sorted(value.items())) if field in ("labels", "annotations") else value
    return result


class Store:
    """All objects by resource.

    Args:
        clock: gives unix seconds, for timestamps.
        version: the version before the first write. It starts high, so that versions from another life of a
            cluster are expired rather than silently valid.
        history: how many changes are kept for each resource.
        rng: makes generated names.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        version: int = 1_000_000,
        history: int = 100_000,
        rng: random.Random | None = None,
    ) -> None:
        self.clock = clock
        self.version = version
        self._first_version = version
        self._history_limit = history
        self._rng = rng or random.Random()
        self._objects: dict[str, dict[str, Obj]] = {}
        self._keys: dict[str, list[str]] = {}
        self._histories: dict[str, History] = {}
        self._subscribers: dict[str, list[Callback]] = {}

    def create(self, resource: str, obj: Obj) -> Obj:
        """Stores a new object under ``metadata.name``, or a generated one for ``metadata.generateName``.

        uid, resourceVersion and creationTimestamp are set here, whatever `obj` says.

        Returns: the stored object.
        Raises:
            ApiError: 409 if the name is taken.
        """
        metadata = dict(obj["metadata"])
        namespace = metadata.get("namespace", "")
        if not metadata.get("name"):
            metadata["name"] = self._generate_name(resource, namespace, metadata["generateName"])
        key = key_of(namespace, metadata["name"])
        if key in self._table(resource):
            raise errors.already_exists(resource, metadata["name"])
        metadata["uid"] = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        metadata["creationTimestamp"] = timestamp(self.clock())
        stored = self._stamp(obj, metadata)
        self._table(resource)[key] = stored
        insort(self._keys[resource], key)
        self._publish(resource, "ADDED", key, stored, None)
        return stored

    def get(self, resource: str, namespace: str, name: str) -> Obj:
        """The object.

        Raises:
            ApiError: 404 if there is none.
        """
        found = self._table(resource).get(key_of(namespace, name))
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def find(self, resource: str, namespace: str, name: str) -> Obj | None:
        """The object, or None."""
        return self._table(resource).get(key_of(namespace, name))

    def list(self, resource: str, namespace: str | None = None) -> Objs:
        """The objects of a namespace, or of all for None, in the order of their keys."""
        table = self._table(resource)
        return [table[key] for key in _within(self._keys[resource], namespace)]

    def list_at(self, resource: str, namespace: str | None, version: int) -> Objs:
        """The objects as they were at `version`, in the order of their keys.

        Raises:
            ApiError: 410 if the history no longer reaches back that far.
        """
        past = self.history(resource).undo(self._table(resource), version)
        return [past[key] for key in _within(sorted(past), namespace)]

    def replace(self, resource: str, obj: Obj) -> Obj:
        """Stores a new state of an existing object.

        A state equal to the present one keeps the version and makes no event. Removing the last finalizer of an
        object whose deletion has no grace left deletes it.

        Returns: the stored object; after a deletion its last state.
        Raises:
            ApiError: 404 if there is no such object.
        """
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        previous = self.get(resource, namespace, name)
        old_metadata = previous["metadata"]
        metadata = ordered_metadata({**metadata, "resourceVersion": old_metadata["resourceVersion"]})
        if metadata == old_metadata and _same_content(obj, previous):
            return previous
        if (
            "deletionTimestamp" in metadata
            and not metadata.get("finalizers")
            and old_metadata.get("finalizers")
            and not metadata.get("deletionGracePeriodSeconds")
        ):
            return self.remove(resource, namespace, name)
        stored = self._stamp(obj, metadata)
        key = key_of(namespace, name)
        self._table(resource)[key] = stored
        self._publish(resource, "MODIFIED", key, stored, previous)
        return stored

    def remove(self, resource: str, namespace: str, name: str) -> Obj:
        """Deletes the object, at a new version.

        Returns: its last state with the version of the deletion.
        Raises:
            ApiError: 404 if there is no such object.
        """
        previous = self.get(resource, namespace, name)
        key = key_of(namespace, name)
        del self._table(resource)[key]
        keys = self._keys[resource]
        del keys[bisect_left(keys, key)]
        stored = self._stamp(previous, previous["metadata"])
        self._publish(resource, "DELETED", key, stored, previous)
        return stored

    def trim(self, resource: str, keep: int) -> None:
        """Deletes the objects created first, until at most `keep` are left."""
        table = self._table(resource)
        while len(table) > keep:
            metadata = next(iter(table.values()))["metadata"]
            self.remove(resource, metadata.get("namespace", ""), metadata["name"])

    def subscribe(self, resource: str, callback: Callback) -> Callable[[], None]:
        """Calls `callback(type, new, previous)` within every later write of the resource.

        Returns: a function that ends the subscription.
        """
        callbacks = self._subscribers.setdefault(resource, [])
        callbacks.append(callback)

        def end() -> None:
            # Rebound rather than changed in place: it may end while _publish walks the old list.
            self._subscribers[resource] = [entry for entry in self._subscribers[resource] if entry is not callback]

        return end

    def history(self, resource: str) -> History:
        """The recent changes of the resource."""
        self._table(resource)
        return self._histories[resource]

    def compact(self) -> None:
        """Expires every version before the present one, for watches and pages."""
        self.version += 1
        for history in self._histories.values():
            history.forget(self.version)
        self._first_version = self.version

    def new_uid(self) -> str:
        """A random uid, for objects that are answered but not stored."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def random_name(self, prefix: str) -> str:
        """`prefix`, cut to fit, and five random letters (apiserver's names.SimpleNameGenerator)."""
        return prefix[:58] + "".join(self._rng.choices(_NAME_ALPHABET, k=5))

    def _generate_name(self, resource: str, namespace: str, prefix: str) -> str:
        for _ in range(8):
            name = self.random_name(prefix)
            if key_of(namespace, name) not in self._table(resource):
                return name
        raise errors.already_exists(resource, prefix)

    def _table(self, resource: str) -> dict[str, Obj]:
        table = self._objects.get(resource)
        if table is None:
            table = self._objects[resource] = {}
            self._keys[resource] = []
            self._histories[resource] = History(self._history_limit, self._first_version)
        return table

    def _stamp(self, obj: Obj, metadata: Obj) -> Stored:
        self.version += 1
        ordered = ordered_metadata({**metadata, "resourceVersion": str(self.version)})
        stored = Stored({**obj, "metadata": ordered})
        spec = stored.get("spec")
        if isinstance(spec, dict) and not isinstance(spec, Stored):
            stored["spec"] = Stored(spec)
        return stored

    def _publish(self, resource: str, kind: str, key: str, obj: Obj, previous: Obj | None) -> None:
        cold = self._histories[resource].append(Change(kind, self.version, key, obj, previous))
        if cold is not None and isinstance(cold.obj, Stored):
            # Hardly needed again, and made anew if they are: kept, they would be most of the history's memory.
            cold.obj.encoded.clear()
        for callback in self._subscribers.get(resource, ()):
            callback(kind, obj, previous)


def _within(keys: list[str], namespace: str | None) -> list[str]:
    if namespace is None:
        return keys
    # "0" follows "/" in ASCII: the half-open range holds exactly the keys below "namespace/".
    return keys[bisect_left(keys, f"{namespace}/") : bisect_left(keys, f"{namespace}0")]


def _same_content(new: Obj, old: Obj) -> bool:
    if new.keys() != old.keys():
        return False
    return all(value is old[field] or value == old[field] for field, value in new.items() if field != "metadata")
