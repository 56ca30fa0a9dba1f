"""The clerk: reports in, news for the scheduler out, nothing lost while the database does not answer."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from sqlalchemy.exc import OperationalError

from shard_executor.airflow.book import Book, Job
from shard_executor.airflow.builds import MOVED
from shard_executor.airflow.clerk import DATABASE_PAUSE, SECOND_LOOK, Clerk, Ended, Running
from shard_executor.airflow.results import Policy, Row
from shard_executor.supervisor.config import Report, Submission


class Door:
    """A supervisor that only takes notes."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.acknowledged: list[str] = []
        self.submitted: list[Submission] = []

    def wait(self, timeout: float) -> bool:
        return bool(self.reports)

    def drain(self) -> list[Report]:
        reports, self.reports = self.reports, []
        return reports

    def acknowledge(self, ticket: str) -> None:
        self.acknowledged.append(ticket)

    def submit(self, submission: Submission) -> None:
        self.submitted.append(submission)


class Desk:
    """A clerk with a database of one's own and a clock that is set."""

    def __init__(self, **policy: object) -> None:
        self.book, self.door, self.news = Book(), Door(), deque()
        self.states: dict[str, Row | None] = {}
        self.down = False
        self.asked = 0
        self.now = 100.0
        self.resets: list[str] = []
        self.reset_finds: str | None = None
        values = {"launch_retries": 1, "excluded_reasons": frozenset(), "resubmit": False, "job_id": 7, **policy}
        policy_ = Policy(**values)  # type: ignore[arg-type]
        self.clerk = Clerk(self.book, policy_, self.rows, self.reset, self.words, self.news, lambda: self.now)
        self.clerk._supervisor = self.door

    def rows(self, keys):
        self.asked += 1
        if self.down:
            raise OperationalError("SELECT", {}, Exception("gone away"))
        return {key[:4]: self.states[key[1]] for key in keys if self.states.get(key[1]) is not None}

    def words(self, report):
        return report.reason or "", "many lines"

    def reset(self, ti_key, ti_id, words):
        self.resets.append(ti_key[1])
        return self.reset_finds

    def task(self, name: str, state: str | None = None) -> Job:
        workload = SimpleNamespace(ti=SimpleNamespace(external_executor_id=name))
        job = Job(name, name, ("d", name, "r", -1, 1), f"id-{name}", name, 0, "default", workload=workload)
        self.book.add(job)
        self.states[name] = Row(f"id-{name}", state, 1, 7, name) if state else None
        return job

    def turn(self, *reports: Report) -> list:
        self.door.reports += reports
        self.clerk.turn()
        told = list(self.news)
        self.news.clear()
        return told


def failed(name: str, **changes: object) -> Report:
    return Report(name, "failed", True, **{"failure_class": "drained", "reason": "x", **changes})  # type: ignore[arg-type]


def test_one_question_for_all_results_of_a_turn():
    desk = Desk()
    jobs = [desk.task(f"t{number}", "success") for number in range(50)]
    news = desk.turn(*(Report(job.ticket, "succeeded", True) for job in jobs))
    assert [(each.job.ticket, each.state) for each in news] == [(job.ticket, "success") for job in jobs]
    assert desk.asked == 1
    assert desk.door.acknowledged == []  # only when the scheduler has it


def test_results_wait_for_a_database_that_does_not_answer():
    desk = Desk()
    desk.task("a", "success")
    desk.down = True
    assert desk.turn(Report("a", "succeeded", True)) == []
    assert desk.turn() == []
    assert desk.asked == 1  # not asked again at once
    desk.down = False
    desk.now += DATABASE_PAUSE
    (news,) = desk.turn()
    assert (news.job.ticket, news.state) == ("a", "success")


def test_running_is_told_and_other_progress_is_not():
    desk = Desk()
    job = desk.task("a", "queued")
    assert desk.turn(Report("a", "pending", False), Report("a", "waiting", False, message="quota")) == []
    assert desk.turn(Report("a", "running", False, pod="p")) == [Running(job)]
    assert (job.began, job.pod) == (True, "p")


