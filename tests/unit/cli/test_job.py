"""The job's promises to a supervisor played by a script: write before acknowledge, one line a task, bounded ends."""

from __future__ import annotations

import signal

import pytest

from shard_executor.cli.job import Job
from shard_executor.cli.progress import NoView
from shard_executor.cli.stop import StopRequest
from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec
from shard_executor.supervisor import Report


class ScriptedEngine:
    """Ends every submitted ticket as `answer` says (None: never), one `wait` later; remembers what was asked of it."""

    def __init__(self, answer=lambda ticket: "succeeded", revocable=True):
        self.answer = answer
        self.revocable = revocable
        self.log = []
        self.submitted = []
        self.reports = []
        self.failure = None
        self.pods_left = []
        self.most_open = 0
        self._open = set()

    def submit(self, submission):
        self.submitted.append(submission)
        self._open.add(submission.ticket)
        self.most_open = max(self.most_open, len(self._open))
        state = self.answer(submission.ticket)
        if state is not None:
            self._end(submission.ticket, state)

    def _end(self, ticket, state):
        failure = "container-error" if state == "failed" else None
        self.reports.append(Report(ticket, "running", False))
        self.reports.append(Report(ticket, state, True, failure_class=failure, exit_code=0 if failure is None else 3))

    def drain(self):
        reports, self.reports = self.reports, []
        return reports

    def wait(self, timeout):
        return bool(self.reports)

    def acknowledge(self, ticket):
        self.log.append(("acknowledged", ticket))
        self._open.discard(ticket)

    def revoke(self, ticket):
        self.log.append(("revoked", ticket))
        if self.revocable:
            self._end(ticket, "revoked")

    @property
    def open_tickets(self):
        return len(self._open)

    def stats(self):
        return []


def make_job(engine, count, *, write=None, stop=None, parallelism=10, stop_limit=0.05):
    records = []

    def keep(batch):
        engine.log += [("written", record["id"]) for record in batch]
        records.extend(batch)

    builder = PodBuilder(namespace="jobs", instance="i", owner="o", run_id="r")
    tasks = [TaskSpec(f"t{number}", image="i") for number in range(count)]
    job = Job(
        engine,
        builder,
        tasks,
        namespace="jobs",
        parallelism=parallelism,
        write=write or keep,
        view=NoView(),
        stop=stop or StopRequest(),
        stop_limit=stop_limit,
    )
    return job, records


def test_every_task_is_written_once_and_then_acknowledged():
    engine = ScriptedEngine(lambda ticket: "failed" if ticket.endswith("7") else "succeeded")
    job, records = make_job(engine, 100)
    tally = job.run()
    assert sorted(record["id"] for record in records) == sorted(f"t{number}" for number in range(100))
    assert (tally.states["succeeded"], tally.states["failed"], tally.classes) == (90, 10, {"container-error": 10})
    for number in range(100):
        assert engine.log.index(("written", f"t{number}")) < engine.log.index(("acknowledged", f"t{number}"))
    assert engine.log.count(("acknowledged", "t7")) == 1


def test_tasks_are_handed_over_a_bounded_way_ahead():
    engine = ScriptedEngine()
    job, records = make_job(engine, 5000, parallelism=10)
    job.run()
    assert len(records) == 5000
    assert engine.most_open == 520


def test_submissions_carry_what_names_and_places_the_pod():
    engine = ScriptedEngine()
    job, _ = make_job(engine, 1)
    job.run()
    (submission,) = engine.submitted
    assert (submission.ticket, submission.namespace, submission.submission_id) == ("t0", "jobs", "r/t0/0")
    assert f'"shard-executor/bin":"{submission.bin}"' in submission.body


def test_a_stop_revokes_what_is_under_way_and_lists_what_was_not_started():
    stop = StopRequest()

    def answer(ticket):
        if ticket == "t3":
            stop.signal = signal.SIGINT
        return "succeeded" if ticket == "t0" else None

    engine = ScriptedEngine(answer)
    job, records = make_job(engine, 600, stop=stop, parallelism=1)
    tally = job.run()
    states = {record["id"]: record["state"] for record in records}
    assert len(records) == len(states) == 600
    assert states["t0"] == "succeeded"
    assert states["t1"] == "revoked"
    assert states["t599"] == "not-started"
    assert tally.states["revoked"] == 501
    assert tally.unconfirmed == 0


def test_a_stop_without_answers_ends_at_its_limit():
    stop = StopRequest()
    stop.signal = signal.SIGTERM
    engine = ScriptedEngine(lambda ticket: None, revocable=False)
    job, records = make_job(engine, 3, stop=stop)
    assert job.run().states["not-started"] == 3  # stopped before anything was handed over
    assert len(records) == 3

    stop = StopRequest()

    def answer(ticket):
        stop.signal = signal.SIGTERM

    engine = ScriptedEngine(answer, revocable=False)
    job, records = make_job(engine, 2, stop=stop)
    tally = job.run()
    assert tally.unconfirmed == 2
    assert {record["state"] for record in records} == {"revoked"}
    assert "not confirmed within 0.05 s" in records[0]["message"]


def test_results_that_cannot_be_written_are_not_acknowledged_before_the_run_is_broken_off():
    engine = ScriptedEngine(lambda ticket: "succeeded" if ticket == "t0" else None)

    def full(records):
        raise OSError(28, "No space left on device")

    job, _ = make_job(engine, 3, write=full)
    tally = job.run()
    assert tally.write_error is not None
    assert tally.done == 0
    assert tally.unsaved == 1
    assert engine.log == [("revoked", "t1"), ("revoked", "t2"), ("acknowledged", "t1"), ("acknowledged", "t2")]


def test_an_engine_that_fails_ends_the_run_with_a_line_for_each_task():
    engine = ScriptedEngine(lambda ticket: None)
    engine.failure = "shard 0 ended with exit code 1 5 times in a row"
    job, records = make_job(engine, 2)
    tally = job.run()
    assert tally.engine_error == engine.failure
    assert [(record["state"], record["message"]) for record in records] == [("lost", engine.failure)] * 2
    assert not [entry for entry in engine.log if entry[0] == "revoked"]


@pytest.mark.parametrize("state", ["failed", "lost"])
def test_failures_are_kept_as_samples(state):
    engine = ScriptedEngine(lambda ticket: state)
    job, _ = make_job(engine, 30)
    tally = job.run()
    assert tally.failed == 30
    assert len(tally.samples) == 10
