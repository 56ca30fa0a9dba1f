"""What the server fills into new objects: core/v1 defaulting, and the admission plugins' additions to pods."""

from __future__ import annotations

from typing import Any

from shard_executor.devcluster.versions import Obj

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_TOLERATION_SECONDS = 300  # plugin DefaultTolerationSeconds


def default_pod(pod: Obj) -> None:
    """Completes a new pod in place: spec defaults, tolerations, priority, service account, a fresh status."""
    spec = pod.setdefault("spec", {})
    for field, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
    ):
        spec.setdefault(field, value)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or []:
            _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        if not any(
            entry.get("key", "") in ("", key) and entry.get("effect", "") in ("", "NoExecute") for entry in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_SECONDS}
            )
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    status: Obj = {"phase": "Pending"}
    if spec.get("schedulingGates"):
        words = "Scheduling is blocked due to non-empty scheduling gates"
        gated = {"type": "PodScheduled", "status": "False", "lastProbeTime": None, "lastTransitionTime": None}
        status["conditions"] = [{**gated, "reason": "SchedulingGated", "message": words}]
    status["qosClass"] = qos_class(spec)
    pod["status"] = status
    pod["metadata"]["generation"] = 1


def default_containers(spec: Obj) -> None:
    """Completes the containers and volumes of an updated pod in place, as defaulting does on every write."""
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or []:
            _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, by the containers' requests and limits of cpu and memory."""
    requests: set[str] = set()
    guaranteed = True
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        resources = container.get("resources", {})
        asked = {name: value for name, value in resources.get("requests", {}).items() if name in ("cpu", "memory")}
        limits = {name: value for name, value in resources.get("limits", {}).items() if name in ("cpu", "memory")}
        requests |= asked.keys() | limits.keys()
        if len(limits) < 2 or any(asked.get(name, value) != value for name, value in limits.items()):
            guaranteed = False
    if not requests:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _default_container(container: Obj) -> None:
    container.setdefault("resources", {})
    resources = container["resources"]
    if "limits" in resources:
        asked = resources.setdefault("requests", {})
        for name, value in resources["limits"].items():
            asked.setdefault(name, value)
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _is_latest(container.get("image", "")) else "IfNotPresent"
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _default_probe(container[name])


def _default_probe(probe: dict[str, Any]) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe.setdefault(field, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _default_volume(volume: Obj) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _is_latest(image: str) -> bool:
    """Whether an image has the tag latest, by default or by name, and no digest."""
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].rpartition(":")
    return not colon or tag == "latest"
