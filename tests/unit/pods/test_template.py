"""Pod templates: what is refused, by which words, and which container is the task's."""

from __future__ import annotations

import pytest

from shard_executor.pods.task import TaskError, TaskSpec
from shard_executor.pods.template import EMPTY, TemplateError, load_template, parse_template, require_image

REFUSED = [
    ("", "must hold one Pod, not 0 YAML documents"),
    ("kind: Pod\n---\nkind: Pod\n", "must hold one Pod, not 2 YAML documents"),
    ("[1]", "must be a Pod (a mapping with kind: Pod), not a list"),
    ("kind: Job", "kind must be Pod, not the text 'Job'"),
    ("spec: {}", "kind must be Pod, not null"),
    ("{kind: Pod, apiVersion: v2}", "apiVersion must be v1, not the text 'v2'"),
    ("{kind: Pod, sepc: {}}", "unknown key 'sepc'; did you mean 'spec'? allowed: apiVersion, kind, metadata, spec"),
    ("{kind: Pod, status: {}}", "unknown key 'status'"),
    ("{kind: Pod, spec: []}", "spec must be a mapping, not a list"),
    ("{kind: Pod, spec: {restartPolicy: Always}}", "spec.restartPolicy must be Never, not 'Always'"),
    ("{kind: Pod, spec: {containers: []}}", "spec.containers must be a list of containers"),
    ("{kind: Pod, spec: {containers: [{image: a}]}}", "spec.containers[0] must be a mapping with a name"),
    ("{kind: Pod, spec: {containers: [{name: a}, {name: a}]}}", "a second container is named 'a'"),
    (
        "{kind: Pod, spec: {containers: [{name: a, image: 5}]}}",
        "spec.containers[0].image must be text, not the number 5",
    ),
    ("{kind: Pod, spec: {containers: [{name: a, env: {A: 1}}]}}", "spec.containers[0].env must be a list"),
    ("{kind: Pod, spec: {containers: [{name: a, env: [1]}]}}", "spec.containers[0].env[0] must be a mapping"),
    ("{kind: Pod, spec: {nodeSelector: ssd}}", "spec.nodeSelector must be a mapping, not the text 'ssd'"),
    ("{kind: Pod, spec: {tolerations: {key: a}}}", "spec.tolerations must be a list of tolerations, not a mapping"),
    ("{kind: Pod, metadata: {labels: {a: 1}}}", "metadata.labels.a must be text, not the number 1: put it in quotes"),
    ("{kind: Pod, metadata: {labels: {shard-executor/bin: '1'}}}", "metadata.labels may not set 'shard-executor/bin'"),
    ("kind: Pod\nkind: Pod\n", "line 2, column 1: the key 'kind' is given a second time"),
    ("kind: Pod\nspec: {a: b\nc: [", "not valid YAML: line 3"),
    ("kind: !!python/object:os.system Pod", "not valid YAML: line 1"),
    ("{kind: Pod, spec: {1: 2}}", "cannot be written as JSON: Dict key must be str"),
    ("kind: Pod\nspec: {x: \x07}", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_a_template_that_cannot_work_is_refused_by_name(text, words):
    with pytest.raises(TemplateError) as caught:
        parse_template(text, "pod.yaml")
    assert str(caught.value).startswith("template pod.yaml: ")
    assert words in str(caught.value)


def test_the_container_named_base_is_the_tasks_else_the_first():
    named = parse_template("{kind: Pod, spec: {containers: [{name: side, image: s}, {name: base, image: b}]}}", "t")
    first = parse_template("{kind: Pod, spec: {containers: [{name: one, image: o}, {name: two}]}}", "t")
    assert (named.main, named.image) == (1, "b")
    assert (first.main, first.image) == (0, "o")


def test_a_date_stays_text_and_merge_keys_may_be_overridden():
    text = "kind: Pod\nmetadata:\n  annotations: {day: 2026-01-31}\nspec:\n  nodeSelector: &a {x: one, y: two}\n"
    template = parse_template(text + "  overhead: {<<: *a, x: three}\n", "t")
    assert template.pod["metadata"]["annotations"]["day"] == "2026-01-31"
    assert template.pod["spec"]["overhead"] == {"x": "three", "y": "two"}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TemplateError, match=r"none\.yaml: no such file"):
        load_template(tmp_path / "none.yaml")
    with pytest.raises(TemplateError, match="cannot be read: Is a directory"):
        load_template(tmp_path)
    (tmp_path / "latin").write_bytes(b"kind: P\xe4")
    with pytest.raises(TemplateError, match="not valid YAML"):
        load_template(tmp_path / "latin")


def test_an_image_has_to_come_from_somewhere():
    require_image(TaskSpec("a", image="i"), EMPTY)
    bare = parse_template("{kind: Pod}", "bare.yaml")
    with pytest.raises(TaskError, match="task 'a': it has no image, and there is no template"):
        require_image(TaskSpec("a"), EMPTY)
    with pytest.raises(TaskError, match=r"nor does template bare\.yaml"):
        require_image(TaskSpec("a"), bare)
