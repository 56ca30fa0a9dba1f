"""The engine with its real processes on a development cluster: every task ends once, nothing is left behind."""

from __future__ import annotations

import os
import signal

import pytest

from engine import alive, outcome, parent_process, pods, running, states, until
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import ConfigError, Supervisor, SupervisorConfig, SupervisorError
from shard_executor.supervisor.credentials import CredentialError, CredentialSource


def test_tasks_run_as_pods_and_leave_nothing(simulated: DevClusterProcess) -> None:
    with running(simulated) as run:
        run.submit(*(f"t{n}" for n in range(100)))
        reports = run.finish()
    assert states(reports) == {"succeeded": 100}
    assert pods(simulated) == []
    report = reports["t0"]
    assert report.pod.startswith("t0-")
    assert report.exit_code == 0
    assert report.times.keys() >= {"submitted", "created", "started", "finished", "reported"}
    assert {r.state for r in run.progress if r.ticket == "t0"} >= {"pending", "running"}


@pytest.mark.parametrize("victims", [1, 3])
def test_a_killed_shard_is_replaced_and_loses_and_repeats_nothing(simulated: DevClusterProcess, victims: int) -> None:
    with running(simulated, shards=3) as run:
        run.submit(*(f"t{n}" for n in range(400)))
        for ends in (20, 150):
            run.ended(ends)
            for pid in run.shard_pids()[:victims]:
                os.kill(pid, signal.SIGKILL)
        reports = run.finish()
        assert sum(shard.restarts for shard in run.supervisor.stats()) >= victims
    assert states(reports) == {"succeeded": 400}
    assert pods(simulated) == []
    assert simulated.stats()["kubelet"]["finished"] == 400, "a pod ran twice"


@pytest.fixture
def second(simulated: DevClusterProcess) -> str:
    """A further namespace."""
    simulated.call("POST", "/api/v1/namespaces", {"metadata": {"name": "second"}})
    return "second"


def test_tasks_run_in_several_namespaces_and_through_a_killed_shard(simulated: DevClusterProcess, second: str) -> None:
    with running(simulated, namespaces=(second,), beat_interval=0.1) as run:
        for number in range(60):
            run.submit(f"a{number}")
            run.submit(f"b{number}", namespace=second)
        run.ended(20)
        os.kill(run.shard_pids()[0], signal.SIGKILL)
        reports = run.finish()
        until(lambda: all(s.watch.get("synced") for s in run.supervisor.stats()), "all namespaces are listed", 10.0)
        assert {shard.watch["health"] for shard in run.supervisor.stats()} == {"ok"}
        assert simulated.stats()["watches"] == 4
        with pytest.raises(SupervisorError, match="'third' is not watched, only 'default', 'second'"):
            run.submit("c", namespace="third")
    assert states(reports) == {"succeeded": 120}
    assert {report.namespace for ticket, report in reports.items() if ticket[0] == "b"} == {second}
    assert pods(simulated) == pods(simulated, second) == []
    assert simulated.stats()["kubelet"]["finished"] == 120, "a pod ran twice"


def test_a_namespace_that_may_not_be_watched_stops_no_other(simulated: DevClusterProcess, second: str) -> None:
    simulated.fault("error", verb="list,watch", path=f"/namespaces/{second}/", code=403, message="may not")
    with running(simulated, namespaces=(second,), beat_interval=0.1) as run:
        run.submit(*(f"t{n}" for n in range(10)))
        assert states(run.finish()) == {"succeeded": 10}

        def told() -> bool:
            health = [str(shard.watch.get("health")) for shard in run.supervisor.stats()]
            return all(f"namespace {second}: " in words and "may not" in words for words in health)

        until(told, "the namespace is named", 10.0)
        assert not any(shard.watch["synced"] for shard in run.supervisor.stats())


