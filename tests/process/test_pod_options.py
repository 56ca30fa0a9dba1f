"""Supervisor options about pods: the whole cluster, worker containers, delete options, what is fatal before a start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import outcome, pod_body, pods, running, states, submission, until
from shard_executor._fast.keys import bin_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import ConfigError, Submission, SupervisorConfig, SupervisorError
from shard_executor.supervisor.credentials import CredentialSource


def with_sidecar(ticket: str, command: list[str]) -> Submission:
    """A task beside a container that never ends."""
    pod = json.loads(pod_body(ticket, command=command).replace("\x00", "\\u0000"))
    side = {"name": "side", "image": "example/side:1", "command": ["sleep", "600"]}
    pod["spec"]["containers"].insert(0, side)
    body = json.dumps(pod, separators=(",", ":")).replace("\\u0000", "\x00")
    return Submission(ticket, bin_of("run", ticket), "default", ticket, f"run/{ticket}/0", body)


@pytest.mark.parametrize("options", [{}, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}])
def test_the_worker_container_decides_beside_a_sidecar_that_never_ends(
    real: DevClusterProcess, options: dict[str, Any]
) -> None:
    with running(real, worker_container="base", delete_options=options) as run:
        run.supervisor.submit(with_sidecar("good", ["true"]))
        run.supervisor.submit(with_sidecar("bad", ["sh", "-c", "echo its last words; exit 3"]))
        run.ended(2)
        reports = run.finish()
    assert {t: (r.state, r.exit_code, r.container) for t, r in reports.items()} == {
        "good": ("succeeded", 0, "base"),
        "bad": ("failed", 3, "base"),
    }
    assert (reports["bad"].log_tail or "").strip() == "its last words"
    assert pods(real) == []


def test_one_watch_serves_every_namespace(simulated: DevClusterProcess) -> None:
    for name in ("second", "third"):
        simulated.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    with running(simulated, all_namespaces=True, beat_interval=0.1) as run:
        for number in range(60):
            run.submit(f"t{number}", namespace=("default", "second", "third")[number % 3])
        reports = run.finish()
        until(run.supervisor.watched_ok, "the lists are complete")
        assert simulated.stats()["watches"] == 2
        with pytest.raises(SupervisorError, match="'No_Name' is no namespace name"):
            run.submit("bad", namespace="No_Name")
        run.submit("nowhere", namespace="fourth")
        (refused,) = [r for r in run.finish().values() if r.ticket == "nowhere"]
    assert states(reports) == {"succeeded": 60}
    assert {r.namespace for r in reports.values()} == {"default", "second", "third"}
    assert (refused.state, refused.failure_class) == ("failed", "create-refused")
    assert pods(simulated) == pods(simulated, "second") == pods(simulated, "third") == []


def test_what_is_fatal_before_the_start_is_said_by_the_policy(simulated: DevClusterProcess) -> None:
    annotations = outcome("imagepull")
    with running(simulated, policy={"fatal_reasons": {"ErrImagePull"}}) as run:
        run.submit("listed", annotations=annotations)
        report = run.finish()["listed"]
    assert (report.state, report.reason, report.container) == ("failed", "ErrImagePull", "base")
    with running(simulated, policy={"fatal_reasons": [], "start_timeout": 1.0}) as run:
        run.submit("not-listed", annotations=annotations)
        report = run.finish()["not-listed"]
    assert (report.state, report.reason) == ("failed", "StartTimeout")
    assert report.message is not None
    assert "did not start within 1 s" in report.message
    assert pods(simulated) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("selector", {"shard-executor/instance": "x"}),
        ("selector", {"no name": "x"}),
        ("selector", {"airflow-worker": "no value"}),
        ("worker_container", "Upper"),
        ("delete_options", {"gracePeriodSeconds": {1}}),
        ("policy", {"fatal_reasons": "ErrImagePull"}),
    ],
)
def test_a_wrong_setting_is_refused_by_name(field: str, value: object) -> None:
    values: dict[str, Any] = {"instance": "x", "owner": "x", "namespace": "default", "credentials": CredentialSource()}
    with pytest.raises(ConfigError, match=field):
        SupervisorConfig(**{**values, field: value})


def test_what_cannot_be_submitted_is_refused_with_the_reason(simulated: DevClusterProcess) -> None:
    with running(simulated) as run:
        with pytest.raises(SupervisorError, match="no body, and there is no `build`"):
            run.supervisor.submit(Submission("t", 0, "default", "t", "s"))
        with pytest.raises(SupervisorError, match="adopted by its uid"):
            run.supervisor.submit(Submission("t", 0, "default", "t", "s", "{}", pod="p"))
        with pytest.raises(SupervisorError, match="no text"):
            run.supervisor.submit(
                Submission("t", 0, "default", "t", "s", "{}", uid="u", adopt_annotations={"a": "\ud800"})
            )
        for answer in (
            lambda: run.supervisor.provide("t", "\ud800"),
            lambda: run.supervisor.refuse_body("t", "", "\ud800"),
        ):
            with pytest.raises(SupervisorError, match="no text"):
                answer()
        run.supervisor.provide("unknown", "{}")
        run.supervisor.submit(submission("t"))
        assert states(run.finish()) == {"succeeded": 1}
