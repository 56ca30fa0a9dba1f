"""Digests of tasks: the same for what says the same, different for any difference, the same for ever."""

from __future__ import annotations

import dataclasses

import pytest

from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import FIELDS, TaskError, TaskSpec
from shard_executor.pods.template import parse_template

POD = "{kind: Pod, metadata: {labels: {a: b}}, spec: {containers: [{name: base, image: i}]}}"
FULL = {
    "id": "a",
    "image": "i",
    "command": ["c"],
    "args": ["d"],
    "env": {"A": "1", "B": "2"},
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 2}},
    "labels": {"l": "1", "m": "2"},
    "annotations": {"n": "1"},
    "template": "t.yaml",
    "retries": 1,
    "timeout": 60,
    "priority": 5,
    "namespace": "jobs",
    "service_account": "worker",
    "node_selector": {"disk": "ssd", "zone": "a"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
}
OTHER = {
    "id": "b",
    "image": "j",
    "command": [],
    "args": ["d", ""],
    "env": {"A": "1", "B": "3"},
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": 2}},
    "labels": {"l": "2", "m": "1"},
    "annotations": {},
    "template": None,
    "retries": 0,
    "timeout": 61,
    "priority": 0,
    "namespace": "other",
    "service_account": "worker.2",
    "node_selector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
}


def make_builder(pod=POD, **changes):
    settings = {"namespace": "jobs", "instance": "i", "owner": "r1", "run_id": "r1"}
    return PodBuilder(**{**settings, "templates": {"t.yaml": parse_template(pod, "t.yaml")}, **changes})


def shuffled(value):
    """The same JSON with every object's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_known_digests_stay_as_they_are():
    builder = make_builder()
    assert builder.digest(TaskSpec("a", image="i", command=["true"])) == "79a8110fc5fc36fcdacbd69b555ef22b"
    assert builder.digest(TaskSpec.from_mapping(FULL)) == "b465746006815427bfbffa1c371badcf"


def test_neither_run_nor_order_nor_what_is_not_said_counts():
    digest = make_builder().digest(TaskSpec.from_mapping(FULL))
    other_run = make_builder(namespace="elsewhere", instance="x", owner="r2", run_id="r2")
    assert other_run.digest(TaskSpec.from_mapping(shuffled(FULL))) == digest
    nothing = {"env": {}, "labels": None, "tolerations": [], "priority": None, "timeout": None, "node_selector": {}}
    assert other_run.digest(TaskSpec("a", **nothing)) == make_builder().digest(TaskSpec("a"))


def test_every_field_counts():
    assert FULL.keys() == OTHER.keys() == FIELDS.keys() == {field.name for field in dataclasses.fields(TaskSpec)}
    builder = make_builder(template=parse_template(POD, "t.yaml"))
    digests = {builder.digest(TaskSpec.from_mapping({**FULL, name: OTHER[name]})) for name in FULL}
    digests.add(builder.digest(TaskSpec.from_mapping(FULL)))
    assert len(digests) == len(FULL) + 1


def test_the_pod_of_the_template_counts():
    task, own = TaskSpec("a"), TaskSpec("a", template="t.yaml")
    default, changed = parse_template(POD, "d.yaml"), parse_template(POD.replace("image: i", "image: j"), "d.yaml")
    assert make_builder(template=default).digest(task) != make_builder(template=changed).digest(task)
    assert make_builder(template=default).digest(task) != make_builder().digest(task)
    assert make_builder(template=default).digest(own) == make_builder(template=changed).digest(own)
    assert make_builder(POD.replace("a: b", "a: c")).digest(own) != make_builder().digest(own)
    written_otherwise = "spec: {containers: [{image: i, name: base}]}\nmetadata: {labels: {a: b}}\nkind: Pod\n"
    assert make_builder(written_otherwise).digest(own) == make_builder().digest(own)


def test_a_template_that_is_not_there():
    with pytest.raises(TaskError, match=r"template 'no\.yaml' has not been loaded"):
        make_builder().digest(TaskSpec("a", template="no.yaml"))
