"""Development clusters for the tests of real processes; one a module for each kind of kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from command import Workplace
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevClusterProcess]:
    """One for all tests of a module; its pods are local processes."""
    with DevClusterProcess() as started:
        yield started


@pytest.fixture
def here(tmp_path: Path, cluster: DevClusterProcess) -> Iterator[Workplace]:
    """A folder to run the command in; afterwards nothing may be left on the cluster."""
    place = Workplace(tmp_path, cluster)
    yield place
    cluster.clear_faults()
    try:
        place.leaves_nothing()
    finally:
        place.delete()
