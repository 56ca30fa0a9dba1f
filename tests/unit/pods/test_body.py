"""Pod bodies: the merge of template and task, our own labels, the two open places, and isolation between tasks."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard_executor.pods import body as body_module
from shard_executor.pods.body import MAX_PLANS, PodBuilder
from shard_executor.pods.task import TaskError, TaskSpec
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
  serviceAccount: worker
  nodeSelector: {pool: batch, disktype: hdd}
  tolerations: [{operator: Exists, key: batch}]
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


def test_where_and_how_a_pod_runs():
    builder = make_builder(template=parse_template(TEMPLATE, "t"))
    task = TaskSpec(
        "a",
        retries=3,
        priority=7,
        timeout=90,
        namespace="other",
        service_account="own",
        node_selector={"disktype": "ssd", "zone": "a"},
        tolerations=[
            {"key": "batch", "operator": "Exists"},
            {"value": "yes", "key": "gpu", "effect": "NoSchedule"},
            {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
        ],
    )
    pod = pod_of(builder.body(task))
    assert pod["metadata"]["namespace"] == "other"
    spec = {key: value for key, value in pod["spec"].items() if key != "containers"}
    assert spec == {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 90,
        "serviceAccountName": "own",
        "nodeSelector": {"pool": "batch", "disktype": "ssd", "zone": "a"},
        "tolerations": [
            {"operator": "Exists", "key": "batch"},
            {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
        ],
    }
    plain = pod_of(builder.body(TaskSpec("b")))
    assert plain["metadata"]["namespace"] == "jobs"
    assert plain["spec"]["serviceAccount"] == "worker"
    assert "activeDeadlineSeconds" not in plain["spec"]


def test_every_try_has_a_submission_of_its_own():
    builder = make_builder()
    task = TaskSpec("a/1", image="i")
    assert [builder.submission_id("a/1"), builder.submission_id("a/1", 2)] == ["r1/a/1/0", "r1/a/1/2"]
    first, second = pod_of(builder.body(task)), pod_of(builder.body(task, 5, 1))
    assert first["metadata"]["annotations"]["shard-executor/submission"] == "r1/a/1/0"
    assert second["metadata"]["annotations"]["shard-executor/submission"] == "r1/a/1/1"
    assert second["metadata"]["labels"]["shard-executor/bin"] == "5"


def test_a_namespace_is_the_tasks_else_the_runs():
    bound = parse_template("{kind: Pod, metadata: {namespace: other}}", "bound.yaml")
    builder = make_builder(templates={"bound.yaml": bound})
    assert builder.namespace_of(TaskSpec("a", image="i")) == "jobs"
    assert builder.namespace_of(TaskSpec("a", image="i", namespace="mine")) == "mine"
    assert builder.namespace_of(TaskSpec("a", image="i", namespace="other", template="bound.yaml")) == "other"
    words = (
        r"task 'a': the run's namespace is 'jobs' but metadata\.namespace of template bound\.yaml is 'other': remove"
    )
    for ask in (builder.namespace_of, builder.body):
        with pytest.raises(TaskError, match=words) as caught:
            ask(TaskSpec("a", image="i", template="bound.yaml"))
        assert caught.value.field == "namespace"
    with pytest.raises(
        TaskError, match=r"its namespace is 'mine' but .* or set the task's field 'namespace' to 'other'"
    ):
        builder.namespace_of(TaskSpec("a", image="i", namespace="mine", template="bound.yaml"))
    with pytest.raises(TaskError, match="task 'a': its namespace is 'mine' but metadata"):
        make_builder(template=bound, namespace="other").body(TaskSpec("a", image="i", namespace="mine"))


def test_values_of_tasks_make_no_plans(monkeypatch):
    made = []
    plan = body_module._Plan

    def counted(*arguments):
        made.append(arguments)
        return plan(*arguments)

    monkeypatch.setattr(body_module, "_Plan", counted)
    builder = make_builder(template=parse_template(TEMPLATE, "t"))
    for number in range(1, 200):
        builder.body(
            TaskSpec(
                f"t{number}",
                timeout=number,
                namespace=f"ns-{number}",
                service_account=f"sa-{number}",
                node_selector={f"key-{number}": "v"},
                tolerations=[{"key": f"k{number}", "operator": "Exists"}] * (1 + number % 3),
                resources={"requests": {"memory": f"{number}Mi", f"example.com/r{number}": 1}},
            )
        )
    assert len(made) == 1


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
quantities = st.dictionaries(st.sampled_from(["cpu", "memory", "a/b"]), words | st.integers(0, 9), max_size=3)
tolerations = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(["batch", "gpu"])},
        optional={"operator": st.just("Exists"), "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule"])},
    ),
    max_size=3,
)
any_task = st.builds(
    TaskSpec,
    id=words,
    image=st.none() | words,
    command=st.none() | st.lists(text, max_size=3),
    args=st.none() | st.lists(text, max_size=3),
    env=st.none()
    | st.dictionaries(st.sampled_from(["A", "B", "C", "\x00N", "D"]), text | st.integers() | st.booleans(), max_size=3)
    | st.just([{"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]),
    resources=st.none()
    | st.fixed_dictionaries({}, optional={"requests": quantities, "limits": quantities, "claims": st.just([])}),
    labels=st.dictionaries(st.sampled_from(["x", "tier", "\x00A"]), text, max_size=2),
    annotations=st.none() | st.dictionaries(st.sampled_from(["note", "y"]), text, max_size=2),
    template=st.sampled_from([None, "own.yaml"]),
    retries=st.none() | st.integers(0, 9),
    timeout=st.none() | st.integers(1, 2**31 - 1),
    priority=st.integers(-(2**31), 2**31 - 1),
    namespace=st.sampled_from([None, "jobs", "other-1"]),
    service_account=st.sampled_from([None, "worker", "a.b"]),
    node_selector=st.dictionaries(st.sampled_from(["pool", "zone", "\x00N"]), text, max_size=3),
    tolerations=tolerations,
)


def plain_merge(template, task, submission, bin_number):
    """What the pod has to be, written down as plainly as can be."""
    pod = copy.deepcopy(template.pod)
    pod.update(apiVersion="v1", kind="Pod")
    metadata = pod.setdefault("metadata", {})
    metadata.pop("generateName", None)
    metadata.update(name="the-name", namespace=task.namespace or "jobs")
    metadata.setdefault("labels", {}).update(task.labels)
    metadata["labels"].update({"shard-executor/instance": "shard-executor.standalone-r1", "shard-executor/owner": "r1"})
    metadata["labels"]["shard-executor/bin"] = str(bin_number)
    metadata.setdefault("annotations", {}).update(task.annotations)
    metadata["annotations"].update({"shard-executor/submission": submission, "shard-executor/attempt": "4"})
    spec = pod["spec"]
    spec["restartPolicy"] = "Never"
    container = spec["containers"][template.main]
    for field in ("image", "command", "args"):
        value = getattr(task, field)
        if value is not None:
            container[field] = value if field == "image" else list(value)
    if task.env:
        entries = {entry["name"]: entry for entry in container.get("env", [])}
        entries.update({entry["name"]: entry for entry in task.env})
        container["env"] = list(entries.values())
    if task.resources:
        amounts = container.setdefault("resources", {})
        for kind, own in task.resources.items():
            if kind == "claims":
                amounts[kind] = own
            else:
                amounts.setdefault(kind, {}).update(own)
    if task.timeout is not None:
        spec["activeDeadlineSeconds"] = task.timeout
    if task.service_account is not None:
        spec["serviceAccountName"] = task.service_account
        spec.pop("serviceAccount", None)
    if task.node_selector:
        spec.setdefault("nodeSelector", {}).update(task.node_selector)
    for toleration in task.tolerations:
        if toleration not in spec.setdefault("tolerations", []):
            spec["tolerations"].append(toleration)
    return pod


@given(st.lists(any_task, min_size=1, max_size=6))
def test_any_task_gives_the_pod_that_a_plain_merge_gives(tasks):
    full = parse_template(TEMPLATE, "t")
    bare = parse_template("{kind: Pod, spec: {containers: [{name: c}]}}", "own.yaml")
    builder = make_builder(template=full, templates={"own.yaml": bare})
    for number, task in enumerate(tasks):
        built = pod_of(builder.body(task, try_number=number), attempt=4)
        submission = f"r1/{task.id}/{number}"
        expected = plain_merge(full if task.template is None else bare, task, submission, builder.bin(task.id))
        assert built == expected
