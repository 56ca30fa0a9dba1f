"""Bodies: checked against the database, signed anew, and never built for a hand-over that no longer stands."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from shard_executor.airflow.book import Book, Job
from shard_executor.airflow.builds import Builds, stale
from shard_executor.airflow.database import QueuedRow
from shard_executor.airflow.generation import BuildError, BuiltPod

LIMIT = 30.0


class Workload:
    def __init__(self, name: str) -> None:
        self.token = "old"
        self.ti = SimpleNamespace(key=name, external_executor_id=name)

    def model_dump_json(self) -> str:
        return f'{{"token":"{self.token}"}}'


class Bench:
    """The builder's thread with a database, a factory and a supervisor that take notes."""

    def __init__(self) -> None:
        self.book = Book()
        self.states: dict[str, QueuedRow] = {}
        self.answers: dict[str, tuple] = {}
        self.built: dict[str, BuiltPod | BuildError] = {}
        self.requests: list = []
        self.questions: list[list[str]] = []
        self.fail_next = 0
        self._news = threading.Condition()
        watched = {"default", "other"}
        self.builds = Builds(self.book, self, self.rows, lambda ti_id: f"new-{ti_id}", watched.__contains__, 7)

    def rows(self, ids):
        self.questions.append(list(ids))
        if self.fail_next:
            self.fail_next -= 1
            raise OperationalError("SELECT", {}, Exception("gone away"))
        return {each: self.states[each] for each in ids if each in self.states}

    def build(self, requests):
        self.requests += requests
        return [self.built.get(each.task_id, BuiltPod(each.workload_json, each.namespace)) for each in requests]

    def provide(self, ticket, body):
        self._answer(ticket, ("body", body))

    def refuse_body(self, ticket, reason, message):
        self._answer(ticket, ("refused", reason, message))

    def revoke(self, ticket):
        self._answer(ticket, ("revoked",))

    def _answer(self, ticket, answer):
        with self._news:
            self.answers[ticket] = answer
            self._news.notify_all()

    def wait_for(self, *tickets):
        deadline = time.monotonic() + LIMIT
        with self._news:
            while not set(tickets) <= set(self.answers):
                assert self._news.wait(deadline - time.monotonic()), f"no answer for {set(tickets) - set(self.answers)}"

    def task(self, name: str, **row: object) -> Job:
        job = Job(name, name, ("d", name, "r", -1, 1), f"id-{name}", name, 0, "default", workload=Workload(name))
        self.book.add(job)
        fields = {"state": "queued", "try_number": 1, "queued_by_job_id": 7, "external_executor_id": name, **row}
        self.states[job.ti_id] = QueuedRow(**fields, logical_date=None)  # type: ignore[arg-type]
        return job


@pytest.fixture
def bench():
    bench = Bench()
    bench.builds.start(bench)
    yield bench
    bench.builds.end()


def test_a_body_has_a_token_of_now(bench: Bench):
    bench.task("a")
    bench.builds.want([("a", 0)])
    bench.wait_for("a")
    assert bench.answers["a"] == ("body", '{"token":"new-id-a"}')


def test_one_question_for_a_batch_and_stale_tasks_get_no_pod(bench: Bench):
    for name, row in {
        "fine": {},
        "runs": {"state": "running"},
        "retried": {"try_number": 2},
        "taken": {"queued_by_job_id": 8},
        "cleared": {"state": None},
    }.items():
        bench.task(name, **row)
    job = bench.task("gone")
    del bench.states[job.ti_id]
    names = ["fine", "runs", "retried", "taken", "cleared", "gone"]
    bench.builds.want([(name, 0) for name in names])
    bench.wait_for(*names)
    assert {name for name in names if bench.answers[name] == ("revoked",)} == set(names) - {"fine"}
    assert len(bench.questions) == 1
    assert [each.task_id for each in bench.requests] == ["fine"]
    assert all(each.revoked for each in bench.book.jobs() if each.ticket != "fine")


def test_the_database_is_asked_again_and_nothing_is_refused(bench: Bench):
    bench.task("a")
    bench.fail_next = 1
    bench.builds.want([("a", 0)])
    bench.wait_for("a")
    assert bench.answers["a"][0] == "body"
    assert len(bench.questions) == 2


def test_one_pod_that_cannot_be_built_fails_alone(bench: Bench):
    bench.task("a")
    bench.task("b")
    bench.built["b"] = BuildError("InvalidTemplate", "line 3")
    bench.builds.want([("a", 0), ("b", 0)])
    bench.wait_for("a", "b")
    assert bench.answers["a"][0] == "body"
    assert bench.answers["b"] == ("refused", "InvalidTemplate", "line 3")


def test_a_hook_may_move_a_pod_only_where_it_is_watched(bench: Bench):
    moved, lost = bench.task("moved"), bench.task("lost")
    bench.built["moved"] = BuiltPod("{}", "other")
    bench.built["lost"] = BuiltPod("{}", "nowhere")
    bench.builds.want([("moved", 0), ("lost", 0)])
    bench.wait_for("moved", "lost")
    assert bench.answers["moved"][:2] == ("refused", "NamespaceChanged")
    assert moved.namespace == "other"
    assert bench.answers["lost"][1] == "NamespaceNotWatched"
    assert "'nowhere'" in bench.answers["lost"][2]
    assert "multi_namespace_mode_namespace_list" in bench.answers["lost"][2]
    assert lost.namespace == "default"


def test_a_ticket_without_a_job_is_refused_by_name(bench: Bench):
    bench.builds.want([("nobody", 0)])
    bench.wait_for("nobody")
    assert bench.answers["nobody"][1] == "NotOpen"


def test_without_a_scheduler_job_nothing_is_stale():
    job = Job("a", "a", ("d", "a", "r", -1, 1), "id", "a", 0, "default")
    row = QueuedRow("queued", 1, 99, None, None)
    assert stale(job, row, 7) == "its task instance was queued by scheduler job 99"
