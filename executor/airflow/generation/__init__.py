"""Pod generation for Airflow tasks: the general path, and compiled byte slices.

Nothing here imports airflow or kubernetes on import: the process that holds the `PodFactory` stays as it was. What
needs them is imported by the builder, a process of its own, and by `general_pod`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shard_executor.airflow.generation.factory import PodFactory
from shard_executor.airflow.generation.request import (
    BuildError,
    BuiltPod,
    GenerationSettings,
    PodRequest,
    executor_config_parts,
    namespace_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BuildError",
    "BuiltPod",
    "GenerationSettings",
    "PodFactory",
    "PodRequest",
    "executor_config_parts",
    "general_pod",
    "namespace_of",
]


def general_pod(request: PodRequest, settings: GenerationSettings) -> Mapping[str, Any]:
    """The pod of one task as a dict that YAML or JSON can hold, named as its first launch would name it.

    Runs in this process, with this process's pod_mutation_hook.

    Raises:
        BuildError: as `PodFactory.build` returns it.
    """
    from shard_executor.airflow.generation.general import Generator

    return Generator(settings).whole_pod(request)
