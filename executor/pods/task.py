"""One task of a standalone run: what a user may say about it, checked field by field.

A `TaskSpec` that exists is well-formed: every later step (building its pod, naming it, writing its result line) can
rely on the types. What only a cluster can judge (a label's syntax, a quantity, an image's name) is left to the API
server, whose words then become that one task's failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shard_executor.pods import task_checks as checks
from shard_executor.pods.task_checks import MAX_ID, MOST, is_reserved
from shard_executor.pods.task_fields import FIELDS, refuse_unknown
from shard_executor.pods.task_words import TaskError, describe, suggestion

__all__ = ["FIELDS", "MAX_ID", "TaskError", "TaskSpec", "describe", "is_reserved", "suggestion"]

# How fields are checked: those that are None when nothing is said, and those that are empty then.
_CHECKS: dict[str, Any] = {
    "image": checks.check_text,
    "template": checks.check_text,
    "command": checks.check_strings,
    "args": checks.check_strings,
    "namespace": checks.check_namespace,
    "service_account": checks.check_service_account,
}
_MAPPINGS: dict[str, Any] = {
    "labels": checks.check_metadata,
    "annotations": checks.check_metadata,
    "node_selector": checks.check_texts,
}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: an id, what its pod has to run, and where and how. None is the same as not given.

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
        retries: how often the task is run again after it failed, each time in a new pod; None is the run's default.
        timeout: whole seconds, spec.activeDeadlineSeconds of the pod: counted from when the kubelet takes the pod, so
            pulling images counts. What is not through by then is killed and has failed.
        priority: tasks with a higher one are created first, a number of 32 bits. It orders this executor's work and
            is no PriorityClass: the cluster does not see it.
        namespace: of the pod, an RFC 1123 label; None is the run's.
        service_account: spec.serviceAccountName.
        node_selector: merged over the template's spec.nodeSelector.
        tolerations: added to the template's, as Kubernetes has them; a repetition is left out.

    After construction `command`, `args` and `tolerations` are tuples and `env` is a tuple of Kubernetes env entries.

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
    retries: int | None = None
    timeout: int | None = None
    priority: int = 0
    namespace: str | None = None
    service_account: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        checks.check_id(self.id)
        try:
            self._check()
        except TaskError as fault:
            raise TaskError(self.id, fault.field, fault.problem) from fault.__cause__

    def _check(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                self._keep(name, check(name, value))
        for name, check in _MAPPINGS.items():
            value = getattr(self, name)
            if value != {}:
                self._keep(name, {} if value is None else check(name, value))
        if self.env is not None:
            self._keep("env", checks.check_env(self.env))
        if self.resources is not None:
            checks.check_resources(self.resources)
        if self.tolerations != ():
            self._keep("tolerations", () if self.tolerations is None else checks.check_tolerations(self.tolerations))
        if self.retries is not None:
            self._keep("retries", checks.check_number("retries", self.retries, 0))
        if self.timeout is not None:
            self._keep("timeout", checks.check_number("timeout", self.timeout, 1))
        priority = self.priority
        self._keep("priority", 0 if priority is None else checks.check_number("priority", priority, -MOST - 1))

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> TaskSpec:
        """A task from one parsed line or YAML entry.

        Raises:
            TaskError: an unknown field (naming the nearest allowed one), a missing id, or a malformed value.
        """
        if not isinstance(data, Mapping):
            raise TaskError(None, "", f"a task must be a mapping like {{id: a, image: busybox}}, not {describe(data)}")
        if not data.keys() <= FIELDS.keys():
            raise refuse_unknown(data)
        if "id" not in data:
            raise TaskError(None, "id", "the field 'id' is missing: every task needs one of its own")
        return cls(**data)
