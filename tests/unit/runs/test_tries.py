"""Tasks in tries, over an engine played by a script: one ticket a try, nothing let go before it is settled."""

from __future__ import annotations

import random

import pytest

from shard_executor.core.tries import Then, TryLimits, Used
from shard_executor.runs.tries import RETRYING, News, Tries
from shard_executor.supervisor.config import Report, Submission


class Engine:
    """Remembers what was asked of it; the test puts reports in."""

    failure = None
    open_tickets = 0
    pods_left: list[tuple[str, str]] = []  # noqa: RUF012

    def __init__(self):
        self.submitted, self.acknowledged, self.revoked, self.reports, self.waits = [], [], [], [], []

    def submit(self, submission):
        self.submitted.append(submission.ticket)

    def drain(self):
        reports, self.reports = self.reports, []
        return reports

    def wait(self, timeout):
        self.waits.append(timeout)
        return False

    def acknowledge(self, ticket):
        self.acknowledged.append(ticket)

    def revoke(self, ticket):
        self.revoked.append(ticket)

    def stats(self):
        return []

    def end(self, ticket, failure=None, state=None):
        self.reports.append(Report(ticket, state or ("failed" if failure else "succeeded"), True, failure, "R"))


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


LIMITS = TryLimits(retries=1, retry_delay=8.0, disruption_retries=2)


@pytest.fixture
def at():
    engine, clock = Engine(), Clock()
    return engine, clock, Tries(engine, LIMITS, rng=random.Random(1), clock=clock)


def maker(task_id):
    return lambda number: Submission(f"r/{task_id}/{number}", 0, "jobs", task_id, f"r/{task_id}/{number}", "{}")


def settle_all(tries) -> list[News]:
    news = tries.drain()
    for item in news:
        if item.report.terminal:
            tries.settle(item)
    return news


def test_success_ends_a_task_once_it_is_settled(at):
    engine, _, tries = at
    tries.submit("a", maker("a"))
    engine.reports.append(Report("r/a/0", "running", False))
    engine.end("r/a/0")
    running, done = tries.drain()
    assert (running.final, done.final, done.task_id) == (False, True, "a")
    assert engine.acknowledged == []
    assert "a" in tries
    tries.settle(done)
    assert engine.acknowledged == ["r/a/0"]
    assert (len(tries), tries.under_way) == (0, 0)


