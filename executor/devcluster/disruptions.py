"""What a cluster does to pods from outside their node: preemption, eviction, taint-based deletion, garbage collection.

Sources of reasons and words: KEP-3329 (pod disruption conditions), kube-scheduler's preemption.go, the taint eviction
controller, the pod garbage collector, and statuses recorded from a real API server.
"""

from __future__ import annotations

from shard_executor.devcluster.pods import delete_pod, evict_pod, set_condition, update_status
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

MANNERS = ("unknown", "taint", "gc")


def preempt(store: Store, namespace: str, name: str, grace: int | None = None) -> None:
    """The scheduler takes a pod's place for one of higher priority."""
    words = "default-scheduler: preempting to accommodate a higher priority pod"
    evict_pod(store, namespace, name, grace=grace, reason="PreemptionByScheduler", message=words)


def lose_pod(store: Store, namespace: str, name: str, manner: str) -> None:
    """The first thing that happens to a pod whose node has gone silent.

    Args:
        manner: ``unknown``: phase Unknown and reason NodeLost, as older clusters and some providers write it;
            ``taint``: Ready=False, then DisruptionTarget=DeletionByTaintManager and a deletion that the lost kubelet
            does not carry out; ``gc``: nothing until `collect_pod`.
    """
    pod = store.get("pods", namespace, name)
    node = pod["spec"].get("nodeName", "")
    if manner == "unknown":

        def unknown(status: Obj) -> None:
            status["phase"] = "Unknown"
            status["reason"] = "NodeLost"
            status["message"] = f"Node {node} which was running pod {name} is unresponsive"

        update_status(store, namespace, name, unknown)
    elif manner == "taint":

        def unready(status: Obj) -> None:
            set_condition(status, "Ready", "False", store.clock())

        update_status(store, namespace, name, unready)
        words = "Taint manager: deleting due to NoExecute taint"
        evict_pod(store, namespace, name, reason="DeletionByTaintManager", message=words)


def collect_pod(store: Store, namespace: str, name: str, manner: str) -> None:
    """The end of a pod whose node does not come back: the garbage collector deletes it with grace 0."""
    if manner == "gc":

        def mark(status: Obj) -> None:
            words = "PodGC: node no longer exists"
            set_condition(status, "DisruptionTarget", "True", store.clock(), reason="DeletionByPodGC", message=words)
            status["phase"] = "Failed"

        update_status(store, namespace, name, mark)
    delete_pod(store, namespace, name, grace=0)