def test_a_stopped_shard_is_noticed_by_its_silence(simulated: DevClusterProcess) -> None:
    with running(simulated, beat_interval=0.2, beat_timeout=2.0) as run:
        run.submit(*(f"t{n}" for n in range(50)))
        run.ended(5)
        os.kill(run.shard_pids()[0], signal.SIGSTOP)
        reports = run.finish()
        assert sum(shard.restarts for shard in run.supervisor.stats()) == 1
    assert states(reports) == {"succeeded": 50}


def test_no_pod_is_deleted_before_its_result_is_acknowledged(simulated: DevClusterProcess) -> None:
    with running(simulated) as run:
        run.acknowledging = False
        run.submit(*(f"t{n}" for n in range(10)))
        run.ended(10)
        os.kill(run.shard_pids()[0], signal.SIGKILL)
        until(lambda: len(run.shard_pids()) == 2, "the shard is started again")
        assert len(pods(simulated)) == 10
        for ticket in run.ends:
            run.supervisor.acknowledge(ticket)
        run.finish()
    assert pods(simulated) == []


def test_kept_pods_are_marked_as_done(simulated: DevClusterProcess) -> None:
    with running(simulated, delete_failed_pods=False) as run:
        run.submit("good")
        run.submit("bad", annotations=outcome("fail", exit_code="7"))
        reports = run.finish()
    assert reports["bad"].exit_code == 7
    (left,) = pods(simulated)
    assert left["metadata"]["name"] == reports["bad"].pod
    assert left["metadata"]["labels"]["airflow_executor_done"] == "True"


def test_parallelism_bounds_the_pods_alive(simulated: DevClusterProcess) -> None:
    with running(simulated, parallelism=7) as run:
        run.submit(*(f"t{n}" for n in range(40)))
        most = 0
        while not run.supervisor.idle():
            run.supervisor.wait(0.05)
            unfinished = [p for p in pods(simulated) if p["status"]["phase"] in ("Pending", "Running")]
            most = max(most, len(unfinished))
            run.collect()
        run.finish()
    assert 1 <= most <= 7


def test_revoked_tasks_end_as_revoked_and_their_pods_go(real: DevClusterProcess) -> None:
    with running(real, parallelism=2) as run:
        run.submit("a", "b", "c", command=["sleep", "600"])
        until(lambda: len([p for p in pods(real) if p["status"].get("phase") == "Running"]) == 2, "two pods running")
        for ticket in "abc":
            run.supervisor.revoke(ticket)
        reports = run.finish()
    assert states(reports) == {"revoked": 3}
    assert pods(real) == []


def test_a_failed_task_brings_its_exit_code_and_its_last_words(real: DevClusterProcess) -> None:
    with running(real) as run:
        run.submit("bad", command=["sh", "-c", "for n in 1 2 3; do echo line $n; done; echo oops >&2; exit 3"])
        run.submit("missing", command=["/no/such/command"])
        reports = run.finish()
    bad = reports["bad"]
    assert (bad.state, bad.failure_class, bad.exit_code) == ("failed", "container-error", 3)
    assert bad.log_tail is not None
    assert bad.log_tail.splitlines()[-2:] == ["line 3", "oops"]
    assert reports["missing"].failure_class == "start-error"
    assert reports["missing"].message is not None
    assert "/no/such/command" in reports["missing"].message


def test_a_shard_goes_on_reporting_after_a_failure(simulated: DevClusterProcess) -> None:
    with running(simulated, beat_interval=0.1) as run:
        run.submit("bad", annotations=outcome("fail"))
        run.finish()
        until(
            lambda: any(shard.outcomes == {"container-error": 1} for shard in run.supervisor.stats()),
            "a heartbeat names the failure",
            10.0,
        )
        assert not any(shard.restarts for shard in run.supervisor.stats())


