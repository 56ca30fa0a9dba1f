"""A pod request as it crosses to the builder process: only texts, numbers and bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from shard_executor.airflow.generation.models import encode_model
from shard_executor.airflow.generation.request import BuildError, GenerationSettings, PodRequest, is_pod
from shard_executor.airflow.generation.signatures import Signature, signature_of


class Subject(NamedTuple):
    """One task's try. `template` is the file's path, empty for none; `date` is in ISO 8601; `override` is encoded."""

    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int
    workload: str
    ti_id: str | None
    date: str | None
    submission: str
    bin: str
    namespace: str
    image: str | None
    template: str
    signature: Signature | None
    override: bytes | None


def subject_of(request: PodRequest, template: str, signature: Signature | None, override: bytes | None) -> Subject:
    date = request.logical_date
    return Subject(
        request.dag_id,
        request.task_id,
        request.run_id,
        int(request.try_number),
        int(request.map_index),
        request.workload_json,
        request.ti_id,
        None if date is None else date.isoformat(),
        request.submission_id,
        str(request.bin),
        request.namespace,
        request.image,
        template,
        signature,
        override,
    )


def lone_subject(request: PodRequest, settings: GenerationSettings) -> Subject:
    """The subject of a request that stands alone, its template looked at now.

    Raises:
        BuildError: InvalidOverride.
    """
    template = request.pod_template_file or settings.template_file
    return subject_of(request, template, signature_of(template), override_bytes(request.pod_override))


def override_bytes(override: Any) -> bytes | None:
    """What a task's override says; None where there is none.

    Raises:
        BuildError: InvalidOverride: it is no V1Pod, or cannot be sent.
    """
    if override is None:
        return None
    if not is_pod(override):
        what = f"{type(override).__module__}.{type(override).__qualname__}"
        raise BuildError("InvalidOverride", f"pod_override must be a kubernetes.client.models.V1Pod, not {what}")
    return encode_model(override)


def shape_of(subject: Subject) -> tuple[Any, ...]:
    """What decides a pod's form, whichever task it is for: equal shapes differ only in values."""
    return (
        subject.template,
        subject.signature,
        subject.override,
        subject.image,
        subject.namespace,
        flags_of(subject.map_index, subject.date, subject.ti_id, subject.run_id),
    )


def flags_of(map_index: int, date: object | None, ti_id: str | None, run_id: str) -> int:
    """Which of the values that not every task has are there."""
    return (map_index >= 0) | (date is not None) << 1 | (ti_id is not None) << 2 | bool(run_id) << 3
