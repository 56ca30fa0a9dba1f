"""`PodExecutor` with its real engine on development clusters: every future ends once, however its task ends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import outcome, pods, until
from executing import executing, sleeper, task
from shard_executor import BrokenPodExecutor, ClusterError, PodExecutor, TaskError, TaskFailed, TaskResult
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.futures.outcome import TaskRevoked
from shard_executor.pods.template import TemplateError
from shard_executor.supervisor import ConfigError
from shard_executor.supervisor.credentials import CredentialError

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds; far beyond what any of these tests needs


def test_results_and_failures_come_through_futures(real: DevClusterProcess) -> None:
    with executing(real) as executor:
        assert isinstance(executor, Executor)
        good = executor.submit(task("good"))
        bad = executor.submit("sh", "-c", "echo no luck >&2; exit 3", id="bad", image="example/task:1")
        assert set(as_completed([good, bad], LIMIT)) == {good, bad}
        result = good.result()
        assert isinstance(result, TaskResult)
        assert (result.id, result.namespace, result.exit_code, result.attempt) == ("good", "default", 0, 0)
        assert result.pod.startswith("good-")
        assert result.times.keys() >= {"submitted", "created", "started", "finished", "reported"}
        assert result.seconds is not None
        failure = bad.exception()
        assert isinstance(failure, TaskFailed)
        assert (failure.id, failure.failure_class, failure.exit_code) == ("bad", "container-error", 3)
        assert bad.task.command == ("sh", "-c", "echo no luck >&2; exit 3")
        for shown in (failure, pickle.loads(pickle.dumps(failure))):
            assert type(shown) is TaskFailed
            assert all(words in str(shown) for words in ("'bad'", f"default/{failure.pod}", "exit code 3", "no luck"))
            assert shown.__dict__ == failure.__dict__
        assert pickle.loads(pickle.dumps(result)) == result
    assert pods(real) == []


def test_many_tasks_each_once_and_nothing_left(simulated: DevClusterProcess) -> None:
    with executing(simulated, parallelism=50) as executor:
        futures = [executor.submit(task(f"t{n}")) for n in range(800)]  # more than are handed over at once
        done, open_ones = wait(futures, LIMIT)
        assert not open_ones
    assert sorted(future.result().id for future in done) == sorted(f"t{n}" for n in range(800))
    assert simulated.stats()["kubelet"]["finished"] == 800
    assert pods(simulated) == []


def test_map_keeps_the_order_and_raises_the_first_failure(simulated: DevClusterProcess) -> None:
    fails = {"annotations": outcome("fail", exit_code="4")}
    with executing(simulated) as executor:
        assert [result.id for result in executor.map(task(f"a{n}") for n in range(9))] == [f"a{n}" for n in range(9)]
        mixed = [task("b0"), task("b1", **fails), task("b2")]
        found = list(executor.map(mixed, return_exceptions=True, timeout=LIMIT))
        assert [type(each) for each in found] == [TaskResult, TaskFailed, TaskResult]
        results = executor.map([task("c0"), task("c1", **fails), task("c2")])
        assert next(results).id == "c0"
        with pytest.raises(TaskFailed, match="'c1' failed"):
            next(results)
        with pytest.raises(TimeoutError):
            next(executor.map([task("late")], timeout=0))
        with pytest.raises(TaskError, match="'c0'"):
            executor.map([task("d0"), task("c0")])


def test_a_task_that_has_not_begun_is_cancelled_and_its_pod_goes(simulated: DevClusterProcess) -> None:
    pending = {"annotations": outcome("stuck")}
    with executing(simulated, parallelism=2) as executor:
        futures = [executor.submit(task(f"t{n}", **pending)) for n in range(5)]
        until(lambda: len(pods(simulated)) == 2, "two pods are created")
        told: list[str] = []
        for future in futures:
            future.add_done_callback(lambda done: told.append(done.task.id))
            assert future.cancel()
            assert future.cancelled()
        assert wait(futures, LIMIT).not_done == set()
        assert told == [f"t{n}" for n in range(5)]
        with pytest.raises(CancelledError):
            futures[0].result()
        assert executor.submit(task("after")).result(LIMIT).id == "after"  # there is room again
    assert pods(simulated) == []


def test_a_running_task_is_ended_by_the_executor_only(real: DevClusterProcess) -> None:
    with executing(real) as executor:
        future = executor.submit(sleeper("long"))
        until(future.running, "the task runs")
        assert not future.cancel()
        assert executor.cancel(future)
        with pytest.raises(CancelledError) as caught:
            future.result(LIMIT)
        assert isinstance(caught.value, TaskRevoked)
        assert caught.value.failure_class == "revoked"
        assert type(pickle.loads(pickle.dumps(caught.value))) is TaskRevoked
        assert not executor.cancel(future)
        with pytest.raises(ValueError, match="not one of this executor's"):
            executor.cancel(Future())
        with (
            PodExecutor(kubeconfig=real.kubeconfig) as other,
            pytest.raises(ValueError, match="not one of this executor's"),
        ):
            other.cancel(future)
    assert pods(real) == []


def test_a_pod_stays_until_the_callbacks_of_its_future_have_run(simulated: DevClusterProcess) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def look(future: Future[TaskResult]) -> None:
        begun.set()
        go_on.wait(LIMIT)

    with executing(simulated) as executor:
        executor.submit(task("a")).add_done_callback(look)
        assert begun.wait(LIMIT)
        assert len(pods(simulated)) == 1
        go_on.set()
        until(lambda: pods(simulated) == [], "the pod is deleted")


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)])
def test_a_callback_that_raises_does_not_stop_the_others(
    simulated: DevClusterProcess, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(future: Future[TaskResult]) -> None:
        raise error

    with executing(simulated) as executor:
        spoilt = executor.submit(task("spoilt"))
        spoilt.add_done_callback(spoil)
        assert spoilt.result(LIMIT).id == "spoilt"
        assert executor.submit(task("next")).result(LIMIT).id == "next"
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)
    assert pods(simulated) == []


def test_a_future_that_the_caller_set_harms_no_other(simulated: DevClusterProcess) -> None:
    with executing(simulated) as executor:
        spoilt, other = executor.submit(task("spoilt")), executor.submit(task("other"))
        spoilt.set_exception(KeyError("mine"))
        assert other.result(LIMIT).id == "other"
        assert isinstance(spoilt.exception(0), KeyError)
    assert pods(simulated) == []


def test_a_callback_may_submit_cancel_and_shut_down_but_not_wait(simulated: DevClusterProcess) -> None:
    seen: list[Any] = []

    def follow(future: Future[TaskResult]) -> None:
        seen.append(executor.submit(task("second")))
        executor.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="wait=False"):
            executor.shutdown()
        seen.append("shut down")

    with executing(simulated) as executor:
        executor.submit(task("first")).add_done_callback(follow)
        until(lambda: len(seen) == 2, "the callback has run")
        assert seen[0].result(LIMIT).id == "second"


def test_what_cannot_be_submitted_is_refused_at_once(simulated: DevClusterProcess, tmp_path: Path) -> None:
    elsewhere = tmp_path / "pod.yaml"
    elsewhere.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {namespace: other}\nspec: {containers: [{name: base}]}\n"
    )
    executor = PodExecutor(kubeconfig=simulated.kubeconfig)
    with pytest.raises(TaskError, match="no image"):
        executor.submit("true")
    assert executor.stats() == [], "a refused task has started the executor"
    with executor:
        executor.submit(task("a"))
        with pytest.raises(TaskError, match="submitted before"):
            executor.submit(task("a"))
        with pytest.raises(TypeError, match="no callables"):
            executor.submit(print, "x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="no further arguments"):
            executor.submit(task("b"), "x")
        with pytest.raises(TypeError, match="map takes TaskSpecs"):
            executor.map(["true"])  # type: ignore[list-item]
        with pytest.raises(TemplateError, match="no such file"):
            executor.submit(task("c", template="no-such-file.yaml"))
        with pytest.raises(TemplateError, match="other"):
            executor.submit(task("c", template=str(elsewhere)))
        assert executor.submit(task("c")).result(LIMIT).id == "c"
    for late in (lambda: executor.submit(task("d")), executor.start):
        with pytest.raises(RuntimeError, match="after shutdown"):
            late()
    executor.shutdown()
    never = PodExecutor()
    never.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        never.submit(task("a"))


@pytest.mark.parametrize(
    "settings",
    [
        {"parallelism": 0},
        {"parallelism": None},
        {"shards": 0},
        {"log_tail": -1},
        {"retries": -1},
        {"retries": True},
        {"retry_delay": -0.1},
        {"retry_delay": float("nan")},
        {"retry_delay": "10"},
        {"disruption_retries": 1.5},
        {"disruption_retries": -1},
        {"keep_pods": "some"},
        {"run_id": "no spaces"},
        {"namespace": "Upper"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        PodExecutor(**settings)


def test_a_template_and_kept_pods(simulated: DevClusterProcess) -> None:
    template = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"team": "data"}},
        "spec": {"containers": [{"name": "base", "image": "example/task:2"}]},
    }
    with executing(simulated, template=template, keep_pods="failed", run_id="mine") as executor:
        good = executor.submit("true")
        bad = executor.submit("true", annotations=outcome("fail"))
        wait([good, bad], LIMIT)
        assert [future.task.id for future in (good, bad)] == ["task-1", "task-2"]
    (left,) = pods(simulated)
    assert left["metadata"]["name"] == bad.exception().pod
    assert left["metadata"]["labels"]["team"] == "data"
    assert left["metadata"]["labels"]["shard-executor/owner"] == "mine"
    assert left["spec"]["containers"][0]["image"] == "example/task:2"


def test_without_a_usable_cluster_nothing_starts_and_it_may_be_tried_again(
    simulated: DevClusterProcess, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    executor = PodExecutor(kubeconfig=config)
    with pytest.raises(CredentialError, match="config"):
        executor.submit(task("a"))
    config.write_text(simulated.kubeconfig.read_text())
    assert executor.submit(task("a")).result(LIMIT).id == "a"
    executor.shutdown()
    absent = PodExecutor(kubeconfig=config, namespace="absent")
    with pytest.raises(ClusterError, match=r"'absent' does not exist.* namespace") as caught:
        absent.start()
    assert "--" not in str(caught.value)


def test_a_shutdown_without_waiting_lets_tasks_end(simulated: DevClusterProcess) -> None:
    with executing(simulated) as executor:
        future = executor.submit(task("a"))
        executor.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(task("b"))
        assert future.result(LIMIT).id == "a"
    assert pods(simulated) == []


def test_a_shutdown_that_cancels_leaves_running_tasks_alone(simulated: DevClusterProcess) -> None:
    with executing(simulated, parallelism=1) as executor:
        first = executor.submit(task("first", annotations=outcome("ok", run_seconds="2")))
        others = [executor.submit(task(f"t{n}")) for n in range(3)]
        until(first.running, "the first task runs")
        executor.shutdown(cancel_futures=True)
        assert first.result(0).id == "first"
        assert all(future.cancelled() for future in others)
    assert pods(simulated) == []


def test_an_exception_in_the_block_ends_every_pod(real: DevClusterProcess) -> None:
    futures = []

    def work() -> None:
        with executing(real, parallelism=2) as executor:
            futures.extend(executor.submit(sleeper(f"t{n}")) for n in range(5))
            until(lambda: sum(future.running() for future in futures) == 2, "two tasks run")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    ends = [future.cancelled() or type(future.exception(0)) for future in futures]
    assert sorted(map(str, ends)) == sorted(map(str, [True, True, True, TaskRevoked, TaskRevoked]))
    assert pods(real) == []


def test_a_stop_is_bounded_when_deletes_are_refused(real: DevClusterProcess) -> None:
    with executing(real, stop_timeout=1.0) as executor:
        future = executor.submit(sleeper("stuck"))
        until(future.running, "the task runs")
        real.fault("error", verb="delete", code=500)
        executor.stop()
        assert "not confirmed" in str(future.exception(0))
        assert isinstance(future.exception(0), TaskRevoked)
    assert len(pods(real)) == 1


def test_a_failed_engine_ends_every_future(simulated: DevClusterProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with executing(simulated, parallelism=3) as executor:
        futures = [executor.submit(task(f"t{n}", annotations=outcome("hang"))) for n in range(6)]
        until(lambda: sum(future.running() for future in futures) == 3, "three tasks run")
        monkeypatch.setattr(sys, "executable", "/bin/false")  # shards can be started no more
        for shard in executor.stats():
            os.kill(shard.pid, signal.SIGKILL)
        assert wait(futures, LIMIT).not_done == set()
        assert {type(future.exception()) for future in futures} == {BrokenPodExecutor}
        assert "times in a row" in str(futures[0].exception())
        with pytest.raises(BrokenPodExecutor, match="times in a row"):
            executor.submit(task("late"))
    assert len(pods(simulated)) == 3


def test_an_account_that_is_shut_out_ends_every_future(simulated: DevClusterProcess) -> None:
    with executing(simulated, access_timeout=1.0) as executor:
        future = executor.submit(task("a", annotations=outcome("hang")))
        until(future.running, "the task runs")
        simulated.fault("error", verb="list,watch", code=403)
        simulated.fault("cut-watches")
        error = future.exception(LIMIT)
        assert isinstance(error, BrokenPodExecutor)
        assert "refused to show pods" in str(error)


def test_a_killed_shard_loses_no_future(simulated: DevClusterProcess) -> None:
    with executing(simulated) as executor:
        futures = [executor.submit(task(f"t{n}")) for n in range(200)]
        next(as_completed(futures, LIMIT))
        os.kill(executor.stats()[0].pid, signal.SIGKILL)
        assert wait(futures, LIMIT).not_done == set()
        assert all(future.result(0) for future in futures)
    assert simulated.stats()["kubelet"]["finished"] == 200


def test_futures_can_be_awaited(simulated: DevClusterProcess) -> None:
    async def main() -> list[TaskResult]:
        with PodExecutor(kubeconfig=simulated.kubeconfig) as executor:  # starts while an event loop runs
            return await asyncio.gather(*(asyncio.wrap_future(executor.submit(task(f"t{n}"))) for n in range(5)))

    assert [result.id for result in asyncio.run(main())] == [f"t{n}" for n in range(5)]


PROGRAM = """
import os, signal, sys, time
from shard_executor import PodExecutor
executor = PodExecutor(kubeconfig=sys.argv[1], shards=1)
def run(*words):
    future = executor.submit(*words, image="x")
    while not (future.running() or future.done()):
        time.sleep(0.02)
    return future
