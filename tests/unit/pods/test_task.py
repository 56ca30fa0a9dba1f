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
    ({"id": "a", "retries": -1}, "field 'retries' must be a whole number from 0 to 2147483647, e.g. 3, not -1"),
    ({"id": "a", "retries": True}, "field 'retries' must be a whole number from 0 to 2147483647, e.g. 3, not true"),
    ({"id": "a", "retries": "3"}, "not the text '3': write 3 without quotes"),
    ({"id": "a", "retries": "3m"}, "field 'retries' must be a whole number from 0 to 2147483647, e.g. 3, not the text"),
    ({"id": "a", "timeout": 0}, "field 'timeout' must be whole seconds from 1 to 2147483647, e.g. 3600, not 0"),
    ({"id": "a", "timeout": 1 << 31}, "e.g. 3600, not 2147483648"),
    ({"id": "a", "timeout": 10**5000}, "e.g. 3600, not a number of more than 128 bits"),
    ({"id": "a", "timeout": 60.0}, "not the number 60.0: write 60"),
    ({"id": "a", "timeout": 1.5}, "e.g. 3600, not the number 1.5"),
    ({"id": "a", "timeout": "5m"}, "not the text '5m': write 300 without quotes"),
    ({"id": "a", "timeout": "soon"}, "e.g. 3600, not the text 'soon'"),
    ({"id": "a", "timeout": True}, "e.g. 3600, not true"),
    ({"id": "a", "priority": 1 << 31}, "field 'priority' must be a whole number from -2147483648 to 2147483647"),
    ({"id": "a", "priority": False}, "(higher is created first), not false"),
    ({"id": "a", "priority": 0.0}, "not the number 0.0: write 0"),
    ({"id": "a", "priority": "high"}, "(higher is created first), not the text 'high'"),
    ({"id": "a", "namespace": "Team_A"}, "field 'namespace' must be the name of a namespace (1 to 63 lower-case"),
    ({"id": "a", "namespace": "a.b"}, "with no '-' at either end), not the text 'a.b'"),
    ({"id": "a", "namespace": "x" * 64}, "not the text 'xxx"),
    ({"id": "a", "namespace": "jobs\n"}, "not the text 'jobs\\n'"),
    ({"id": "a", "namespace": ""}, "not empty text"),
    ({"id": "a", "service_account": "system:x"}, "field 'service_account' must be the name of a service account"),
    ({"id": "a", "service_account": 5}, "e.g. worker, not the number 5"),
    (
        {"id": "a", "node_selector": {"gpu": True}},
        "field 'node_selector.gpu' must be text, not true: write \"true\" in",
    ),
    ({"id": "a", "node_selector": "gpu"}, "field 'node_selector' must be a mapping of text to text, e.g. {disktype:"),
    ({"id": "a", "node_selector": {1: "x"}}, 'has a key that is no text: the number 1: write "1" in quotes'),
    (
        {"id": "a", "tolerations": "gpu"},
        "field 'tolerations' must be a list of Kubernetes tolerations, e.g. [{key: gpu",
    ),
    ({"id": "a", "tolerations": {"key": "gpu"}}, "not a mapping: put it into a list"),
    ({"id": "a", "tolerations": ["gpu"]}, "field 'tolerations[0]' must be a mapping like {key: gpu, operator: Exists}"),
    ({"id": "a", "tolerations": [{"name": "gpu"}]}, "field 'tolerations[0]' has the unknown key 'name' (allowed: key,"),
    ({"id": "a", "tolerations": [{"efect": "x"}]}, "has the unknown key 'efect'; did you mean 'effect'? (allowed:"),
    ({"id": "a", "tolerations": [{"key": "k", "operator": "exists"}]}, "must be Exists or Equal or Lt or Gt, not the"),
    ({"id": "a", "tolerations": [{"key": "k", "value": True}]}, "field 'tolerations[0].value' must be text, not true"),
    ({"id": "a", "tolerations": [{"key": "k", "effect": "Never"}]}, "must be NoSchedule or PreferNoSchedule or NoEx"),
    ({"id": "a", "tolerations": [{"value": "x"}]}, "must have a key, or the operator Exists"),
    ({"id": "a", "tolerations": [{"key": "k", "operator": "Exists", "value": "x"}]}, "may have no value with the"),
    ({"id": "a", "tolerations": [{"key": "k", "tolerationSeconds": 5}]}, "only with the effect NoExecute"),
    ({"id": "a", "tolerations": [{"key": "k", "tolerationSeconds": "5m"}]}, "'5m': write 300 without quotes"),
    ({"id": "a", "tolerations": [{"key": "k", "tolerationSeconds": True}]}, "must be whole seconds, not true"),
    ({"id": "a", "depends_on": ["b"]}, "unknown field 'depends_on': tasks of a list run independently of each other"),
    ({"id": "a", "needs": "b"}, "write one task that does both steps, or use an orchestrator such as Airflow"),
    ({"id": "a", "volumes": []}, "unknown field 'volumes': put it into a pod template, and that file's path into the"),
    ({"id": "a", "volume_mounts": [], "volumeMounts": []}, "unknown fields 'volume_mounts', 'volumeMounts': put"),
    ({"name": "a"}, "unknown field 'name': write it as 'id' (text, unique in the list)"),
    ({"id": "a", "cmd": ["x"]}, "unknown field 'cmd': write it as 'command' (a list of strings"),
    ({"id": "a", "activeDeadlineSeconds": 5}, "'activeDeadlineSeconds': write it as 'timeout' (whole seconds from 1"),
    ({"id": "a", "deadline": 5}, "unknown field 'deadline': write it as 'timeout'"),
    ({"id": "a", "serviceAccountName": "x"}, "unknown field 'serviceAccountName': write it as 'service_account'"),
    (
        {"id": "a", "nodeSelector": {}, "cmd": []},
        "'node_selector' (a mapping of text to text, e.g. {disktype: ssd}); unk",
    ),
    ({"id": "a", "comand": [], "cmd": []}, "); unknown field 'comand': did you mean 'command'?"),
    ({"id": "a", "memory": "1Gi"}, "write it as 'resources', e.g. {requests: {cpu: 500m, memory: 1Gi}}"),
    ({"id": "a", "restartPolicy": "Always"}, "'retries' says how often a failed task is run again, in a new pod"),
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


