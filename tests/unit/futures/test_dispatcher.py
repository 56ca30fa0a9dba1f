"""The dispatcher over a supervisor played by a script: who is told when, and on which thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest

from engine import until
from shard_executor import BrokenPodExecutor, TaskFailed, TaskRevoked, TaskSpec
from shard_executor.core.tries import TryLimits
from shard_executor.futures.dispatcher import Dispatcher
from shard_executor.supervisor.config import Report, Submission

LIMIT = 30.0  # seconds; far beyond what any of these tests needs


class Supervisor:
    """Remembers what was asked of it and on which threads; the test says what becomes of tickets."""

    failure = None
    pods_left: list[tuple[str, str]] = []  # noqa: RUF012
    config = SimpleNamespace(watched=("jobs",), parallelism=3)

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.threads: set[str] = set()
        self.reports: list[Report] = []
        self.news = threading.Event()
        self.over = False

    def _note(self, what: str, ticket: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.asked.append((what, ticket))

    def submit(self, submission: Submission) -> None:
        self._note("submit", submission.ticket)

    def acknowledge(self, ticket: str) -> None:
        self._note("acknowledge", ticket)

    def revoke(self, ticket: str) -> None:
        self._note("revoke", ticket)

    def drain(self) -> list[Report]:
        self.news.clear()
        reports, self.reports = self.reports, []
        return reports

    def wait(self, timeout: float) -> bool:
        return self.news.wait(min(timeout, 0.01))

    def stats(self) -> list[Any]:
        return []

    @property
    def open_tickets(self) -> int:
        return 0

    def end(self, timeout: float) -> None:
        self.over = True

    # ---- the test's side

    def tell(self, ticket: str, state: str, failure_class: str | None = None) -> None:
        """Reports once the ticket was submitted."""
        until(lambda: ("submit", ticket) in self.asked, f"{ticket} is submitted", LIMIT)
        self.reports.append(Report(ticket, state, state not in ("pending", "running"), failure_class, pod="p"))
        self.news.set()


class Scene:
    """A dispatcher with its supervisor."""

    def __init__(self, retry_delay: float) -> None:
        self.supervisor = Supervisor()
        self.refused: Exception | None = None
        self.dispatcher = Dispatcher(
            self.supervisor,  # type: ignore[arg-type]
            self.make,
            TryLimits(retries=1, retry_delay=retry_delay),
            parallelism=3,
            access_timeout=None,
            on_end=lambda: None,
        )
        self.dispatcher.start()

    def make(self, task: TaskSpec, number: int) -> Submission:
        if number and self.refused is not None:
            raise self.refused
        ticket = f"r/{task.id}/{number}"
        return Submission(ticket, 0, "jobs", task.id, ticket, "{}")

    def submit(self, task_id: str) -> Any:
        return self.dispatcher.submit(TaskSpec(task_id, image="i"))


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Retries wait as many seconds as the fixture's parameter says, or not at all."""
    scene = Scene(getattr(request, "param", 0.0))
    yield scene
    scene.dispatcher.stop(0.0)
    assert scene.dispatcher.ended.wait(LIMIT)
    assert scene.supervisor.over
    assert scene.supervisor.threads <= {"shard-executor-futures"}


def test_a_future_is_told_of_the_last_try_only(scene: Scene) -> None:
    future, told = scene.submit("a"), []
    future.add_done_callback(lambda done: told.append(list(scene.supervisor.asked)))
    assert not future.running()
    scene.supervisor.tell("r/a/0", "running")
    until(future.running, "the future runs", LIMIT)
    scene.supervisor.tell("r/a/0", "failed", "container-error")
    scene.supervisor.tell("r/a/1", "pending")
    assert (future.running(), future.done(), told) == (True, False, [])
    assert ("acknowledge", "r/a/0") in scene.supervisor.asked
    scene.supervisor.tell("r/a/1", "failed", "container-error")
    failure = future.exception(LIMIT)
    assert isinstance(failure, TaskFailed)
    assert (failure.id, failure.tries) == ("a", 2)
    until(lambda: ("acknowledge", "r/a/1") in scene.supervisor.asked, "the last try is acknowledged", LIMIT)
    assert len(told) == 1
    assert ("acknowledge", "r/a/1") not in told[0]  # its pod stays until the callbacks have run


