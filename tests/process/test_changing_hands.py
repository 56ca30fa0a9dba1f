"""Pods that change hands, between supervisors whose selectors name different owners, and from somebody else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine import Run, pod_body, pods, running, states, until
from shard_executor._fast.keys import bin_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import Submission

OWNER = "airflow-worker"


def foreign_pod(cluster: DevClusterProcess, name: str, command: list[str], **labels: str) -> str:
    """Creates a pod as another executor would, with a name and labels of its own; its uid."""
    pod = {
        "metadata": {"name": name, "labels": {OWNER: "16", "dag_id": "d", **labels}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "base", "image": "example/task:1", "command": command}],
        },
    }
    made = cluster.call("POST", "/api/v1/namespaces/default/pods", pod)
    return str(made["metadata"]["uid"])


def adopt(run: Run, ticket: str, pod: str, uid: str, owner: str = "17") -> None:
    run.supervisor.submit(
        Submission(
            ticket,
            bin_of("run", ticket),
            "default",
            ticket,
            f"run/{ticket}/0",
            pod_body(ticket),
            uid=uid,
            pod=pod,
            adopt_labels={OWNER: owner, "kept": "too"},
            adopt_annotations={"shard-executor/submission": f"run/{ticket}/0"},
        )
    )


def body_of(ticket: str, owner: str, **spec: Any) -> str:
    pod = orjson.loads(pod_body(ticket, **spec).replace("\x00", "\\u0000"))
    pod["metadata"]["labels"][OWNER] = owner
    return orjson.dumps(pod).decode().replace("\\u0000", "\x00")


def submit(run: Run, ticket: str, owner: str, **spec: Any) -> None:
    body = body_of(ticket, owner, **spec)
    run.supervisor.submit(Submission(ticket, bin_of("run", ticket), "default", ticket, f"run/{ticket}/0", body))


def metadata(cluster: DevClusterProcess) -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["name"]: pod["metadata"] for pod in pods(cluster)}


def reported(run: Run, ticket: str, state: str) -> bool:
    run.supervisor.wait(0.1)
    run.collect()
    return any((r.ticket, r.state) == (ticket, state) for r in (*run.progress, *(e[0] for e in run.ends.values())))


def waiting(tmp_path: Path) -> list[str]:
    """A command that ends when the file `go` is there."""
    return ["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"]


@pytest.fixture(params=["finished", "running", "patch refused", "shard killed"])
def trouble(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_a_pod_with_a_foreign_name_is_adopted_and_followed_to_its_end(
    real: DevClusterProcess, tmp_path: Path, trouble: str
) -> None:
    uid = foreign_pod(real, "their-pod-x7k2p", ["true"] if trouble == "finished" else waiting(tmp_path))
    phase = "Succeeded" if trouble == "finished" else "Running"
    until(lambda: [p["status"].get("phase") for p in pods(real)] == [phase], f"the pod is {phase}")
    faults = trouble in ("patch refused", "shard killed")
    if faults:
        real.fault("error", verb="patch", code=503)
    with running(real, selector={OWNER: "17"}, beat_interval=0.1) as run:
        until(run.supervisor.watched_ok, "the lists are complete")
        adopt(run, "t", "their-pod-x7k2p", uid)
        if trouble != "finished":
            until(lambda: reported(run, "t", "running"), "the pod is followed")
        if faults:
            assert metadata(real)["their-pod-x7k2p"]["labels"][OWNER] == "16"
            if trouble == "shard killed":
                for pid in run.shard_pids():
                    os.kill(pid, signal.SIGKILL)
                until(lambda: len(run.shard_pids()) == 2, "the shards are started again")
            real.clear_faults()
        if trouble != "finished":
            until(lambda: metadata(real)["their-pod-x7k2p"]["labels"][OWNER] == "17", "the pod is labelled")
            found = metadata(real)["their-pod-x7k2p"]
            assert found["labels"] == {
                OWNER: "17",
                "dag_id": "d",
                "kept": "too",
                "shard-executor/instance": "tests",
                "shard-executor/bin": str(bin_of("run", "t")),
            }
            assert found["annotations"]["shard-executor/submission"] == "run/t/0"
        (tmp_path / "go").touch()
        reports = run.finish()
    assert (reports["t"].state, reports["t"].pod, reports["t"].uid) == ("succeeded", "their-pod-x7k2p", uid)
    assert reports["t"].container == "base"
    assert real.stats()["requests"]["create pods"] == 1, "no pod but theirs"
    assert pods(real) == []


def test_a_pod_that_is_gone_before_it_is_adopted_is_lost(real: DevClusterProcess) -> None:
    uid = foreign_pod(real, "their-pod", ["sleep", "600"])
    with running(real, selector={OWNER: "17"}) as run:
        adopt(run, "gone", "no-such-pod", "11111111-2222-3333-4444-555555555555")
        adopt(run, "another", "their-pod", "11111111-2222-3333-4444-555555555555")
        reports = run.finish()
    assert {(r.state, r.failure_class) for r in reports.values()} == {("lost", "deleted")}
    left = metadata(real)["their-pod"]
    assert (left["uid"], left["labels"][OWNER]) == (uid, "16"), "it is not touched"


def test_a_pod_goes_from_one_owner_to_another_and_runs_once(real: DevClusterProcess, tmp_path: Path) -> None:
    with running(real, selector={OWNER: "16"}) as first:
        submit(first, "t", "16", command=waiting(tmp_path))
        submit(first, "mine", "16", command=waiting(tmp_path))
        until(lambda: reported(first, "t", "running") and reported(first, "mine", "running"), "both run")
        ((name, found),) = [(n, m) for n, m in metadata(real).items() if n.startswith("t-")]
        with running(real, selector={OWNER: "17"}) as second:
            adopt(second, "t", name, found["uid"])
            until(lambda: reported(first, "t", "handed-over"), "the first has handed it over")
            until(lambda: first.supervisor.open_tickets == 1, "its ticket is closed")
            assert name in metadata(real), "nothing is deleted"
            until(lambda: reported(second, "t", "running"), "the second follows it")
            (tmp_path / "go").touch()
            assert states(second.finish()) == {"succeeded": 1}
        reports = first.finish()
    assert (reports["t"].state, reports["t"].failure_class) == ("handed-over", "handed-over")
    assert reports["mine"].state == "succeeded"
    assert real.stats()["requests"]["create pods"] == 2
    assert pods(real) == []


def test_finished_pods_of_another_owner_are_not_swept(real: DevClusterProcess) -> None:
    instance = {"shard-executor/instance": "tests", "shard-executor/bin": "3"}
    foreign_pod(real, "theirs", ["true"], **instance)
    foreign_pod(real, "ours", ["true"], **{**instance, OWNER: "17"})
    until(lambda: [p["status"].get("phase") for p in pods(real)] == ["Succeeded"] * 2, "both have finished")
    with running(real, selector={OWNER: "17"}):
        until(lambda: list(metadata(real)) == ["theirs"], "ours is swept")
    assert list(metadata(real)) == ["theirs"]
