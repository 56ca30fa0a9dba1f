"""What this executor adds to a finished pod: its name's place, labels, annotations and the context environment."""

from __future__ import annotations

from typing import Any

from shard_executor.airflow.generation.request import BuildError, GenerationSettings
from shard_executor.airflow.generation.subject import Subject
from shard_executor.pods.body import ANNOTATION_ATTEMPT, ANNOTATION_SUBMISSION, LABEL_BIN, LABEL_INSTANCE

LABEL_OWNER = "airflow-worker"
ANNOTATION_TI, LABEL_TI = "task_instance_id", "ti_id"  # as the provider names them


def add_own_fields(
    pod: dict[str, Any],
    subject: Subject,
    settings: GenerationSettings,
    *,
    owner: str,
    name: str,
    attempt: str,
    main: str | None = None,
) -> str:
    """Completes a sanitized pod in place; returns its namespace.

    A hook or an override may have changed anything: what the watch and the shards go by is put back here.

    Args:
        owner: the scheduler's job id as a label value.
        name, attempt: what goes into the places of the pod's name and the launch attempt.
        main: name of the container that runs the task, where a hook may have moved it; else it is the first.

    Raises:
        BuildError: InvalidPod: no mapping or list where a Pod has one, or no container.
    """
    pod.setdefault("apiVersion", "v1")
    pod.setdefault("kind", "Pod")
    metadata = _mapping(pod, "metadata", "metadata")
    metadata.pop("generateName", None)
    metadata["name"] = name
    namespace = metadata.get("namespace") or subject.namespace
    if not isinstance(namespace, str):
        raise _invalid(f"metadata.namespace must be text, not {namespace!r}")
    metadata["namespace"] = namespace
    labels = _mapping(metadata, "labels", "metadata.labels")
    labels[LABEL_OWNER] = owner
    labels[LABEL_INSTANCE] = settings.instance
    labels[LABEL_BIN] = subject.bin
    annotations = _mapping(metadata, "annotations", "metadata.annotations")
    annotations[ANNOTATION_SUBMISSION] = subject.submission
    annotations[ANNOTATION_ATTEMPT] = attempt
    if subject.ti_id is not None:
        labels[LABEL_TI] = annotations[ANNOTATION_TI] = subject.ti_id
    spec = _mapping(pod, "spec", "spec")
    # Kubernetes' own default is Always, with which a pod whose task has ended would run it again.
    spec.setdefault("restartPolicy", "Never")
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers or not all(isinstance(c, dict) for c in containers):
        raise _invalid("spec.containers must be a list with at least the task's container")
    worker = next((c for c in containers if c.get("name") == main), containers[0]) if main else containers[0]
    _add_env(worker, _context(subject, settings))
    return namespace


def _context(subject: Subject, settings: GenerationSettings) -> dict[str, str]:
    own: dict[str, str] = {}
    if settings.context_env:
        own = {
            "AIRFLOW_CTX_DAG_ID": subject.dag_id,
            "AIRFLOW_CTX_TASK_ID": subject.task_id,
            "AIRFLOW_CTX_DAG_RUN_ID": subject.run_id,
            "AIRFLOW_CTX_TRY_NUMBER": str(subject.try_number),
            "AIRFLOW_CTX_MAP_INDEX": str(subject.map_index),
        }
        if subject.date is not None:
            own["AIRFLOW_CTX_EXECUTION_DATE"] = subject.date
    if settings.dags_folder is not None:
        own["AIRFLOW__CORE__DAGS_FOLDER"] = settings.dags_folder
    return own


def _add_env(container: dict[str, Any], own: dict[str, str]) -> None:
    if not own:
        return
    entries = container.get("env") or []
    if not isinstance(entries, list):
        raise _invalid("the env of the container must be a list of entries")
    taken = {entry.get("name") for entry in entries if isinstance(entry, dict)}
    container["env"] = [*entries, *({"name": key, "value": own[key]} for key in own if key not in taken)]


def _mapping(parent: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    if not isinstance(value, dict):
        raise _invalid(f"{where} must be a mapping, not {type(value).__name__}")
    return value


def _invalid(problem: str) -> BuildError:
    return BuildError(
        "InvalidPod", f"the finished pod cannot be used: {problem}; look at the pod_override and the pod_mutation_hook"
    )
