"""How a run goes on that was broken off: what its journal knows, laid over the pods that are there. Pure.

The journal says which try of a task is current and what was last seen of its pod; the cluster says which pods exist.
Neither alone is enough: a pod may have been created, or have gone, after the journal's last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shard_executor.core.failures import FailureClass
from shard_executor.core.tries import Used
from shard_executor.runs.journal import TaskEntry


@dataclass(frozen=True, slots=True)
class FoundPod:
    """A pod of the run as the cluster shows it.

    `finished` pods have ended one way or the other, `succeeded` ones well. `kept` says that it is labelled as done and
    shall stay.
    """

    namespace: str
    name: str
    uid: str
    submission: str
    attempt: int
    finished: bool = False
    began: bool = False
    deleting: bool = False
    kept: bool = False
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the pod of a task's current try, as `Submission` takes it."""

    attempt: int = 0
    uid: str | None = None
    began: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Where an open task begins in this process.

    Args:
        used: what earlier processes have used up; its try number is the one to begin with.
        due: unix seconds before which that try must not begin; 0 for at once.
        known: what is known of that try's pod.
        interrupted: an earlier process was deleting that pod on the user's word.
    """

    used: Used = Used()  # noqa: RUF009  # frozen
    due: float = 0.0
    known: Known = Known()
    interrupted: bool = False


@dataclass(slots=True)
class Plan:
    """What to do before and with the open tasks.

    Args:
        known: by task id, for open tasks whose current try had begun to be launched.
        restarted: open tasks that were interrupted and whose pod has gone: another try follows.
        awaited: pods of open tasks that are on their way out; their tasks must not start before they have gone.
        remove: pods of ended tasks and of earlier tries.
        foreign: pods under the run's label that no task of it explains.
    """

    known: dict[str, Known] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    awaited: list[FoundPod] = field(default_factory=list)
    remove: list[FoundPod] = field(default_factory=list)
    foreign: list[FoundPod] = field(default_factory=list)


def task_and_try(submission: str, run_id: str) -> tuple[str, int] | None:
    """Task id and try number of a submission id of this run; None if it is none."""
    prefix = f"{run_id}/"
    if not submission.startswith(prefix):
        return None
    task_id, slash, number = submission[len(prefix) :].rpartition("/")
    if not slash or not number.isascii() or not number.isdigit():
        return None
    return task_id, int(number)


def plan(entries: Mapping[str, TaskEntry], pods: Iterable[FoundPod], run_id: str) -> Plan:
    """Lays pods over a journal's entries; see `Plan`."""
    found = Plan()
    current: dict[str, list[FoundPod]] = {}
    for pod in pods:
        of = task_and_try(pod.submission, run_id)
        entry = entries.get(of[0]) if of is not None else None
        if of is None or entry is None:
            found.foreign.append(pod)
        elif pod.kept or _handed_over(entry):
            continue
        elif not entry.ended and of[1] == entry.try_number:
            current.setdefault(entry.id, []).append(pod)
        elif not entry.ended and not pod.finished:
            # An earlier try whose pod is still alive: two of one task must not run side by side.
            found.awaited.append(pod)
        else:
            found.remove.append(pod)
    for entry in entries.values():
        if not entry.ended:
            _open_task(found, entry, current.get(entry.id, []))
    return found


def _handed_over(entry: TaskEntry) -> bool:
    """Whether a task's pod has been taken out of the run by changed labels: it is somebody else's."""
    return entry.ended and (entry.result or {}).get("class") == FailureClass.HANDED_OVER


def adopt_succeeded(found: Plan, there: Iterable[FoundPod], entries: Mapping[str, TaskEntry], run_id: str) -> None:
    """Takes up awaited pods that have succeeded after all: their interrupted tasks are not restarted.

    Args:
        found: changed in place.
        there: the awaited pods that are still there, as they are now.
        entries: those that the plan was made of.
        run_id: of the run.
    """
    for pod in there:
        of = task_and_try(pod.submission, run_id)
        if of is None or not pod.succeeded or of[0] not in found.restarted:
            continue
        entry = entries[of[0]]
        if of[1] == entry.try_number and pod.attempt >= entry.attempt:
            found.restarted.remove(entry.id)
            found.known[entry.id] = Known(pod.attempt, pod.uid, True)


def _open_task(found: Plan, entry: TaskEntry, pods: list[FoundPod]) -> None:
    # A launch attempt follows another only when that one's pod was lost before its task began: earlier ones are over.
    newest = max((pod for pod in pods if pod.attempt >= entry.attempt), key=lambda pod: pod.attempt, default=None)
    for pod in pods:
        if pod is not newest:
            # What is still alive must be gone before another pod is made; beside one that is there it only goes.
            (found.remove if pod.finished or newest is not None else found.awaited).append(pod)
    if entry.interrupted and (entry.uid is not None if newest is None else newest.deleting and not newest.succeeded):
        # Its pod was being deleted on the user's word: that is no failure, and no end of the task. One that has ended
        # by that (its exit code 143, say) may be held by a finalizer or its kubelet for as long as they like.
        if newest is not None:
            (found.remove if newest.finished else found.awaited).append(newest)
        found.restarted.append(entry.id)
    elif newest is not None:
        same = entry.uid == newest.uid
        # Another one than the journal knew is of this try too: that one has gone, and this one must have its end.
        found.known[entry.id] = Known(newest.attempt, newest.uid, newest.began or (same and entry.began))
    elif entry.uid is not None or entry.attempt:
        # Without a uid its create may still be under way: the pod's name, the same again, finds it.
        found.known[entry.id] = Known(entry.attempt, entry.uid, entry.began)
