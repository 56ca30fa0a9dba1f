"""Deployments with a pod_mutation_hook: it sees the provider's pod and may change anything but what is ours."""

from __future__ import annotations

import pytest
from generation_cases import (
    OVERRIDES,
    REQUESTS,
    TEMPLATES,
    comparable,
    env_of,
    pod_of,
    request_of,
    settings_of,
    stock_pod,
    without_ours,
    written,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError, BuiltPod, PodFactory

ADDS = """
from kubernetes.client import models as k8s

def pod_mutation_hook(pod):
    pod.spec.init_containers = [*(pod.spec.init_containers or []), k8s.V1Container(name="init", image="busybox")]
    pod.spec.tolerations = (pod.spec.tolerations or []) + [k8s.V1Toleration(key="hook", operator="Exists")]
    pod.metadata.annotations["seen"] = pod.metadata.annotations["task_id"] + str(len(pod.spec.containers))
    for container in pod.spec.containers:
        container.env = [*(container.env or []), k8s.V1EnvVar(name="HOOK", value=pod.metadata.labels["dag_id"])]
    if pod.spec.volumes:
        pod.spec.volumes[0].name = "changed"  # in place: nothing of it may stay for the next pod
"""


def _hook(text):
    names: dict = {}
    exec(text, names)
    return names["pod_mutation_hook"]


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """One factory for the whole module whose builder has the hook above."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(ADDS)
    factory = PodFactory(settings_of(idle_timeout=0.1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        factory.start()
    yield factory
    factory.end()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=TEMPLATES, override=st.one_of(st.none(), OVERRIDES), first=REQUESTS, second=REQUESTS)
def test_same_as_the_providers_pod_after_the_hook(hooked, tmp_path, document, override, first, second):
    path = written(tmp_path, document)
    made = [request_of(**fields, pod_template_file=path, pod_override=override) for fields in (first, second)]
    for request, built in zip(made, hooked.build(made), strict=True):
        try:
            stock = stock_pod(request, _hook(ADDS))
        except Exception:  # noqa: BLE001  # whatever it is that the provider or the hook raises
            assert isinstance(built, BuildError)
            continue
        assert without_ours(pod_of(built), stock) == comparable(stock)


def test_the_builder_stays_while_there_is_a_hook(hooked):
    hooked.build([request_of()])
    pid = hooked.builder_pid
    for _ in range(3):
        hooked.build([request_of()])
    assert hooked.builder_pid == pid is not None


CHANGES_OURS = """
def pod_mutation_hook(pod):
    pod.metadata.namespace = "moved"
    pod.metadata.annotations = {"first-name": pod.metadata.name}
    pod.metadata.labels = None
    pod.metadata.generate_name = "x-"
    pod.metadata.name = "mine"
    pod.spec.containers.reverse()
"""


def test_what_is_ours_is_put_back(make_factory, local_settings):
    local_settings(CHANGES_OURS)
    side = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base"), k8s.V1Container(name="side")]))
    (built,) = make_factory().build([request_of(pod_override=side)])
    pod = pod_of(built)
    assert built.namespace == pod["metadata"]["namespace"] == "moved"
    assert pod["metadata"] == {
        "name": "pod-name",
        "namespace": "moved",
        "labels": {"airflow-worker": "17", "shard-executor/instance": "main.default", "shard-executor/bin": "42"},
        "annotations": {
            "first-name": "pod-name",  # what a hook does with the name holds for the real one
            "shard-executor/submission": "job/etl/load/1",
            "shard-executor/attempt": "0",
        },
    }
    assert [container["name"] for container in pod["spec"]["containers"]] == ["side", "base"]
    assert "AIRFLOW_CTX_DAG_ID" in env_of(pod, 1)
    assert not env_of(pod, 0)


FAILS = """
import sys, os, time

def pod_mutation_hook(pod):
    task = pod.metadata.annotations["task_id"]
    if task == "raises":
        raise LookupError("no such team")
    if task == "exits":
        sys.exit("bye")
    if task == "empties":
        pod.spec.containers = []
    if task == "object":
        pod.metadata.annotations["x"] = object()
    if task == "dies":
        os._exit(9)
    if task == "quits":
        os._exit(0)
    if task == "hangs":
        time.sleep(3600)
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """One factory for all faults: what follows one of them finds it in order."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(FAILS)
    factory = PodFactory(settings_of(answer_timeout=3.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))  # until the last of its builders has been started
        yield factory
    factory.end()


@pytest.mark.parametrize(
    ("task", "reason", "words"),
    [
        (
            "raises",
            "PodMutationHookFailed",
            "raised LookupError: no such team at .*airflow_local_settings.py:7; correct",
        ),
        ("exits", "PodMutationHookFailed", "raised SystemExit: bye"),
        ("empties", "InvalidPod", "spec.containers"),
        ("object", "InvalidPod", "cannot be written as JSON"),
        ("dies", "BuilderDied", "ended with exit code 9 each time"),
        ("quits", "BuilderDied", "ended with exit code 0 each time"),
        ("hangs", "BuildTimedOut", "more than 3 s: does the pod_mutation_hook wait"),
    ],
)
def test_a_hook_that_fails_fails_its_own_pod_alone(failing, task, reason, words):
    names = ["one", task, "two", "three"]
    built = failing.build([request_of(task_id=name) for name in names])
    assert [type(one) for one in built] == [BuiltPod, BuildError, BuiltPod, BuiltPod]
    assert [pod_of(one)["metadata"]["labels"]["task_id"] for one in built if isinstance(one, BuiltPod)] == [
        "one",
        "two",
        "three",
    ]
    assert built[1].reason == reason
    with pytest.raises(BuildError, match=words):
        raise built[1]


def test_a_function_that_takes_the_place_of_airflows_is_found(make_factory, local_settings):
    local_settings(
        "import airflow.settings\n\ndef own(pod):\n    pod.metadata.annotations['own'] = 'yes'\n"
        "airflow.settings.pod_mutation_hook = own\n"
    )
    (built,) = make_factory().build([request_of()])
    assert pod_of(built)["metadata"]["annotations"]["own"] == "yes"


def test_templates_with_logic_and_a_hook(make_factory, local_settings, tmp_path):
    local_settings(ADDS)
    path = tmp_path / "pod.yaml.j2"
    path.write_text('metadata: {annotations: {up: "{{ task_id | upper }}"}}')
    built = make_factory().build([request_of(pod_template_file=str(path), task_id=name) for name in ("a", "b")])
    notes = [pod_of(one)["metadata"]["annotations"] for one in built]
    assert [(note["up"], note["seen"]) for note in notes] == [("A", "a1"), ("B", "b1")]
