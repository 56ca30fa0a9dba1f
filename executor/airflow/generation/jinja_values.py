"""Jinja in a template's values: applied to parsed strings, sandboxed, with undefined names refused.

Only strings with Jinja's brackets are rendered, and the result is always a string: YAML structure cannot be made this
way, and a task's id cannot break out of its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.sandbox import SandboxedEnvironment

from shard_executor.airflow.generation.request import BuildError
from shard_executor.airflow.generation.subject import Subject

SUFFIX = ".j2"
NAMES = "dag_id, task_id, run_id, try_number, map_index, ts, dag.dag_id, task.task_id"
_BRACKETS = ("{{", "{%", "{#")
_INSERTS = {"dag": "dag_id", "task": "task_id"}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Dag:
    dag_id: str


@dataclass(frozen=True, slots=True)
class _Task:
    task_id: str


def context_of(subject: Subject) -> dict[str, Any]:
    """The names that templates may use; `ts`, the logical date in ISO 8601, only where there is one."""
    names: dict[str, Any] = {
        "dag_id": subject.dag_id,
        "task_id": subject.task_id,
        "run_id": subject.run_id,
        "try_number": subject.try_number,
        "map_index": subject.map_index,
        "dag": _Dag(subject.dag_id),
        "task": _Task(subject.task_id),
    }
    if subject.date is not None:
        names["ts"] = subject.date
    return names


class JinjaDocument:
    """A parsed YAML document whose strings may hold Jinja.

    Args:
        where: the words for a value in messages, from its path in the document.

    Raises:
        BuildError: InvalidTemplate: a string is no valid Jinja; names its key.
    """

    def __init__(self, document: Any, where: Callable[[Path], str]) -> None:
        self._document = document
        self._where = where
        self._templates: dict[Path, Template] = {}
        self.inserts_only = True  # no value decides anything: each goes into the text as it is, or not at all
        self._environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        self._environment.globals.pop("lipsum", None)
        self._collect(document, ())

    def __bool__(self) -> bool:
        return bool(self._templates)

    def _collect(self, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._collect(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._collect(item, (*path, index))
        elif isinstance(value, str) and any(bracket in value for bracket in _BRACKETS):
            try:
                tree = self._environment.parse(value)
                self._templates[path] = self._environment.from_string(tree)
            except TemplateSyntaxError as error:
                raise BuildError(
                    "InvalidTemplate",
                    f"{self._where(path)}: Jinja, line {error.lineno} of the value: {error.message}; "
                    "text that is not for Jinja goes between {% raw %} and {% endraw %}",
                ) from error
            self.inserts_only = self.inserts_only and _only_inserts(tree)

    def render(self, subject: Subject) -> Any:
        """A copy of the document with every string rendered.

        Raises:
            BuildError: UndefinedName, or TemplateFailed for any other fault in an expression; names the key.
        """
        return self._rendered(self._document, (), context_of(subject))

    def _rendered(self, value: Any, path: Path, context: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            return {key: self._rendered(item, (*path, key), context) for key, item in value.items()}
        if isinstance(value, list):
            return [self._rendered(item, (*path, index), context) for index, item in enumerate(value)]
        template = self._templates.get(path)
        if template is None:
            return value
        try:
            return template.render(context)
        except UndefinedError as error:
            late = "; this DAG run has no logical date" if "'ts'" in str(error) and "ts" not in context else ""
            raise BuildError(
                "UndefinedName", f"{self._where(path)}: {error}{late}; a template may use {NAMES}"
            ) from error
        except TemplateError as error:
            raise BuildError("TemplateFailed", f"{self._where(path)}: {error}") from error
        except Exception as error:  # an expression may raise whatever it calls
            words = f"{self._where(path)}: {type(error).__name__}: {error}"
            raise BuildError("TemplateFailed", words) from error


def _only_inserts(tree: nodes.Template) -> bool:
    """Whether a template is text and names, without filters, tests, calls or statements."""
    return all(isinstance(node, nodes.Output) and all(map(_inserts, node.nodes)) for node in tree.body)


def _inserts(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Getattr):
        return isinstance(node.node, nodes.Name) and _INSERTS.get(node.node.name) == node.attr
    if isinstance(node, nodes.Name):
        return node.name not in _INSERTS
    return isinstance(node, nodes.TemplateData)
