"""What became of a pod: reads a decoded pod status and names the outcome once.

Every later decision (retry, report, log tail, summary) uses the `Verdict` made
here and never looks at conditions or container states again.

Sources: pod phases and container states as documented in Kubernetes' "Pod
Lifecycle"; `DisruptionTarget` and its reasons from KEP-3329; waiting reasons
from kubelet's images/types.go and kuberuntime as listed by Airflow's
`worker_pod_pending_fatal_container_state_reasons`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from shard_executor._fast.views import (
    PHASE_FAILED,
    PHASE_RUNNING,
    PHASE_SUCCEEDED,
    ContainerView,
    PodStatusView,
)


class Stage(IntEnum):
    """How far a pod has come; a pod never goes back to a smaller stage."""

    PENDING = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3


class FailureClass(StrEnum):
    """Why a task did not succeed, in the words that users see."""

    CONTAINER_ERROR = "container-error"
    OOM_KILLED = "oom-killed"
    DEADLINE = "deadline-exceeded"
    START_ERROR = "start-error"
    IMAGE = "image-error"
    CONFIG = "config-error"
    INIT_CONTAINER = "init-container"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    DRAINED = "drained"
    NODE_LOST = "node-lost"
    DELETED = "deleted"
    HANDED_OVER = "handed-over"
    CREATE_REFUSED = "create-refused"
    PENDING_TIMEOUT = "pending-timeout"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


DISRUPTIONS = frozenset({FailureClass.EVICTED, FailureClass.PREEMPTED, FailureClass.DRAINED, FailureClass.NODE_LOST})

# Reasons of DELETED for pods whose deletion nobody has seen. The first went in a short gap of the watch, in which
# hardly anything but a disruption removes a pod. The second went in a longer one, or while no process of the run was
# there: it may well have succeeded and been collected.
DISAPPEARED = "PodDisappeared"
GONE_UNWATCHED = "PodGoneUnwatched"

# The longest short gap, in seconds: from the last news of the pod or of its namespace's watch to the list that lacks
# it. A healthy watch is silent for about a minute between two bookmarks (defaultBookmarkFrequency in
# apiserver/pkg/storage/cacher), and a cut one is listed anew within seconds.
SHORT_GAP = 90.0

# DisruptionTarget reasons (KEP-3329 and pkg/controller/{podgc,tainteviction}).
DISRUPTION_REASONS: dict[str, FailureClass] = {
    "PreemptionByScheduler": FailureClass.PREEMPTED,
    "EvictionByEvictionAPI": FailureClass.DRAINED,
    "DeletionByTaintManager": FailureClass.NODE_LOST,
    "DeletionByPodGC": FailureClass.NODE_LOST,
    "TerminationByKubelet": FailureClass.EVICTED,
}

# Pod-level status.reason.
POD_REASONS: dict[str, FailureClass] = {
    "Evicted": FailureClass.EVICTED,
    "DeadlineExceeded": FailureClass.DEADLINE,
    "NodeLost": FailureClass.NODE_LOST,
    "NodeShutdown": FailureClass.DRAINED,
    "Terminated": FailureClass.DRAINED,
    "Shutdown": FailureClass.DRAINED,
    "Preempting": FailureClass.PREEMPTED,
}

# Pod-level reasons of a kubelet that would not admit the pod (pkg/kubelet/lifecycle/predicate.go and the managers'
# admit handlers): its node was fuller or other than the scheduler knew, and another one may well take the pod.
# `OutOf` is followed by the name of any resource.
NODE_REFUSALS = frozenset({"UnexpectedAdmissionError", "NodeAffinity", "NodePorts", "TopologyAffinityError"})


def refused_by_node(reason: str | None) -> bool:
    """Whether a failed pod's reason says that no container of it was ever to run on its node."""
    return reason is not None and (reason.startswith("OutOf") or reason in NODE_REFUSALS)


# Reasons of a terminated container that say more than its exit code.
TERMINATED_REASONS: dict[str, FailureClass] = {
    "OOMKilled": FailureClass.OOM_KILLED,
    "DeadlineExceeded": FailureClass.DEADLINE,
    "StartError": FailureClass.START_ERROR,
    "ContainerCannotRun": FailureClass.START_ERROR,
}


@dataclass(frozen=True, slots=True)
class PendingRule:
    """What a waiting reason means: its class, and whether it is fatal at once or only after the grace."""

    failure_class: FailureClass
    at_once: bool


