"""One Airflow for all scenarios on SQLite; each test file runs a scheduler of its own on it."""

from __future__ import annotations

import pytest
from airflow_live import DAG_IDS, DAGS, EXECUTOR, Live

from shard_executor.airflow.demo.home import START_LIMIT, AirflowHome
from shard_executor.airflow.demo.layout import HomeSettings
from shard_executor.devcluster.process import DevClusterProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory):
    """API server and DAG processor, without a scheduler."""
    with DevClusterProcess(["--kubelet", "process", "--nodes", "2"]) as cluster:
        settings = HomeSettings(executor=EXECUTOR, shared_logs=False)
        with AirflowHome(tmp_path_factory.mktemp("airflow"), cluster.kubeconfig, settings) as home:
            home.prepare([DAGS])
            home.start("api-server")
            home.start("dag-processor")
            live = Live(home, cluster)
            live.wait(lambda: home.api.healthy("dag_processor"), "API server and DAG processor", START_LIMIT)
            home.wait_for_dags(*DAG_IDS)
            yield live


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, _environment: Live):
    """The Airflow with a scheduler, which has the OPTIONS of the test file; the next file finds none."""
    _environment.home.start_scheduler(options=getattr(request.module, "OPTIONS", {}))
    yield _environment
    _environment.home.end_component("scheduler")


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest):
    """Undoes what a test did to the cluster."""
    yield
    if "live" in request.fixturenames:
        request.getfixturevalue("live").cluster.clear_faults()
