"""Builds pod bodies: template <- the task's fields <- this project's labels, as compact JSON text.

The merge is done once for each distinct shape of task (which fields it sets, which names its env and labels have) with
marker values, serialised, and cut at the markers. A task's pod is then the slices joined with its own values; no value
of a task is part of its shape. Two places stay open for the shard that creates the pod: the pod's name and the launch
attempt, as the raw characters `\\x00N` and `\\x00A`. JSON text escapes NUL, so no value of a user can look like them.
"""

from __future__ import annotations

import copy
import itertools
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shard_executor._fast.keys import bin_of
from shard_executor.pods.digest import json_digest, task_digest
from shard_executor.pods.merge import merge_env, merge_resources, merge_tolerations
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
    """A shape's pod, cut where a task's own values go, and the template's values that they are merged with."""

    __slots__ = ("node_selector", "parts", "resources", "slots", "tolerations")

    def __init__(self, text: str, token: str, template: PodTemplate) -> None:
        spec = template.pod.get("spec") or {}
        self.resources: Mapping[str, Any] = spec["containers"][template.main].get("resources") or {}
        self.node_selector: Mapping[str, Any] = spec.get("nodeSelector") or {}
        self.tolerations: Sequence[Any] = spec.get("tolerations") or ()
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
        namespace: of the pods of tasks that name none.
        instance: value of the instance label; keeps runs in one namespace apart.
        owner: value of the owner label.
        run_id: first part of every submission id and bin key.
        template: used for tasks that name none.
        templates: the templates that tasks may name, by the text of their `template` field.

    Raises:
        TemplateError: the run's template has a namespace that is not the run's.

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
        self._digests: dict[str | None, str] = {}  # of templates
        if self._default.namespace not in (None, namespace):
            raise TemplateError(
                f"template {self._default.name}: metadata.namespace is {self._default.namespace!r} but the run's "
                f"namespace is {namespace!r}: remove it from the template or use --namespace {self._default.namespace}"
            )

    def bin(self, task_id: str) -> int:
        """The bin of a task, 0 to 255: decides which shard handles it."""
        return bin_of(self._run_id, task_id)

    def submission_id(self, task_id: str, try_number: int = 0) -> str:
        """Names one hand-over of a task: run id, task id and try, from 0."""
        return f"{self._run_id}/{task_id}/{try_number}"

    def namespace_of(self, task: TaskSpec) -> str:
        """Where the task's pod goes: what the task says, else the run's namespace.

        Raises:
            TaskError: its template is meant for another one, or this builder does not have its template.
        """
        namespace = self._namespace if task.namespace is None else task.namespace
        template = self._template_of(task)
        if template.namespace is None or template.namespace == namespace:
            return namespace
        whose = "the run's" if task.namespace is None else "its"
        remedy = "" if template is self._default else f", or set the task's field 'namespace' to {template.namespace!r}"
        raise TaskError(
            task.id,
            "namespace",
            f"{whose} namespace is {namespace!r} but metadata.namespace of template {template.name} is "
            f"{template.namespace!r}: remove it from the template{remedy}",
        )

    def digest(self, task: TaskSpec) -> str:
        """32 hexadecimal digits that change with anything the user says of the task or its template, and only then.

        Raises:
            TaskError: the task names a template that this builder does not have.
        """
        of_template = self._digests.get(task.template)
        if of_template is None:
            of_template = self._digests[task.template] = json_digest(self._template_of(task).pod)
        return task_digest(task, of_template)

    def body(self, task: TaskSpec, bin_number: int | None = None, try_number: int = 0) -> str:
        """The pod of one try of a task as JSON text with `\\x00N` for its name and `\\x00A` for the launch attempt.

        Raises:
            TaskError: as `namespace_of`.
        """
        namespace = self.namespace_of(task)
        env: Sequence[Mapping[str, Any]] = task.env or ()  # type: ignore[assignment]  # a tuple once constructed
        labels, annotations = task.labels, task.annotations
        shape: _Shape = (
            task.template,
            task.image is None,
            task.command is None,
            task.args is None,
            task.timeout is None,
            task.service_account is None,
            not task.resources,
            not task.node_selector,
            not task.tolerations,
            tuple([entry["name"] for entry in env]) if env else (),
            tuple(labels) if labels else (),
            tuple(annotations) if annotations else (),
        )
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._make_plan(task, shape)
        number = self.bin(task.id) if bin_number is None else bin_number
        values = [_json(namespace), f'"{number}"', _json(self.submission_id(task.id, try_number))]
        if task.image is not None:
            values.append(_json(task.image))
        if task.command is not None:
            values.append(_json(task.command))
        if task.args is not None:
            values.append(_json(task.args))
        if task.timeout is not None:
            values.append(str(task.timeout))
        if task.service_account is not None:
            values.append(_json(task.service_account))
        if task.resources:
            values.append(_json(merge_resources(plan.resources, task.resources)))
        if task.node_selector:
            values.append(_json({**plan.node_selector, **task.node_selector}))
        if task.tolerations:
            values.append(_json(merge_tolerations(plan.tolerations, task.tolerations)))
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
        """The pod with markers, in the order in which `body` lists the values."""
        token = secrets.token_hex(16)  # no value in the template can equal it
        numbers = itertools.count()

        def marker() -> str:
            return f"{token}:{next(numbers)}"

        template = self._template_of(task)
        pod = copy.deepcopy(template.pod)
        pod["apiVersion"], pod["kind"] = "v1", "Pod"
        metadata = pod.get("metadata") or {}
        metadata.pop("generateName", None)
        pod["metadata"] = metadata
        metadata["name"], metadata["namespace"] = f"{token}:name", marker()
        label_bin, submission = marker(), marker()
        spec = pod.setdefault("spec", {})
        spec["restartPolicy"] = "Never"
        container = spec["containers"][template.main]
        for name in ("image", "command", "args"):
            if getattr(task, name) is not None:
                container[name] = marker()
        if task.timeout is not None:
            spec["activeDeadlineSeconds"] = marker()
        if task.service_account is not None:
            spec["serviceAccountName"] = marker()
            spec.pop("serviceAccount", None)  # the deprecated name of the same field; a server may heed either
        if task.resources:
            container["resources"] = marker()
        if task.node_selector:
            spec["nodeSelector"] = marker()
        if task.tolerations:
            spec["tolerations"] = marker()
        if task.env:
            names = [entry["name"] for entry in task.env]  # type: ignore[index]  # a tuple of entries once constructed
            container["env"] = merge_env(container.get("env") or [], names, marker)
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
        plan = _Plan(text, token, template)
        if len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[shape] = plan
        return plan


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
