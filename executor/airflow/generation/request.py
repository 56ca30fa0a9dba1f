"""What a pod is generated from, what comes out, and what goes wrong. Imports neither airflow nor kubernetes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_POD_MODULE = "kubernetes.client.models.v1_pod"


class BuildError(Exception):
    """A pod cannot be generated.

    Args:
        reason: one word in CamelCase, for reports and metrics.
        message: what is wrong where, and what to do about it.
        transient: the task is not at fault and another attempt may succeed.
    """

    def __init__(self, reason: str, message: str, *, transient: bool = False) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What all pods of one executor have in common.

    Args:
        owner: id of the scheduler's job; label airflow-worker.
        instance: value of the label that keeps deployments in one namespace apart.
        template_file: pod template of tasks that name none; empty for none at all.
        context_env: give pods the AIRFLOW_CTX_* variables.
        dags_folder: the workers' AIRFLOW__CORE__DAGS_FOLDER; None leaves the image's.
        jinja: every template is rendered with Jinja, not only files named *.j2.
        idle_timeout: seconds without work after which the builder process ends; with a mutation hook it stays.
        start_timeout: seconds that the builder process has to import airflow.
        answer_timeout: seconds that one pod may take, the mutation hook included.
    """

    owner: str
    instance: str
    template_file: str = ""
    context_env: bool = True
    dags_folder: str | None = None
    jinja: bool = False
    idle_timeout: float = 300.0
    start_timeout: float = 120.0
    answer_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class PodRequest:
    """One task's try, about to be created.

    Args:
        workload_json: the ExecuteTask workload as JSON, with a fresh token.
        ti_id: the task instance's id, only where Airflow's executors key tasks by it.
        submission_id: names one hand-over; the pod's name is made from it.
        bin: 0 to 255.
        namespace: of pods whose override or hook names none.
        pod_override: a V1Pod, or None.
        pod_template_file: the task's own template, or None for the configured one.
        image: of the base container where the override names none.
        logical_date: of the DAG run, where it has one.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    workload_json: str
    ti_id: str | None
    submission_id: str
    bin: int
    namespace: str
    pod_override: Any
    pod_template_file: str | None
    image: str | None
    logical_date: datetime | None


@dataclass(frozen=True, slots=True)
class BuiltPod:
    """A pod as JSON text with raw `\\x00N` for its name and `\\x00A` for the launch attempt, and its namespace."""

    body: str
    namespace: str


def is_pod(value: object) -> bool:
    """Whether a value is a V1Pod of the kubernetes package, without importing that."""
    cls = type(value)
    if cls.__name__ == "V1Pod" and cls.__module__ == _POD_MODULE:
        return True
    return any(c.__name__ == "V1Pod" and c.__module__ == _POD_MODULE for c in cls.__mro__)


def namespace_of(pod_override: Any, default: str) -> str:
    """The namespace that a task's override asks for, else the default. A mutation hook may still change it."""
    metadata = getattr(pod_override, "metadata", None)
    namespace = getattr(metadata, "namespace", None)
    return namespace if isinstance(namespace, str) and namespace else default


def executor_config_parts(executor_config: object) -> tuple[Any, str | None]:
    """The pod override and the template file that an executor_config names, each None where it names none.

    Raises:
        BuildError: InvalidExecutorConfig, naming the key.
    """
    if not executor_config:
        return None, None
    if not isinstance(executor_config, Mapping):
        raise _bad_config(f"must be a dict, not {_kind(executor_config)}")
    if executor_config.get("KubernetesExecutor"):
        raise _bad_config(
            "the key 'KubernetesExecutor' is no longer understood: "
            "use 'pod_override' with a kubernetes.client.models.V1Pod"
        )
    override = executor_config.get("pod_override") or None
    if override is not None and not is_pod(override):
        raise _bad_config(f"'pod_override' must be a kubernetes.client.models.V1Pod, not {_kind(override)}")
    template = executor_config.get("pod_template_file") or None
    if template is not None and not isinstance(template, str | os.PathLike):
        raise _bad_config(f"'pod_template_file' must be the path of a file, not {_kind(template)}")
    return override, None if template is None else os.fspath(template)


def _bad_config(problem: str) -> BuildError:
    return BuildError("InvalidExecutorConfig", f"executor_config: {problem}")


def _kind(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