"""


def program(cluster: DevClusterProcess, code: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-W", "error", "-c", PROGRAM + textwrap.dedent(code), str(cluster.kubeconfig)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_end_of_the_program_waits_for_open_tasks(real: DevClusterProcess, tmp_path: Path) -> None:
    written = tmp_path / "written"
    code = f"""
    run("sh", "-c", "sleep 1; echo done > {written}")
    del executor
    """
    shown, complaints = program(real, code).communicate(timeout=LIMIT)
    assert (shown, complaints) == ("", "")
    assert written.read_text() == "done\n"
    assert pods(real) == []


@pytest.mark.parametrize(
    "code",
    [
        'with executor:\n    future = run("sleep", "600"); print("up", flush=True); future.result()',
        'with executor:\n    run("sleep", "600"); print("up", flush=True)',
        'import atexit\nrun("sleep", "600"); atexit.register(print, "up", flush=True)',
    ],
    ids=["in the block", "at the end of the block", "at the end of the program"],
)
def test_ctrl_c_ends_the_pods(real: DevClusterProcess, code: str) -> None:
    started = program(real, code)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    until(lambda: _sleeps(started.pid), "the program waits")
    started.send_signal(signal.SIGINT)
    _, complaints = started.communicate(timeout=LIMIT)
    assert "KeyboardInterrupt" in complaints
    assert pods(real) == []


def _sleeps(pid: int) -> bool:
    """Whether a process was asleep each time that it was looked at for a while."""
    looks = []
    for _ in range(10):
        looks.append(psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
        time.sleep(0.02)
    return all(looks)


def test_a_forked_child_cannot_use_it_and_does_not_disturb_it(real: DevClusterProcess) -> None:
    code = """
    with executor:
        run("true").result()
        child = os.fork()
        if child == 0:
            try:
                executor.submit("true", image="x")
            except RuntimeError as error:
                print(error, flush=True)
            sys.exit(0)
        os.waitpid(child, 0)
        print(run("true").result().id, flush=True)
    """
    shown, complaints = program(real, code).communicate(timeout=LIMIT)
    first, second = shown.splitlines()
    assert "forked" in first
    assert (second, complaints) == ("task-2", "")


def test_the_example_hashes_files(real: DevClusterProcess, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b c", "-d", "ü"):
        (folder / name).write_bytes(name.encode() * 1000)
    example = ROOT / "examples" / "hash_files.py"
    arguments = [str(folder), str(tmp_path / "results"), "--kubeconfig", str(real.kubeconfig)]
    done = subprocess.run(
        [sys.executable, str(example), *arguments], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    wanted = {f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in folder.iterdir()}
    assert set(done.stdout.splitlines()) == wanted
    assert pods(real) == []


def test_the_documentation_begins_with_a_program_that_runs(real: DevClusterProcess) -> None:
    code = (ROOT / "docs" / "python.md").read_text().partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "KUBECONFIG": str(real.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sum(" took " in line for line in lines) == 19
    assert "task 'nap-7' failed in pod default/nap-7-" in done.stdout
    assert "  not today" in lines