def test_nothing_said_is_the_default():
    names = ("retries", "timeout", "priority", "namespace", "service_account", "node_selector", "tolerations")
    task = TaskSpec.from_mapping({"id": "a", **dict.fromkeys(names)})
    assert task == TaskSpec("a")
    assert (task.retries, task.timeout, task.priority, task.namespace, task.service_account) == (
        None,
        None,
        0,
        None,
        None,
    )
    assert (task.node_selector, task.tolerations) == ({}, ())


def test_limits_and_tolerations_are_kept_in_their_canonical_form():
    task = TaskSpec(
        "a",
        retries=0,
        timeout=2**31 - 1,
        priority=-(2**31),
        namespace="a" * 63,
        service_account="team.worker-1",
        tolerations=[
            {"effect": "NoExecute", "tolerationSeconds": -1, "key": "k", "value": None},
            {"operator": "Exists"},
        ],
    )
    assert (task.retries, task.timeout, task.priority) == (0, 2147483647, -2147483648)
    assert task.tolerations == (
        {"key": "k", "effect": "NoExecute", "tolerationSeconds": -1},
        {"operator": "Exists"},
    )
    assert list(task.tolerations[0]) == ["key", "effect", "tolerationSeconds"]


def test_a_task_does_not_change_with_the_mappings_that_it_was_made_of():
    labels, selector, toleration = {"a": "b"}, {"disk": "ssd"}, {"key": "k", "operator": "Exists"}
    task = TaskSpec("a", labels=labels, node_selector=selector, tolerations=[toleration])
    labels["c"] = selector["c"] = toleration["effect"] = "d"
    assert (task.labels, task.node_selector) == ({"a": "b"}, {"disk": "ssd"})
    assert task.tolerations == ({"key": "k", "operator": "Exists"},)
