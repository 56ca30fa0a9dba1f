"""Development clusters for the tests of real processes; one a module for each kind of kubelet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture
def simulated() -> Iterator[DevClusterProcess]:
    """A cluster whose pods run for a second without processes."""
    arguments = ["--sim-run-seconds", "0.5", "--sim-start-seconds", "0.05"]
    with DevClusterProcess(kubelet="simulated", arguments=arguments) as cluster:
        yield cluster


@pytest.fixture
def real() -> Iterator[DevClusterProcess]:
    """A cluster whose pods are local processes."""
    with DevClusterProcess(kubelet="process") as cluster:
        yield cluster
