"""Digests of tasks: whether what a user says about a task is still what was said before."""

from __future__ import annotations

import hashlib
from operator import itemgetter
from typing import Any

import orjson

from shard_executor.pods.task import TaskSpec

SIZE = 16  # bytes
# Fields that are left out when nothing is said, so that a field added later changes no digest. An empty command or
# zero retries say something; an empty mapping does not.
_SAID_UNLESS_NONE = ("id", "image", "command", "args", "template", "retries", "timeout", "namespace", "service_account")
_SAID_UNLESS_EMPTY = ("resources", "labels", "annotations", "priority", "node_selector", "tolerations")
_by_name = itemgetter("name")


def task_digest(task: TaskSpec, template_digest: str) -> str:
    """A digest of all fields of a task and of its template's pod.

    The order of keys does not count, nor does that of env entries, which a mapping may have given. It says nothing of
    the run, and is the same in every version of Python.

    Args:
        task: the task.
        template_digest: `json_digest` of its template's pod.

    Returns: 32 hexadecimal digits.
    """
    said: dict[str, Any] = {"pod": template_digest}
    for name in _SAID_UNLESS_NONE:
        value = getattr(task, name)
        if value is not None:
            said[name] = value
    for name in _SAID_UNLESS_EMPTY:
        value = getattr(task, name)
        if value:
            said[name] = value
    if task.env:
        entries: Any = task.env  # a tuple of entries once constructed
        said["env"] = sorted(entries, key=_by_name)
    return json_digest(said)


def json_digest(value: object) -> str:
    """BLAKE2b of the value as compact JSON in UTF-8 with sorted keys, in hexadecimal digits."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=SIZE).hexdigest()
