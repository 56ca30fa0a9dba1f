"""The job's promises to a supervisor played by a script: write before acknowledge, one line a task, bounded ends."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager

import pytest

from shard_executor.cli.job import Job
from shard_executor.cli.progress import NoView
from shard_executor.cli.stop import StopRequest
from shard_executor.cli.tally import Tally
from shard_executor.core.tries import TryLimits, Used
from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec
from shard_executor.runs.journal import Again, Journal, JournalUnwritable, RunHeader
from shard_executor.runs.resume import Known, Start
from shard_executor.runs.tries import Tries, ahead_of
from shard_executor.supervisor import Report


def name_of(ticket):
    """The task of the ticket `r/<task>/<try>`."""
    return ticket.removeprefix("r/").rpartition("/")[0]


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
        self.uid = None  # of pods, if reports are to name one
        self._open = set()

    def submit(self, submission):
        self.submitted.append(submission)
        self._open.add(submission.ticket)
        self.most_open = max(self.most_open, len(self._open))
        state = self.answer(name_of(submission.ticket))
        if state is not None:
            self._end(submission.ticket, state)

    def _end(self, ticket, state):
        failure = "container-error" if state == "failed" else None
        uid = self.uid
        self.reports.append(Report(ticket, "running", False, uid=uid))
        code = 0 if failure is None else 3
        self.reports.append(Report(ticket, state, True, failure_class=failure, exit_code=code, uid=uid))

    def drain(self):
        reports, self.reports = self.reports, []
        return reports

    def wait(self, timeout):
        return bool(self.reports)

    def acknowledge(self, ticket):
        self.log.append(("acknowledged", name_of(ticket)))
        self._open.discard(ticket)

    def revoke(self, ticket):
        self.log.append(("revoked", name_of(ticket)))
        if self.revocable:
            self._end(ticket, "revoked")

    @property
    def open_tickets(self):
        return len(self._open)

    def stats(self):
        return []


HEADER = RunHeader("r", "jobs", "https://cluster", None, 0.0, None)


class WatchedJournal(Journal):
    """Notes in the engine's log which tasks were saved, and fails when told to."""

    engine = None
    broken = False

    def commit(self, launched=(), again=(), ended=()):
        if self.broken:
            raise JournalUnwritable("the disk is full")
        super().commit(launched, again, ended)
        self.engine.log += [("saved", each.id) for each in again] + [("saved", each[0]) for each in ended]


@contextmanager
def journal_of(engine, tasks, path=None):
    journal = WatchedJournal(path, run_id="r")
    journal.engine = engine
    journal.start()
    try:
        journal.begin(HEADER, [(task.id, "d") for task in tasks])
        yield journal
    finally:
        journal.end()


@pytest.fixture
def journals():
    """Journals to be closed with the test."""
    with ExitStack() as stack:
        yield stack


def job_maker(journals, engine, tasks, *, write=None, stop=None, parallelism=10, stop_limit=0.05, path=None, **more):
    records = []

    def keep(batch):
        engine.log += [("written", record["id"]) for record in batch]
        records.extend(batch)

    builder = PodBuilder(namespace="jobs", instance="i", owner="o", run_id="r")
    journal = journals.enter_context(journal_of(engine, tasks, path))
    limits = TryLimits(retry_delay=0.0)
    job = Job(
        Tries(engine, limits, ahead=ahead_of(parallelism)),
        builder,
        tasks,
        journal=journal,
        starts=more.pop("starts", {}),
        tally=Tally(total=len(tasks)),
        write=write or keep,
        view=NoView(),
        stop=stop or StopRequest(),
        stop_limit=stop_limit,
        **more,
    )
    return job, records, journal


@pytest.fixture
def make_job(journals):
    def make(engine, count, **more):
        tasks = [TaskSpec(f"t{number}", image="i") for number in range(count)]
        job, records, _ = job_maker(journals, engine, tasks, **more)
        return job, records

    return make


