"""Node objects of the development cluster: how they look when ready, cordoned and lost."""

from __future__ import annotations

from shard_executor.devcluster.pods import copy_json, set_condition
from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj

UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def node_object(name: str, address: str, capacity: int, now: float) -> Obj:
    """A ready node.

    Args:
        name: its name, also its hostname label.
        address: its InternalIP.
        capacity: how many pods it runs at once.
        now: unix seconds.
    """
    stamp = timestamp(now)
    amounts = {"cpu": "64", "ephemeral-storage": "100Gi", "memory": "256Gi", "pods": str(capacity)}
    conditions = [
        {
            "type": kind,
            "status": value,
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": stamp,
            "reason": reason,
            "message": message,
        }
        for kind, value, reason, message in _HEALTHY
    ]
    labels = {"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "",
                "osImage": "shard-executor development cluster",
                "containerRuntimeVersion": "containerd://2.1.0",
                "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def schedulable(node: Obj) -> bool:
    """Whether new pods may go there: not cordoned, not lost."""
    spec = node.get("spec") or {}
    taints = spec.get("taints") or ()
    return not spec.get("unschedulable") and not any(taint["effect"] != "PreferNoSchedule" for taint in taints)


def cordon(store: Store, name: str) -> None:
    """Marks a node unschedulable, as ``kubectl cordon`` does.

    Raises:
        ApiError: 404 if there is no such node.
    """
    node = store.get("nodes", "", name)
    spec = copy_json(node.get("spec") or {})
    spec["unschedulable"] = True
    spec["taints"] = [*_without(spec, UNSCHEDULABLE), _taint(UNSCHEDULABLE, "NoSchedule", store)]
    store.replace("nodes", {**node, "spec": spec})


def lose(store: Store, name: str) -> None:
    """Marks a node unreachable, as the node lifecycle controller does when a kubelet has gone silent.

    Raises:
        ApiError: 404 if there is no such node.
    """
    node = store.get("nodes", "", name)
    spec = copy_json(node.get("spec") or {})
    for effect in ("NoSchedule", "NoExecute"):
        spec.setdefault("taints", []).append(_taint(UNREACHABLE, effect, store))
    _ready(store, {**node, "spec": spec}, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")


def recover(store: Store, name: str) -> None:
    """Undoes `cordon` and `lose`.

    Raises:
        ApiError: 404 if there is no such node.
    """
    node = store.get("nodes", "", name)
    spec = copy_json(node.get("spec") or {})
    spec.pop("unschedulable", None)
    spec.pop("taints", None)
    _ready(store, {**node, "spec": spec}, "True", "KubeletReady", "kubelet is posting ready status")


def _ready(store: Store, node: Obj, value: str, reason: str, message: str) -> None:
    status = copy_json(node["status"])
    now = store.clock()
    set_condition(status, "Ready", value, now, reason=reason, message=message)
    for condition in status["conditions"]:
        if condition.pop("lastProbeTime", condition) is None:  # pods have probes, nodes have heartbeats
            condition["lastHeartbeatTime"] = timestamp(now)
    store.replace("nodes", {**node, "status": status})


def _taint(key: str, effect: str, store: Store) -> Obj:
    return {"key": key, "effect": effect, "timeAdded": timestamp(store.clock())}


def _without(spec: Obj, key: str) -> list[Obj]:
    return [taint for taint in spec.get("taints") or () if taint["key"] != key]
