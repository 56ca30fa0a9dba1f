"""One task of a standalone run: what a user may say about it, checked field by field.

A `TaskSpec` that exists is well-formed: every later step (building its pod, naming it, writing its result line) can
rely on the types. What only a cluster can judge (a label's syntax, a quantity, an image's name) is left to the API
server, whose words then become that one task's failure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_ID = 500  # characters; it travels in an annotation and in every message about the task

# Labels and annotations that this project writes itself. A task that set them could leave its own watch's selector.
RESERVED_PREFIX = "shard-executor/"
RESERVED_KEYS = frozenset({"airflow-worker", "airflow_executor_done"})

FIELDS: dict[str, str] = {
    "id": "text, unique in the list",
    "image": "text, e.g. python:3.13-slim",
    "command": 'a list of strings, e.g. ["python3", "-c"]',
    "args": 'a list of strings, e.g. ["--input", "a.csv"]',
    "env": "a mapping of names to text, numbers or true/false, or a list of Kubernetes env entries",
    "resources": "a mapping with requests and limits as Kubernetes has it, e.g. {requests: {cpu: 100m}}",
    "labels": "a mapping of text to text",
    "annotations": "a mapping of text to text",
    "template": "the path of a pod template in YAML, relative to the task list",
}
_RESOURCE_KEYS = ("requests", "limits", "claims")
_ENV_KEYS = ("name", "value", "valueFrom")


class TaskError(ValueError):
    """A task says something it may not.

    Attributes:
        task_id: the task's id where it is known, else None.
        field: the field at fault.
        problem: what is wrong and what is allowed, without the task's name.
    """

    def __init__(self, task_id: str | None, field: str, problem: str) -> None:
        super().__init__(f"task {task_id!r}: {problem}" if task_id is not None else problem)
        self.task_id = task_id
        self.field = field
        self.problem = problem


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of the allowed words is close to `word`, else nothing."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def describe(value: object) -> str:
    """A value as a message shows it: its kind and its beginning."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}" if value else "empty text"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    return f"a {type(value).__name__}"


