"""Compiled pods, general pods and the provider's pods are the same, apart from what is ours."""

from __future__ import annotations

import pytest
from generation_cases import (
    OVERRIDES,
    REQUESTS,
    TEMPLATES,
    comparable,
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

from shard_executor.airflow.generation import BuildError, general_pod
from shard_executor.airflow.generation.general import Generator
from shard_executor.airflow.generation.subject import lone_subject

_CHECKS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _expected(request):
    """The provider's pod, or None where it has none."""
    try:
        return stock_pod(request)
    except Exception:  # noqa: BLE001  # whatever it is that the provider raises
        return None


@_CHECKS
@given(document=TEMPLATES, override=st.one_of(st.none(), OVERRIDES), first=REQUESTS, second=REQUESTS)
def test_compiled_equals_the_providers(shared_factory, tmp_path, document, override, first, second):
    path = written(tmp_path, document)
    made = [request_of(**fields, pod_template_file=path, pod_override=override) for fields in (first, second, second)]
    for request, built in zip(made, shared_factory.build(made), strict=True):
        stock = _expected(request)
        if stock is None or not stock["spec"]["containers"]:
            assert isinstance(built, BuildError)
            continue
        pod = pod_of(built)
        assert without_ours(pod, stock) == comparable(stock)
        assert built.namespace == stock["metadata"]["namespace"]


@_CHECKS
@given(document=TEMPLATES, override=st.one_of(st.none(), OVERRIDES), fields=REQUESTS)
def test_general_equals_compiled(shared_factory, tmp_path, document, override, fields):
    request = request_of(**fields, pod_template_file=written(tmp_path, document), pod_override=override)
    (built,) = shared_factory.build([request])
    if isinstance(built, BuildError):
        return
    generator = Generator(settings_of())
    subject = lone_subject(request, settings_of())
    assert generator.compile(subject) is not None  # nothing falls back to the slow path unseen
    assert generator.build(subject) == (built.body, built.namespace)


def test_the_plain_pod(shared_factory, template):
    """One whole pod to look at."""
    (built,) = shared_factory.build([request_of(pod_template_file=template, map_index=3)])
    pod = pod_of(built)
    pod["metadata"]["labels"].pop("airflow_version")
    run = "scheduled__2026-03-01T06:30:00+00:00"
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "pod-name",
            "namespace": "airflow",
            "labels": {
                "tier": "airflow",
                "dag_id": "etl",
                "task_id": "load",
                "try_number": "1",
                "map_index": "3",
                "run_id": "scheduled__2026-03-01T0630000000-" + pod["metadata"]["labels"]["run_id"][-9:],
                "kubernetes_executor": "True",
                "airflow-worker": "17",
                "shard-executor/instance": "main.default",
                "shard-executor/bin": "42",
            },
            "annotations": {
                "note": "kept",
                "dag_id": "etl",
                "task_id": "load",
                "run_id": run,
                "try_number": "1",
                "map_index": "3",
                "shard-executor/submission": "job/etl/load/1",
                "shard-executor/attempt": "0",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "worker",
            "containers": [
                {
                    "name": "base",
                    "image": "registry/airflow:3",
                    "args": [
                        "python",
                        "-m",
                        "airflow.sdk.execution_time.execute_workload",
                        "--json-string",
                        request_of().workload_json,
                    ],
                    "env": [
                        {"name": "FROM_TEMPLATE", "value": "1"},
                        {"name": "AIRFLOW_IS_K8S_EXECUTOR_POD", "value": "True"},
                        {"name": "AIRFLOW_CTX_DAG_ID", "value": "etl"},
                        {"name": "AIRFLOW_CTX_TASK_ID", "value": "load"},
                        {"name": "AIRFLOW_CTX_DAG_RUN_ID", "value": run},
                        {"name": "AIRFLOW_CTX_TRY_NUMBER", "value": "1"},
                        {"name": "AIRFLOW_CTX_MAP_INDEX", "value": "3"},
                        {"name": "AIRFLOW_CTX_EXECUTION_DATE", "value": "2026-03-01T06:30:00+00:00"},
                    ],
                    "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
                }
            ],
            "volumes": [{"name": "logs", "emptyDir": {}}],
        },
    }


def test_a_pod_without_a_template_never_restarts(shared_factory):
    (built,) = shared_factory.build([request_of()])
    assert pod_of(built)["spec"]["restartPolicy"] == "Never"


def test_general_pod_is_the_built_pod_with_its_name(shared_factory, template):
    request = request_of(pod_template_file=template)
    pod = general_pod(request, settings_of())
    assert pod["metadata"]["name"].startswith("etl-load-")
    (built,) = shared_factory.build([request])
    expected = pod_of(built)
    expected["metadata"]["name"] = pod["metadata"]["name"]
    assert pod == expected


@pytest.mark.parametrize("wanted", [None, "elsewhere"])
def test_the_overrides_namespace_wins(shared_factory, template, wanted):
    override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace=wanted))
    (built,) = shared_factory.build([request_of(pod_template_file=template, pod_override=override)])
    assert built.namespace == pod_of(built)["metadata"]["namespace"] == (wanted or "airflow")
