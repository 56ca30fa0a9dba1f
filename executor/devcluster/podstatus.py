"""Pod statuses as a kubelet writes them: container states, conditions, phases, in the order of the wire's fields.

Sources of the shapes and words: kubelet_pods.go (getPhase, convertToAPIContainerStatuses), status/generate.go
(conditions) of Kubernetes 1.36, and statuses recorded from a real API server.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj

TERMINATED_BY_DEADLINE = "Pod was active on the node longer than the specified deadline"
NODE_LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 86Mi."
NEVER = "1970-01-01T00:00:00Z"  # what containerd reports as the start of a container whose start failed
# The conditions a kubelet owns, in the order it writes them; the others on the pod stay before them.
_OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def waiting(reason: str, message: str | None = None) -> Obj:
    """A container state that has not begun, such as ContainerCreating or CrashLoopBackOff."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(started_at: float) -> Obj:
    """A running container; `started_at` in unix seconds."""
    return {"running": {"startedAt": timestamp(started_at)}}


def terminated(
    code: int,
    started_at: str,
    finished_at: str,
    *,
    reason: str | None = None,
    message: str | None = None,
    container_id: str | None = None,
) -> Obj:
    """An ended container.

    Args:
        code: the exit code, 128 + n for signal n; container runtimes report no signal number besides.
        started_at, finished_at: times as on the wire; `NEVER` for the start of a container that did not start.
        reason: Completed or Error by the code unless given.
    """
    state: Obj = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
    if message:
        state["message"] = message
    state["startedAt"] = started_at
    state["finishedAt"] = finished_at
    if container_id:
        state["containerID"] = container_id
    return {"terminated": state}


def image_id(image: str) -> str:
    """A digest for an image name: stable, and made up."""
    name = image.partition("@")[0]
    base, _, tag = name.rpartition(":")
    repository = base if base and "/" not in tag else name
    return f"{repository}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


@dataclass(slots=True)
class ContainerRecord:
    """What a kubelet knows of one container; `to_status` is its entry in the pod's status.

    `state` and `last_state` are container states as the functions above build them.
    """

    name: str
    image: str
    state: Obj = field(default_factory=lambda: waiting("ContainerCreating"))
    last_state: Obj = field(default_factory=dict)
    restarts: int = 0
    container_id: str = ""
    image_id: str = ""
    ready: bool = False

    @property
    def exit_code(self) -> int | None:
        """The exit code, None unless terminated."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def run(self, container_id: str, now: float) -> None:
        """The container has started."""
        self.container_id = container_id
        self.image_id = self.image_id or image_id(self.image)
        self.state = running(now)
        self.ready = True

    def finish(self, code: int, now: float, *, reason: str | None = None, message: str | None = None) -> None:
        """The container has ended, or could not be started if it was not running."""
        begun = self.state.get("running", {}).get("startedAt", NEVER)
        self.state = terminated(
            code, begun, timestamp(now), reason=reason, message=message, container_id=self.container_id
        )
        self.ready = False

    def to_status(self) -> Obj:
        """The containerStatuses entry."""
        status: Obj = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": self.image_id,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        status["started"] = "running" in self.state
        return status


def records_of(spec: Obj, field_name: str, reason: str) -> list[ContainerRecord]:
    """Fresh records for the containers under `field_name` (``containers``, ``initContainers``), all waiting."""
    return [
        ContainerRecord(container["name"], container.get("image", ""), waiting(reason))
        for container in spec.get(field_name) or ()
    ]


def final_phase(containers: list[ContainerRecord]) -> str:
    """Succeeded if every container ended with 0, else Failed."""
    return "Succeeded" if all(record.exit_code == 0 for record in containers) else "Failed"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod runs: its node's address, its own (empty until the sandbox is up), and when it was accepted
    (unix seconds)."""

    host_ip: str
    pod_ip: str
    start_time: float


def build_status(
    previous: Obj,
    phase: str,
    place: Placement,
    init: list[ContainerRecord],
    containers: list[ContainerRecord],
    *,
    now: float,
    reason: str | None = None,
    message: str | None = None,
    disruption: Obj | None = None,
) -> Obj:
    """A complete pod status.

    Args:
        previous: the status before; its foreign conditions, qosClass and transition times live on.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        now: unix seconds, for transitions.
        reason, message: of the pod itself, such as DeadlineExceeded and Evicted.
        disruption: reason and message of a DisruptionTarget condition to add.
    """
    status: Obj = {"phase": phase}
    status["conditions"] = _conditions(previous, phase, place, init, containers, now, disruption)
    if message:
        status["message"] = message
    if reason:
        status["reason"] = reason
    status["hostIP"] = place.host_ip
    status["hostIPs"] = [{"ip": place.host_ip}]
    if place.pod_ip:
        status["podIP"] = place.pod_ip
        status["podIPs"] = [{"ip": place.pod_ip}]
    status["startTime"] = timestamp(place.start_time)
    if init:
        status["initContainerStatuses"] = [record.to_status() for record in init]
    status["containerStatuses"] = [record.to_status() for record in containers]
    status["qosClass"] = previous.get("qosClass", "BestEffort")
    return status


def _conditions(
    previous: Obj,
    phase: str,
    place: Placement,
    init: list[ContainerRecord],
    containers: list[ContainerRecord],
    now: float,
    disruption: Obj | None,
) -> list[Obj]:
    before = {entry["type"]: entry for entry in previous.get("conditions") or ()}
    foreign = [entry for kind, entry in before.items() if kind not in _OWNED and kind != "DisruptionTarget"]
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    initializing = any(record.state.get("waiting", {}).get("reason") == "PodInitializing" for record in containers)
    incomplete = [record.name for record in init if record.exit_code != 0] if initializing else []
    unready = [record.name for record in containers if not record.ready]

    def condition(kind: str, holds: bool, reason: str | None = None, message: str | None = None) -> Obj:
        value = "True" if holds else "False"
        old = before.get(kind)
        moved = old["lastTransitionTime"] if old is not None and old["status"] == value else timestamp(now)
        entry: Obj = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": moved}
        if reason:
            entry["reason"] = reason
        if message:
            entry["message"] = message
        return entry

    result = foreign
    if disruption is not None:
        result = [condition("DisruptionTarget", True, disruption["reason"], disruption["message"]), *foreign]
    elif "DisruptionTarget" in before:
        result = [before["DisruptionTarget"], *foreign]
    result.append(condition("PodReadyToStartContainers", bool(place.pod_ip) and ended is None))
    if incomplete:
        words = f"containers with incomplete status: [{' '.join(incomplete)}]"
        result.append(condition("Initialized", False, "ContainersNotInitialized", words))
    else:
        result.append(condition("Initialized", True, "PodCompleted" if ended == "PodCompleted" else None))
    words = f"containers with unready status: [{' '.join(unready)}]"
    for kind in ("Ready", "ContainersReady"):
        if not unready and ended is None:
            result.append(condition(kind, True))
        elif ended is not None:
            result.append(condition(kind, False, ended))
        else:
            result.append(condition(kind, False, "ContainersNotReady", words))
    result.append(condition("PodScheduled", True))
    return result


def put_status(store: Store, namespace: str, name: str, uid: str, **changes: Any) -> Obj | None:
    """Builds and stores a status for this very pod; `changes` are the arguments of `build_status`.

    Returns: the stored pod, None if it is gone or another one has its name.
    """
    pod = store.find("pods", namespace, name)
    if pod is None or pod["metadata"]["uid"] != uid:
        return None
    status = build_status(pod["status"], now=store.clock(), **changes)
    return store.replace("pods", {**pod, "status": status})