def test_every_task_is_written_once_and_then_acknowledged(make_job):
    engine = ScriptedEngine(lambda ticket: "failed" if ticket.endswith("7") else "succeeded")
    job, records = make_job(engine, 100)
    tally = job.run()
    assert sorted(record["id"] for record in records) == sorted(f"t{number}" for number in range(100))
    assert (tally.states["succeeded"], tally.states["failed"], tally.classes) == (90, 10, {"container-error": 10})
    for number in range(100):
        steps = [engine.log.index((what, f"t{number}")) for what in ("saved", "written", "acknowledged")]
        assert steps == sorted(steps)
    assert engine.log.count(("acknowledged", "t7")) == 1


def test_tasks_are_handed_over_a_bounded_way_ahead(make_job):
    engine = ScriptedEngine()
    job, records = make_job(engine, 5000, parallelism=10)
    job.run()
    assert len(records) == 5000
    assert engine.most_open == 520


def test_submissions_carry_what_names_and_places_the_pod(make_job):
    engine = ScriptedEngine()
    job, _ = make_job(engine, 1)
    job.run()
    (submission,) = engine.submitted
    assert (submission.ticket, submission.namespace, submission.submission_id) == ("r/t0/0", "jobs", "r/t0/0")
    assert f'"shard-executor/bin":"{submission.bin}"' in submission.body


def test_a_stop_revokes_what_is_under_way_and_lists_what_was_not_started(make_job):
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


def test_a_stop_without_answers_ends_at_its_limit(make_job):
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


def test_results_that_cannot_be_written_are_not_acknowledged_before_the_run_is_broken_off(make_job):
    engine = ScriptedEngine(lambda ticket: "succeeded" if ticket == "t0" else None)

    def full(records):
        raise OSError(28, "No space left on device")

    job, _ = make_job(engine, 3, write=full)
    tally = job.run()
    assert tally.write_error is not None
    assert tally.done == 0
    assert tally.unsaved == 1
    log = [entry for entry in engine.log if entry[0] != "saved"]
    assert log == [("revoked", "t1"), ("revoked", "t2"), ("acknowledged", "t1"), ("acknowledged", "t2")]


def test_an_engine_that_fails_ends_the_run_with_a_line_for_each_task(make_job):
    engine = ScriptedEngine(lambda ticket: None)
    engine.failure = "shard 0 ended with exit code 1 5 times in a row"
    job, records = make_job(engine, 2)
    tally = job.run()
    assert tally.engine_error == engine.failure
    assert [(record["state"], record["message"]) for record in records] == [("lost", engine.failure)] * 2
    assert not [entry for entry in engine.log if entry[0] == "revoked"]


@pytest.mark.parametrize("state", ["failed", "lost"])
def test_failures_are_counted_by_class_with_one_example(make_job, state):
    engine = ScriptedEngine(lambda ticket: state)
    job, _ = make_job(engine, 30)
    tally = job.run()
    assert tally.failed == 30
    (example,) = tally.examples.values()
    assert example["id"] == "t0"


def test_results_that_cannot_be_written_are_safe_in_the_journal(journals, tmp_path):
    engine = ScriptedEngine(lambda name: "succeeded" if name == "t0" else None)

    def full(records):
        raise OSError(28, "No space left on device")

    tasks = [TaskSpec(f"t{number}", image="i") for number in range(3)]
    job, _, journal = job_maker(journals, engine, tasks, write=full, path=tmp_path / "j")
    tally = job.run()
    assert tally.write_error is not None
    assert (tally.states["succeeded"], tally.unsaved) == (1, 0)
    assert [record["id"] for record in journal.results()] == ["t0"]
    assert ("acknowledged", "t0") in engine.log


def test_a_journal_that_cannot_be_written_leaves_every_pod_for_whoever_takes_the_run_up(journals, tmp_path):
    engine = ScriptedEngine(lambda name: "succeeded" if name == "t0" else None)
    tasks = [TaskSpec(f"t{number}", image="i") for number in range(3)]
    job, records, journal = job_maker(journals, engine, tasks, path=tmp_path / "j")
    journal.broken = True
    tally = job.run()
    assert isinstance(tally.write_error, JournalUnwritable)
    assert (tally.done, tally.unsaved, records) == (0, 1, [])
    assert engine.log == []


def failing(times):
    """Answers `failed` for each task so many times, then `succeeded`."""
    seen = {}

    def answer(name):
        seen[name] = seen.get(name, 0) + 1
        return "failed" if seen[name] <= times else "succeeded"

    return answer


