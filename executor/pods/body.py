"""Builds pod bodies: template <- the task's fields <- this project's labels, as compact JSON text.

The merge is done once for each distinct shape of task (which fields it sets, which names its env and labels have) with
marker values, serialised, and cut at the markers. A task's pod is then the slices joined with its own values. Two
places stay open for the shard that creates the pod: the pod's name and the launch attempt, as the raw characters
`\\x00N` and `\\x00A`. JSON text escapes NUL, so no value of a user can look like them.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shard_executor._fast.keys import bin_of
from shard_executor.pods.task import TaskError, TaskSpec
from shard_executor.pods.template import EMPTY, PodTemplate, TemplateError

NAME_PLACE = "\x00N"
ATTEMPT_PLACE = "\x00A"

LABEL_INSTANCE = "shard-executor/instance"
LABEL_BIN = "shard-executor/bin"
LABEL_OWNER = "shard-executor/owner"
ANNOTATION_SUBMISSION = "shard-executor/submission"
ANNOTATION_ATTEMPT = "shard-executor/attempt"

# Plans are a few KB each. A list whose every task has other label names would make one plan a task: then the oldest go.
MAX_PLANS = 512

_Shape = tuple[Any, ...]


class _Plan:
    """A shape's pod, cut where a task's own values go."""

    __slots__ = ("parts", "slots")

    def __init__(self, text: str, token: str) -> None:
        pieces = re.split(f'"{token}:(\\d+)"', text)
        self.parts = pieces
        slots = [0] * (len(pieces) // 2)
        for position in range(1, len(pieces), 2):
            slots[int(pieces[position])] = position
        self.slots = slots

    def fill(self, values: Sequence[str]) -> str:
        parts = self.parts.copy()
        for slot, value in zip(self.slots, values, strict=True):
            parts[slot] = value
        return "".join(parts)


class PodBuilder:
    """Turns tasks of one run into pod bodies.

    Args:
        namespace: the namespace of every pod.
        instance: value of the instance label; keeps runs in one namespace apart.
        owner: value of the owner label.
        run_id: first half of every submission id and bin key.
        template: used for tasks that name none.
        templates: the templates that tasks may name, by the text of their `template` field.

    Not thread-safe.
    """

    def __init__(
        self,
        *,
        namespace: str,
        instance: str,
        owner: str,
        run_id: str,
        template: PodTemplate | None = None,
        templates: Mapping[str, PodTemplate] | None = None,
    ) -> None:
        self._namespace = namespace
        self._instance = instance
        self._owner = owner
        self._run_id = run_id
        self._default = template or EMPTY
        self._templates = dict(templates or {})
        self._plans: dict[_Shape, _Plan] = {}
        for each in (self._default, *self._templates.values()):
            if each.namespace not in (None, namespace):
                raise TemplateError(
                    f"template {each.name}: metadata.namespace is {each.namespace!r} but the run's namespace is "
                    f"{namespace!r}: remove it from the template or use --namespace {each.namespace}"
                )

    def bin(self, task_id: str) -> int:
        """The bin of a task, 0 to 255: decides which shard handles it."""
        return bin_of(self._run_id, task_id)

    def submission_id(self, task_id: str) -> str:
        """Names the one hand-over of a task: run id, task id, try 0."""
        return f"{self._run_id}/{task_id}/0"

    def body(self, task: TaskSpec, bin_number: int | None = None) -> str:
        """The pod of one task as JSON text with `\\x00N` for its name and `\\x00A` for the launch attempt.

        Raises:
            TaskError: the task names a template that this builder does not have.
        """
        env: Sequence[Mapping[str, Any]] = task.env or ()  # type: ignore[assignment]  # a tuple once constructed
        labels, annotations, resources = task.labels, task.annotations, task.resources
        shape: _Shape = (
            task.template,
            task.image is None,
            task.command is None,
            task.args is None,
            tuple([entry["name"] for entry in env]) if env else (),
            orjson.dumps(resources) if resources else None,
            tuple(labels) if labels else (),
            tuple(annotations) if annotations else (),
        )
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._make_plan(task, shape)
        number = self.bin(task.id) if bin_number is None else bin_number
        values = [f'"{number}"', _json(self.submission_id(task.id))]
        if task.image is not None:
            values.append(_json(task.image))
        if task.command is not None:
            values.append(_json(task.command))
        if task.args is not None:
            values.append(_json(task.args))
        if env:
            values += [_json(entry) for entry in env]
        if labels:
            values += [_json(value) for value in labels.values()]
        if annotations:
            values += [_json(value) for value in annotations.values()]
        return plan.fill(values)

    def _template_of(self, task: TaskSpec) -> PodTemplate:
        if task.template is None:
            return self._default
        try:
            return self._templates[task.template]
        except KeyError:
            raise TaskError(task.id, "template", f"template {task.template!r} has not been loaded") from None

    def _make_plan(self, task: TaskSpec, shape: _Shape) -> _Plan:
        token = secrets.token_hex(16)  # no value in the template can equal it
        count = 0

        def marker() -> str:
            nonlocal count
            count += 1
            return f"{token}:{count - 1}"

        template = self._template_of(task)
        pod = copy.deepcopy(template.pod)
        pod["apiVersion"], pod["kind"] = "v1", "Pod"
        metadata = pod.get("metadata") or {}
        metadata.pop("generateName", None)
        pod["metadata"] = metadata
        metadata["name"], metadata["namespace"] = f"{token}:name", self._namespace
        label_bin, submission = marker(), marker()
        spec = pod.setdefault("spec", {})
        spec["restartPolicy"] = "Never"
        container = spec["containers"][template.main]
        for name in ("image", "command", "args"):
            if getattr(task, name) is not None:
                container[name] = marker()
        if task.env:
            container["env"] = _merge_env(container.get("env") or [], shape[4], marker)
        if task.resources:
            container["resources"] = _merge_resources(container.get("resources") or {}, task.resources)
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            **{key: marker() for key in task.labels},
            LABEL_INSTANCE: self._instance,
            LABEL_BIN: label_bin,
            LABEL_OWNER: self._owner,
        }
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            **{key: marker() for key in task.annotations},
            ANNOTATION_SUBMISSION: submission,
            ANNOTATION_ATTEMPT: f"{token}:attempt",
        }
        text = _json(pod)
        text = text.replace(f"{token}:name", NAME_PLACE).replace(f"{token}:attempt", ATTEMPT_PLACE)
        plan = _Plan(text, token)
        if len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[shape] = plan
        return plan


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _merge_env(base: list[dict[str, Any]], names: Sequence[str], marker: Any) -> list[Any]:
    """The template's entries in their order, those of the task in place of equal names, then the task's others."""
    own = {name: marker() for name in names}
    merged = [own.pop(entry["name"], entry) for entry in base]
    return [*merged, *own.values()]


def _merge_resources(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Requests and limits key by key; the task's amounts win. Claims are replaced as a whole."""
    merged = dict(base)
    for key, amounts in own.items():
        merged[key] = {**(merged.get(key) or {}), **amounts} if isinstance(amounts, Mapping) else amounts
    return merged