def test_a_future_whose_pods_never_ran_stays_pending(scene: Scene) -> None:
    future = scene.submit("a")
    scene.supervisor.tell("r/a/0", "failed", "image-error")
    scene.supervisor.tell("r/a/1", "pending")
    assert not future.running()
    assert future.cancel()
    assert wait([future], LIMIT).not_done == set()
    until(lambda: ("revoke", "r/a/1") in scene.supervisor.asked, "its pod is revoked", LIMIT)
    scene.supervisor.tell("r/a/1", "revoked", "revoked")
    until(lambda: ("acknowledge", "r/a/1") in scene.supervisor.asked, "that is acknowledged", LIMIT)


def test_a_cancelled_task_that_was_not_handed_over_never_is(scene: Scene) -> None:
    ahead = [scene.submit(f"t{n}") for n in range(506)]  # all that are handed over at a time
    late = scene.submit("late")
    until(lambda: len(scene.supervisor.asked) == len(ahead), "they are handed over", LIMIT)
    assert late.cancel()
    assert wait([late], LIMIT).not_done == set()
    scene.supervisor.tell("r/t0/0", "succeeded")
    assert ahead[0].result(LIMIT).id == "t0"
    last = scene.submit("last")
    scene.supervisor.tell("r/last/0", "succeeded")
    assert last.result(LIMIT).id == "last"
    assert ("submit", "r/late/0") not in scene.supervisor.asked


def test_the_end_of_a_stop_says_how_often_a_task_was_submitted(scene: Scene) -> None:
    future = scene.submit("a")
    scene.supervisor.tell("r/a/0", "running")
    scene.supervisor.tell("r/a/0", "failed", "drained")
    scene.supervisor.tell("r/a/1", "running")
    scene.dispatcher.stop(0.0)
    failure = future.exception(LIMIT)
    assert isinstance(failure, TaskRevoked)
    assert "not confirmed" in str(failure)
    assert (failure.tries, failure.disruptions) == (2, 1)


@pytest.mark.parametrize("scene", [3000.0], indirect=True)
def test_a_task_that_waits_for_its_next_try_is_counted_and_ended_by_a_stop(scene: Scene) -> None:
    future = scene.submit("a")
    assert "retrying" not in scene.dispatcher.describe()["totals"]
    scene.supervisor.tell("r/a/0", "running")
    scene.supervisor.tell("r/a/0", "failed", "container-error")
    until(lambda: scene.dispatcher.describe()["totals"].get("retrying") == 1, "it waits for its next try", LIMIT)
    totals = scene.dispatcher.describe()["totals"]
    assert (totals["total"], totals["done"], totals["failed"], totals["waiting"]) == (1, 0, 0, 1)
    scene.dispatcher.stop(LIMIT)
    failure = future.exception(LIMIT)
    assert isinstance(failure, TaskRevoked)
    assert "before its next try" in str(failure)
    assert (failure.tries, scene.supervisor.asked[-1]) == (1, ("acknowledge", "r/a/0"))


def test_tasks_that_can_be_prepared_no_more_break_the_executor(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.refused = ValueError("no such thing")
    futures = [scene.submit("a"), scene.submit("b")]
    scene.supervisor.tell("r/a/0", "failed", "container-error")
    for future in futures:
        failure = future.exception(LIMIT)
        assert isinstance(failure, BrokenPodExecutor)
        assert "no such thing" in str(failure)
    with pytest.raises(BrokenPodExecutor, match="no such thing"):
        scene.submit("c")
    assert ("acknowledge", "r/a/0") not in scene.supervisor.asked
    assert "pods are left as they are" in caplog.text
