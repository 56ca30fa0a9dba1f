"""`PodExecutor` with its real engine: tasks that are run again, by retries and after disruptions, and how they end."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import outcome, pods, until
from executing import executing, sleeper, task
from shard_executor import PodExecutor, TaskFailed, TaskFuture, TaskResult, TaskRevoked, TaskSpec
from shard_executor.devcluster.process import DevClusterProcess

LIMIT = 60.0  # seconds; far beyond what any of these tests needs
SOON, NEVER = 0.05, 3000.0  # retry delays in seconds; the second is far beyond LIMIT


class Diary:
    """A file in which every try of a task writes a line when it begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def task(self, name: str, first: str, then: str = "true", **fields: Any) -> TaskSpec:
        """A task whose first try does one thing and whose others do another."""
        script = f'echo >>"$0"; if [ $(wc -l <"$0") = 1 ]; then {first}; else {then}; fi'
        return task(name, "sh", "-c", script, str(self.path), **fields)

    @property
    def tries(self) -> int:
        return self.path.read_text().count("\n") if self.path.exists() else 0


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


def test_a_task_that_fails_once_is_run_again(real: DevClusterProcess, diary: Diary) -> None:
    with executing(real, retry_delay=SOON) as executor:
        future = executor.submit(diary.task("shaky", "exit 3", retries=1))
        seen: set[str] = set()
        future.add_done_callback(lambda done: seen.update(pod["metadata"]["name"] for pod in pods(real)))
        result = future.result(LIMIT)
        assert (result.tries, result.disruptions, result.attempt, diary.tries) == (2, 0, 0, 2)
        until(lambda: seen, "the callback has run")
        assert result.pod in seen  # its own pod is there until the callbacks have run
        assert pickle.loads(pickle.dumps(result)) == result
    assert pods(real) == []


def test_a_task_that_fails_more_often_than_it_may_has_failed(real: DevClusterProcess, diary: Diary) -> None:
    with executing(real, retries=2, retry_delay=0) as executor:
        script = 'echo >>"$0"; wc -l <"$0"; exit 5'
        future = executor.submit("sh", "-c", script, str(diary.path), id="bad", image="x")
        once = executor.submit(task("once", "false", retries=0))  # what the task says wins
        failure = future.exception(LIMIT)
        assert isinstance(failure, TaskFailed)
        assert (failure.tries, failure.disruptions, failure.exit_code, diary.tries) == (3, 0, 5, 3)
        assert failure.log_tail is not None
        assert failure.log_tail.split() == ["3"]  # all it says is of the last try
        assert f"in pod default/{failure.pod} on try 3: container-error" in str(failure)
        assert vars(pickle.loads(pickle.dumps(failure))) == vars(failure)
        problem = once.exception(LIMIT)
        assert isinstance(problem, TaskFailed)
        assert problem.tries == 1
        assert " try " not in str(problem)
    assert pods(real) == []


@pytest.mark.parametrize("kind", ["evict", "preempt", "pressure", "drain"])
def test_a_disruption_uses_no_retry(real: DevClusterProcess, diary: Diary, kind: str) -> None:
    with executing(real) as executor:
        future = executor.submit(diary.task("disturbed", "exec sleep 600"))
        until(lambda: future.running() and diary.tries, "the task runs")
        real.fault(kind)
        if kind == "drain":
            real.fault("recover-node", node="dev-node-0")
        result = future.result(LIMIT)
        assert (result.tries, result.disruptions, diary.tries) == (2, 1, 2)
    assert pods(real) == []


def test_without_disruption_retries_a_disruption_is_a_failure(real: DevClusterProcess, diary: Diary) -> None:
    with executing(real, disruption_retries=0, retry_delay=SOON) as executor:
        lost = executor.submit(sleeper("lost"))
        retried = executor.submit(diary.task("retried", "exec sleep 600", retries=1))
        until(lambda: lost.running() and retried.running() and diary.tries, "both tasks run")
        real.fault("evict")
        failure = lost.exception(LIMIT)
        assert isinstance(failure, TaskFailed)
        assert (failure.failure_class, failure.tries, failure.disruptions) == ("drained", 1, 0)
        result = retried.result(LIMIT)
        assert (result.tries, result.disruptions) == (2, 0)
    assert pods(real) == []


@contextmanager
def between_tries(cluster: DevClusterProcess, diary: Diary, **settings: Any) -> Iterator[tuple[PodExecutor, Any, Any]]:
    """An executor with a task that ran and one that never began; both have failed and wait for their next try."""
    with executing(cluster, retries=1, **settings) as executor:
        ran = executor.submit(diary.task("ran", "exit 3"))
        pending = executor.submit(task("pending", "/no/such/program"))
        until(
            lambda: cluster.stats()["requests"].get("create pods", 0) >= 2 and not pods(cluster),
            "both tasks have failed and their pods are deleted",
        )
        assert (ran.running(), ran.done()) == (True, False)
        assert (pending.running(), pending.done()) == (False, False)
        yield executor, ran, pending
    assert pods(cluster) == []


def check_end_between_tries(ran: TaskFuture, diary: Diary) -> None:
    failure = ran.exception(LIMIT)
    assert isinstance(failure, TaskRevoked)
    assert "before its next try; its last one ended as container-error" in str(failure)
    assert (failure.tries, failure.exit_code, diary.tries) == (1, 3, 1)
    assert failure.pod.startswith("ran-")