# Waiting reasons that will not mend by themselves. Those with a grace have been seen to: a registry that is
# briefly away, a Secret applied a moment after the pod.
PENDING_RULES: dict[str, PendingRule] = {
    "InvalidImageName": PendingRule(FailureClass.IMAGE, True),
    "ErrImageNeverPull": PendingRule(FailureClass.IMAGE, True),
    "ErrImagePull": PendingRule(FailureClass.IMAGE, False),
    "ImagePullBackOff": PendingRule(FailureClass.IMAGE, False),
    "ImageInspectError": PendingRule(FailureClass.IMAGE, False),
    "RegistryUnavailable": PendingRule(FailureClass.IMAGE, False),
    "SignatureValidationFailed": PendingRule(FailureClass.IMAGE, False),
    "CreateContainerConfigError": PendingRule(FailureClass.CONFIG, False),
    "CreateContainerError": PendingRule(FailureClass.CONFIG, False),
    "RunContainerError": PendingRule(FailureClass.START_ERROR, False),
    "CreatePodSandboxError": PendingRule(FailureClass.START_ERROR, False),
}


# A kubelet that holds its own image pulls back says so by this message of ErrImagePull, and pulls a moment later
# (pkg/kubelet/images/puller.go).
_HELD_BACK = "pull QPS exceeded"


