"""What ``kubectl get`` shows: objects as rows of a meta/v1 Table, with kubectl's own notion of a pod's status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from shard_executor.devcluster.pods import TERMINAL, parse_timestamp
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.versions import Obj

# Names of columns; a leading "+" marks those shown only with -o wide.
_COLUMNS = {
    "pods": ("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"),
    "nodes": (
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
        "+Internal-IP",
        "+External-IP",
        "+OS-Image",
        "+Kernel-Version",
        "+Container-Runtime",
    ),
    "namespaces": ("Name", "Status", "Age"),
    "events": (
        "Last Seen",
        "Type",
        "Reason",
        "Object",
        "+Subobject",
        "+Source",
        "Message",
        "+First Seen",
        "+Count",
        "+Name",
    ),
    "configmaps": ("Name", "Data", "Age"),
    "secrets": ("Name", "Type", "Data", "Age"),
    "serviceaccounts": ("Name", "Secrets", "Age"),
    "resourcequotas": ("Name", "Request", "Limit", "Age"),
}
_NONE = "<none>"
_UNKNOWN = "<unknown>"


def table_of(resource: Resource, items: list[Obj], include: str, version: str) -> Obj:
    """A Table of objects.

    Args:
        include: which object each row carries: Metadata, Object or None.
        version: the resourceVersion of the list, empty for a row of a watch.
    """
    names = _COLUMNS.get(resource.name, ("Name", "Age"))
    cells = _CELLS.get(resource.name, _plain_cells)
    now = time.time()
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version} if version else {},
        "columnDefinitions": [_definition(name) for name in names],
        "rows": [_row(item, cells(item, now) if "name" in item["metadata"] else [], include) for item in items],
    }


def _definition(name: str) -> Obj:
    kind = "integer" if name in ("Data", "Secrets", "+Count") else "string"
    shown = name.lstrip("+")
    return {
        "name": shown,
        "type": kind,
        "format": "name" if shown == "Name" else "",
        "description": shown,
        "priority": 1 if name.startswith("+") else 0,
    }


def _row(item: Obj, cells: list[Any], include: str) -> Obj:
    if include == "None":
        return {"cells": cells}
    if include == "Object":
        return {"cells": cells, "object": item}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
    return {"cells": cells, "object": partial}


def human_duration(seconds: float) -> str:
    """A duration in kubectl's short words: 5s, 3m10s, 4h, 12d (apimachinery's duration.HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _since(text: str | None, now: float) -> str:
    return human_duration(now - parse_timestamp(text[:19] + "Z")) if text else _UNKNOWN


def _age(item: Obj, now: float) -> str:
    return _since(item["metadata"].get("creationTimestamp"), now)


def _plain_cells(item: Obj, now: float) -> list[Any]:
    return [item["metadata"]["name"], _age(item, now)]


