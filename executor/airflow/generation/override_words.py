"""Words for pods that cannot be merged or written: which part of the override or the pod is at fault."""

from __future__ import annotations

from typing import Any

import orjson

from shard_executor.airflow.generation.request import BuildError


def fault_of(override: Any, template: str, error: BaseException) -> BuildError:
    """The error of a pod that the provider could not merge.

    Args:
        override: the task's V1Pod, or None.
        template: path of the pod template, or empty.
        error: what the merge raised.
    """
    words = f"{type(error).__name__}: {error}"
    if override is None:
        return BuildError(
            "PodReconciliationFailed",
            f"pod template {template or '(none configured)'} could not be merged with the task's fields: {words}; "
            "compare it with the Pod of the Kubernetes API",
        )
    problem = _wrong_part(override)
    if problem is not None:
        return BuildError("InvalidOverride", f"pod_override{problem}")
    return BuildError(
        "PodReconciliationFailed",
        f"pod template {template or '(none configured)'} and the task's pod_override could not be merged: {words}; "
        "fields of the override must have the types of kubernetes.client's models",
    )


def _wrong_part(override: Any) -> str | None:
    for field, wanted in (("metadata", "V1ObjectMeta"), ("spec", "V1PodSpec")):
        part = getattr(override, field, None)
        if part and not hasattr(part, "openapi_types"):
            return f".{field} must be a {wanted}, not {_kind(part)}"
    spec = getattr(override, "spec", None)
    for field in ("containers", "init_containers"):
        containers = getattr(spec, field, None)
        if containers and not isinstance(containers, list):
            return f".spec.{field} must be a list of V1Container, not {_kind(containers)}"
        for index, container in enumerate(containers or ()):
            if not hasattr(container, "openapi_types"):
                return f".spec.{field}[{index}] must be a V1Container, not {_kind(container)}"
            for inner in ("env", "env_from", "ports", "volume_mounts", "volume_devices"):
                value = getattr(container, inner, None)
                if value is not None and not isinstance(value, list):
                    return f".spec.{field}[{index}].{inner} must be a list, not {_kind(value)}"
    return None


def unwritable(value: Any, path: str = "") -> str | None:
    """The path of the first value in a sanitized pod that JSON cannot hold, with a word on it; None if all is well."""
    if isinstance(value, dict):
        for key, item in value.items():
            if (found := unwritable(item, f"{path}.{key}" if path else str(key))) is not None:
                return found
        return None
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if (found := unwritable(item, f"{path}[{index}]")) is not None:
                return found
        return None
    try:
        orjson.dumps(value)
    except (TypeError, ValueError) as error:
        return f"{path} = {value!r:.80}: {error}"
    return None


def _kind(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
