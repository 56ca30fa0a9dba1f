"""Which pods of dead schedulers belong to which task instances. No IO, no airflow.

The pods are found by the label that the dead scheduler left on them, airflow-worker, whether this executor or the
provider's KubernetesExecutor made them: both write the same annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shard_executor.airflow.book import TiKey
from shard_executor.airflow.cluster import PodMeta
from shard_executor.airflow.generation.labels import label_value
from shard_executor.shard.pod_requests import ATTEMPT_ANNOTATION, DONE_LABEL, SUBMISSION_ANNOTATION

OWNER_LABEL = "airflow-worker"
INSTANCE_LABEL = "shard-executor/instance"
BIN_LABEL = "shard-executor/bin"
REVOKED_LABEL = "airflow_pod_revoked"
TI_ID_ANNOTATION = "task_instance_id"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A task instance whose scheduler is dead."""

    ti_key: TiKey
    ti_id: str
    external_executor_id: str | None
    began: bool
    queued_by_job_id: int | None = None


def owned_selector(owners: Iterable[str]) -> str:
    """Pods of these schedulers that are not marked as done; `owners` are label values."""
    return f"kubernetes_executor=True,{OWNER_LABEL} in ({','.join(sorted(owners))}),{DONE_LABEL}!=True"


def ownerless_selector(live: Iterable[str]) -> str:
    """Pods of schedulers that are not among the live ones, and that are not marked as done."""
    return f"kubernetes_executor=True,{OWNER_LABEL} notin ({','.join(sorted(live))}),{DONE_LABEL}!=True"


def task_selector(labels: Mapping[str, str]) -> str:
    """Pods with these labels that an executor made; KubernetesPodOperator's have no airflow-worker."""
    return ",".join([*(f"{name}={value}" for name, value in sorted(labels.items())), OWNER_LABEL])


def ti_key_of(pod: PodMeta) -> TiKey | None:
    """The task instance that a pod's annotations name; None if they name none."""
    annotations = pod.annotations
    try:
        return (
            annotations["dag_id"],
            annotations["task_id"],
            annotations["run_id"],
            int(annotations.get("map_index", "-1")),
            int(annotations["try_number"]),
        )
    except (KeyError, ValueError):
        return None


def is_ours(pod: PodMeta, instance: str) -> bool:
    """Whether a pod is of this instance, or of the provider's executor, which marks none."""
    return pod.labels.get(INSTANCE_LABEL, instance) == instance


def is_of_deployment(pod: PodMeta, instance: str, deployment: str) -> bool:
    """Whether a pod is of this deployment, under whatever alias its executor had, or of the provider's executor.

    A task instance is given to the executor that its DAG names; the pod of an earlier scheduler may carry the name
    that this executor had then.
    """
    return is_ours(pod, instance) or pod.labels[INSTANCE_LABEL].startswith(f"{deployment}.")


def match(
    orphans: Sequence[Orphan], pods: Iterable[PodMeta], instance: str, deployment: str
) -> tuple[list[tuple[Orphan, PodMeta]], list[Orphan]]:
    """Pairs task instances with their pods.

    Pods of another deployment in the namespace count for nothing, and neither do those that are being deleted. Of
    several pods for one task instance the one counts that carries the submission id in the database, else the newest.

    Returns:
        The pairs, and the task instances without a pod.
    """
    by_key: dict[TiKey, list[PodMeta]] = {}
    for pod in pods:
        key = ti_key_of(pod)
        ours = is_of_deployment(pod, instance, deployment)
        if key is not None and ours and not pod.deleting and REVOKED_LABEL not in pod.labels:
            by_key.setdefault(key, []).append(pod)
    pairs, without = [], []
    for orphan in orphans:
        candidates = [pod for pod in by_key.get(orphan.ti_key, ()) if _same_instance(pod, orphan)]
        if not candidates:
            without.append(orphan)
            continue
        pairs.append((orphan, max(candidates, key=lambda pod: _fitness(pod, orphan))))
    return pairs, without


def _same_instance(pod: PodMeta, orphan: Orphan) -> bool:
    named = pod.annotations.get(TI_ID_ANNOTATION)
    return named is None or named == orphan.ti_id


def _fitness(pod: PodMeta, orphan: Orphan) -> tuple[bool, str, int]:
    submission = pod.annotations.get(SUBMISSION_ANNOTATION)
    exact = submission is not None and submission == orphan.external_executor_id
    return exact, pod.created, attempt_of(pod)


def submission_of(pod: PodMeta) -> str:
    """The submission id that a pod carries; its uid for a pod of the provider's executor."""
    return pod.annotations.get(SUBMISSION_ANNOTATION) or f"adopted-{pod.uid}"


def attempt_of(pod: PodMeta) -> int:
    """The launch attempt that a pod carries."""
    text = pod.annotations.get(ATTEMPT_ANNOTATION, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def adopting_labels(owner: str, instance: str, bin_number: int) -> dict[str, str]:
    """The labels by which a pod becomes this executor's."""
    return {OWNER_LABEL: owner, INSTANCE_LABEL: instance, BIN_LABEL: str(bin_number)}


def adopting_annotations(submission_id: str, attempt: int) -> dict[str, str]:
    """The annotations that name an adopted pod's hand-over."""
    return {SUBMISSION_ANNOTATION: submission_id, ATTEMPT_ANNOTATION: str(attempt)}


def labels_of(ti_key: TiKey) -> dict[str, str]:
    """The labels that both executors give a task instance's pods, for a selector."""
    dag_id, task_id, run_id, map_index, try_number = ti_key
    labels = {
        "dag_id": label_value(dag_id),
        "task_id": label_value(task_id),
        "run_id": label_value(run_id),
        "try_number": str(try_number),
        "kubernetes_executor": "True",
    }
    if map_index >= 0:
        labels["map_index"] = str(map_index)
    return labels


def to_sweep(
    pods: Iterable[PodMeta], instance: str, succeeded: Collection[str], waiting: Collection[TiKey]
) -> list[PodMeta]:
    """Finished pods without a living owner that may go.

    Args:
        pods: finished pods of dead schedulers.
        instance: of this executor.
        succeeded: uids of those that succeeded. A failed one of the provider's executor is left to it, as it does.
        waiting: task instances that still wait for the end of a pod.
    """
    return [
        pod
        for pod in pods
        if not pod.deleting
        and is_ours(pod, instance)
        and (pod.uid in succeeded or pod.labels.get(INSTANCE_LABEL) == instance)
        and (pod.uid in succeeded or ti_key_of(pod) not in waiting)
    ]
