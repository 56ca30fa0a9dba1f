"""One Airflow for all scenarios on SQLite; each test file runs a scheduler of its own on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_live import BATCH, DAG_IDS, DAGS, EXECUTOR, Live
from shard_executor.airflow.demo.home import START_LIMIT, AirflowHome
from shard_executor.airflow.demo.layout import HomeSettings
from shard_executor.airflow.demo.postgres import Postgres
from shard_executor.devcluster.process import DevClusterProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(420))


@contextmanager
def _started(folder: Path, settings: HomeSettings) -> Iterator[Live]:
    """API server and DAG processor with a cluster, without a scheduler."""
    with (
        DevClusterProcess(["--kubelet", "process", "--nodes", "2"]) as cluster,
        AirflowHome(folder, cluster.kubeconfig, settings) as home,
    ):
        home.prepare([DAGS])
        home.start("api-server")
        home.start("dag-processor")
        live = Live(home, cluster)
        live.wait(lambda: home.api.healthy("dag_processor"), "the health of the DAG processor", START_LIMIT)
        home.wait_for_dags(*DAG_IDS)
        yield live


@pytest.fixture(scope="session")
def _on_sqlite(tmp_path_factory: pytest.TempPathFactory):
    settings = HomeSettings(executor=EXECUTOR, shared_logs=False, options=BATCH)
    with _started(tmp_path_factory.mktemp("airflow"), settings) as live:
        yield live


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, _on_sqlite: Live):
    """The Airflow with a scheduler, which has the OPTIONS of the test file; the next file finds none, and no pods."""
    _on_sqlite.scheduler(getattr(request.module, "OPTIONS", {}))
    yield _on_sqlite
    _on_sqlite.end_scheduler()
    _on_sqlite.delete_pods()


@pytest.fixture(scope="module")
def live_on_postgres(tmp_path_factory: pytest.TempPathFactory):
    """An Airflow on PostgreSQL whose schedulers run three tasks each; the test starts them."""
    with Postgres() as postgres:
        settings = HomeSettings(
            executor=EXECUTOR,
            database=postgres.url,
            database_async=postgres.async_url,
            parallelism=3,
            shared_logs=False,
            options=BATCH,
        )
        with _started(tmp_path_factory.mktemp("airflow-postgres"), settings) as live:
            yield live


@pytest.fixture(autouse=True)
def _left_in_order(request: pytest.FixtureRequest):
    """Begins with the scheduler of the test file; undoes what a test did to the cluster and waits for its runs."""
    if "live_on_postgres" in request.fixturenames:
        live = request.getfixturevalue("live_on_postgres")
    else:
        live = request.getfixturevalue("live")
        live.scheduler(getattr(request.module, "OPTIONS", {}))
    yield
    live.cluster.clear_faults()
    live.finish()
