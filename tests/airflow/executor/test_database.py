"""A metadata database that does not answer for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from airflow_scheduler import Scheduler, Start
from shard_executor.airflow import builds, clerk, database

Outage = Callable[[], Any]


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    """The executor's own sessions fail for as long as this lasts; the failed ones are counted."""
    monkeypatch.setattr(clerk, "DATABASE_PAUSE", 0.2)
    monkeypatch.setattr(builds, "PAUSE", 0.2)
    whole = database.create_session

    @contextmanager
    def run() -> Iterator[list[int]]:
        failed: list[int] = []

        def broken(*args: Any, **kwargs: Any) -> Any:
            failed.append(1)
            raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

        with monkeypatch.context() as patched:
            patched.setattr(database, "create_session", broken)
            yield failed
        assert database.create_session is whole

    return run


def heartbeats(scheduler: Scheduler, enough: Callable[[], bool]) -> None:
    """Only the executor's part of the loop: the scheduler's own would fail."""
    pause = scheduler.deadline()
    while not enough():
        scheduler.executor.heartbeat()
        pause()


def test_results_are_told_when_the_database_is_back(scheduler: Scheduler, outage: Outage) -> None:
    scheduler.run("through", 3)
    cluster = scheduler.cluster
    for index in range(2):
        scheduler.write("through", index, state="success")
    with outage() as failed:
        for pod in cluster.workers("through"):
            cluster.end_pod(pod, int(pod["metadata"]["labels"]["map_index"] == "2"))
        heartbeats(scheduler, lambda: len(failed) >= 5)
        assert not any(key.dag_id == "through" for key in scheduler.executor.event_buffer)
        assert len(cluster.workers("through")) == 3  # they are the only news of their tasks
        assert len(scheduler.executor.running) == 3
    scheduler.until_told("through", "success", index=0)
    scheduler.until_told("through", "success", index=1)
    scheduler.until_told("through", "failed", index=2)
    scheduler.until_gone("through")
    assert not scheduler.executor.running


def test_pods_are_made_when_the_database_is_back(scheduler: Scheduler, outage: Outage) -> None:
    scheduler.make_tasks(3, dag_id="postponed")
    scheduler.queue(dag_id="postponed")
    waiting, scheduler._waiting = scheduler._waiting, []
    with outage() as failed:
        for workload in waiting:
            scheduler.executor.queue_workload(workload, session=None)
        heartbeats(scheduler, lambda: len(failed) >= 5)
        assert not scheduler.cluster.workers("postponed")
    scheduler.until_running("postponed", 3)
    for index in range(3):
        scheduler.executor.revoke_task(ti=scheduler.ti("postponed", index))
    scheduler.until_gone("postponed")


def test_a_reset_waits_for_the_database(resubmitting: Scheduler, outage: Outage) -> None:
    scheduler = resubmitting
    scheduler.run("reset_later", retries=1)
    with outage() as failed:
        scheduler.cluster.fault("evict", selector="dag_id=reset_later")
        heartbeats(scheduler, lambda: len(failed) >= 3)
        assert scheduler.ti("reset_later").state == "running"
    scheduler.until(lambda: scheduler.ti("reset_later").state is None)
    scheduler.settle("reset_later")
    assert scheduler.told("reset_later") == []
    assert not scheduler.executor.running


def test_sweeping_goes_on_when_the_database_is_back(start: Start, outage: Outage) -> None:
    sweeper = start({"scheduler.orphaned_tasks_check_interval": "1"})
    dead = start()
    dead.run("swept_later")
    dead.write("swept_later", state="success")
    dead.die()
    with outage() as failed:
        sweeper.cluster.end_pod(sweeper.cluster.only("swept_later"))
        heartbeats(sweeper, lambda: bool(failed))
        assert sweeper.cluster.workers("swept_later")
    sweeper.until_gone("swept_later")
