"""What a coordinator declares for a queue in `[sdk]`, from Airflow 3.3 on: its tasks' pod template and image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