def test_a_task_that_waits_for_its_next_try_is_ended_at_once(real: DevClusterProcess, diary: Diary) -> None:
    with between_tries(real, diary, retry_delay=NEVER) as (executor, ran, pending):
        assert not ran.cancel()  # as the standard library has it: its future is running
        assert executor.cancel(ran)
        check_end_between_tries(ran, diary)
        assert pending.cancel()
        assert wait([pending], LIMIT).not_done == set()
        with pytest.raises(CancelledError):
            pending.result()
        assert not executor.cancel(ran)
        assert executor.submit(task("after")).result(LIMIT).tries == 1


def test_a_stop_ends_tasks_that_wait_for_their_next_try(real: DevClusterProcess, diary: Diary) -> None:
    with between_tries(real, diary, retry_delay=NEVER) as (executor, ran, pending):
        running = executor.submit(sleeper("running"))
        until(running.running, "a third task runs")
        executor.stop()
        check_end_between_tries(ran, diary)
        assert pending.cancelled()
        assert isinstance(running.exception(0), TaskRevoked)


def test_a_shutdown_that_cancels_lets_tasks_that_began_have_their_tries(real: DevClusterProcess, diary: Diary) -> None:
    with between_tries(real, diary, retry_delay=10.0) as (executor, ran, pending):
        executor.shutdown(cancel_futures=True)
        assert pending.cancelled()
        assert ran.result(0).tries == diary.tries == 2


def test_results_keep_the_tasks_order_however_often_they_are_run(real: DevClusterProcess, tmp_path: Path) -> None:
    def tasks(letter: str) -> list[TaskSpec]:
        diaries = [Diary(tmp_path / f"{letter}{n}") for n in range(6)]
        return [diary.task(f"{letter}{n}", "exit 3" if n % 2 else "true") for n, diary in enumerate(diaries)]

    with executing(real, retries=1, retry_delay=SOON) as executor:
        results = list(executor.map(tasks("a"), timeout=LIMIT))
        assert [(result.id, result.tries) for result in results] == [(f"a{n}", 1 + n % 2) for n in range(6)]
        futures = [executor.submit(each) for each in tasks("b")]
        done = [future.result() for future in as_completed(futures, LIMIT)]
        assert sorted((result.id, result.tries) for result in done) == [(f"b{n}", 1 + n % 2) for n in range(6)]
        failing = [task("c0"), task("c1", "false"), task("c2")]
        found = list(executor.map(failing, return_exceptions=True, timeout=LIMIT))
        assert [(type(each), each.tries) for each in found] == [(TaskResult, 1), (TaskFailed, 2), (TaskResult, 1)]


MIXED = ("--mix", "fail=0.2", "--mix", "drain=0.05", "--mix", "evict=0.05")
SIMULATED = ("--kubelet", "simulated", "--capacity", "10000", "--start-seconds", "0.05", "--run-seconds", "0.5")


def test_tries_outlive_a_killed_shard() -> None:
    with DevClusterProcess([*SIMULATED, *MIXED]) as cluster:
        with executing(cluster, retries=50, retry_delay=SOON, disruption_retries=50) as executor:
            futures = [executor.submit(task(f"t{n}")) for n in range(150)]
            next(as_completed(futures, LIMIT))
            os.kill(executor.stats()[0].pid, signal.SIGKILL)
            assert wait(futures, LIMIT).not_done == set()
            results = [future.result(0) for future in futures]
            assert sum(result.disruptions for result in results) > 0
            assert sum(result.tries - result.disruptions - 1 for result in results) > 0
        assert pods(cluster) == []
        assert cluster.stats()["kubelet"]["finished"] == sum(result.tries for result in results)  # a pod a try


def test_no_pod_of_a_kept_failure_is_in_the_way_of_the_next_try(simulated: DevClusterProcess) -> None:
    with executing(simulated, retries=2, retry_delay=0, keep_pods="failed") as executor:
        failure = executor.submit(task("bad", annotations=outcome("fail"))).exception(LIMIT)
        assert isinstance(failure, TaskFailed)
    assert len({pod["metadata"]["name"] for pod in pods(simulated)}) == failure.tries == 3


def test_signal_handlers_may_cancel_and_submit(simulated: DevClusterProcess) -> None:
    """Wherever in the executor or in the caller's waiting they strike."""
    futures: list[TaskFuture] = []
    own: list[TaskFuture] = []
    strikes = itertools.count()

    def strike(*_: object) -> None:
        number = next(strikes)
        if futures:
            executor.cancel(futures[number * 7 % len(futures)])  # each in its turn
        if number < 100:
            own.append(executor.submit(task(f"own{number}")))

    with executing(simulated, parallelism=50) as executor:
        before = signal.signal(signal.SIGALRM, strike)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            for n in range(400):
                futures.append(executor.submit(task(f"t{n}", annotations=outcome("hang"))))
            assert wait(futures, LIMIT).not_done == set()
            until(lambda: len(own) == 100, "the handler has been called often enough")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert wait(own, LIMIT).not_done == set()
    assert sorted(future.result(0).id for future in own) == sorted(f"own{n}" for n in range(100))
    assert all(future.cancelled() or isinstance(future.exception(0), TaskRevoked) for future in futures)
    assert pods(simulated) == []