def test_a_relaunch_takes_the_tickets_place():
    desk = Desk()
    job = desk.task("a", "queued")
    assert desk.turn(failed("a", attempt=4)) == []
    (submission,) = desk.door.submitted
    assert (submission.submission_id, submission.attempt) == ("a", 5)
    assert submission.ticket != "a"
    assert desk.door.acknowledged == ["a"]
    (after,) = desk.book.jobs()
    assert (after.key, after.launches, after.began) == (job.key, 1, False)
    (news,) = desk.turn(failed(after.ticket, attempt=5))  # no relaunch is left
    assert (news.state, news.info, news.extra) == ("failed", "x", "many lines")


def test_a_success_that_the_database_shows_late_costs_no_second_pod():
    desk = Desk()
    desk.task("a", "queued")
    desk.task("b", "queued")
    assert desk.turn(Report("a", "succeeded", True), Report("b", "succeeded", True)) == []
    assert desk.door.submitted == []
    desk.states["a"] = Row("id-a", "success", 1, 7, "a")
    desk.now += SECOND_LOOK
    (news,) = desk.turn()
    assert (news.job.ticket, news.state) == ("a", "success")
    (again,) = desk.door.submitted  # the other one has really not begun
    assert again.submission_id == "b"


def test_later_relaunches_wait_longer_each_time():
    desk = Desk(launch_retries=-1)
    desk.task("a", "queued")
    desk.turn(failed("a"))
    waits = []
    for _ in range(9):
        (last,) = desk.door.submitted[-1:]
        sent = len(desk.door.submitted)
        desk.turn(failed(last.ticket))
        began = desk.now
        while len(desk.door.submitted) == sent:
            desk.now += 0.5
            desk.turn()
        waits.append(desk.now - began)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_task_revoked_while_its_relaunch_waits_is_not_launched():
    desk = Desk(launch_retries=-1)
    desk.task("a", "queued")
    desk.turn(failed("a"))
    desk.turn(failed(desk.door.submitted[-1].ticket))
    (job,) = desk.book.jobs()
    job.revoked = True
    desk.now += 10
    desk.turn()
    assert len(desk.door.submitted) == 1
    assert len(desk.book) == 0


def test_a_disrupted_task_is_reset_and_nothing_is_told():
    desk = Desk(resubmit=True)
    desk.task("a", "running")
    (news,) = desk.turn(failed("a"))
    assert (desk.resets, news.state) == (["a"], None)
    assert desk.door.acknowledged == ["a"]


def test_a_worker_that_told_its_end_meanwhile_is_believed():
    desk = Desk(resubmit=True)
    desk.task("a", "running")
    desk.reset_finds = "success"
    assert desk.turn(failed("a")) == []
    desk.states["a"] = Row("id-a", "success", 1, 7, "a")
    (news,) = desk.turn()
    assert news.state == "success"


def test_results_that_nobody_waits_for_free_the_slot_and_the_pod():
    desk = Desk()
    job = desk.task("a", "queued")
    job.revoked = True
    assert desk.turn(Report("a", "revoked", True)) == [Ended(job, Report("a", "revoked", True))]
    assert desk.door.acknowledged == ["a"]


def test_a_report_of_an_unknown_ticket_is_acknowledged():
    desk = Desk()
    assert desk.turn(failed("nobody"), Report("nobody", "running", False)) == []
    assert desk.door.acknowledged == ["nobody"]


def test_a_pod_that_goes_to_another_namespace_is_handed_over_again():
    desk = Desk(launch_retries=0)
    job = desk.task("a", "queued")
    job.namespace = "elsewhere"
    assert desk.turn(failed("a", failure_class="create-refused", reason=MOVED)) == []
    (submission,) = desk.door.submitted
    assert (submission.namespace, submission.attempt, submission.submission_id) == ("elsewhere", 0, "a")
