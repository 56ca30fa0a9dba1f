"""What a user reads of a pod's end: one line for the scheduler, several for the task's event log. Imports no airflow.

A container's own words (the end of its log, its termination message) may hold secrets. They are shown only through a
mask that the caller brings, and are left out with a note where there is none or where it fails.
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator

from shard_executor.airflow.masking import Mask, airflow_mask, masker
from shard_executor.cli.results import timestamp
from shard_executor.core.failures import FailureClass
from shard_executor.supervisor.config import Report

__all__ = ["MEANINGS", "Mask", "event_extra", "failure_words", "masker", "short_info"]

MESSAGE_CHARACTERS = 500  # of a message in one line
INFO_CHARACTERS = 300  # of `short_info`
DETAIL_CHARACTERS = 2000  # of the message in the event log
TAIL_LINES = 50
TAIL_CHARACTERS = 4000

log = logging.getLogger(__name__)

MEANINGS: dict[FailureClass, str] = {
    FailureClass.CONTAINER_ERROR: "The container ended with an exit code other than 0.",
    FailureClass.OOM_KILLED: "The container used more memory than its limit; raise resources.limits.memory.",
    FailureClass.DEADLINE: "The pod ran longer than its activeDeadlineSeconds.",
    FailureClass.START_ERROR: "The container could not be started, or its node did not admit the pod.",
    FailureClass.IMAGE: "The image could not be pulled, or its name is malformed.",
    FailureClass.CONFIG: "The container's configuration refers to something that is not there, such as a Secret.",
    FailureClass.INIT_CONTAINER: "An init container failed, so the task's own container did not start.",
    FailureClass.EVICTED: "The kubelet evicted the pod, mostly because its node ran out of memory or disk.",
    FailureClass.PREEMPTED: "The Kubernetes scheduler gave the pod's place to one of higher priority.",
    FailureClass.DRAINED: "The pod's node was drained or shut down.",
    FailureClass.NODE_LOST: "The pod's node went away or stopped answering.",
    FailureClass.DELETED: "The pod was deleted by somebody else before its end was seen.",
    FailureClass.HANDED_OVER: "The pod's labels were changed, so that it is not this executor's any more.",
    FailureClass.CREATE_REFUSED: "The API server refused to create the pod, or did not answer in time.",
    FailureClass.PENDING_TIMEOUT: "The pod did not start in time.",
    FailureClass.REVOKED: "The task was taken back before it ended.",
    FailureClass.UNKNOWN: "The pod failed and its status does not say why; look at its node and its events.",
}

# Messages of other classes are the cluster's own.
_CONTAINER_SPEAKS = frozenset(
    {
        FailureClass.CONTAINER_ERROR,
        FailureClass.OOM_KILLED,
        FailureClass.DEADLINE,
        FailureClass.START_ERROR,
        FailureClass.INIT_CONTAINER,
        FailureClass.UNKNOWN,
    }
)
_ENDED_WITH = re.compile(r"container \S+ exited with code -?\d+( \(signal \d+\))?")  # says nothing that is not there
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_SIGNALLED = 128
_UNMASKED = "left out, since there is no secrets masker"
_UNMASKABLE = "left out, since masking it failed"


def failure_words(report: Report, mask: Mask | None = airflow_mask) -> str:
    """One line: class, container and its reason, exit code, message. Never empty.

    Args:
        report: of a pod's end; also one of a pod that runs or waits.
        mask: hides secrets; with None a container's own message is left out with a note.
    """
    message, note = _message(report, mask)
    words = _headline(report)
    if message:
        return f"{words}: {_cut(' '.join(message.split()), MESSAGE_CHARACTERS)}"
    return f"{words} (its message is {note})" if note else words


def short_info(report: Report, mask: Mask | None = airflow_mask) -> str:
    """The `info` of the event buffer: `failure_words` with the pod's name, at most INFO_CHARACTERS long.

    Args:
        report: of a pod's end.
        mask: as in `failure_words`.
    """
    return _cut(f"{_pod(report)}: {failure_words(report, mask)}", INFO_CHARACTERS)


def event_extra(report: Report, mask: Mask | None) -> str:
    """The text of an entry in the task's event log, of several lines.

    Args:
        report: of a pod's end.
        mask: hides secrets; with None the log's end and a container's own message are left out with a note.
    """
    return "\n".join(_paragraphs(report, mask))


def _paragraphs(report: Report, mask: Mask | None) -> Iterator[str]:
    yield _headline(report)
    failure = _failure(report)
    if failure is not None:
        yield MEANINGS[failure]
    message, note = _message(report, mask)
    if message:
        yield f"message: {_cut(message, DETAIL_CHARACTERS)}"
    elif note:
        yield f"message: {note}"
    yield _pod(report)
    times = _times(report)
    if times:
        yield times
    tail = _clean(report.log_tail)
    if tail:
        masked, note = _masked(tail, mask)
        if note:
            yield f"the end of its log: {note}"
        else:
            yield "the end of its log:"
            yield from (f"  {line}" for line in _last_lines(masked))


def _headline(report: Report) -> str:
    container = _clean(getattr(report, "container", None))
    reason = _clean(report.reason)
    word = _clean(report.failure_class) or (_clean(report.state) or "unknown")
    if word == "succeeded":
        return word
    details = [f"container {container}"] if container else []
    if reason and reason != word:
        details.append(reason)
    if report.exit_code is not None:
        details.append(f"exit code {report.exit_code}{_signal(report.exit_code)}")
    return f"{word} ({', '.join(details)})" if details else word


def _failure(report: Report) -> FailureClass | None:
    try:
        return FailureClass(report.failure_class) if report.failure_class else None
    except ValueError:
        return None


def _signal(exit_code: int) -> str:
    """Exit codes above 128 mostly are 128 and the number of the signal that ended the process."""
    try:
        return f", {signal.Signals(exit_code - _SIGNALLED).name}" if exit_code > _SIGNALLED else ""
    except ValueError:
        return ""


def _message(report: Report, mask: Mask | None) -> tuple[str, str]:
    """The message to show and, if there is one that cannot be shown, why."""
    message = _clean(report.message)
    if not message or _ENDED_WITH.fullmatch(message):
        return "", ""
    if mask is None and report.failure_class and _failure(report) not in _CONTAINER_SPEAKS:
        return message, ""
    return _masked(message, mask)


def _masked(text: str, mask: Mask | None) -> tuple[str, str]:
    if mask is None:
        return "", _UNMASKED
    try:
        return mask(text), ""
    except Exception as error:  # noqa: BLE001 - a masker may be anybody's; neither the text nor the error's words are shown
        log.warning("the secrets masker failed: %s", type(error).__name__)
        return "", _UNMASKABLE


def _pod(report: Report) -> str:
    name = _clean(report.pod)
    if not name:
        return "no pod was created"
    namespace = _clean(report.namespace)
    launch = f", launch attempt {report.attempt + 1}" if report.attempt else ""
    return f"pod {namespace}/{name}{launch}" if namespace else f"pod {name}{launch}"


def _times(report: Report) -> str:
    times = report.times
    shown = [f"{name} {timestamp(times[name])}" for name in ("created", "started", "finished") if name in times]
    if "started" in times and "finished" in times:
        shown.append(f"ran {max(0.0, times['finished'] - times['started']):.1f} s")
    return ", ".join(shown)


def _last_lines(text: str) -> list[str]:
    """At most TAIL_LINES lines and TAIL_CHARACTERS characters from the end; what is missing is said first."""
    lines = text.splitlines()
    kept: list[str] = []
    left = TAIL_CHARACTERS
    for line in reversed(lines[-TAIL_LINES:]):
        if len(line) > left:
            if not kept:
                kept.append(f"... {line[-left:]}")
            break
        kept.append(line)
        left -= len(line) + 1
    kept.reverse()
    return kept if len(kept) == len(lines) else [f"({len(lines) - len(kept)} lines before)", *kept]


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 4].rstrip()} ..."


def _clean(text: str | None) -> str:
    """Without escape codes and characters that a database or a terminal chokes on; "" for nothing worth showing.

    PostgreSQL refuses NUL in a text, and no database takes half of a surrogate pair.
    """
    if text is None:
        return ""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c in "\n\t" or c.isprintable() else " " if c.isspace() else "" for c in text).strip("\n ")
    return "" if text == "None" else text
