"""Which Events the kubelets and the scheduler write: none, what went wrong, or every step of a pod's life."""

from __future__ import annotations

from shard_executor.devcluster.events import EventRecorder
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

LEVELS = ("none", "warnings", "all")


class PodEvents:
    """Writes Events about pods, sparsely by default: ``all`` costs about as many writes as the pods themselves.

    Args:
        store: where they go.
        level: ``none``, ``warnings`` or ``all`` (also Scheduled, Pulled, Started, Killing).

    Raises:
        ValueError: an unknown level.
    """

    def __init__(self, store: Store, level: str = "warnings") -> None:
        if level not in LEVELS:
            raise ValueError(f"events: {level!r} is none of {', '.join(LEVELS)}")
        self._recorder = EventRecorder(store, level != "none")
        self._all = level == "all"

    def normal(self, pod: Obj, reason: str, message: str, component: str = "kubelet") -> None:
        """Records an ordinary step of a pod's life."""
        if self._all:
            self._recorder.normal(pod, reason, message, component)

    def warning(self, pod: Obj, reason: str, message: str, component: str = "kubelet") -> None:
        """Records something that went wrong."""
        self._recorder.warning(pod, reason, message, component)
