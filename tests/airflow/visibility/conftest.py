"""A development cluster with pods as processes, and pods with the labels of a task's try."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from shard_executor.devcluster.process import DevClusterProcess

LIMIT = 30.0  # seconds; only reached when something is broken
T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str) -> T:
    """Polls until `look` gives something that is true, and returns it."""
    deadline = time.monotonic() + LIMIT
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


@dataclass
class LogOptions:
    """The options that reading logs asks for."""

    kubeconfig: str | None
    namespace: str = "default"
    namespaces: tuple[str, ...] = ()
    all_namespaces: bool = False
    running_pod_log_lines: int = 100
    instance: str = "airflow.default"
    client_factory: str | None = None
    in_cluster: bool = False
    context: str | None = None


@dataclass
class Place:
    """One cluster and the pods that a test makes on it."""

    cluster: DevClusterProcess
    options: LogOptions
    made: list[tuple[str, str]] = field(default_factory=list)

    def with_options(self, **changes: Any) -> LogOptions:
        return replace(self.options, **changes)

    def pod(
        self,
        name: str,
        ti: Any,
        *command: str,
        namespace: str = "default",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        try_number: int = 1,
        until_phase: str = "Running",
        **spec: Any,
    ) -> None:
        """A pod of a try, with the labels that the provider gives it; waits until it is in that phase."""
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

        own = PodGenerator.build_labels_for_k8s_executor_pod(
            dag_id=ti.dag_id,
            task_id=ti.task_id,
            run_id=ti.run_id,
            map_index=ti.map_index,
            try_number=try_number,
            airflow_worker="17",
        )
        container = {"name": "base", "image": "any", "command": list(command)}
        metadata = {"name": name, "labels": {**own, **(labels or {})}, "annotations": annotations or {}}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"restartPolicy": "Never", "containers": [container], **spec},
        }
        path = f"/api/v1/namespaces/{namespace}/pods"
        self.cluster.call("POST", path, body)
        self.made.append((namespace, name))
        wait_until(
            lambda: self.cluster.call("GET", f"{path}/{name}")["status"]["phase"] == until_phase,
            f"{name} {until_phase}",
        )

    def delete(self) -> None:
        for namespace, name in self.made:
            self.cluster.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")


@pytest.fixture
def until() -> Callable[[Callable[[], T | None], str], T]:
    """Polls until what is called gives something that is true."""
    return wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevClusterProcess]:
    """One for all tests of a module; its pods are local processes."""
    with DevClusterProcess() as started:
        for name in ("second", "third"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            started.call("POST", "/api/v1/namespaces", body)
        yield started


@pytest.fixture
def place(cluster: DevClusterProcess) -> Iterator[Place]:
    here = Place(cluster, LogOptions(str(cluster.kubeconfig)))
    yield here
    here.delete()


@pytest.fixture
def ti(request: pytest.FixtureRequest) -> Any:
    """A task instance, of a DAG of its own for each test."""
    return SimpleNamespace(
        dag_id=request.node.name,
        task_id="group.task",
        run_id="manual__2026-01-01T00:00:00+00:00",
        map_index=-1,
        try_number=1,
        hostname="worker-1",
        queued_by_job_id=99,
        id="0198c0de-0000-7000-8000-000000000000",
        executor_config={},
    )
