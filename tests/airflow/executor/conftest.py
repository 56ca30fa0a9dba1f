"""One cluster for all tests of the executor, a namespace for each test, and schedulers that start on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_scheduler import TEMPLATE, Cluster, Scheduler, make_executor, options
from shard_executor.devcluster.process import DevClusterProcess

START_SECONDS = "0.02"


@pytest.fixture(scope="session")
def cluster_process() -> Iterator[DevClusterProcess]:
    """Pods start at once and run until somebody ends them."""
    arguments = ["--kubelet", "simulated", "--mix", "hang=1", "--start-seconds", START_SECONDS]
    with DevClusterProcess(arguments) as process:
        yield process


@pytest.fixture
def cluster(cluster_process: DevClusterProcess) -> Iterator[Cluster]:
    """A namespace of the test's own, whose pods go with it."""
    cluster = Cluster(cluster_process)
    yield cluster
    cluster_process.clear_faults()
    cluster.call("DELETE", cluster.pods, gracePeriodSeconds=0)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("templates") / "pod.yaml"
    path.write_text(TEMPLATE)
    return path


def _start(
    cluster: Cluster,
    template: Path,
    values: Mapping[str, str] | None,
    *,
    beside: Scheduler | None = None,
    team_name: str | None = None,
    **names: Any,
) -> Scheduler:
    executor, given = make_executor(cluster, template, values, team_name=team_name, **names)
    scheduler = Scheduler.of(executor, cluster)
    if beside is not None:
        scheduler.job_id = beside.job_id
    with options(given, team_name):
        scheduler.start()
    return scheduler


@pytest.fixture
def start(airflow_database: None, cluster: Cluster, template: Path) -> Iterator[Callable[..., Scheduler]]:
    """Starts schedulers in the test's namespace.

    Arguments: Airflow's options by ``section.key``; ``where``: another namespace; ``alias``, ``team_name``; ``beside``:
    another executor of the same scheduler.
    """
    started: list[Scheduler] = []

    def run(values: Mapping[str, str] | None = None, *, where: Cluster | None = None, **names: Any) -> Scheduler:
        scheduler = _start(where or cluster, template, values, **names)
        started.append(scheduler)
        return scheduler

    yield run
    for scheduler in started:
        scheduler.end()


SHARED = {"core.parallelism": "100", "kubernetes_executor.delete_worker_pods_on_failure": "True"}


def _left_in_order(scheduler: Scheduler) -> Iterator[Scheduler]:
    yield scheduler
    scheduler.cluster.process.clear_faults()
    for job in scheduler.executor.book.jobs():  # of a test that failed
        scheduler.executor.revoke_task(ti=scheduler.ti(job.ti_key[0], job.ti_key[3]))
    scheduler.until(lambda: not len(scheduler.executor.book), "nothing open after the test")


@pytest.fixture(scope="session")
def _shared(airflow_database: None, cluster_process: DevClusterProcess, template: Path) -> Iterator[Scheduler]:
    scheduler = _start(Cluster(cluster_process), template, SHARED)
    yield scheduler
    scheduler.end()


@pytest.fixture
def scheduler(_shared: Scheduler) -> Iterator[Scheduler]:
    """A scheduler that tests share: each has DAGs of its own. Finished pods are deleted, failed ones too."""
    yield from _left_in_order(_shared)


@pytest.fixture(scope="session")
def _resubmitting(airflow_database: None, cluster_process: DevClusterProcess, template: Path) -> Iterator[Scheduler]:
    values = {**SHARED, "shard_executor.disruption_policy": "resubmit"}
    scheduler = _start(Cluster(cluster_process), template, values)
    yield scheduler
    scheduler.end()


@pytest.fixture
def resubmitting(_resubmitting: Scheduler) -> Iterator[Scheduler]:
    """Another one, which resubmits disrupted tasks."""
    yield from _left_in_order(_resubmitting)


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    """No process outlives the tests."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left, left
