"""Jinja in templates: parsed values only, in files that ask for it, compiled where it only inserts."""

from __future__ import annotations

import pytest
from generation_cases import pod_of, request_of

from shard_executor.airflow.generation import BuildError

TEMPLATE = """\
spec:
  containers:
    - name: base
      workingDir: "/data/{{ dag_id }}/{{ dag.dag_id }}"
metadata:
  annotations:
    ids: "{{ task_id }} {{ task.task_id }} {{ run_id }} {{ try_number }}/{{ map_index }}"
    plain: "no brackets"
    raw: "{% raw %}{{ with secret }}{% endraw %}"
"""
LOGIC = """\
metadata:
  annotations:
    pool: "{% if try_number > 1 %}retry{% else %}first{% endif %}"
    upper: "{{ dag_id | upper }}"
"""


def _file(folder, text, name="pod.yaml.j2"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_names_are_inserted(shared_factory, tmp_path):
    path = _file(tmp_path, TEMPLATE)
    one, two = shared_factory.build(
        [
            request_of(pod_template_file=path, map_index=4),
            request_of(pod_template_file=path, map_index=5, dag_id='q"uote', task_id="größe", try_number=3),
        ]
    )
    run = request_of().run_id
    assert pod_of(one)["metadata"]["annotations"]["ids"] == f"load load {run} 1/4"
    assert pod_of(one)["spec"]["containers"][0]["workingDir"] == "/data/etl/etl"
    assert pod_of(one)["metadata"]["annotations"]["raw"] == "{{ with secret }}"
    assert pod_of(two)["metadata"]["annotations"]["ids"] == f"größe größe {run} 3/5"
    assert pod_of(two)["spec"]["containers"][0]["workingDir"] == '/data/q"uote/q"uote'


def test_inserting_needs_no_builder_once_it_is_compiled(make_factory, tmp_path):
    factory = make_factory(idle_timeout=0.2)
    path = _file(tmp_path, TEMPLATE)
    factory.build([request_of(pod_template_file=path)])
    factory.end()
    (built,) = factory.build([request_of(pod_template_file=path, task_id="later")])
    assert pod_of(built)["metadata"]["annotations"]["ids"].startswith("later later")
    assert factory.builder_pid is None


def test_logic_is_run_for_each_pod(shared_factory, tmp_path):
    path = _file(tmp_path, LOGIC)
    made = [request_of(pod_template_file=path, try_number=n, dag_id=f"dag{n}") for n in (1, 2, 1, 3)]
    for _ in range(2):
        notes = [pod_of(built)["metadata"]["annotations"] for built in shared_factory.build(made)]
        assert [note["pool"] for note in notes] == ["first", "retry", "first", "retry"]
        assert [note["upper"] for note in notes] == ["DAG1", "DAG2", "DAG1", "DAG3"]


def test_other_files_are_left_alone_unless_the_option_is_on(shared_factory, make_factory, tmp_path):
    path = _file(tmp_path, 'metadata: {annotations: {vault: "{{ dag_id }}"}}', "pod.yaml")
    (plain,) = shared_factory.build([request_of(pod_template_file=path)])
    (rendered,) = make_factory(jinja=True).build([request_of(pod_template_file=path)])
    assert pod_of(plain)["metadata"]["annotations"]["vault"] == "{{ dag_id }}"
    assert pod_of(rendered)["metadata"]["annotations"]["vault"] == "etl"


def test_the_logical_date(shared_factory, tmp_path):
    path = _file(tmp_path, 'metadata: {annotations: {at: "{{ ts }}"}}')
    dated, undated = shared_factory.build(
        [request_of(pod_template_file=path), request_of(pod_template_file=path, logical_date=None)]
    )
    assert pod_of(dated)["metadata"]["annotations"]["at"] == "2026-03-01T06:30:00+00:00"
    assert isinstance(undated, BuildError)
    assert undated.reason == "UndefinedName"
    assert "no logical date" in undated.message


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        ("{{ dagid }}", "UndefinedName", "'dagid' is undefined; a template may use dag_id, task_id"),
        ("{{ dag.owner }}", "UndefinedName", "owner"),
        ("{{ dag_id | upper }}{{ nothing }}", "UndefinedName", "'nothing' is undefined"),
        ("{% if %}", "InvalidTemplate", "Jinja, line 1 of the value"),
        ("{{ dag_id", "InvalidTemplate", "{% raw %}"),
        ("{{ 1 // 0 }}", "TemplateFailed", "ZeroDivisionError"),
        ("{{ dag_id.__class__.__mro__ }}", "TemplateFailed", "unsafe|access"),
        ("{{ lipsum() }}", "UndefinedName", "'lipsum' is undefined"),
    ],
)
def test_faults_name_file_line_and_key(shared_factory, tmp_path, value, reason, words):
    path = _file(tmp_path, f'kind: Pod\nmetadata:\n  labels:\n    team: "{value}"\n')
    refused, fine = shared_factory.build([request_of(pod_template_file=path), request_of()])
    assert isinstance(refused, BuildError)
    assert refused.reason == reason
    assert f"pod template {path}: line 4: metadata.labels.team" in refused.message
    with pytest.raises(BuildError, match=words):
        raise refused
    pod_of(fine)


def test_the_last_line_break_of_a_script_stays(shared_factory, tmp_path):
    text = 'spec:\n  containers:\n  - name: base\n    command:\n    - |\n      echo "{{ dag_id }}"\n'
    (built,) = shared_factory.build([request_of(pod_template_file=_file(tmp_path, text))])
    assert pod_of(built)["spec"]["containers"][0]["command"] == ['echo "etl"\n']