def _pod_cells(pod: Obj, now: float) -> list[Any]:
    spec, status = pod["spec"], pod["status"]
    reason, ready, restarts, last_restart = _pod_state(pod)
    total = len(spec["containers"])
    total += sum(1 for entry in spec.get("initContainers", []) if entry.get("restartPolicy") == "Always")
    gates = spec.get("readinessGates", [])
    return [
        pod["metadata"]["name"],
        f"{ready}/{total}",
        reason,
        f"{restarts} ({_since(last_restart, now)} ago)" if restarts and last_restart else str(restarts),
        _age(pod, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{sum(_is_true(status, gate['conditionType']) for gate in gates)}/{len(gates)}" if gates else _NONE,
    ]


def _is_true(status: Obj, kind: str) -> bool:
    return any(entry["type"] == kind and entry.get("status") == "True" for entry in status.get("conditions", []))


def _pod_state(pod: Obj) -> tuple[str, int, int, str | None]:
    """Status word, ready containers, restarts and the time of the last one (pkg/printers printPod's rules)."""
    status = pod["status"]
    reason = status.get("reason") or status.get("phase", "")
    if any(
        entry["type"] == "PodScheduled" and entry.get("reason") == "SchedulingGated"
        for entry in status.get("conditions", [])
    ):
        reason = "SchedulingGated"
    init_reason, ready, restarts, sidecar_restarts, last_restart = _init_state(pod)
    if init_reason and not _is_true(status, "Initialized"):
        reason = init_reason
    else:
        reason, main_ready, main_restarts, last_restart = _main_state(pod, init_reason or reason, last_restart)
        ready += main_ready
        restarts = sidecar_restarts + main_restarts
    if "deletionTimestamp" in pod["metadata"]:
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in TERMINAL:
            reason = "Terminating"
    return reason, ready, restarts, last_restart


def _init_state(pod: Obj) -> tuple[str, int, int, int, str | None]:
    """The word of an unfinished init container or none, ready sidecars, restarts, sidecars' restarts, the last one."""
    sidecars = {
        entry["name"] for entry in pod["spec"].get("initContainers", []) if entry.get("restartPolicy") == "Always"
    }
    total = len(pod["spec"].get("initContainers", []))
    ready = restarts = sidecar_restarts = 0
    last: str | None = None
    for index, container in enumerate(pod["status"].get("initContainerStatuses", [])):
        count, sidecar = container.get("restartCount", 0), container["name"] in sidecars
        restarts += count
        sidecar_restarts += count if sidecar else 0
        last = _later(last, container)
        state = container.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            ready += 1 if container.get("ready") else 0
            continue
        if ended is not None:
            word = "Init:" + _ended_word(ended)
        elif waiting.get("reason") not in (None, "", "PodInitializing"):
            word = f"Init:{waiting['reason']}"
        else:
            word = f"Init:{index}/{total}"
        return word, ready, restarts, sidecar_restarts, last
    return "", ready, restarts, sidecar_restarts, last


def _main_state(pod: Obj, reason: str, last: str | None) -> tuple[str, int, int, str | None]:
    ready = restarts = 0
    running = False
    for container in reversed(pod["status"].get("containerStatuses", [])):
        restarts += container.get("restartCount", 0)
        last = _later(last, container)
        state = container.get("state", {})
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = _ended_word(ended)
        elif container.get("ready") and "running" in state:
            running = True
            ready += 1
    if reason == "Completed" and running:
        reason = "Running" if _is_true(pod["status"], "Ready") else "NotReady"
    return reason, ready, restarts, last


def _ended_word(ended: Obj) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _later(last: str | None, container: Obj) -> str | None:
    finished: str | None = (container.get("lastState", {}).get("terminated") or {}).get("finishedAt")
    return finished if finished and (last is None or finished > last) else last


def _node_cells(node: Obj, now: float) -> list[Any]:
    status = node.get("status", {})
    words = ["Ready" if _is_true(status, "Ready") else "NotReady"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = [key[len(prefix) :] for key in node["metadata"].get("labels", {}) if key.startswith(prefix)]
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses", [])}
    info = status.get("nodeInfo", {})
    return [
        node["metadata"]["name"],
        ",".join(words),
        ",".join(sorted(roles)) or _NONE,
        _age(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _event_cells(event: Obj, now: float) -> list[Any]:
    involved, source = event.get("involvedObject", {}), event.get("source", {})
    first = event.get("firstTimestamp") or event.get("eventTime")
    where = [source.get("component") or event.get("reportingComponent", ""), source.get("host", "")]
    return [
        _since(event.get("lastTimestamp") or first, now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        ", ".join(part for part in where if part),
        event.get("message", "").strip(),
        _since(first, now),
        event.get("count", 1),
        event["metadata"]["name"],
    ]


def _quota_cells(quota: Obj, now: float) -> list[Any]:
    hard, used = quota.get("status", {}).get("hard", {}), quota.get("status", {}).get("used", {})
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = [words for name, words in shown.items() if name.startswith("limits.")]
    requests = [words for name, words in shown.items() if not name.startswith("limits.")]
    return [quota["metadata"]["name"], ", ".join(requests), ", ".join(limits), _age(quota, now)]


_CELLS: dict[str, Callable[[Obj, float], list[Any]]] = {
    "pods": _pod_cells,
    "nodes": _node_cells,
    "events": _event_cells,
    "resourcequotas": _quota_cells,
    "namespaces": lambda item, now: [
        item["metadata"]["name"],
        item.get("status", {}).get("phase", ""),
        _age(item, now),
    ],
    "configmaps": lambda item, now: [item["metadata"]["name"], len(item.get("data", {})), _age(item, now)],
    "secrets": lambda item, now: [
        item["metadata"]["name"],
        item.get("type", "Opaque"),
        len(item.get("data", {})),
        _age(item, now),
    ],
    "serviceaccounts": lambda item, now: [item["metadata"]["name"], len(item.get("secrets", [])), _age(item, now)],
}
