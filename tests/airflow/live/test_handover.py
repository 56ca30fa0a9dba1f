"""Schedulers come and go while tasks run: nothing is lost, and nothing runs twice."""

from __future__ import annotations

from airflow_live import EXECUTOR, IS_STOCK, LIMIT, Live, Run, once_each
from shard_executor.airflow.demo.api import wait_for
from shard_executor.airflow.demo.layout import STOCK

OPTIONS: dict[str, str] = {}
ALL = [("hold", index) for index in range(6)]


def _held(run: Run, number: int) -> list[int]:
    """The map indices of the tasks that are being held, once so many have begun."""
    begun = [line["map_index"] for line in run.wait_records("start", number)]
    ended = {line["map_index"] for line in run.records("end")}
    return [index for index in begun if index not in ended]


def test_a_scheduler_is_killed_and_another_takes_over(live: Live) -> None:
    killed = live.scheduler()
    run = live.trigger("many")
    held = _held(run, 4)
    killed.kill()
    # While there is no scheduler one task comes to its end. Not `live.wait`: that wants all components alive.
    run.open_gate(str(held[0]))
    (end,) = wait_for(lambda: run.records("end"), "the end of a task", LIMIT)
    assert end["map_index"] == held[0]
    if not IS_STOCK:
        wait_for(lambda: not killed.descendants(), "the end of the killed scheduler's children", LIMIT)
    live.scheduler()
    _held(run, 5)
    run.open_gate()
    run.wait("success")
    once_each(run, ALL)
    live.wait(lambda: not live.pods(), "a cluster without pods")


def test_switching_from_the_stock_executor_and_back_in_the_middle_of_a_run(live: Live) -> None:
    live.scheduler({"core.executor": STOCK})
    run = live.trigger("many")
    held = _held(run, 4)
    live.scheduler({"core.executor": EXECUTOR})
    for index in held[:2]:
        run.open_gate(str(index))
    held = _held(run, 6)
    live.scheduler({"core.executor": STOCK})
    run.open_gate()
    run.wait("success")
    once_each(run, ALL)
    live.wait(lambda: not live.pods(), "a cluster without pods")
