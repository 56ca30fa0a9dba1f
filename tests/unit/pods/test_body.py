"""Pod bodies: the merge of template and task, our own labels, the two open places, and isolation between tasks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_executor.pods.body import MAX_PLANS, PodBuilder
from shard_executor.pods.task import TaskSpec
from shard_executor.pods.template import TemplateError, parse_template

TEMPLATE = """
apiVersion: v1
kind: Pod
metadata:
  name: ignored
  generateName: ignored-
  labels: {team: data, tier: low}
  annotations: {note: template}
spec:
  serviceAccountName: worker
  containers:
  - name: side
    image: side:1
  - name: base
    image: base:1
    command: [from-template]
    args: [a, b]
    env: [{name: A, value: "1"}, {name: B, value: "2"}]
    resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {memory: 2Gi}}
"""


def make_builder(**changes):
    settings = {"namespace": "jobs", "instance": "shard-executor.standalone-r1", "owner": "r1", "run_id": "r1"}
    return PodBuilder(**{**settings, **changes})


def pod_of(body, name="the-name", attempt=0):
    assert body.count("\x00N") == 1
    assert body.count("\x00A") == 1
    return json.loads(body.replace("\x00N", name).replace("\x00A", str(attempt)))


def test_a_plain_task_without_template():
    builder = make_builder()
    pod = pod_of(builder.body(TaskSpec("task/ü 1", image="busybox", command=["echo", 'a"b\x00'])), attempt=3)
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "the-name",
            "namespace": "jobs",
            "labels": {
                "shard-executor/instance": "shard-executor.standalone-r1",
                "shard-executor/bin": str(builder.bin("task/ü 1")),
                "shard-executor/owner": "r1",
            },
            "annotations": {"shard-executor/submission": "r1/task/ü 1/0", "shard-executor/attempt": "3"},
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "base", "image": "busybox", "command": ["echo", 'a"b\x00']}],
        },
    }


def test_the_tasks_fields_win_over_the_templates():
    builder = make_builder(template=parse_template(TEMPLATE, "t"))
    task = TaskSpec(
        "a",
        image="own:2",
        args=["x"],
        env=[{"name": "B", "value": "own"}, {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        resources={"requests": {"cpu": 2}, "limits": {"nvidia.com/gpu": "1"}},
        labels={"tier": "high"},
        annotations={"more": "1"},
    )
    pod = pod_of(builder.body(task))
    side, base = pod["spec"]["containers"]
    assert side == {"name": "side", "image": "side:1"}
    assert base == {
        "name": "base",
        "image": "own:2",
        "command": ["from-template"],
        "args": ["x"],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "own"},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {
            "requests": {"cpu": 2, "memory": "1Gi"},
            "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"},
        },
    }
    assert pod["metadata"]["name"] == "the-name"
    assert "generateName" not in pod["metadata"]
    assert pod["metadata"]["labels"]["team"] == "data"
    assert pod["metadata"]["labels"]["tier"] == "high"
    assert pod["metadata"]["annotations"]["note"] == "template"
    assert pod["metadata"]["annotations"]["more"] == "1"
    assert pod["spec"]["serviceAccountName"] == "worker"
    assert pod["spec"]["restartPolicy"] == "Never"


def test_tasks_of_one_shape_do_not_share_values():
    builder = make_builder(template=parse_template(TEMPLATE, "t"))
    for number in range(5):
        task = TaskSpec(f"t{number}", env={"A": number, "Z": number}, labels={"n": str(number)})
        pod = pod_of(builder.body(task))
        env = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][1]["env"]}
        assert env == {"A": str(number), "B": "2", "Z": str(number)}
        assert pod["metadata"]["labels"]["n"] == str(number)
        assert pod["metadata"]["annotations"]["shard-executor/submission"] == f"r1/t{number}/0"


def test_a_task_may_name_its_own_template():
    builder = make_builder(
        template=parse_template(TEMPLATE, "t"),
        templates={"own.yaml": parse_template("{kind: Pod, spec: {containers: [{name: c, image: own}]}}", "own.yaml")},
    )
    assert pod_of(builder.body(TaskSpec("a", template="own.yaml")))["spec"]["containers"] == [
        {"name": "c", "image": "own"}
    ]
    assert len(pod_of(builder.body(TaskSpec("b")))["spec"]["containers"]) == 2


def test_a_template_for_another_namespace_is_refused():
    template = parse_template("{kind: Pod, metadata: {namespace: other}}", "ns.yaml")
    with pytest.raises(
        TemplateError, match=r"ns\.yaml: metadata\.namespace is 'other' but the run's namespace is 'jobs'"
    ):
        make_builder(template=template)
    assert make_builder(template=template, namespace="other")


def test_more_shapes_than_plans_kept():
    builder = make_builder()
    for number in range(MAX_PLANS + 10):
        pod = pod_of(builder.body(TaskSpec("t", image="i", labels={f"key-{number}": "v"})))
        assert pod["metadata"]["labels"][f"key-{number}"] == "v"
    assert "key-0" in pod_of(builder.body(TaskSpec("t", image="i", labels={"key-0": "v"})))["metadata"]["labels"]


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(
    st.lists(
        st.builds(
            TaskSpec,
            id=words,
            image=st.none() | words,
            command=st.none() | st.lists(text, max_size=3),
            args=st.none() | st.lists(text, max_size=3),
            env=st.dictionaries(st.sampled_from(["A", "B", "C", "\x00N", "D"]), text, max_size=3),
            labels=st.dictionaries(st.sampled_from(["x", "tier", "\x00A"]), text, max_size=2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_task_gives_the_pod_that_a_plain_merge_gives(tasks):
    template = parse_template(TEMPLATE, "t")
    builder = make_builder(template=template)
    for task in tasks:
        pod = pod_of(builder.body(task))
        base = pod["spec"]["containers"][1]
        assert base["image"] == (task.image or "base:1")
        assert base["command"] == (["from-template"] if task.command is None else list(task.command))
        assert base["args"] == (["a", "b"] if task.args is None else list(task.args))
        expected = {"A": "1", "B": "2", **{entry["name"]: entry["value"] for entry in task.env or ()}}
        assert {entry["name"]: entry["value"] for entry in base["env"]} == expected
        own = {k: v for k, v in pod["metadata"]["labels"].items() if not k.startswith("shard-executor/")}
        assert own == {"team": "data", "tier": "low", **task.labels}
        assert pod["metadata"]["annotations"]["shard-executor/submission"] == f"r1/{task.id}/0"
