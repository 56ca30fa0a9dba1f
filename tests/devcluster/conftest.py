"""One development cluster with simulated pods for all API tests; each test has a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devcluster_api import DevApi
from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevClusterProcess]:
    with DevClusterProcess(["--kubelet", "simulated"]) as process:
        yield process


@pytest.fixture
def api(cluster: DevClusterProcess) -> DevApi:
    return DevApi(cluster.url, cluster.token)
