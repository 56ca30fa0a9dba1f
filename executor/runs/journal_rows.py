"""What a journal tells and is told about a run and its tasks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What a run is.

    Args:
        run_id: the id that the user resumes it by.
        namespace: of its pods, where a task names no other.
        server: address of the API server.
        namespace_uid: of the namespace, which tells a cluster from another one at the same address; None if unknown.
        created: when the run began, unix seconds.
        results: absolute path of the file of result lines; None without one.
    """

    run_id: str
    namespace: str
    server: str
    namespace_uid: str | None
    created: float
    results: str | None


@dataclass(slots=True)
class TaskEntry:
    """What the journal knows of a task.

    Args:
        id: the task's.
        digest: of all that the user said about it.
        try_number: of the current or, once it has ended, the last try.
        attempt: launch attempt within that try.
        uid: of that attempt's pod; None if none was seen.
        began: the pod's task began to run.
        interrupted: the try was being ended on the user's word.
        failures: retries used.
        disruptions: resubmissions used.
        due: earliest start of the current try, unix seconds.
        stored: the final record as JSON; None while the task has not ended. Kept as bytes, a fifth of the dict's size.
    """

    id: str
    digest: str
    try_number: int = 0
    attempt: int = 0
    uid: str | None = None
    began: bool = False
    interrupted: bool = False
    failures: int = 0
    disruptions: int = 0
    due: float = 0.0
    stored: bytes | None = None

    @property
    def result(self) -> dict[str, Any] | None:
        """The final record, decoded anew each time; set: the task has ended for good."""
        if self.stored is None:
            return None
        record: dict[str, Any] = orjson.loads(self.stored)
        return record

    @property
    def ended(self) -> bool:
        """The task has ended for good; cheaper than `result`."""
        return self.stored is not None


@dataclass(frozen=True, slots=True)
class Launched:
    """Progress of a task's current try; it replaces all that was known of that try's pod."""

    id: str
    try_number: int
    attempt: int
    uid: str | None
    began: bool


@dataclass(frozen=True, slots=True)
class Again:
    """A try has ended and another follows.

    Args:
        id: the task's.
        try_number: the next try's; one more than that of the try that ended.
        failures: retries used, with the next try.
        disruptions: resubmissions used, with the next try.
        due: earliest start of the next try, unix seconds.
        record: of the try that ended.
    """

    id: str
    try_number: int
    failures: int
    disruptions: int
    due: float
    record: dict[str, Any]
