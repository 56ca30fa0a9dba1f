"""Development clusters for the fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture
def simulated() -> Iterator[DevClusterProcess]:
    """A cluster whose pods run for half a second without processes."""
    arguments = ["--kubelet", "simulated", "--capacity", "10000", "--start-seconds", "0.05", "--run-seconds", "0.5"]
    with DevClusterProcess(arguments) as cluster:
        yield cluster