def _in_quotes(value: object) -> str:
    """How to turn a number or boolean into the text that was probably meant, as the end of a message."""
    if not isinstance(value, (int, float)):
        return ""
    return f': write "{describe(value) if isinstance(value, bool) else value}" in quotes'


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: an id, and what its pod has to run.

    Args:
        id: any text of 1 to 500 characters that is unique in its run; need not be ASCII.
        image: container image; may be left out where the template names one.
        command: replaces the image's entry point.
        args: arguments of the command or entry point.
        env: names to text, numbers (written as in JSON) or booleans (`true`, `false`); or a list of Kubernetes env
            entries (`{"name": ..., "value": ...}` or `{"name": ..., "valueFrom": {...}}`).
        resources: `{"requests": {...}, "limits": {...}}` as Kubernetes has it.
        labels: added to the pod's; keys that begin with `shard-executor/` are ours.
        annotations: likewise.
        template: path of a pod template (YAML) used instead of the run's.

    After construction `command` and `args` are tuples and `env` is a tuple of Kubernetes env entries.

    Raises:
        TaskError: a field has the wrong shape; names the task, the field and what is allowed.
    """

    id: str
    image: str | None = None
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str | int | float | bool] | Sequence[Mapping[str, Any]] | None = None
    resources: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None

    def __post_init__(self) -> None:
        self._check_id()
        if self.image is not None:
            self._text("image", self.image)
        if self.template is not None:
            self._text("template", self.template)
        for name in ("command", "args"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, self._strings(name, value))
        if self.env is not None:
            object.__setattr__(self, "env", self._env(self.env))
        if self.resources is not None:
            self._check_resources(self.resources)
        for name in ("labels", "annotations"):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, {})
            elif value:
                self._check_metadata(name, value)
            elif not isinstance(value, Mapping):
                raise self._error(name, f"must be {FIELDS[name]}, not {describe(value)}")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> TaskSpec:
        """A task from one parsed line or YAML entry.

        Raises:
            TaskError: an unknown field (naming the nearest allowed one), a missing id, or a malformed value.
        """
        if not isinstance(data, Mapping):
            raise TaskError(None, "", f"a task must be a mapping like {{id: a, image: busybox}}, not {describe(data)}")
        if not data.keys() <= FIELDS.keys():
            raise cls._unknown_fields(data)
        if "id" not in data:
            raise TaskError(None, "id", "the field 'id' is missing: every task needs one of its own")
        return cls(**data)

    @staticmethod
    def _unknown_fields(data: Mapping[str, Any]) -> TaskError:
        task_id = data.get("id")
        unknown = [str(key) for key in data if key not in FIELDS]
        names = ", ".join(map(repr, unknown))
        return TaskError(
            task_id if isinstance(task_id, str) else None,
            unknown[0],
            f"unknown field{'s' if len(unknown) > 1 else ''} {names}{suggestion(unknown[0], FIELDS) or ';'} "
            f"allowed: {', '.join(FIELDS)}",
        )

    def _error(self, name: str, problem: str) -> TaskError:
        return TaskError(self.id if isinstance(self.id, str) else None, name, f"field {name!r} {problem}")

    def _check_id(self) -> None:
        if not isinstance(self.id, str):
            raise TaskError(None, "id", f"field 'id' must be text, not {describe(self.id)}{_in_quotes(self.id)}")
        if not self.id or len(self.id) > MAX_ID:
            shown = repr(self.id[:40] + "...") if self.id else "empty text"
            raise TaskError(None, "id", f"field 'id' must have 1 to {MAX_ID} characters, not {len(self.id)} ({shown})")
        self._unicode("id", self.id)

    def _unicode(self, name: str, value: str) -> None:
        """Half a surrogate pair (an escape such as \\ud800 alone) is no text that UTF-8 could carry."""
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as fault:
                raise TaskError(None, name, f"field {name!r} holds half a surrogate pair, which is no text") from fault

    def _json(self, name: str, value: object) -> None:
        try:
            orjson.dumps(value)
        except (TypeError, ValueError) as fault:
            raise self._error(name, f"cannot be written as JSON: {fault}") from fault

    def _text(self, name: str, value: object) -> None:
        if not isinstance(value, str) or not value:
            raise self._error(name, f"must be {FIELDS[name]}, not {describe(value)}")
        self._unicode(name, value)

    def _strings(self, name: str, value: object) -> tuple[str, ...]:
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise self._error(name, f"must be {FIELDS[name]}; not {describe(value)}")
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self._error(f"{name}[{index}]", f"must be text, not {describe(item)}{_in_quotes(item)}")
            self._unicode(f"{name}[{index}]", item)
        return tuple(value)

    def _env(self, value: object) -> tuple[dict[str, Any], ...]:
        if isinstance(value, Mapping):
            return tuple({"name": self._env_name(key), "value": self._env_value(key, v)} for key, v in value.items())
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise self._error("env", f"must be {FIELDS['env']}; not {describe(value)}")
        entries: dict[str, dict[str, Any]] = {}
        for index, entry in enumerate(value):
            where = f"env[{index}]"
            if not isinstance(entry, Mapping) or "name" not in entry or not entry.keys() <= set(_ENV_KEYS):
                raise self._error(where, f"must be a mapping with {', '.join(_ENV_KEYS)}, like {{name: A, value: b}}")
            name = self._env_name(entry["name"])
            if name in entries:
                raise self._error(where, f"sets {name!r} a second time")
            if "valueFrom" in entry:
                if "value" in entry or not isinstance(entry["valueFrom"], Mapping):
                    raise self._error(where, "must have either value or valueFrom, and valueFrom is a mapping")
                self._json(where, entry["valueFrom"])
                entries[name] = {"name": name, "valueFrom": entry["valueFrom"]}
            else:
                entries[name] = {"name": name, "value": self._env_value(name, entry.get("value", ""))}
        return tuple(entries.values())

    def _env_name(self, name: object) -> str:
        if not isinstance(name, str) or not name or "=" in name:
            raise self._error("env", f"has a name that is no text without '=': {describe(name)}")
        self._unicode("env", name)
        return name

    def _env_value(self, name: str, value: object) -> str:
        if isinstance(value, str):
            self._unicode(f"env.{name}", value)
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        raise self._error(f"env.{name}", f"must be text, a number or true/false, not {describe(value)}")

    def _check_resources(self, value: object) -> None:
        if not isinstance(value, Mapping):
            raise self._error("resources", f"must be {FIELDS['resources']}; not {describe(value)}")
        self._json("resources", value)
        for key, amounts in value.items():
            if key not in _RESOURCE_KEYS:
                near = suggestion(str(key), _RESOURCE_KEYS)
                raise self._error("resources", f"has the unknown key {key!r}{near} (allowed: requests, limits, claims)")
            if key == "claims":
                continue
            if not isinstance(amounts, Mapping):
                raise self._error(f"resources.{key}", f"must be a mapping like {{cpu: 100m}}, not {describe(amounts)}")
            for name, amount in amounts.items():
                if isinstance(amount, bool) or not isinstance(amount, (str, int, float)) or not isinstance(name, str):
                    shown = describe(amount)
                    raise self._error(f"resources.{key}.{name}", f"must be a quantity like 100m or 1Gi, not {shown}")

    def _check_metadata(self, name: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise self._error(name, f"must be {FIELDS[name]}, not {describe(value)}")
        for key, text in value.items():
            if not isinstance(key, str) or not key:
                raise self._error(name, f"has a key that is no text: {describe(key)}")
            if is_reserved(key):
                raise self._error(name, f"may not set {key!r}: shard-executor writes that one itself")
            if not isinstance(text, str):
                raise self._error(f"{name}.{key}", f"must be text, not {describe(text)}{_in_quotes(text)}")
            self._unicode(f"{name}.{key}", key)
            self._unicode(f"{name}.{key}", text)


def is_reserved(key: str) -> bool:
    """Whether a label or annotation is one that this project writes itself."""
    return key.startswith(RESERVED_PREFIX) or key in RESERVED_KEYS
