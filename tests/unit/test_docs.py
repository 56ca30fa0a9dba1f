"""The documentation against the code: links lead somewhere, and nothing that a user may meet is left out."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import shard_executor.cli
from shard_executor import PodExecutor, TaskResult, TaskSpec
from shard_executor.core.failures import FailureClass
from shard_executor.core.tries import THEN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def load(path: Path) -> ModuleType:
    """A Python file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


repo_links = load(DOCS / "repo_links.py")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, heading: str) -> str:
    """A heading's text up to the next one of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in a text."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]


def in_code(text: str) -> set[str]:
    """Each piece of inline code."""
    return set(re.findall(r"`([^`]+)`", text))


# ---- links


def test_no_link_is_broken() -> None:
    assert repo_links.problems(ROOT) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("[a](docs/a.md) [role](deploy/role.yaml)\n\n[b]: docs/b.md#one-two\n")
    (tmp_path / "docs/a.md").write_text(
        "# A `word` (x)\n\n[self](#a-word-x) [up](../README.md) [b](b.md#three) `[no](link.md)`\n"
        "```\n# No heading\n[no](link.md)\n```\n[out](../../elsewhere) [web](https://a.example/#x) [abs](/docs/b.md)\n"
    )
    (tmp_path / "docs/b.md").write_text("# One, two\n## Three\n## Three\n[again](#three-1) [never](#three-2)\n")
    assert repo_links.problems(tmp_path) == [
        "README.md, line 1: deploy/role.yaml: there is no such file",
        "docs/a.md, line 8: ../../elsewhere: there is no such file",
        "docs/a.md, line 8: /docs/b.md: is absolute; write it relative to this file",
        "docs/b.md, line 4: #three-2: docs/b.md has no such heading",
    ]


@pytest.mark.parametrize(
    ("page", "target", "expected"),
    [
        ("docs/cli.md", "run.md#stopping", "run.md#stopping"),
        ("docs/cli.md", "#run", "#run"),
        ("docs/cli.md", "../deploy/role.yaml", "deploy/role.yaml"),
        ("docs/cli.md", "../examples", "examples/README.md"),
        ("docs/cli.md", "https://example.org/a", "https://example.org/a"),
        ("examples/README.md", "../docs/run.md", "../run.md"),
        ("examples/README.md", "tasks.jsonl", "tasks.jsonl"),
        ("bench/README.md", "../examples/README.md", "../examples/README.md"),
    ],
)
def test_links_on_the_site(page: str, target: str, expected: str) -> None:
    assert repo_links.for_site(target, page, ROOT) == expected


# ---- the command line


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below one, with its name in words: `run`, `devcluster fault`, ..."""
    if name:
        yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from commands(found, f"{name} {below}".strip())


COMMANDS = dict(commands(shard_executor.cli.cli))


def documented(name: str) -> str:
    """The section of cli.md about a command, without those about its subcommands."""
    text = section(page("cli.md"), f"{'#' * (len(name.split()) + 1)} {name}")
    for below in COMMANDS:
        if below.startswith(f"{name} "):
            text = text.partition(f"\n### {below}\n")[0]
    return text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_reference_and_no_other(name: str) -> None:
    given = {
        option
        for parameter in COMMANDS[name].params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    cells = " ".join(first_cells(documented(name)))
    named = {word for code in in_code(cells) for word in re.findall(r"^--?[a-z][a-z-]*", code)}
    assert given - named == set(), "not in docs/cli.md"
    assert named - given == set(), "in docs/cli.md, but the command has no such option"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_choice_is_in_the_reference(name: str) -> None:
    text = documented(name)
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and isinstance(parameter.type, click.Choice):
            wanted = f"{max(parameter.opts, key=len)} {', '.join(parameter.type.choices)}"
            if f"`{max(parameter.opts, key=len)}`" in text and "as for [`run`]" in text:
                continue  # that of another command
            assert f"`{wanted}`" in text, f"docs/cli.md does not have `{wanted}`"


def test_every_command_is_in_the_overview() -> None:
    overview = " ".join(first_cells(page("cli.md").partition("\n## ")[0]))
    for name in COMMANDS:
        assert f"[`{name}" in overview


def exit_code_constants() -> Iterator[tuple[str, int]]:
    for found in pkgutil.iter_modules(shard_executor.cli.__path__, "shard_executor.cli."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if name.startswith("EXIT_") and isinstance(value, int):
                yield name, value


def test_every_exit_code_is_in_the_table() -> None:
    table = first_cells(page("exit-codes.md"))
    assert {(name, str(code)) for name, code in exit_code_constants() if str(code) not in table} == set()


def test_every_command_has_a_column_of_exit_codes() -> None:
    header = next(line for line in page("exit-codes.md").splitlines() if line.startswith("| code"))
    assert {name.split()[0] for name in COMMANDS} == in_code(header)


# ---- what a run writes and reads


def test_every_failure_class_is_explained() -> None:
    table = first_cells(section(page("failures.md"), "## Failure classes"))
    assert {f"`{value}`" for value in FailureClass} <= set(table)


def test_what_follows_each_failure_class_is_said() -> None:
    rows = [line.split("|") for line in section(page("failures.md"), "## Failure classes").splitlines()]
    said = {row[1].strip(" `"): row[3].strip().split(";")[0] for row in rows if len(row) > 4 and "`" in row[1]}
    assert {name: said.get(name) for name in THEN} == {name: then.value for name, then in THEN.items()}


def keys_of(module: str, *functions: str) -> set[str]:
    """The texts that functions of a module use as keys of what they return, by its source."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    bodies = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    for function in functions:
        for node in ast.walk(bodies[function]):
            keys = node.keys if isinstance(node, ast.Dict) else []
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                keys = [node.targets[0].slice]
            found.update(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return found


def test_every_key_of_a_result_line_is_explained() -> None:
    keys = keys_of("shard_executor.cli.results", "record_of", "bare_record")
    assert {"id", "state", "class", "message"} <= keys
    explained = in_code(" ".join(first_cells(page("results.md").partition("\n## ")[0])))
    assert keys - explained == set()


def test_every_key_of_the_summary_is_explained() -> None:
    keys = keys_of("shard_executor.cli.summary", "summary_object")
    assert {"run_id", "exit_code"} <= keys
    assert keys - in_code(section(page("results.md"), "## The summary")) == set()


def test_every_field_of_a_task_is_explained() -> None:
    explained = in_code(" ".join(first_cells(page("tasks.md"))))
    assert {field.name for field in dataclasses.fields(TaskSpec)} - explained == set()


# ---- Python, environment


def test_every_setting_of_the_python_door_is_explained() -> None:
    settings = set(inspect.signature(PodExecutor).parameters)
    assert settings - in_code(" ".join(first_cells(section(page("python.md"), "## Settings")))) == set()


def test_every_attribute_of_a_result_is_named() -> None:
    names = {field.name for field in dataclasses.fields(TaskResult)}
    assert names - in_code(section(page("python.md"), "## Results and failures")) == set()


def test_every_environment_variable_is_named() -> None:
    sources = [*(ROOT / "executor").rglob("*.py"), ROOT / "setup.py"]
    demo = ROOT / "executor" / "airflow" / "demo"  # its variables go from one of its processes to another
    sources = [path for path in sources if not path.is_relative_to(demo)]
    used = {name for path in sources for name in re.findall(r"SHARD_EXECUTOR_[A-Z_]+", path.read_text())}
    assert len(used) >= 2
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert {name for name in used if name not in pages} == set()