def test_a_shard_tells_how_long_requests_and_pods_took(simulated: DevClusterProcess) -> None:
    with running(simulated, beat_interval=0.1, shards=1) as run:
        run.submit(*(f"t{n}" for n in range(20)))
        run.submit("bad", annotations=outcome("fail"))
        run.finish()

        def told() -> bool:
            (shard,) = run.supervisor.stats()
            return shard.latencies.get("delete", {}).get("count") == 21

        until(told, "the last delete is counted", 10.0)
        (shard,) = run.supervisor.stats()
    assert shard.latencies.keys() == {"create", "delete", "log", "created-to-running", "finished-to-reported"}
    assert {name: figures["count"] for name, figures in shard.latencies.items() if name != "log"} == {
        "create": 21,
        "delete": 21,
        "created-to-running": 21,
        "finished-to-reported": 21,
    }
    for figures in shard.latencies.values():
        assert figures.keys() == {"count", "mean", "p50", "p95", "p99"}
        assert 0 <= figures["p50"] <= figures["p95"] <= figures["p99"] < 60


def test_it_is_told_how_a_shard_ended_last(simulated: DevClusterProcess) -> None:
    with running(simulated, shards=1) as run:
        assert run.supervisor.stats()[0].last_error == ""
        (first,) = run.shard_pids()
        os.kill(first, signal.SIGKILL)
        until(lambda: run.shard_pids() not in ([], [first]), "the shard is started again", 10.0)
        (shard,) = run.supervisor.stats()
        assert (shard.restarts, shard.last_error) == (1, "was killed by signal 9")


def test_when_the_parent_is_killed_the_shards_end_and_the_pods_stay(real: DevClusterProcess) -> None:
    script = """
        run.submit("a", "b", "c", command=["sleep", "600"])
        while True:
            run.supervisor.wait(0.2)
            run.collect()
            if len({r.ticket for r in run.progress if r.state == "running"}) == 3:
                print(*run.shard_pids(), flush=True)
                time.sleep(600)
        """
    with parent_process(str(real.kubeconfig), script) as parent:
        assert parent.stdout is not None
        shards = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(shards) == 2
    until(lambda: not any(alive(pid) for pid in shards), "the shards have ended", 10.0)
    assert [pod["status"]["phase"] for pod in pods(real)] == ["Running"] * 3


def test_the_end_of_a_supervisor_leaves_pods_as_they_are(real: DevClusterProcess) -> None:
    with running(real) as run:
        run.submit("a", command=["sleep", "600"])
        until(lambda: [p for p in pods(real) if p["status"].get("phase") == "Running"], "the pod runs")
    assert len(pods(real)) == 1


def test_a_supervisor_starts_once_and_takes_nothing_before_or_after(simulated: DevClusterProcess) -> None:
    with running(simulated) as run, pytest.raises(SupervisorError, match="started before"):
        run.supervisor.start()
    with pytest.raises(SupervisorError, match="not ended"):
        run.submit("late")


def test_without_credentials_nothing_is_started(tmp_path: object) -> None:
    missing = CredentialSource(kubeconfig=f"{tmp_path}/no-such-file")
    supervisor = Supervisor(SupervisorConfig(instance="x", owner="x", namespace="default", credentials=missing))
    with pytest.raises(CredentialError, match="no-such-file"):
        supervisor.start()
    supervisor.end()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("instance", "no spaces"),
        ("namespace", "Upper"),
        ("namespaces", ("good", "no_good")),
        ("namespaces", "text"),
        ("shards", 0),
        ("parallelism", 0),
        ("log_tail_lines", -1),
    ],
)
def test_a_wrong_setting_is_refused_by_name(field: str, value: object) -> None:
    values = {"instance": "x", "owner": "x", "namespace": "default", "credentials": CredentialSource()}
    with pytest.raises(ConfigError, match=field):
        SupervisorConfig(**{**values, field: value})  # type: ignore[arg-type]


def test_shards_log_at_the_level_of_the_parent(simulated: DevClusterProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "shard_executor.shard")
    simulated.fault("error", verb="watch", count=1)
    with running(simulated, shards=1) as run:
        run.submit("t")
        run.finish()
    assert any("watch" in record.message and "failed" in record.message for record in caplog.records)
