"""Every option that the executor reads, once: its type, limits and default, and what it does here.

`options` reads by it, `provider_info` shows it to `airflow config list`, and docs/airflow-options.md is made from it.
Imports nothing of Airflow.
"""

from __future__ import annotations

from shard_executor.airflow.option import Option, Stance
from shard_executor.airflow.option_own import OWN_OPTIONS
from shard_executor.airflow.option_stock import STOCK_OPTIONS

__all__ = ["AIRFLOW_OPTIONS", "OWN", "OWN_OPTIONS", "STOCK", "STOCK_OPTIONS", "Option", "Stance", "option"]

STOCK = "kubernetes_executor"
OWN = "shard_executor"

# Read too, from where Airflow has them; their words are Airflow's.
AIRFLOW_OPTIONS: dict[str, tuple[Option, ...]] = {
    "core": (Option("parallelism", "integer", "32", "Pods alive at once per scheduler.", least=1),),
    "scheduler": (
        Option("task_queued_timeout", "float", "600.0", "How long a task may wait for its start.", least=0),
        Option("orphaned_tasks_check_interval", "float", "300.0", "How often ownerless pods are looked for.", least=0),
        Option("scheduler_health_check_threshold", "integer", "30", "When a scheduler counts as dead.", least=0),
    ),
}

_BY_PLACE: dict[tuple[str, str], Option] = {
    (section, option.key): option
    for section, options in ((STOCK, STOCK_OPTIONS), (OWN, OWN_OPTIONS), *AIRFLOW_OPTIONS.items())
    for option in options
}


def option(section: str, key: str) -> Option:
    """The option of a section. Raises KeyError for one that the executor does not know."""
    return _BY_PLACE[section, key]
