"""Development clusters for the tests of real processes; one a module for each kind of kubelet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture
def simulated() -> Iterator[DevClusterProcess]:
    """A cluster whose pods run for a second without processes."""
    arguments = ["--kubelet", "simulated", "--capacity", "10000", "--start-seconds", "0.05", "--run-seconds", "0.5"]
    with DevClusterProcess(arguments) as cluster:
        yield cluster


@pytest.fixture
def real() -> Iterator[DevClusterProcess]:
    """A cluster whose pods are local processes."""
    with DevClusterProcess() as cluster:
        yield cluster
