"""What a task may say: each malformed field is refused by name, each good one is kept."""

from __future__ import annotations

import pytest

from shard_executor import TaskError, TaskSpec

REFUSED = [
    ({}, "the field 'id' is missing"),
    ({"id": ""}, "field 'id' must have 1 to 500 characters, not 0"),
    ({"id": "x" * 501}, "field 'id' must have 1 to 500 characters, not 501"),
    ({"id": 5}, "field 'id' must be text, not the number 5: write \"5\" in quotes"),
    ({"id": None}, "field 'id' must be text, not null"),
    ({"id": "\ud800"}, "field 'id' holds half a surrogate pair"),
    ({"id": "a", "comand": []}, "unknown field 'comand'; did you mean 'command'? allowed: id, image, command"),
    ({"id": "a", "zzz": 1, "yyy": 2}, "unknown fields 'zzz', 'yyy'; allowed: id, image"),
    ({"id": "a", "image": ""}, "field 'image' must be text, e.g. python:3.13-slim, not empty text"),
    ({"id": "a", "image": 3}, "field 'image' must be text, e.g. python:3.13-slim, not the number 3"),
    ({"id": "a", "command": "sleep 5"}, "field 'command' must be a list of strings"),
    ({"id": "a", "args": ["sleep", 5]}, "field 'args[1]' must be text, not the number 5: write \"5\" in quotes"),
    ({"id": "a", "args": [None]}, "field 'args[0]' must be text, not null"),
    ({"id": "a", "args": {"a": 1}}, "field 'args' must be a list of strings"),
    ({"id": "a", "env": "A=1"}, "field 'env' must be a mapping of names"),
    ({"id": "a", "env": {"A": None}}, "field 'env.A' must be text, a number or true/false, not null"),
    ({"id": "a", "env": {"A": {"b": 1}}}, "field 'env.A' must be text, a number or true/false, not a mapping"),
    ({"id": "a", "env": {"A=B": "1"}}, "field 'env' has a name that is no text without '='"),
    ({"id": "a", "env": [{"value": "1"}]}, "field 'env[0]' must be a mapping with name, value, valueFrom"),
    ({"id": "a", "env": [{"name": "A", "vale": "1"}]}, "field 'env[0]' must be a mapping with name, value, valueFrom"),
    ({"id": "a", "env": [{"name": "A"}, {"name": "A"}]}, "field 'env[1]' sets 'A' a second time"),
    ({"id": "a", "env": [{"name": "A", "value": "1", "valueFrom": {}}]}, "either value or valueFrom"),
    ({"id": "a", "resources": {"request": {}}}, "has the unknown key 'request'; did you mean 'requests'?"),
    ({"id": "a", "resources": {"requests": "1"}}, "field 'resources.requests' must be a mapping like {cpu: 100m}"),
    ({"id": "a", "resources": {"limits": {"cpu": True}}}, "field 'resources.limits.cpu' must be a quantity"),
    ({"id": "a", "resources": {"limits": {"cpu": 1 << 70}}}, "field 'resources' cannot be written as JSON"),
    ({"id": "a", "labels": {"n": 1}}, "field 'labels.n' must be text, not the number 1: write \"1\" in quotes"),
    ({"id": "a", "labels": ["n"]}, "field 'labels' must be a mapping of text to text, not a list"),
    ({"id": "a", "labels": {"shard-executor/bin": "1"}}, "may not set 'shard-executor/bin'"),
    ({"id": "a", "labels": {"airflow_executor_done": "True"}}, "may not set 'airflow_executor_done'"),
    ({"id": "a", "annotations": {"shard-executor/x": "1"}}, "field 'annotations' may not set 'shard-executor/x'"),
    ({"id": "a", "template": {}}, "field 'template' must be the path of a pod template"),
]


@pytest.mark.parametrize(("data", "words"), REFUSED)
def test_a_malformed_task_is_refused_by_name(data, words):
    with pytest.raises(TaskError) as caught:
        TaskSpec.from_mapping(data)
    assert words in str(caught.value)
    if isinstance(data.get("id"), str) and 0 < len(data["id"]) < 500 and data["id"] != "\ud800":
        assert str(caught.value).startswith(f"task {data['id']!r}: ")


def test_what_is_no_mapping_is_refused():
    with pytest.raises(TaskError, match=r"a task must be a mapping like .*, not the text 'echo'"):
        TaskSpec.from_mapping("echo")  # type: ignore[arg-type]


def test_env_values_become_text_and_lists_become_tuples():
    task = TaskSpec("ü", command=["a"], args=[], env={"N": 1, "F": 0.5, "T": True, "S": "x"})
    assert task.env == (
        {"name": "N", "value": "1"},
        {"name": "F", "value": "0.5"},
        {"name": "T", "value": "true"},
        {"name": "S", "value": "x"},
    )
    assert (task.command, task.args) == (("a",), ())


def test_env_entries_of_kubernetes_are_kept():
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    task = TaskSpec("a", env=[{"name": "A", "valueFrom": source}, {"name": "B"}])
    assert task.env == ({"name": "A", "valueFrom": source}, {"name": "B", "value": ""})