def pending_rule(reason: str | None, message: str | None, fatal: Collection[str] | None) -> PendingRule | None:
    """What a waiting reason means; None if it is waited for.

    Args:
        reason, message: the waiting container's.
        fatal: the reasons that are fatal, all at once, or None for `PENDING_RULES`.
    """
    rule = PENDING_RULES.get(reason or "")
    if fatal is None:
        return rule
    if reason not in fatal or (reason == "ErrImagePull" and _HELD_BACK in (message or "")):
        return None
    return PendingRule(rule.failure_class if rule is not None else FailureClass.START_ERROR, True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome read off one state of a pod.

    `began` says that a container of the task itself has run: from then on a failure counts as the task's own.
    `waiting` is the reason that keeps a pending pod from starting, if its kubelet gave one, `container`
    the one that this was read off: to blame for a failure, waiting, or the task's own. Times are unix seconds.
    """

    stage: Stage
    began: bool = False
    failure_class: FailureClass | None = None
    reason: str | None = None
    exit_code: int | None = None
    message: str | None = None
    waiting: str | None = None
    container: str | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def terminal(self) -> bool:
        return self.stage >= Stage.SUCCEEDED


def main_container(containers: tuple[ContainerView, ...], name: str = "base") -> ContainerView | None:
    """The task's own container: the one called `base` as Airflow calls it, else the first."""
    for container in containers:
        if container.name == name:
            return container
    return containers[0] if containers else None


def judge(
    phase: int,
    deleting: bool,
    status: PodStatusView,
    *,
    ended: bool = False,
    worker: str | None = None,
    fatal: Collection[str] = PENDING_RULES,
) -> Verdict:
    """Names what a pod's status says.

    Args:
        phase: one of the PHASE_ constants.
        deleting: metadata.deletionTimestamp is set.
        status: the decoded status.
        ended: the object is gone (a DELETED event); a pod that had not finished is then a failure whatever its phase
            says (a node that goes away leaves `Running` behind).
        worker: the container whose end is the pod's end, whatever the others do; None where the phase decides.
        fatal: the waiting reasons that matter, where several containers wait.
    """
    main = main_container(status.containers, worker or "base")
    over = worker is not None and main is not None and main.name == worker and main.state == "terminated"
    began = main is not None and (
        main.started_at is not None
        or main.state == "running"
        or main.restart_count > 0
        # A kubelet that lost track of a container (a reboot) has no start time for it, though it may well have run.
        or main.reason == "ContainerStatusUnknown"
    )
    started = main.started_at if main else None
    finished = main.finished_at if main else None
    if phase == PHASE_SUCCEEDED or (over and main is not None and main.exit_code == 0):
        return Verdict(
            Stage.SUCCEEDED,
            True,
            reason=_reason_of(main),
            exit_code=0,
            container=main.name if main else None,
            started_at=started,
            finished_at=finished,
        )
    if phase == PHASE_FAILED or ended or over:
        culprit = main if over else _culprit(status, main)
        failure = _failure_class(status, culprit, deleting or (ended and phase != PHASE_FAILED and not over))
        return Verdict(
            Stage.FAILED,
            began,
            failure,
            _failure_reason(status, culprit, failure),
            culprit.exit_code if culprit else None,
            _failure_message(status, culprit, failure),
            None,
            culprit.name if culprit else None,
            started,
            finished,
        )
    if phase == PHASE_RUNNING or began:
        return Verdict(Stage.RUNNING, began, started_at=started)
    waiting = _waiting(status, fatal)
    return Verdict(
        Stage.PENDING,
        False,
        reason=waiting.reason if waiting else _unscheduled(status)[0],
        message=waiting.message if waiting else _unscheduled(status)[1],
        waiting=waiting.reason if waiting else None,
        container=waiting.name if waiting else None,
    )


def _reason_of(container: ContainerView | None) -> str | None:
    return (container.reason or None) if container else None


def _culprit(status: PodStatusView, main: ContainerView | None) -> ContainerView | None:
    """The container to blame: the main one unless only another failed, and an init container before any has run.

    Sidecars among the init containers (KEP-753) are stopped when the others have ended, and what they exit with then
    says nothing: an init container is to blame only for a main one that never began.
    """
    ordinary = status.containers if main is None else (main, *status.containers)
    began = main is not None and main.state in ("running", "terminated")
    for container in (*ordinary, *status.init_containers) if began else (*status.init_containers, *ordinary):
        if container.state == "terminated" and container.exit_code:
            return container
    return main


def _disruption(status: PodStatusView) -> tuple[FailureClass, str, str] | None:
    for condition in status.conditions:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            known = DISRUPTION_REASONS.get(condition.reason, FailureClass.EVICTED)
            return known, condition.reason, condition.message
    return None


# Asked in this order; the first that answers names the class. A disruption comes before the exit code, because a
# container that was told to stop exits with 137 or 143 whatever it was doing.
_Rule = Callable[[PodStatusView, "ContainerView | None", bool], "FailureClass | None"]


def _by_pod_reason(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    return FailureClass.START_ERROR if refused_by_node(status.reason) else POD_REASONS.get(status.reason)


def _by_disruption(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    found = _disruption(status)
    return found[0] if found else None


def _by_init(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    return FailureClass.INIT_CONTAINER if culprit is not None and culprit in status.init_containers else None


def _by_terminated_reason(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    return TERMINATED_REASONS.get(culprit.reason) if culprit is not None else None


def _by_deletion(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    return FailureClass.DELETED if deleting else None


def _by_exit_code(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass | None:
    return FailureClass.CONTAINER_ERROR if culprit is not None and culprit.exit_code is not None else None


RULES: tuple[_Rule, ...] = (
    _by_pod_reason,
    _by_disruption,
    _by_terminated_reason,
    _by_init,
    _by_deletion,
    _by_exit_code,
)


def _failure_class(status: PodStatusView, culprit: ContainerView | None, deleting: bool) -> FailureClass:
    for rule in RULES:
        found = rule(status, culprit, deleting)
        if found is not None:
            return found
    return FailureClass.UNKNOWN


def _failure_reason(status: PodStatusView, culprit: ContainerView | None, failure: FailureClass) -> str:
    if failure in DISRUPTIONS:
        found = _disruption(status)
        if found is not None and failure is found[0]:
            return found[1]
    return status.reason or (culprit.reason if culprit else "") or failure.value


def _failure_message(status: PodStatusView, culprit: ContainerView | None, failure: FailureClass) -> str | None:
    if status.message:
        return status.message
    if failure in DISRUPTIONS:
        found = _disruption(status)
        if found is not None and found[2]:
            return found[2]
    if failure is FailureClass.DELETED:
        return "the pod was deleted before it finished"
    if culprit is None:
        return None
    if culprit.message:
        return culprit.message
    if culprit.exit_code is not None:
        signalled = f" (signal {culprit.signal})" if culprit.signal else ""
        return f"container {culprit.name} exited with code {culprit.exit_code}{signalled}"
    return None


def _waiting(status: PodStatusView, fatal: Collection[str]) -> ContainerView | None:
    """The first container that waits for one of these reasons, else the first that waits at all."""
    waiting = [c for c in (*status.init_containers, *status.containers) if c.state == "waiting" and c.reason]
    for container in waiting:
        if container.reason in fatal:
            return container
    return waiting[0] if waiting else None


def _unscheduled(status: PodStatusView) -> tuple[str | None, str | None]:
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.reason or None, condition.message or None
    return None, None
