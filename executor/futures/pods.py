"""Turns tasks into submissions: finds the template that a task names, checks it, builds the body."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskError, TaskSpec
from shard_executor.pods.template import EMPTY, PodTemplate, TemplateError, load_template, parse_template, require_image

if TYPE_CHECKING:
    from shard_executor.supervisor import Submission

Template = str | os.PathLike[str] | Mapping[str, Any]


def read_template(template: Template | None) -> PodTemplate | None:
    """A template from a file's path or from a Pod as a mapping.

    Raises:
        TemplateError: it cannot be read or used; names file and key.
    """
    if template is None:
        return None
    if isinstance(template, Mapping):
        try:
            return parse_template(orjson.dumps(template), "(given as a mapping)")
        except TypeError as fault:
            raise TemplateError(f"template (given as a mapping): cannot be written as JSON: {fault}") from fault
    return load_template(Path(template))


class TaskPods:
    """Builds the submissions of one executor. Thread-safe.

    Args:
        template: used for tasks that name none.
        instance: value of the instance label.
        run_id: owner of the pods and first part of every submission id.
    """

    def __init__(self, template: PodTemplate | None, *, instance: str, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._lock = threading.RLock()
        self._templates: dict[str | None, PodTemplate] = {None: template or EMPTY}
        self._builders: dict[str | None, PodBuilder] = {}
        self._namespace: str | None = None

    def check(self, task: TaskSpec) -> None:
        """Loads the task's template, and sees to it that there is an image and that the namespace is the executor's.

        Raises:
            TaskError: neither the task nor its template names an image; or, once the namespace is settled, the task
                names another one.
            TemplateError: its template cannot be used, or not in the namespace, once that is settled.
        """
        with self._lock:
            template = self._template(task)
            require_image(task, template)
            if self._namespace is None:
                return
            if task.namespace not in (None, self._namespace):
                raise TaskError(
                    task.id,
                    "namespace",
                    f"field 'namespace' is {task.namespace!r} but this executor's is {self._namespace!r}, and all its "
                    f"pods go there: leave the field out, or make a PodExecutor with namespace={task.namespace!r}",
                )
            self._require_namespace(template, self._namespace)

    def settle(self, namespace: str) -> None:
        """From now on pods go to this namespace.

        Raises:
            TemplateError: the executor's template is meant for another one.
        """
        with self._lock:
            self._require_namespace(self._templates[None], namespace)
            self._namespace = namespace
            self._builders = {None: self._make_builder(None)}

    def submission(self, task: TaskSpec, try_number: int = 0) -> Submission:
        """What the supervisor takes for one try of a task that `check` has passed after `settle`."""
        from shard_executor.runs.submissions import submission_of

        with self._lock:
            return submission_of(self._builder(task), task, try_number)

    @staticmethod
    def _require_namespace(template: PodTemplate, namespace: str) -> None:
        if template.namespace not in (None, namespace):
            raise TemplateError(
                f"template {template.name}: metadata.namespace is {template.namespace!r} but this executor's namespace "
                f"is {namespace!r}: remove it from the template, or make a PodExecutor with that namespace"
            )

    def _template(self, task: TaskSpec) -> PodTemplate:
        found = self._templates.get(task.template)
        if found is None:
            assert task.template is not None
            found = self._templates[task.template] = load_template(Path(task.template))
        return found

    def _builder(self, task: TaskSpec) -> PodBuilder:
        builder = self._builders.get(task.template)
        if builder is None:
            builder = self._builders[task.template] = self._make_builder(task.template)
        return builder

    def _make_builder(self, name: str | None) -> PodBuilder:
        if self._namespace is None:
            raise ValueError("settle() comes first")
        template = self._templates[name]
        return PodBuilder(
            namespace=self._namespace,
            instance=self._instance,
            owner=self._run_id,
            run_id=self._run_id,
            template=template if name is None else None,
            templates={} if name is None else {name: template},
        )