def test_a_failure_is_tried_again_after_its_delay_and_not_before(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"))
    engine.end("r/a/0", "container-error")
    (first,) = settle_all(tries)
    assert first.next_try is not None
    assert (first.final, first.next_try.used, first.next_try.then) == (False, Used(1, 1, 0), Then.RETRY)
    assert (tries.states(), tries.under_way, tries.retrying) == ({RETRYING: 1}, 0, 1)
    assert first.tries == 1
    tries.wait(0.5)
    tries.wait(60.0)
    assert engine.waits == [0.5, pytest.approx(first.next_try.delay)]
    clock.now += first.next_try.delay - 0.01
    tries.drain()
    assert engine.submitted == ["r/a/0"]
    clock.now += 0.02
    tries.drain()
    assert engine.submitted == ["r/a/0", "r/a/1"]
    engine.end("r/a/1", "container-error")
    (second,) = settle_all(tries)
    assert second.final
    assert second.used == Used(1, 1, 0)
    assert second.tries == 2
    assert (len(tries), tries.retrying) == (0, 0)


def test_the_next_try_waits_for_the_settling_of_the_last(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"), retries=3)
    engine.end("r/a/0", "oom-killed")
    (news,) = tries.drain()
    clock.now += 1000
    assert tries.drain() == []
    assert engine.submitted == ["r/a/0"]
    tries.settle(news)
    clock.now += 1000
    tries.drain()
    assert engine.submitted == ["r/a/0", "r/a/1"]


def test_disruptions_leave_the_retries_alone(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"))
    for number, failure in enumerate(["drained", "container-error", "evicted"]):
        engine.end(f"r/a/{number}", failure)
        settle_all(tries)
        clock.now += 1000
        tries.drain()
    assert engine.submitted == [f"r/a/{number}" for number in range(4)]
    engine.end("r/a/3")
    (done,) = settle_all(tries)
    assert (done.final, done.used) == (True, Used(3, 1, 2))


def test_tries_that_are_due_wait_for_room():
    engine, clock = Engine(), Clock()
    tries = Tries(engine, LIMITS, rng=random.Random(1), clock=clock, ahead=2)
    for name in ("a", "b"):
        tries.submit(name, maker(name))
        engine.end(f"r/{name}/0", "container-error")
    settle_all(tries)
    for name in ("c", "d"):
        tries.submit(name, maker(name))
    assert not tries.has_room
    clock.now += 1000
    tries.drain()
    tries.wait(0.5)
    assert engine.waits == [0.5]  # what is due but has no room wakes nobody
    assert engine.submitted == ["r/a/0", "r/b/0", "r/c/0", "r/d/0"]
    engine.end("r/c/0")
    settle_all(tries)
    tries.drain()
    assert engine.submitted[4:] in (["r/a/1"], ["r/b/1"])


def test_what_earlier_processes_used_counts(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"), used=Used(4, 1, 2), delay=30.0)
    assert engine.submitted == []
    clock.now += 30.0
    tries.drain()
    assert engine.submitted == ["r/a/4"]
    engine.end("r/a/4", "evicted")
    (news,) = tries.drain()
    assert news.final


def test_a_revoked_task_is_not_tried_again(at):
    engine, _, tries = at
    tries.submit("a", maker("a"), retries=5)
    tries.revoke("a")
    tries.revoke("a")
    assert engine.revoked == ["r/a/0"]
    engine.end("r/a/0", "container-error")  # before the revocation came
    (failed,) = settle_all(tries)
    assert failed.next_try is not None  # whoever takes the run up again has to know
    (revoked,) = settle_all(tries)
    assert (revoked.final, revoked.report.state) == (True, "revoked")
    assert engine.submitted == ["r/a/0"]


def test_the_last_try_of_a_revoked_task_may_end_as_it_does(at):
    engine, _, tries = at
    tries.submit("a", maker("a"), retries=0)
    tries.submit("b", maker("b"))
    tries.revoke("a")
    tries.revoke("b")
    engine.end("r/a/0", "container-error")
    engine.end("r/b/0")
    assert [(news.final, news.report.state) for news in settle_all(tries)] == [(True, "failed"), (True, "succeeded")]


def test_a_task_that_waits_for_its_next_try_is_revoked_at_once(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"))
    engine.end("r/a/0", "container-error")
    settle_all(tries)
    tries.revoke("a")
    tries.wait(60.0)
    assert engine.waits == []  # there is news
    (news,) = settle_all(tries)
    assert (news.report.state, news.final) == ("revoked", True)
    assert (news.used.try_number, news.tries) == (1, 1)  # the second was never made
    assert "container-error (R)" in (news.report.message or "")
    clock.now += 1000
    tries.drain()
    assert engine.submitted == ["r/a/0"]
    assert engine.acknowledged == ["r/a/0"]
    assert len(tries) == 0


def test_a_revocation_between_report_and_settling_ends_the_task(at):
    engine, _, tries = at
    tries.submit("a", maker("a"))
    engine.end("r/a/0", "container-error")
    (news,) = tries.drain()
    tries.revoke("a")
    tries.settle(news)
    (after,) = settle_all(tries)
    assert after.report.state == "revoked"
    assert len(tries) == 0


def test_nothing_begins_after_a_halt(at):
    engine, clock, tries = at
    tries.submit("a", maker("a"))
    tries.submit("b", maker("b"))
    engine.end("r/a/0", "container-error")
    settle_all(tries)
    tries.halt()
    clock.now += 1000
    engine.end("r/b/0", "container-error")
    (news,) = settle_all(tries)
    assert news.next_try is not None
    clock.now += 1000
    assert settle_all(tries) == []
    assert engine.submitted == ["r/a/0", "r/b/0"]
    assert tries.states() == {RETRYING: 2}


def test_a_pod_that_an_earlier_process_was_deleting_uses_nothing_up_when_it_is_deleted(at):
    engine, _, tries = at
    tries.submit("a", maker("a"), used=Used(3, 1, 2), interrupted=True)
    engine.end("r/a/3", "deleted", "lost")
    (news,) = settle_all(tries)
    assert (news.next_try.used, news.next_try.delay, news.next_try.then) == (Used(4, 1, 2), 0.0, Then.ANEW)
    tries.drain()
    assert engine.submitted == ["r/a/3", "r/a/4"]
    engine.end("r/a/4", "deleted", "lost")  # by somebody else: its one retry is used up
    (news,) = settle_all(tries)
    assert news.final


def test_what_else_becomes_of_such_a_pod_is_its_own(at):
    engine, _, tries = at
    tries.submit("a", maker("a"), interrupted=True)
    tries.submit("b", maker("b"), interrupted=True)
    engine.end("r/a/0")
    engine.end("r/b/0", "container-error")
    well, badly = settle_all(tries)
    assert well.final
    assert badly.next_try.then is Then.RETRY


def test_reports_of_strangers_and_of_tries_that_are_over_say_nothing(at):
    engine, _, tries = at
    tries.submit("a", maker("a"))
    engine.end("r/x/0")
    engine.end("r/a/0", "container-error")
    settle_all(tries)
    engine.end("r/a/0")
    assert tries.drain() == []


def test_a_task_is_open_once(at):
    _, _, tries = at
    tries.submit("a", maker("a"))
    with pytest.raises(ValueError, match="'a' is open already"):
        tries.submit("a", maker("a"))


def test_a_forgotten_end_leaves_its_pod_alone(at):
    engine, _, tries = at
    tries.submit("a", maker("a"))
    engine.end("r/a/0")
    (news,) = tries.drain()
    tries.forget(news)
    assert (len(tries), engine.acknowledged) == (0, [])
