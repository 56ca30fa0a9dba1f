"""Reads a task list: JSON Lines, a JSON array or YAML, from a file or standard input, with the line of every fault."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shard_executor.cli.errors import CommandError
from shard_executor.pods.task import TaskError, TaskSpec, describe
from shard_executor.pods.template import PodTemplate, TemplateError, load_template

if TYPE_CHECKING:
    from shard_executor.pods.body import PodBuilder

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".yaml": "yaml", ".yml": "yaml"}


@dataclass(slots=True)
class TaskList:
    """The tasks of one list in its order, and where each stands.

    `places[i]` is `tasks.jsonl, line 3` for `tasks[i]`; `templates` holds each template that a task names.
    """

    name: str
    tasks: list[TaskSpec] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    templates: dict[str, PodTemplate] = field(default_factory=dict)


class _Problems(list[str]):
    """Problems found so far. Reading goes on after one, so that a user sees several at once."""


@dataclass(slots=True)
class _Entry:
    """One parsed entry: its value, where it stands, and the line of each of its keys where the format tells."""

    value: Any
    place: str
    key_places: Mapping[str, str]


def read_tasks(source: str, format: str = "auto") -> TaskList:
    """Reads and checks a task list and the templates that it names.

    Args:
        source: path of a file, or `-` for standard input.
        format: `jsonl`, `yaml`, or `auto`: by the file's suffix, else by the first character (`{` and `[` are JSON).

    Raises:
        CommandError: names file, line and key of each problem; nothing is returned then.
    """
    name = "standard input" if source == "-" else source
    text = _read(source, name)
    found = TaskList(name)
    problems = _Problems()
    lines_of: dict[str, str] = {}
    for entry in _entries(text, name, _format_of(source, text, format), problems):
        try:
            task = TaskSpec.from_mapping(entry.value)
        except TaskError as fault:
            place = entry.key_places.get(fault.field.split("[")[0].split(".")[0], entry.place)
            problems.append(f"{place}: {fault}")
            continue
        first = lines_of.setdefault(task.id, entry.place)
        if first is not entry.place:
            problems.append(f"{entry.place}: duplicate id {task.id!r}: {first} has it already")
            continue
        found.tasks.append(task)
        found.places.append(entry.place)
    _load_templates(found, Path(source).parent if source != "-" else Path(), problems)
    if problems:
        count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
        raise CommandError(f"{name} has {count}; nothing was created:", problems)
    return found


def namespaces_of(listed: TaskList, builder: PodBuilder, tasks: Sequence[TaskSpec] | None = None) -> list[str]:
    """The namespace of each task's pod.

    Args:
        listed: the list.
        builder: a builder with the list's templates.
        tasks: those of the list that are asked about; None is all.

    Raises:
        CommandError: names each task, with its place, whose template is meant for another namespace.
    """
    found: list[str] = []
    problems: list[str] = []
    chosen = None if tasks is None else {task.id for task in tasks}
    for task, place in zip(listed.tasks, listed.places, strict=True):
        if chosen is not None and task.id not in chosen:
            continue
        try:
            found.append(builder.namespace_of(task))
        except TaskError as fault:
            problems.append(f"{place}: {fault}")
    if problems:
        raise CommandError(
            f"{listed.name} has tasks whose templates are meant for another namespace; nothing was created:", problems
        )
    return found


def _read(source: str, name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError:
        raise CommandError(f"task list {name}: no such file; give a path, or - for standard input") from None
    except IsADirectoryError:
        raise CommandError(f"task list {name}: is a folder; give a file, or - for standard input") from None
    except OSError as fault:
        raise CommandError(f"task list {name}: cannot be read: {fault.strerror or fault}") from fault
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise CommandError(
            f"{name}, line {line}: not UTF-8 text (byte {fault.start} is {raw[fault.start]:#04x})"
        ) from None


def _format_of(source: str, text: str, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    known = _SUFFIXES.get(Path(source).suffix.lower()) if source != "-" else None
    return known or ("jsonl" if text.lstrip()[:1] in ("{", "[") else "yaml")


def _entries(text: str, name: str, format: str, problems: _Problems) -> Iterator[_Entry]:
    if format == "yaml":
        return _yaml_entries(text, name, problems)
    if text.lstrip()[:1] == "[":
        return _array_entries(text, name, problems)
    return _line_entries(text, name, problems)


def _line_entries(text: str, name: str, problems: _Problems) -> Iterator[_Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{name}, line {number}"
            try:
                yield _Entry(_parse_json(line), place, {})
            except json.JSONDecodeError as fault:
                problems.append(f"{place}: not valid JSON: {fault.msg} at column {fault.colno}; one task a line")
            except (ValueError, RecursionError) as fault:
                problems.append(f"{place}: not valid JSON: {fault}")


def _array_entries(text: str, name: str, problems: _Problems) -> Iterator[_Entry]:
    try:
        items = _parse_json(text)
    except json.JSONDecodeError as fault:
        problems.append(f"{name}, line {fault.lineno}: not valid JSON: {fault.msg} at column {fault.colno}")
        return
    except (ValueError, RecursionError) as fault:
        problems.append(f"{name}: not valid JSON: {fault}")
        return
    for number, item in enumerate(items, 1):
        yield _Entry(item, f"{name}, item {number}", {})


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given a second time")
    return result


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _yaml_entries(text: str, name: str, problems: _Problems) -> Iterator[_Entry]:
    import yaml

    from shard_executor.pods.strict_yaml import StrictLoader, problem_of

    loader = StrictLoader(text)
    try:
        while loader.check_node():
            for node in _task_nodes(loader.get_node(), name, problems):
                place = f"{name}, line {node.start_mark.line + 1}"
                keys = {}
                if isinstance(node, yaml.MappingNode):
                    keys = {str(key.value): f"{name}, line {key.start_mark.line + 1}" for key, _ in node.value}
                yield _Entry(loader.construct_document(node), place, keys)
    except yaml.YAMLError as fault:
        problems.append(f"{name}, {problem_of(fault)} (not valid YAML)")
    except (ValueError, RecursionError) as fault:
        problems.append(f"{name}: not valid YAML: {fault}")
    finally:
        loader.dispose()


def _task_nodes(document: Any, name: str, problems: _Problems) -> list[Any]:
    """The nodes of the tasks in one YAML document: a list, a mapping with the one key `tasks`, or a single task."""
    import yaml

    if isinstance(document, yaml.MappingNode) and any(key.value == "tasks" for key, _ in document.value):
        for key, _ in document.value:
            if key.value != "tasks":
                line = key.start_mark.line + 1
                problems.append(f"{name}, line {line}: unknown key {key.value!r} beside 'tasks'; allowed: tasks")
        document = next(value for key, value in document.value if key.value == "tasks")
        if not isinstance(document, yaml.SequenceNode):
            problems.append(f"{name}, line {document.start_mark.line + 1}: 'tasks' must be a list of tasks")
            return []
    if isinstance(document, yaml.SequenceNode):
        return list(document.value)
    if isinstance(document, yaml.MappingNode):
        return [document]
    if document.value:
        line = document.start_mark.line + 1
        problems.append(f"{name}, line {line}: must be a list of tasks, not {describe(document.value)}")
    return []


def _load_templates(found: TaskList, folder: Path, problems: _Problems) -> None:
    tried: set[str] = set()
    for task, place in zip(found.tasks, found.places, strict=True):
        if task.template is None or task.template in tried:
            continue
        tried.add(task.template)
        path = folder / task.template
        try:
            found.templates[task.template] = load_template(path)
        except TemplateError as fault:
            problems.append(f"{place}: task {task.id!r}: {fault}")