def test_a_task_with_retries_has_one_result_and_its_tries_are_saved_before_they_are_acknowledged(journals):
    engine = ScriptedEngine(failing(2))
    job, records, journal = job_maker(journals, engine, [TaskSpec("a", image="i", retries=2)])
    tally = job.run()
    assert [(record["id"], record["state"], record["tries"]) for record in records] == [("a", "succeeded", 3)]
    assert [submission.ticket for submission in engine.submitted] == ["r/a/0", "r/a/1", "r/a/2"]
    assert engine.log == [
        ("saved", "a"),
        ("acknowledged", "a"),
        ("saved", "a"),
        ("acknowledged", "a"),
        ("saved", "a"),
        ("written", "a"),
        ("acknowledged", "a"),
    ]
    assert (tally.retried, tally.resubmitted, tally.classes) == (2, 0, {})
    assert journal.entries()["a"].failures == 2


def test_higher_priorities_and_pods_that_are_there_come_first(journals):
    engine = ScriptedEngine()
    tasks = [TaskSpec("low", image="i"), TaskSpec("high", image="i", priority=5), TaskSpec("there", image="i")]
    starts = {"there": Start(Used(2, 1, 1), 0.0, Known(1, "u", True))}
    job, _, journal = job_maker(journals, engine, tasks, starts=starts)
    journal.commit(again=[Again("there", 1, 0, 1, 0.0, {}), Again("there", 2, 1, 1, 0.0, {})])
    job.run()
    assert [name_of(submission.ticket) for submission in engine.submitted] == ["there", "high", "low"]
    first = engine.submitted[0]
    assert (first.ticket, first.attempt, first.uid, first.began) == ("r/there/2", 1, "u", True)
    assert engine.submitted[1].priority == 5


@pytest.mark.parametrize(("uid", "number"), [("u", 1), (None, 0)])
def test_a_stop_that_deletes_uses_up_no_retry_and_without_a_pod_no_try(journals, uid, number):
    stop = StopRequest()

    def answer(name):
        stop.signal = signal.SIGINT

    engine = ScriptedEngine(answer)
    engine.uid = uid
    job, records, journal = job_maker(journals, engine, [TaskSpec("a", image="i")], stop=stop)
    job.run()
    assert [record["state"] for record in records] == ["revoked"]
    entry = journal.entries()["a"]
    assert (entry.ended, entry.try_number, entry.failures, entry.interrupted) == (False, number, 0, uid is None)


def test_a_stop_without_an_answer_leaves_the_task_marked_as_interrupted(journals):
    stop = StopRequest()

    def answer(name):
        stop.signal = signal.SIGINT

    engine = ScriptedEngine(answer, revocable=False)
    job, _, journal = job_maker(journals, engine, [TaskSpec("a", image="i")], stop=stop)
    assert job.run().unconfirmed == 1
    assert journal.entries()["a"].interrupted


def test_a_stop_that_leaves_revokes_nothing(journals):
    stop = StopRequest()
    engine = ScriptedEngine(lambda name: None)
    wait = engine.wait

    def and_then_stop(timeout):
        engine.reports.append(Report("r/t0/0", "pending", False, uid="u", attempt=0))
        stop.signal = signal.SIGINT
        return wait(timeout)

    engine.wait = and_then_stop
    tasks = [TaskSpec(f"t{number}", image="i") for number in range(3)]
    job, records, journal = job_maker(journals, engine, tasks, stop=stop, leave=True)
    tally = job.run()
    assert {record["id"]: record["state"] for record in records} == {
        "t0": "left",
        "t1": "not-started",
        "t2": "not-started",
    }
    assert tally.left == 1
    assert {what for what, _ in engine.log} == {"written"}
    assert journal.entries()["t0"].uid == "u"
    assert not any(entry.ended or entry.interrupted for entry in journal.entries().values())


def test_a_due_time_of_a_clock_that_was_ahead_holds_nothing_up_for_long(journals):
    engine = ScriptedEngine()
    starts = {"a": Start(Used(), time.time() + 86_400.0)}
    job, _, _ = job_maker(journals, engine, [TaskSpec("a", image="i")], starts=starts)
    waits = []
    engine.wait = waits.append
    job._hand_over()
    job._tries.wait(86_400.0)
    assert waits[0] <= 600.0
