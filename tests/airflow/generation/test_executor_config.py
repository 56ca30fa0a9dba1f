"""What an executor_config asks for, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError, executor_config_parts, namespace_of

POD = k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace="elsewhere"))


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"pod_override": POD}, (POD, None)),
        ({"pod_override": None, "pod_template_file": ""}, (None, None)),
        ({"pod_template_file": "/t.yaml"}, (None, "/t.yaml")),
        ({"pod_template_file": Path("/t.yaml"), "other": 1}, (None, "/t.yaml")),
        ({"KubernetesExecutor": {}}, (None, None)),
    ],
)
def test_parts(config, parts):
    assert executor_config_parts(config) == parts


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([1], "must be a dict, not list"),
        ({"KubernetesExecutor": {"image": "x"}}, "'KubernetesExecutor' is no longer understood: use 'pod_override'"),
        ({"KubernetesExecutor": {"image": "x"}, "pod_override": POD}, "no longer understood"),
        ({"pod_override": {"spec": {}}}, "must be a kubernetes.client.models.V1Pod, not dict"),
        ({"pod_override": k8s.V1PodSpec(containers=[])}, "not kubernetes.client.models.v1_pod_spec.V1PodSpec"),
        ({"pod_template_file": 3}, "must be the path of a file, not int"),
    ],
)
def test_refused(config, words):
    with pytest.raises(BuildError) as caught:
        executor_config_parts(config)
    assert caught.value.reason == "InvalidExecutorConfig"
    assert words in caught.value.message


def test_namespaces():
    assert namespace_of(POD, "airflow") == "elsewhere"
    assert namespace_of(None, "airflow") == "airflow"
    assert namespace_of(k8s.V1Pod(), "airflow") == "airflow"
    assert namespace_of(k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace="")), "airflow") == "airflow"
