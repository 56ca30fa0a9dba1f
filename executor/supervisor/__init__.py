"""The parent's side: accepts tasks, runs the shard processes, keeps every ticket until it is closed.

Names are looked up on first use (PEP 562): a shard imports `supervisor.messages` and must not load the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shard_executor.supervisor.config import ConfigError, Report, ShardStats, Submission, SupervisorConfig
    from shard_executor.supervisor.supervisor import Supervisor, SupervisorError

__all__ = [
    "ConfigError",
    "Report",
    "ShardStats",
    "Submission",
    "Supervisor",
    "SupervisorConfig",
    "SupervisorError",
]

_HOMES = {
    "Supervisor": "supervisor",
    "SupervisorError": "supervisor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'config')}"), name)
    globals()[name] = value
    return value
