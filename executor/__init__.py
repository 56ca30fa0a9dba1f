"""shard-executor: runs tasks as Kubernetes pods.

Public names are looked up on first use (PEP 562), so that importing the
package imports neither airflow nor kubernetes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shard_executor.airflow.executor import ShardExecutor
    from shard_executor.futures.executor import PodExecutor
    from shard_executor.futures.future import TaskFuture
    from shard_executor.futures.outcome import BrokenPodExecutor, ClusterError, TaskFailed, TaskResult, TaskRevoked
    from shard_executor.pods.task import TaskError, TaskSpec

__version__ = "0.1.0"
__all__ = [
    "BrokenPodExecutor",
    "ClusterError",
    "PodExecutor",
    "ShardExecutor",
    "TaskError",
    "TaskFailed",
    "TaskFuture",
    "TaskResult",
    "TaskRevoked",
    "TaskSpec",
    "__version__",
]

_HOMES = {
    "BrokenPodExecutor": "shard_executor.futures.outcome",
    "ClusterError": "shard_executor.futures.outcome",
    "PodExecutor": "shard_executor.futures.executor",
    "ShardExecutor": "shard_executor.airflow.executor",
    "TaskError": "shard_executor.pods.task",
    "TaskFailed": "shard_executor.futures.outcome",
    "TaskFuture": "shard_executor.futures.future",
    "TaskResult": "shard_executor.futures.outcome",
    "TaskRevoked": "shard_executor.futures.outcome",
    "TaskSpec": "shard_executor.pods.task",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
