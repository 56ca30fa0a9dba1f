"""`airflow shard-executor cleanup-pods`: which pods go, on the development cluster."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shard_executor.airflow.cleanup import Rules, Summary, cleanup, why_remove
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor.credentials import CredentialSource

Airflow = Callable[..., "subprocess.CompletedProcess[str]"]

LABELS = {"dag_id": "d", "task_id": "t", "try_number": "1", "airflow_version": "3.3.2"}
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = Rules("airflow", timedelta(minutes=30), timedelta(minutes=1))


def described(minutes: float, phase: str, *, instance: str | None = None, **status: Any) -> dict[str, Any]:
    """A pod that was created so many minutes ago."""
    created = (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {**LABELS, **({"shard-executor/instance": instance} if instance else {})}
    return {
        "metadata": {"name": "p", "namespace": "n", "creationTimestamp": created, "labels": labels},
        "spec": {"restartPolicy": "Never"},
        "status": {"phase": phase, **status},
    }


def ended(minutes: float) -> list[dict[str, Any]]:
    text = (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"name": "base", "state": {"terminated": {"finishedAt": text, "exitCode": 0}}}]


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (described(90, "Running"), None),
        (described(29, "Pending"), None),
        (described(31, "Pending"), "pending for 31 min"),
        (described(31, "Pending", instance="other.default"), None),
        (described(31, "Pending", instance="airflow.default"), "pending for 31 min"),
        (described(31, "Pending", instance="airflow.red.default"), "pending for 31 min"),
        (described(90, "Succeeded", containerStatuses=ended(2)), "succeeded 2 min ago"),
        (described(90, "Succeeded", containerStatuses=ended(0.5)), None),
        (described(90, "Succeeded", containerStatuses=ended(9), initContainerStatuses=ended(0.5)), None),
        (described(90, "Succeeded"), "succeeded 90 min ago"),
        (described(90, "Succeeded", conditions=[{"lastTransitionTime": "2026-01-01T11:59:30Z"}]), None),
        (described(90, "Failed", containerStatuses=ended(5)), "failed 5 min ago"),
        (described(90, "Failed", reason="Evicted"), "evicted 90 min ago"),
        (described(90, ""), None),
    ],
)
def test_which_pods_go(pod: dict[str, Any], why: str | None) -> None:
    assert why_remove(pod, RULES, NOW) == why


def test_a_failed_pod_that_is_restarted_stays_unless_evicted() -> None:
    pod = described(90, "Failed")
    pod["spec"]["restartPolicy"] = "OnFailure"
    assert why_remove(pod, RULES, NOW) is None
    pod["status"]["reason"] = "Evicted"
    assert why_remove(pod, RULES, NOW)


def test_a_pod_that_is_going_is_left_to_go() -> None:
    pod = described(90, "Succeeded")
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T11:00:00Z"
    assert why_remove(pod, RULES, NOW) is None


def test_limits() -> None:
    at_once = Rules("airflow", timedelta(minutes=1), timedelta())
    assert why_remove(described(0, "Succeeded"), at_once, NOW)
    assert why_remove(described(4, "Pending"), at_once, NOW) is None
    assert why_remove(described(6, "Pending"), at_once, NOW)


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevClusterProcess]:
    with DevClusterProcess() as running:
        running.call("POST", "/api/v1/namespaces", {"metadata": {"name": "jobs"}})
        yield running


@pytest.fixture
def pods(cluster: DevClusterProcess) -> Iterator[Callable[..., None]]:
    """Makes pods and waits until they are as they should be; removes them all in the end."""

    def make(name: str, *command: str, until: str, namespace: str = "default", **metadata: Any) -> None:
        spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [{"name": "base", "image": "x"}]}
        spec["containers"][0]["command"] = list(command or ("true",))
        if until == "Pending":
            spec["schedulerName"] = "nobody"
        labels = {**LABELS, **metadata}
        body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        deadline = time.monotonic() + 60
        while phase(cluster, name, namespace) != until:
            assert time.monotonic() < deadline, f"{name} is not {until}"
            time.sleep(0.05)

    yield make
    cluster.clear_faults()
    for namespace in ("default", "jobs"):
        for name in left(cluster, namespace):
            path = f"/api/v1/namespaces/{namespace}/pods/{name}"
            cluster.call("DELETE", path, {"kind": "DeleteOptions", "gracePeriodSeconds": 0})


def phase(cluster: DevClusterProcess, name: str, namespace: str = "default") -> str:
    return str(cluster.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")["status"].get("phase"))


def left(cluster: DevClusterProcess, namespace: str = "default") -> set[str]:
    items = cluster.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return {pod["metadata"]["name"] for pod in items if not pod["metadata"].get("deletionTimestamp")}


def clean(cluster: DevClusterProcess, later: float = 0.0, **arguments: Any) -> Summary:
    """Cleans up as if so many minutes had passed."""
    source = CredentialSource(str(cluster.kubeconfig), in_cluster=False)
    given = {
        "namespaces": ("default",),
        "rules": Rules("airflow", timedelta(minutes=30), timedelta()),
        "tell": _deaf,
        "look": _deaf,
        "clock": lambda: datetime.now(UTC) + timedelta(minutes=later),
        **arguments,
    }
    try:
        return cleanup(source.load(), **given)
    finally:
        source.close()


def _deaf(line: str) -> None:
    """For lines that a test does not look at."""


def test_the_command_deletes_what_is_over_and_says_so(
    cluster: DevClusterProcess, pods: Callable[..., None], airflow: Airflow
) -> None:
    pods("good", until="Succeeded")
    pods("bad", "false", until="Failed")
    pods("busy", "sleep", "300", until="Running")
    pods("waiting", until="Pending")
    pods("other", until="Succeeded", **{"shard-executor/instance": "other.default"})
    cluster.call(
        "POST",
        "/api/v1/namespaces/default/pods",
        {
            "metadata": {"name": "foreign"},
            "spec": {"restartPolicy": "Never", "schedulerName": "nobody", "containers": [{"name": "c", "image": "x"}]},
        },
    )
    here = {
        "kubernetes_executor__in_cluster": "False",
        "kubernetes_executor__config_file": str(cluster.kubeconfig),
    }
    words = ("shard-executor", "cleanup-pods", "--min-completed-minutes", "0")
    dry = airflow(*words, "--dry-run", options=here)
    assert dry.returncode == 0, dry.stderr
    assert "default/good would be deleted: succeeded" in dry.stdout
    assert "5 pods of tasks looked at, 2 would be deleted, 0 problems" in dry.stdout
    assert "good" in left(cluster)
    real = airflow(*words, "--verbose", options=here)
    assert real.returncode == 0, real.stderr
    assert "default/bad deleted: failed" in real.stdout
    assert "default/busy stays (Running)" in real.stdout
    assert "5 pods of tasks looked at, 2 deleted, 0 problems" in real.stdout
    assert left(cluster) == {"busy", "waiting", "other", "foreign"}


def test_without_a_cluster_it_says_so(airflow: Airflow) -> None:
    done = airflow("shard-executor", "cleanup-pods")
    assert done.returncode == 1
    assert "No access to the cluster: service account" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pod_that_starts_meanwhile_is_not_deleted(cluster: DevClusterProcess, pods: Callable[..., None]) -> None:
    pods("waiting", until="Pending")
    lines: list[str] = []

    def clock() -> datetime:
        """Asked for between the list and the deletes: the pod changes just then."""
        current = cluster.call("GET", "/api/v1/namespaces/default/pods/waiting")
        current["metadata"]["labels"]["seen"] = "yes"
        cluster.call("PUT", "/api/v1/namespaces/default/pods/waiting", current)
        return datetime.now(UTC) + timedelta(minutes=60)

    summary = clean(cluster, tell=lines.append, look=lines.append, clock=clock)
    assert lines == ["default/waiting stays: it has changed meanwhile"]
    assert (summary.deleted, summary.problems) == (0, [])
    assert left(cluster) == {"waiting"}
    assert clean(cluster, later=60).deleted == 1


def test_several_namespaces_and_pages(
    cluster: DevClusterProcess, pods: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shard_executor.airflow.cleanup.PAGE", 2)
    for number in range(5):
        pods(f"here-{number}", until="Pending")
    pods("there", until="Pending", namespace="jobs")
    assert clean(cluster, later=10).deleted == 0
    summary = clean(cluster, later=60, namespaces=(None,), dry_run=True)
    assert (summary.seen, summary.deleted) == (6, 6)
    summary = clean(cluster, later=60, namespaces=("default", "jobs"))
    assert (summary.seen, summary.deleted, summary.problems) == (6, 6, [])
    assert left(cluster) == set() == left(cluster, "jobs")


def test_passing_faults_are_waited_out_and_lasting_ones_told(
    cluster: DevClusterProcess, pods: Callable[..., None]
) -> None:
    pods("one", until="Pending")
    cluster.fault("error", verb="list", code=503, count=1)
    cluster.fault("throttle", verb="delete", retry_after=1, count=1)
    assert clean(cluster, later=60).deleted == 1
    pods("two", until="Pending")
    cluster.fault("refuse-delete", code=403)
    summary = clean(cluster, later=60)
    assert summary.deleted == 0
    assert len(summary.problems) == 1
    assert summary.problems[0].startswith("default/two: not deleted: Forbidden")
    cluster.clear_faults()
    cluster.fault("error", verb="list", code=403)
    summary = clean(cluster)
    assert summary.problems[0].startswith("namespace default: not listed:")
