"""What may happen to a pod: deletion with its grace period, eviction, binding, status writes.

The HTTP handlers and the kubelets share these rules, so that a pod's life looks the same from both sides.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from typing import Any

from shard_executor.devcluster import errors
from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj

DEFAULT_GRACE = 30  # seconds; core/v1 defaults.go, DefaultTerminationGracePeriodSeconds
TERMINAL = ("Succeeded", "Failed")


def copy_json(value: Any) -> Any:
    """A deep copy of JSON values; much faster than copy.deepcopy, which keeps track of cycles."""
    if isinstance(value, dict):
        return {key: copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


def parse_timestamp(text: str) -> int:
    """The wire's time as unix seconds."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def delete_pod(
    store: Store,
    namespace: str,
    name: str,
    *,
    grace: int | None = None,
    uid: str | None = None,
    version: str | None = None,
    dry_run: bool = False,
) -> Obj:
    """Asks for the deletion of a pod, as DELETE does.

    Unscheduled and finished pods go at once; others get a deletionTimestamp and stay until someone deletes them
    with grace 0. A pending deletion can only be shortened. (registry/rest/delete.go BeforeDelete and
    registry/core/pod/strategy.go CheckGracefulDelete.)

    Args:
        grace: seconds; None takes the pod's own terminationGracePeriodSeconds.
        uid: the uid the pod must have.
        version: the resourceVersion the pod must have.
        dry_run: answers what would happen and stores nothing.

    Returns: the pod as the deletion left it.
    Raises:
        ApiError: 404 if there is no such pod, 409 if a precondition does not hold.
    """
    pod = store.get("pods", namespace, name)
    check_preconditions("pods", pod, uid, version)
    metadata = pod["metadata"]
    if "deletionTimestamp" in metadata:
        held = metadata.get("deletionGracePeriodSeconds") or 0
        if held == 0:
            return pod if metadata.get("finalizers") else store.remove("pods", namespace, name)
        if grace is None or grace >= held:
            return pod
        asked_at = parse_timestamp(metadata["deletionTimestamp"]) - held
        seconds = max(grace, 0)
        due: float = asked_at + seconds
    else:
        seconds = _grace_of(pod, grace)
        due = store.clock() + seconds
    marks = {
        "deletionTimestamp": timestamp(due),
        "deletionGracePeriodSeconds": seconds,
        "generation": metadata.get("generation", 0) + 1,
    }
    marked = {**pod, "metadata": {**metadata, **marks}}
    if dry_run:
        return marked
    stored = store.replace("pods", marked)
    if seconds == 0 and not metadata.get("finalizers"):
        return store.remove("pods", namespace, name)
    return stored


def finish_deletion(store: Store, namespace: str, name: str, uid: str) -> bool:
    """Deletes a pod with grace 0, as a kubelet does once all containers have stopped.

    Returns: whether this very pod (by uid) was still there. One with finalizers stays in the store.
    """
    pod = store.find("pods", namespace, name)
    if pod is None or pod["metadata"]["uid"] != uid:
        return False
    delete_pod(store, namespace, name, grace=0, uid=uid)
    return True


def evict_pod(
    store: Store,
    namespace: str,
    name: str,
    *,
    grace: int | None = None,
    uid: str | None = None,
    version: str | None = None,
    reason: str = "EvictionByEvictionAPI",
    message: str = "Eviction API: evicting",
    dry_run: bool = False,
) -> Obj:
    """Marks a pod as disrupted, then deletes it: two events (registry/core/pod/storage/eviction.go).

    Args:
        grace, uid, version, dry_run: as in `delete_pod`.
        reason, message: of the DisruptionTarget condition; a scheduler that preempts, a drain and the taint
            manager use their own.

    Raises:
        ApiError: 404 if there is no such pod, 409 if a precondition does not hold.
    """
    pod = store.get("pods", namespace, name)
    check_preconditions("pods", pod, uid, version)
    if dry_run:
        return pod

    def mark(status: Obj) -> None:
        set_condition(status, "DisruptionTarget", "True", store.clock(), reason=reason, message=message)

    if "deletionTimestamp" not in pod["metadata"]:
        update_status(store, namespace, name, mark)
    return delete_pod(store, namespace, name, grace=grace, uid=uid)


def bind_pod(store: Store, namespace: str, name: str, node: str, *, uid: str | None = None) -> Obj:
    """Assigns a pod to a node, which need not exist, and sets PodScheduled=True, in one event.

    Raises:
        ApiError: 404 if there is no such pod, 409 if it has a node or is being deleted.
    """
    pod = store.get("pods", namespace, name)
    check_preconditions("pods/binding", pod, uid, None)
    if "deletionTimestamp" in pod["metadata"]:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
        raise errors.conflict("pods/binding", name, why)
    if bound := pod["spec"].get("nodeName"):
        raise errors.conflict("pods/binding", name, f'pod {name} is already assigned to node "{bound}"')
    status = copy_json(pod["status"])
    set_condition(status, "PodScheduled", "True", store.clock())
    return store.replace("pods", {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status})


def update_status(store: Store, namespace: str, name: str, mutate: Callable[[Obj], None]) -> Obj:
    """Changes a pod's status: `mutate` gets a deep copy of it and changes it in place.

    Returns: the stored pod; unchanged, without an event, if the status is as before.
    Raises:
        ApiError: 404 if there is no such pod.
    """
    pod = store.get("pods", namespace, name)
    status = copy_json(pod["status"])
    mutate(status)
    return store.replace("pods", {**pod, "status": status})


def set_condition(
    status: Obj, kind: str, value: str, now: float, *, reason: str | None = None, message: str | None = None
) -> None:
    """Sets a condition of a status in place; lastTransitionTime moves only when the value changes.

    Args:
        kind: the type, such as ``Ready``.
        value: ``True``, ``False`` or ``Unknown``.
        now: unix seconds.
    """
    conditions: list[Obj] = status.setdefault("conditions", [])
    before = next((entry for entry in conditions if entry["type"] == kind), None)
    kept = before.get("lastTransitionTime") if before is not None and before.get("status") == value else None
    condition: Obj = {"type": kind, "status": value, "lastProbeTime": None}
    condition["lastTransitionTime"] = kept or timestamp(now)
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    if before is None:
        conditions.append(condition)
    else:
        conditions[conditions.index(before)] = condition


def check_preconditions(resource: str, obj: Obj, uid: str | None, version: str | None) -> None:
    """Compares uid and resourceVersion where they are given.

    Raises:
        ApiError: 409 if one differs.
    """
    metadata = obj["metadata"]
    if uid is not None and uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(resource, metadata["name"], why)
    if version is not None and version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified"
        )
        raise errors.conflict(resource, metadata["name"], why)


def _grace_of(pod: Obj, grace: int | None) -> int:
    """Seconds of grace for a first delete (registry/core/pod/strategy.go CheckGracefulDelete)."""
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in TERMINAL:
        return 0
    if grace is None:
        own = pod["spec"].get("terminationGracePeriodSeconds")
        grace = DEFAULT_GRACE if own is None else own
    return grace if grace >= 0 else 1
