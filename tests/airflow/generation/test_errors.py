"""Templates and overrides that cannot be used: refused by name, remembered, and nobody else's fault."""

from __future__ import annotations

import os

import pytest
from generation_cases import PLAIN_TEMPLATE, pod_of, request_of, until
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError, BuiltPod


def _refused(built):
    assert isinstance(built, BuildError), built
    assert not built.transient
    return built


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a Pod .*not null"),
        ("- a", "must be a Pod .*not a list"),
        ("kind: Pod\nspec: [", "not valid YAML: line 3, column 1"),
        ("a: 1\n---\nb: 2", "not valid YAML: line 2"),
        ("apiVersion: v1\nkind: Deployment", "line 2: kind must be Pod, not the text 'Deployment'"),
        ("kind: Pod\n\nspec: 5", "line 3: spec must be a mapping, not the number 5"),
        ("metadata: x", "line 1: metadata must be a mapping"),
        ("kind: Pod\nspec: {}", "spec.containers is missing"),
        ("kind: Pod\nspec:\n  containers: {name: base}", r"line 3: spec\.containers must be a list"),
        (
            "spec:\n  containers:\n  - name: a\n  - image: x",
            r"line 4: spec\.containers\[1\] must be a mapping with a name",
        ),
        ("spec: {containers: [{name: base, env: [{value: x}]}]}", "name.*must not be"),
        ("spec: {containers: [{name: base}], volumes: 7}", "not a Pod as the Kubernetes API has it"),
        ("spec: {containers: [{name: base}]}\nmetadata: {annotations: {a: !!int x}}", "not valid YAML"),
        ("!!python/object:os.system {}", "line 1"),
    ],
)
def test_templates_that_are_no_pods(shared_factory, tmp_path, text, words):
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    for _ in range(2):
        refused, fine = shared_factory.build([request_of(pod_template_file=str(path)), request_of()])
        assert _refused(refused).reason == "InvalidTemplate"
        assert f"pod template {path}: " in refused.message
        with pytest.raises(BuildError, match=words):
            raise refused
        assert isinstance(fine, BuiltPod)


def test_files_that_cannot_be_read(shared_factory, tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff")
    (tmp_path / "large.yaml").write_bytes(b"#" * ((4 << 20) + 1))
    paths = [str(tmp_path / "none.yaml"), str(tmp_path), str(tmp_path / "binary.yaml"), str(tmp_path / "large.yaml")]
    words = ["no such file", "s a directory", "not UTF-8 text", "larger than 4 MiB"]
    for built, word in zip(
        shared_factory.build([request_of(pod_template_file=path) for path in paths]), words, strict=True
    ):
        assert _refused(built).reason == "InvalidTemplate"
        assert word in built.message


def test_a_broken_template_is_remembered_until_its_file_changes(make_factory, tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text("kind: Job")
    factory = make_factory()
    request = request_of(pod_template_file=str(path))
    first = _refused(factory.build([request])[0])
    factory.end()
    again = factory.build([request_of(pod_template_file=str(path), task_id=f"t{n}") for n in range(100)])
    assert {built.message for built in again} == {first.message}
    assert factory.builder_pid is None  # nobody was asked
    factory.start()
    path.write_text(PLAIN_TEMPLATE)
    built = until(lambda: next((b for b in factory.build([request]) if isinstance(b, BuiltPod)), None))
    assert pod_of(built)["metadata"]["labels"]["tier"] == "airflow"


def test_a_changed_template_is_read_again(shared_factory, tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text(PLAIN_TEMPLATE)
    request = request_of(pod_template_file=str(path))
    assert pod_of(shared_factory.build([request])[0])["spec"]["serviceAccountName"] == "worker"
    replacement = tmp_path / "new.yaml"
    replacement.write_text(PLAIN_TEMPLATE.replace("worker", "other1"))
    os.replace(replacement, path)
    until(lambda: pod_of(shared_factory.build([request])[0])["spec"]["serviceAccountName"] == "other1")


class _NotSendable:
    def __reduce__(self):
        raise RuntimeError("stays here")


def _with(**spec):
    return k8s.V1Pod(spec=k8s.V1PodSpec(**{"containers": [k8s.V1Container(name="base")], **spec}))


@pytest.mark.parametrize(
    ("override", "reason", "words"),
    [
        ({"spec": {}}, "InvalidOverride", "must be a kubernetes.client.models.V1Pod, not builtins.dict"),
        (k8s.V1Pod(spec={"containers": []}), "InvalidOverride", r"pod_override\.spec must be a V1PodSpec, not dict"),
        (k8s.V1Pod(metadata="x"), "InvalidOverride", r"\.metadata must be a V1ObjectMeta, not str"),
        (_with(containers=[{"name": "base"}]), "InvalidOverride", r"\.spec\.containers\[0\] must be a V1Container"),
        (
            _with(containers=[k8s.V1Container(name="base", env=(1,))]),
            "InvalidOverride",
            r"containers\[0\]\.env must be a list, not tuple",
        ),
        (_with(volumes={"name": "x"}), "PodReconciliationFailed", "could not be merged: ValueError.*must be a list"),
        (_with(node_selector={"a": _NotSendable()}), "InvalidOverride", "stays here"),
        (_with(node_selector={"a": {1, 2}}), "InvalidPod", "cannot be written as JSON"),
        (_with(node_selector={"a": "\ud800"}), "InvalidPod", r"spec\.nodeSelector\.a = '\\ud800'"),
        (_with(priority=2**80), "InvalidPod", r"spec\.priority"),
    ],
    ids=str,
)
def test_overrides_that_cannot_be_used(shared_factory, template, override, reason, words):
    for _ in range(2):
        bad = request_of(pod_template_file=template, pod_override=override)
        before, refused, after = shared_factory.build([request_of(), bad, request_of(task_id="x")])
        assert _refused(refused).reason == reason
        with pytest.raises(BuildError, match=words):
            raise refused
        assert isinstance(before, BuiltPod)
        assert isinstance(after, BuiltPod)


def test_a_template_and_an_override_that_do_not_fit(shared_factory, tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text("spec: {containers: [{name: base}]}\nmetadata: {finalizers: [a]}")
    override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(finalizers="b"))
    (refused,) = shared_factory.build([request_of(pod_template_file=str(path), pod_override=override)])
    assert _refused(refused).reason == "PodReconciliationFailed"
    assert str(path) in refused.message
