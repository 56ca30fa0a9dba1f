"""What a chaos run took, and the proof that every task has exactly one result: figures, audit, words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from shard_executor.core.failures import DISAPPEARED

if TYPE_CHECKING:
    from shard_executor.cli.hashing import Group
    from shard_executor.supervisor import ShardStats

_RELIST = "relist:"
MAX_PROBLEMS = 10  # shown of each list


class ShardFigures:
    """Adds up what shards count, over all their processes.

    A shard's counters end with its process, and its last heartbeat is up to a second old: the sums are lower bounds.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], ShardStats] = {}

    def look(self, shards: Iterable[ShardStats]) -> None:
        """Takes note of the last heartbeats."""
        for shard in shards:
            if shard.pid and (shard.watch or shard.calls):
                self._last[shard.shard, shard.pid] = shard

    def relists(self) -> Counter[str]:
        """Lists after the first of a process, by their cause."""
        found: Counter[str] = Counter()
        for shard in self._last.values():
            for name, count in shard.watch.items():
                if name.startswith(_RELIST):
                    found[name.removeprefix(_RELIST)] += count
        return found

    def calls(self, name: str) -> int:
        """Requests by verb and code, such as `create 409`."""
        return sum(shard.calls.get(name, 0) for shard in self._last.values())


@dataclass(slots=True)
class Took:
    """What it took the job to withstand the chaos.

    Attributes:
        shard_restarts: exact.
        relists: by cause; at least.
        watches_opened, creates: requests that the cluster executed; exact.
        creates_found_existing: creates answered by 409, because an earlier one had succeeded unheard; at least.
        resubmitted: tries that followed a disruption.
        retried: tries that followed a failure.
        vanished: tries whose pod went while its shard was dead or blind, so that nobody saw why.
        commands_started: processes of pods; exact.
        commands_completed: runs of a task's command to its end, by the tasks' own logs.
    """

    shard_restarts: int = 0
    relists: dict[str, int] = field(default_factory=dict)
    watches_opened: int = 0
    creates: int = 0
    creates_found_existing: int = 0
    resubmitted: int = 0
    retried: int = 0
    vanished: int = 0
    commands_started: int = 0
    commands_completed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Ends:
    """The results as they come: how many each task has, the last one, and the tries that others followed."""

    def __init__(self, total: int) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.failed_tries: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._total = total

    def take(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Notes final result records."""
        for record in records:
            self.counts[record["id"]] += 1
            self.records[record["id"]] = dict(record)

    def vanished(self) -> int:
        """How many tries ended because their pod was gone, unseen."""
        return sum(record.get("reason") == DISAPPEARED for record in self.failed_tries)

    def share(self) -> float:
        """Of the tasks that have ended, 0 to 1."""
        return len(self.records) / max(1, self._total)


@dataclass(slots=True)
class Audit:
    """Whether every task succeeded exactly once by its result; `problems` says where not.

    `completed` counts runs of a command to its end, `repeated` the tasks that have more than one. A second run is
    legitimate where the cluster took the pod of another one away: such a pod may have been done already, unheard.
    """

    tasks: int = 0
    completed: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audit(groups: Sequence[Group], ends: Ends, disrupted: Set[str]) -> Audit:
    """Compares results, the tasks' own logs of their runs, and what the cluster says that it disrupted.

    Args:
        groups: the tasks.
        ends: all their result records.
        disrupted: names of the pods that were evicted, preempted, drained or lost.
    """
    found = Audit(len(groups))
    known = {group.task_id for group in groups}
    found.problems += [f"{task_id}: a result of no task" for task_id in ends.counts if task_id not in known]
    found.problems += [
        f"{record['id']}: a try ended as {record.get('class')} ({record.get('reason')}) in pod {record.get('pod')}, "
        "which nothing had disrupted"
        for record in ends.failed_tries
        if record.get("pod") not in disrupted
    ]
    for group in groups:
        results = ends.counts[group.task_id]
        record = ends.records.get(group.task_id, {})
        if results != 1 or record.get("state") != "succeeded":
            found.problems.append(f"{group.task_id}: {results} results, state {record.get('state')}")
            continue
        found.problems += _runs(group, record, disrupted, found)
    return found


def _runs(group: Group, record: Mapping[str, Any], disrupted: Set[str], found: Audit) -> Iterator[str]:
    """Counts the runs of a task that succeeded; says which of them should not have been."""
    runs = Counter(group.completed_by())
    found.completed += runs.total()
    found.repeated += runs.total() > 1
    own = (record.get("pod"), record.get("uid"))
    if own not in runs:
        yield f"{group.task_id}: succeeded by pod {own[0]} (uid {own[1]}), which did not complete it"
    for (name, uid), times in runs.items():
        if times > 1:
            yield f"{group.task_id}: pod {name} (uid {uid}) completed it {times} times"
        elif (name, uid) != own and name not in disrupted:
            yield f"{group.task_id}: completed by pod {name} (uid {uid}) as well, which nothing had disrupted"


def done_words(report: Mapping[str, Any]) -> str:
    """What was done, in one sentence of short facts; what did not happen is left out."""
    parts = [
        _count(report["shards_killed"], "shard killed", "shards killed"),
        _count(report["watches_cut"], "watch cut", "watches cut"),
        _count(report["create_answers_lost"], "create answer lost", "create answers lost"),
        _count(report["pods_evicted"], "pod evicted", "pods evicted"),
        _count(report["pods_preempted"], "preempted", "preempted"),
        _count(report["pods_under_pressure"], "evicted by their node", "evicted by their node"),
        _nodes(report["nodes_drained"], "drained", report["pods_drained"]),
        _nodes(report["nodes_lost"], "lost", report["pods_on_lost_nodes"]),
        _count(report["requests_throttled"], "request throttled", "requests throttled"),
        _count(report["requests_failed"], "answered with 5xx", "answered with 5xx"),
        _count(report["compactions"], "compaction of the history", "compactions of the history"),
        _count(report["watches_garbled"], "broken object in a watch", "broken objects in watches"),
    ]
    return ", ".join(part for part in parts if part) or "nothing"


def took_words(took: Took, tasks: int) -> str:
    """What it took, in one sentence."""
    causes = ", ".join(f"{count} {cause}" for cause, count in Counter(took.relists).most_common())
    relists = sum(took.relists.values())
    parts = [
        _count(took.shard_restarts, "shard restart", "shard restarts"),
        f"at least {relists} re-list{'s' if relists != 1 else ''} ({causes})" if relists else "",
        f"{took.watches_opened} watches opened",
        f"{took.creates} creates for {tasks} tasks"
        + (f" (at least {took.creates_found_existing} found their pod there)" if took.creates_found_existing else ""),
        _count(took.resubmitted, "pod resubmitted", "pods resubmitted"),
        _count(took.retried, "retried", "retried"),
        _count(took.vanished, "pod vanished while nobody watched", "pods vanished while nobody watched"),
        f"{took.commands_started} commands started, {took.commands_completed} completed",
    ]
    return ", ".join(part for part in parts if part)


def audit_words(found: Audit) -> list[str]:
    """The verdict, and what speaks against it."""
    if not found.problems:
        again = ""
        if found.repeated:
            tasks = "task's command was" if found.repeated == 1 else "tasks' commands were"
            again = f"; {found.repeated} {tasks} completed more than once, by pods that the cluster took away"
        return [f"exactly once: {found.tasks} tasks, one result each, all succeeded{again}"]
    several = "s" if len(found.problems) > 1 else ""
    lines = [f"exactly once NOT shown: {len(found.problems)} problem{several}"]
    lines += [f"  {problem}" for problem in found.problems[:MAX_PROBLEMS]]
    if len(found.problems) > MAX_PROBLEMS:
        lines.append(f"  ... and {len(found.problems) - MAX_PROBLEMS} more")
    return lines


def _count(number: int, one: str, many: str) -> str:
    if not number:
        return ""
    return f"{number} {one if number == 1 else many}"


def _nodes(number: int, what: str, pods: int) -> str:
    return _count(number, f"node {what} with {pods} pods", f"nodes {what} with {pods} pods")
