"""Two schedulers on PostgreSQL share the work; one of them is killed."""

from __future__ import annotations

from collections import Counter

from airflow_live import Live, Run, once_each

ALL = [("hold", index) for index in range(6)]


def _owners(run: Run) -> Counter[str]:
    """How many of the run's pods each scheduler has, by its job id."""
    return Counter(pod["metadata"]["labels"]["airflow-worker"] for pod in run.pods())


def test_two_schedulers_share_the_work_and_one_is_killed(live_on_postgres: Live) -> None:
    live = live_on_postgres
    live.scheduler(name="scheduler-a")
    live.scheduler(name="scheduler-b")
    schedulers = {str(job["id"]) for job in live.home.api.jobs("SchedulerJob", alive=True)}
    assert len(schedulers) == 2
    run = live.trigger("many")
    run.wait_records("start", 6)
    assert _owners(run) == dict.fromkeys(schedulers, 3)
    pods = {pod["metadata"]["uid"] for pod in run.pods()}
    live.home.component("scheduler-a").kill()
    live.end_scheduler("scheduler-a")
    live.wait(lambda: len(_owners(run)) == 1, "the adoption of the killed scheduler's pods")
    assert {pod["metadata"]["uid"] for pod in run.pods()} == pods
    run.open_gate()
    run.wait("success")
    once_each(run, ALL)
    live.wait(lambda: not live.pods(), "a cluster without pods")
