"""What the tests of `PodExecutor` share: executors on a development cluster, and tasks for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from shard_executor import PodExecutor, TaskSpec
from shard_executor.devcluster.process import DevClusterProcess


@contextmanager
def executing(cluster: DevClusterProcess, **settings: Any) -> Iterator[PodExecutor]:
    """A started executor; afterwards no shard process and no thread of it may be left."""
    executor = PodExecutor(kubeconfig=cluster.kubeconfig, **{"shards": 2, **settings})
    before = set(psutil.Process().children())
    try:
        with executor:
            yield executor
    finally:
        names = {thread.name for thread in threading.enumerate()}
        assert not {name for name in names if name.startswith(("shard-executor-futures", "shard-executor-pump"))}
        assert set(psutil.Process().children()) <= before


def task(name: str, *command: str, **fields: Any) -> TaskSpec:
    return TaskSpec(name, image="example/task:1", command=command or ["true"], **fields)


def sleeper(name: str) -> TaskSpec:
    return task(name, "sleep", "600")
