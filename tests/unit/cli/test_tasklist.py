"""Task lists: all fields in each format, the place of every fault, and the namespaces of a list."""

from __future__ import annotations

import json

import pytest
import yaml

from shard_executor.cli.errors import CommandError
from shard_executor.cli.tasklist import namespaces_of, read_tasks
from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec

TASK = {
    "id": "a",
    "image": "i",
    "retries": 2,
    "timeout": 60,
    "priority": -1,
    "namespace": "jobs",
    "service_account": "worker",
    "node_selector": {"disktype": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
}


def make_builder(listed, namespace="default"):
    return PodBuilder(namespace=namespace, instance="i", owner="o", run_id="r", templates=listed.templates)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.jsonl", json.dumps(TASK)),
        ("t.json", json.dumps([TASK], indent=1)),
        ("t.yaml", yaml.safe_dump({"tasks": [TASK]})),
        ("documents", yaml.safe_dump_all([TASK])),
    ],
)
def test_every_format_gives_the_same_task(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_tasks(str(tmp_path / name)).tasks == [TaskSpec(**TASK)]


def test_a_fault_has_the_line_of_its_key(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        "- id: a\n  image: i\n  timeout: 5m\n"
        "- id: b\n  tolerations:\n  - key: gpu\n    operator: exists\n"
        "- id: c\n  node_selector:\n    gpu: yes\n"
        "- id: d\n  depends_on: [a]\n"
    )
    with pytest.raises(CommandError) as caught:
        read_tasks(str(path))
    problems = [problem.removeprefix(f"{path}, ") for problem in caught.value.problems]
    assert [problem.split(" must ")[0].split(": tasks ")[0] for problem in problems] == [
        "line 3: task 'a': field 'timeout'",
        "line 5: task 'b': field 'tolerations[0].operator'",
        "line 9: task 'c': field 'node_selector.gpu'",
        "line 12: task 'd': unknown field 'depends_on'",
    ]


def test_namespaces_are_those_of_tasks_else_that_of_the_run(tmp_path):
    (tmp_path / "bound.yaml").write_text("kind: Pod\nmetadata: {namespace: bound}\n")
    path = tmp_path / "t.yaml"
    path.write_text("- {id: a}\n- {id: b, namespace: own}\n- {id: c, namespace: bound, template: bound.yaml}\n")
    listed = read_tasks(str(path))
    builder = make_builder(listed)
    assert namespaces_of(listed, builder) == ["default", "own", "bound"]
    assert namespaces_of(listed, builder, listed.tasks[1:2]) == ["own"]
    path.write_text("- {id: a}\n- {id: b, namespace: own, template: bound.yaml}\n- {id: c, template: bound.yaml}\n")
    listed = read_tasks(str(path))
    assert namespaces_of(listed, make_builder(listed), listed.tasks[:1]) == ["default"]
    with pytest.raises(CommandError) as caught:
        namespaces_of(listed, make_builder(listed))
    own, run = caught.value.problems
    assert own.startswith(f"{path}, line 2: task 'b': its namespace is 'own' but metadata.namespace of template ")
    assert run.startswith(f"{path}, line 3: task 'c': the run's namespace is 'default' but ")
