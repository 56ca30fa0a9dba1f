"""What a coordinator declares for a queue in `[sdk]`, from Airflow 3.3 on: its tasks' pod template and image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shard_executor.airflow.options import Options


def coordinator_of(queue: str | None) -> Mapping[str, Any] | None:
    """A queue's extra values, such as pod_template_file; None where nothing, or nothing readable, is declared."""
    if not queue:
        return None
    try:
        from airflow.sdk.exceptions import AirflowConfigException
        from airflow.sdk.execution_time.coordinator import get_coordinator_manager
    except ImportError:
        return None
    try:
        extra: Mapping[str, Any] | None = get_coordinator_manager().extra_for_queue(queue)
    except (AirflowConfigException, ValueError):
        return None
    return extra


def template_and_image(
    queue: str | None, pod_template_file: str | None, options: Options
) -> tuple[str | None, str | None]:
    """The template file and the image of a task's pod; what a coordinator declares for its queue comes first.

    Args:
        queue: of the task.
        pod_template_file: of its executor_config.
        options: the executor's.
    """
    extra = coordinator_of(queue) or {}
    repository, tag = extra.get("worker_container_repository"), extra.get("worker_container_tag")
    image = f"{repository}:{tag}" if repository and tag else options.kube_image
    return extra.get("pod_template_file") or pod_template_file, image
