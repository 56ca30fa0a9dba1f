"""What Airflow's providers manager reads of this package: its options, its executor and its commands.

It is read by every Airflow process on the machine, so it imports nothing but the option table.
"""

from __future__ import annotations

from typing import Any

from shard_executor.airflow.option_table import OWN, OWN_OPTIONS, Option

_DESCRIPTION = "Options of ``shard_executor.ShardExecutor``. It also reads those of ``[kubernetes_executor]``."
# The schema of provider information (airflow/provider_info.schema.json) knows no other types.
_TYPES = {"integer": "integer", "float": "float", "boolean": "boolean"}


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, as Airflow's provider_info schema has it. Releases that do not know `cli` ignore it."""
    return {
        "package-name": "shard-executor",
        "name": "Shard executor",
        "description": "Runs Airflow tasks as Kubernetes pods over sharded watch streams.",
        "config": {
            OWN: {
                "description": _DESCRIPTION,
                "options": {option.key: _described(option) for option in OWN_OPTIONS},
            }
        },
        "executors": ["shard_executor.ShardExecutor"],
        "cli": ["shard_executor.airflow.cli.provider_commands"],
    }


def _described(option: Option) -> dict[str, Any]:
    words = option.words.replace("`", "``")
    limits = f" Allowed: {option.allowed}." if option.choices or option.least is not None else ""
    return {
        "description": f"{words}{limits}\n",
        "version_added": option.since,
        "type": _TYPES.get(option.kind, "string"),
        "example": option.example,
        "default": option.default,
    }
