"""Every kind of bad input ends with exit code 2, before a cluster is asked, with the words that name its place."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from shard_executor.cli import cli

GOOD = '{"id": "a", "image": "i"}\n'

# name of the list, its bytes, further arguments, words that the message must hold
LISTS = [
    (
        "t.jsonl",
        GOOD + '{"id": "b", "imag": "i"}',
        [],
        ["t.jsonl, line 2: task 'b': unknown field 'imag'; did you mean 'image'?"],
    ),
    ("t.jsonl", GOOD + "\n" + GOOD, [], ["t.jsonl, line 3: duplicate id 'a': ", "t.jsonl, line 1 has it already"]),
    (
        "t.jsonl",
        GOOD + '{"id": "b", "image": }',
        [],
        ["t.jsonl, line 2: not valid JSON: Expecting value at column 22; one task a line"],
    ),
    ("t.jsonl", GOOD + '{"id": "b"', [], ["t.jsonl, line 2: not valid JSON: Expecting ',' delimiter at column 11"]),
    ("t.jsonl", '{"id": "b", "id": "c"}', [], ["t.jsonl, line 1: not valid JSON: the key 'id' is given a second time"]),
    ("t.jsonl", '{"id": "b", "env": {"A": NaN}}', [], ["line 1: not valid JSON: NaN is no JSON number"]),
    ("t.jsonl", '"b"', [], ["t.jsonl, line 1: a task must be a mapping", "not the text 'b'"]),
    ("t.jsonl", "[" * 100_000, [], ["t.jsonl", "not valid JSON"]),
    ("t.jsonl", GOOD.encode() + b'{"id": "\xff"}', [], ["t.jsonl, line 2: not UTF-8 text (byte 34 is 0xff)"]),
    (
        "t.jsonl",
        '{"id": "n"}',
        [],
        ["t.jsonl, line 1: task 'n': it has no image, and there is no template", "set 'image'"],
    ),
    (
        "t.jsonl",
        '{"id": "n", "image": "i", "template": "no.yaml"}',
        [],
        ["t.jsonl, line 1: task 'n': template ", "no.yaml: no such file"],
    ),
    (
        "t.json",
        '[{"id": "a", "image": "i"}, {"id": 1}]',
        [],
        ["t.json, item 2: field 'id' must be text, not the number 1"],
    ),
    ("t.jsonl", GOOD, ["--retry-failed"], ["--retry-failed", "name it with --run-id"]),
    ("t.json", '[{"id": "a",\n "image": }]', [], ["t.json, line 2: not valid JSON: Expecting value"]),
    (
        "t.yaml",
        "- id: a\n  image: i\n- id: b\n  image: i\n  comand: [x]\n",
        [],
        ["t.yaml, line 5: task 'b': unknown field 'comand'; did you mean 'command'?"],
    ),
    (
        "t.yaml",
        "- id: a\n  image: i\n- id: a\n  image: i\n",
        [],
        ["t.yaml, line 3: duplicate id 'a': ", "t.yaml, line 1 has it already"],
    ),
    ("t.yaml", "- id: a\n  image: [\n", [], ["t.yaml, line 3, column 1: ", "(not valid YAML)"]),
    (
        "t.yaml",
        "- id: a\n  image: i\n  env: {A: 1, A: 2}\n",
        [],
        ["t.yaml, line 3, column 15: the key 'A' is given a second time"],
    ),
    (
        "t.yaml",
        "- id: a\n  image: i\n  args: [sleep, 5]\n",
        [],
        ["t.yaml, line 3: task 'a': field 'args[1]' must be text, not the number 5: write \"5\" in quotes"],
    ),
    ("t.yaml", "tasks: {a: 1}\n", [], ["t.yaml, line 1: 'tasks' must be a list of tasks"]),
    ("t.yaml", "task: []\ntasks: []\n", [], ["t.yaml, line 1: unknown key 'task' beside 'tasks'"]),
    ("t.yaml", "just words\n", [], ["t.yaml, line 1: must be a list of tasks, not the text 'just words'"]),
    ("t.yaml", "- !!python/object/apply:os.system [x]\n", [], ["t.yaml, line 1", "not valid YAML"]),
    ("t.jsonl", GOOD, ["--namespace", "No_Such"], ["--namespace 'No_Such': is no namespace name"]),
    ("t.jsonl", GOOD, ["--run-id", "-x"], ["--run-id '-x': must have 1 to 37 letters"]),
    ("t.jsonl", GOOD, ["--run-id", "x" * 38], ["must have 1 to 37 letters"]),
    ("t.jsonl", GOOD, ["--shards", "0"], ["Invalid value for '--shards': 0 is not in the range 1<=x<=256"]),
    ("t.jsonl", GOOD, ["--parallelism", "many"], ["Invalid value for '--parallelism': 'many' is not a valid integer"]),
    ("t.jsonl", GOOD, ["--template", "gone.yaml"], ["--template: template gone.yaml: no such file"]),
    (
        "t.jsonl",
        GOOD,
        ["--kubeconfig", "gone.kubeconfig"],
        ["no cluster to talk to", "gone.kubeconfig", "shard-executor devcluster"],
    ),
    ("t.jsonl", GOOD, ["--results", "."], ["--results .: is a folder; give the path of a file"]),
    (
        "t.jsonl",
        GOOD,
        ["--results", "no/such/out.jsonl"],
        ["--results no/such/out.jsonl: the folder no/such does not exist"],
    ),
    ("t.jsonl", GOOD, ["--results", "old"], ["--results old: the file exists", "--overwrite"]),
    ("t.jsonl", GOOD, ["--results", "./t.jsonl", "--overwrite"], ["--results ./t.jsonl: is what the run reads"]),
    (
        "t.jsonl",
        GOOD,
        ["--template", "p.yaml", "--results", "p.yaml", "--overwrite"],
        ["is what the run reads (p.yaml)"],
    ),
    ("t.jsonl", GOOD, ["--results", ""], ["--results: is empty"]),
    ("t.jsonl", GOOD, ["--template", ""], ["--template: is empty"]),
    ("t.yaml", "- id: a\n  image: i\n  command: [true]\n", [], ['not true: write "true" in quotes']),
    ("t.jsonl", GOOD, ["--results", "-", "-o", "json"], ["--results - and --output json both want standard output"]),
]


def invoke(arguments, **settings):
    return CliRunner().invoke(cli, arguments, **settings)


@pytest.mark.parametrize(("name", "content", "extra", "words"), LISTS)
def test_bad_input_names_its_place(tmp_path, monkeypatch, name, content, extra, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text("old results\n")
    (tmp_path / "p.yaml").write_text("kind: Pod\n")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = invoke(["run", name, *extra])
    assert result.exit_code == 2, result.output
    for expected in words:
        assert expected in result.stderr
    assert "Traceback" not in result.output
    assert (tmp_path / "p.yaml").read_text() == "kind: Pod\n"


def test_no_cluster_is_said_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "t.jsonl").write_text(GOOD)
    (tmp_path / "empty").write_text("")
    result = invoke(["run", "t.jsonl", "--kubeconfig", "empty"])
    assert result.exit_code == 2
    assert result.stderr.count("no cluster to talk to") == 1


def test_several_problems_are_shown_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text("".join(f'{{"id": "{n}", "x": 1}}\n' for n in range(25)))
    result = invoke(["run", "t.jsonl"])
    assert result.exit_code == 2
    assert "t.jsonl has 25 problems; nothing was created:" in result.stderr
    assert "t.jsonl, line 20: " in result.stderr
    assert "... and 5 more" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id": "a", "nope": 1}\n', "standard input, line 1: task 'a': unknown field 'nope'"),
        ("- id: a\n  nope: 1\n", "standard input, line 2: task 'a': unknown field 'nope'"),
    ],
)
def test_standard_input_is_read_as_json_lines_or_yaml(text, words):
    result = invoke(["run", "-"], input=text)
    assert result.exit_code == 2
    assert words in result.stderr


def test_missing_files_and_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "task list none.jsonl: no such file" in invoke(["run", "none.jsonl"]).stderr
    assert "is a folder; give a file" in invoke(["run", "."]).stderr
    assert "Missing argument 'TASKS'" in invoke(["run"]).stderr
    assert "No such command 'rum'" in invoke(["rum"]).stderr
    assert {invoke(a).exit_code for a in (["run", "none.jsonl"], ["run", "."], ["run"], ["rum"])} == {2}


def test_template_problems_name_the_template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pod.yaml").write_text("kind: Pod\nspec: {restartPolicy: Always}\n")
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "image": "i", "template": "pod.yaml"}))
    assert "line 1: task 'a': template pod.yaml: spec.restartPolicy must be Never" in invoke(["run", "t.jsonl"]).stderr
    (tmp_path / "t.jsonl").write_text(GOOD)
    result = invoke(["run", "t.jsonl", "--template", "pod.yaml"])
    assert "--template: template pod.yaml: spec.restartPolicy must be Never, not 'Always'" in result.stderr
    assert result.exit_code == 2


def test_a_refused_run_leaves_no_results_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text(GOOD)
    assert invoke(["run", "t.jsonl", "--results", "out.jsonl", "--kubeconfig", "none"]).exit_code == 2
    assert not (tmp_path / "out.jsonl").exists()
