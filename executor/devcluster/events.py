"""Event objects, as controllers and kubelets leave them for ``kubectl describe``."""

from __future__ import annotations

from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj

KEPT = 5_000  # events; a real cluster keeps them for an hour
_KUBELET = "kubelet"


class EventRecorder:
    """Stores Events about objects; beyond `KEPT` the oldest go.

    Args:
        store: where they go.
        enabled: whether to store any; at hundreds of pods a second they cost more than they tell.
    """

    def __init__(self, store: Store, enabled: bool = True) -> None:
        self._store = store
        self._enabled = enabled
        self._names: dict[tuple[str, ...], str] = {}

    def normal(self, obj: Obj, reason: str, message: str, component: str = _KUBELET, *, field_path: str = "") -> None:
        """Something that is as it should be.

        Args:
            obj: the object it is about.
            component: who reports it.
            field_path: the part of the object, such as ``spec.containers{base}``.
        """
        self._record(obj, "Normal", reason, message, component, field_path)

    def warning(self, obj: Obj, reason: str, message: str, component: str = _KUBELET, *, field_path: str = "") -> None:
        """Something that is not; arguments as for `normal`."""
        self._record(obj, "Warning", reason, message, component, field_path)

    def _record(self, obj: Obj, kind: str, reason: str, message: str, component: str, field_path: str) -> None:
        if not self._enabled:
            return
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "default")
        now = timestamp(self._store.clock())
        # The same thing about the same object is one Event with a count (client-go tools/record's correlator).
        key = (metadata["uid"], kind, reason, message, component, field_path)
        name = self._names.get(key, "")
        earlier = self._store.find("events", namespace, name) if name else None
        if earlier is not None:
            self._store.replace("events", {**earlier, "count": earlier["count"] + 1, "lastTimestamp": now})
            return
        # Names grow with time, so that events of one second are listed in their order.
        name = self._names[key] = f"{metadata['name'][:230]}.{self._store.version + 1:016x}"
        if len(self._names) > KEPT:
            del self._names[next(iter(self._names))]
        involved = {"kind": obj["kind"], "namespace": namespace, "name": metadata["name"], "uid": metadata["uid"]}
        involved |= {"apiVersion": obj["apiVersion"], "resourceVersion": metadata["resourceVersion"]}
        if field_path:
            involved["fieldPath"] = field_path
        host = obj.get("spec", {}).get("nodeName", "") if component == _KUBELET else ""
        self._store.create(
            "events",
            {
                "kind": "Event",
                "apiVersion": "v1",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "source": {"component": component, **({"host": host} if host else {})},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": kind,
                "eventTime": None,
                "reportingComponent": component,
                "reportingInstance": host,
            },
        )
        self._store.trim("events", KEPT)
