"""What Airflow's providers manager reads of this package: its options and its commands."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, as Airflow's provider_info schema has it."""
    return {
        "package-name": "shard-executor",
        "name": "Shard executor",
        "description": "Runs Airflow tasks as Kubernetes pods over sharded watch streams.",
    }
