"""A run's journal as the command line uses it: opened, compared with list and cluster, laid over the pods there.

Everything here happens before the first pod of this process is created, and after the last one has ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shard_executor.cli.errors import CommandError, warn
from shard_executor.cli.results import NOT_STARTED, bare_record
from shard_executor.cli.streams import say
from shard_executor.core.tries import Used
from shard_executor.runs.journal import Again, Journal, JournalError, RunHeader, TaskEntry
from shard_executor.runs.resume import FoundPod, Known, Plan, Start, adopt_succeeded, plan, task_and_try
from shard_executor.runs.state_folder import discard_unbegun, prune

if TYPE_CHECKING:
    from shard_executor.cli.preflight import Cluster
    from shard_executor.cli.tasklist import TaskList
    from shard_executor.core.credentials import Credentials
    from shard_executor.pods.task import TaskSpec

log = logging.getLogger(__name__)

GONE_LIMIT = 60.0  # seconds that pods of an interrupted run may take to go; twice the default grace
CLOSE_LIMIT = 30.0  # seconds that pods may take to be removed when every task has ended


@dataclass(slots=True)
class Opened:
    """What a run begins with: the tasks that have not ended, where each begins, and the records of those that have.

    `held` are the records of open tasks that cannot begin, as an old pod of them is still alive.
    """

    tasks: list[TaskSpec]
    starts: dict[str, Start] = field(default_factory=dict)
    ended: list[dict[str, Any]] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)
    resumed: bool = False


class RunBook:
    """The journal of one run. Constructing touches nothing.

    Args:
        path: of the journal; None keeps it in memory, so that the run cannot be taken up again.
        named: the user named the file, so its folder has to be there; else it lies among those of other runs.
        run_id: of the run.
        instance: label value of its pods.
        keep_pods: never, failed or always.
    """

    def __init__(self, path: Path | None, run_id: str, instance: str, keep_pods: str, *, named: bool = False) -> None:
        self.journal = Journal(path, run_id=run_id, make_folder=not named)
        self._path = path
        self._named = named
        self._started = False
        self._run_id = run_id
        self._instance = instance
        self._keep_pods = keep_pods

    def start(self) -> None:
        """Opens the journal. Raises CommandError if it cannot be used or another process has it."""
        try:
            self.journal.start()
        except JournalError as fault:
            raise CommandError(f"{fault}; nothing was created") from fault
        self._started = True
        if self._path is not None and not self._named:
            pruned = prune(self._path.parent, time.time())
            for name, why in pruned.unreadable.items():
                log.info("an old journal stays: %s: %s", name, why)

    def end(self) -> None:
        """Closes the journal, and removes one in which no run has begun. Safe to call again."""
        unbegun = self._started and self.journal.header is None
        try:
            self.journal.end()
        except JournalError as fault:
            # What was committed is on disk; raising would hide why the run ends.
            log.warning("the journal could not be closed: %s", fault)
        if unbegun and self._path is not None:
            try:
                discard_unbegun(self._path)
            except JournalError as fault:
                log.info("%s", fault)  # somebody else has begun there meanwhile
        self._started = False

    @property
    def results(self) -> str | None:
        """Where the run has written its results before."""
        return self.journal.header.results if self.journal.header is not None else None

    # ---- before

    def check(self, listed: TaskList, digests: Sequence[str], cluster: Cluster, namespace: str) -> None:
        """Refuses a run that is not the one that the journal knows.

        Raises:
            CommandError: another cluster or namespace, or known tasks that have changed or are missing, by name.
        """
        header = self.journal.header
        if header is None:
            return
        self._check_place(header, cluster, namespace)
        entries = self.journal.entries()
        problems = []
        for task, place, digest in zip(listed.tasks, listed.places, digests, strict=True):
            entry = entries.pop(task.id, None)
            if entry is not None and entry.digest != digest:
                problems.append(f"{place}: task {task.id!r} or its template is not what it was when the run began")
        problems += [
            f"task {entry.id!r} is missing: it has not ended yet" for entry in entries.values() if not entry.ended
        ]
        if problems:
            raise CommandError(
                f"run {self._run_id} was begun with another list: tasks may be added to it, not changed; put them back "
                "as they were, or start another run without this --run-id; nothing was created:",
                problems,
            )

    def _check_place(self, header: RunHeader, cluster: Cluster, namespace: str) -> None:
        if header.namespace != namespace:
            raise CommandError(
                f"run {self._run_id} was begun in namespace {header.namespace!r}, not {namespace!r}: "
                f"go on with --namespace {header.namespace}, or start another run without this --run-id"
            )
        if header.namespace_uid and cluster.namespace_uid:
            same = header.namespace_uid == cluster.namespace_uid
        else:
            same = header.server == cluster.host
        if not same:
            raise CommandError(
                f"run {self._run_id} was begun on another cluster ({header.server}; this is {cluster.host}"
                f"{', but its namespace is not that one' if header.server == cluster.host else ''}): its pods are "
                "there; go on with that one's --context or --kubeconfig, or start another run without this --run-id"
            )

    def open(
        self,
        listed: TaskList,
        digests: Sequence[str],
        header: RunHeader,
        credentials: Callable[[], Credentials],
        namespaces: Sequence[str],
        *,
        look: bool,
        retry_failed: bool,
    ) -> Opened:
        """Writes the new tasks into the journal and says where each task begins.

        Args:
            listed: the whole list, checked.
            digests: of its tasks.
            header: of the run, as it is to stand in the journal.
            credentials: of the cluster.
            namespaces: where the run's pods may be.
            look: pods of this run id may be there even if the journal is new.
            retry_failed: tasks that have failed run again.

        Raises:
            CommandError: the pods cannot be listed, or there are pods that the journal cannot explain.
        """
        journal = self.journal
        resumed = journal.header is not None
        pods = self._find(credentials, namespaces) if resumed or look else []
        if pods and not resumed:
            raise self._unexplained(pods, namespaces)
        listed_ids = {task.id for task in listed.tasks}
        try:
            known = journal.entries()
            new = [
                (task.id, digest) for task, digest in zip(listed.tasks, digests, strict=True) if task.id not in known
            ]
            reopened = [e.id for e in known.values() if retry_failed and e.id in listed_ids and _failed(e)]
            # Whoever is interrupted or refused while room is made finds the journal as it was.
            entries = known | {task_id: TaskEntry(task_id, digest) for task_id, digest in new}
            entries |= {task_id: _reopened(known[task_id]) for task_id in reopened}
            found = plan(entries, pods, self._run_id)
            held = self._make_room(credentials, found, entries)
            journal.begin(header, new)
            if reopened:
                journal.reopen(reopened)
            journal.commit(again=[_restart(entries[task_id]) for task_id in found.restarted if task_id not in held])
            entries = journal.entries()
            ended = list(journal.results())
        except JournalError as fault:
            raise CommandError(f"{fault}; nothing was created") from fault
        opened = Opened([], resumed=resumed, ended=[record for record in ended if record["id"] in listed_ids])
        for task in listed.tasks:
            entry = entries[task.id]
            if task.id in held:
                opened.held.append(bare_record(task.id, NOT_STARTED, held[task.id]))
            elif not entry.ended:
                opened.tasks.append(task)
                used = Used(entry.try_number, entry.failures, entry.disruptions)
                start = Start(used, entry.due, found.known.get(task.id, Known()), entry.interrupted)
                if start != Start():
                    opened.starts[task.id] = start
        return opened

    def _find(self, credentials: Callable[[], Credentials], namespaces: Sequence[str]) -> list[FoundPod]:
        from shard_executor.runs.cluster_pods import PodsError, find_pods

        try:
            return find_pods(credentials(), namespaces, self._instance)
        except PodsError as fault:
            raise CommandError(f"{fault}; nothing was created") from fault

    def _unexplained(self, pods: Sequence[FoundPod], namespaces: Sequence[str]) -> CommandError:
        from shard_executor.cli.run_settings import delete_command

        where = f"the journal {self._path}" if self._path is not None else "a run without a journal"
        several = len(pods) != 1
        return CommandError(
            f"there {'are' if several else 'is'} {len(pods)} pod{'s' if several else ''} of a run {self._run_id} in "
            f"namespace {', '.join(namespaces)} that {where} knows nothing of, for example {pods[0].name}: go on where "
            "that run's journal is (--journal), take another --run-id, or remove them first: "
            f"{delete_command(namespaces, self._instance)}; nothing was created"
        )

    def _make_room(
        self, credentials: Callable[[], Credentials], found: Plan, entries: dict[str, TaskEntry]
    ) -> dict[str, str]:
        """Removes what earlier tries have left, and waits for those that must not run beside their successors.

        Returns: by id, why a task cannot begin: a pod of it that is still alive.
        """
        from shard_executor.runs.cluster_pods import PodsError, clear_pods

        if found.foreign:
            names = ", ".join(pod.name for pod in found.foreign[:3])
            warn(f"{len(found.foreign)} pods under this run's label are of no task of it and are left alone: {names}")
        delete, keep = self._by_policy(found.remove, entries)
        if found.awaited:
            several = "s" if len(found.awaited) != 1 else ""
            say(f"waiting for {len(found.awaited)} pod{several} of the interrupted run to go")
        try:
            cleared = clear_pods(
                credentials(),
                self._instance,
                delete,
                keep=keep,
                awaited=found.awaited,
                limit=GONE_LIMIT,
                beat=self._beat,
            )
        except PodsError as fault:
            raise CommandError(f"{fault}; nothing was created") from fault
        adopt_succeeded(found, cleared.there, entries, self._run_id)
        held: dict[str, str] = {}
        for pod in cleared.there:
            of = task_and_try(pod.submission, self._run_id)
            if pod.finished or of is None:
                continue
            words = [cleared.holds.get(pod.uid, ""), cleared.refused.get(pod.uid, ("", ""))[1]]
            why = "; ".join(word for word in words if word)
            held[of[0]] = f"its pod {pod.namespace}/{pod.name} of before is still there{f' ({why})' if why else ''}"
        if held:
            first = ", ".join(f"task {name!r}: {why}" for name, why in [*held.items()][:5])
            warn(
                f"pods of the interrupted run are still there after {GONE_LIMIT:.0f} s; their tasks must not run twice "
                f"at a time and are not started: {first}"
            )
        for name, why in cleared.refused.values():
            log.info("pod %s could not be removed: %s", name, why)
        return held

    def _beat(self) -> None:
        self.journal.beat(time.time())

    def _by_policy(
        self, pods: Iterable[FoundPod], entries: dict[str, TaskEntry]
    ) -> tuple[list[FoundPod], list[FoundPod]]:
        """Which of the pods that are not needed any more go, and which stay as `--keep-pods` says."""
        delete: list[FoundPod] = []
        keep: list[FoundPod] = []
        for pod in pods:
            task_id, number = task_and_try(pod.submission, self._run_id) or ("", 0)
            entry = entries.get(task_id)
            # Of a try that is not over, and of a launch attempt that another one followed, nothing is kept.
            over = entry is not None and (number < entry.try_number or (entry.ended and pod.attempt >= entry.attempt))
            succeeded = pod.succeeded
            if entry is not None and entry.ended and number == entry.try_number:
                succeeded = (entry.result or {}).get("state") == "succeeded"
            stays = self._keep_pods == "always" or (self._keep_pods == "failed" and not succeeded)
            (keep if over and pod.finished and not pod.deleting and stays else delete).append(pod)
        return delete, keep

    # ---- after

    def close_run(self, credentials: Callable[[], Credentials], namespaces: Sequence[str]) -> list[tuple[str, str]]:
        """Every task has ended: removes pods that are left of it, and marks the journal as finished.

        Returns: pods that could not be removed, with the server's words.
        Raises:
            PodsError: the cluster did not answer.
            JournalError: the mark could not be written.
        """
        from shard_executor.runs.cluster_pods import clear_pods, find_pods

        self.journal.carry_on(())  # changes nothing, and fails where the journal is not ours any more
        entries = self.journal.entries()
        still_open = sum(not entry.ended for entry in entries.values())
        if still_open:
            raise JournalError(f"journal {self._path}: {still_open} tasks have not ended there; pods are left alone")
        pods = find_pods(credentials(), namespaces, self._instance)
        self._beat()
        found = plan(entries, pods, self._run_id)
        delete, keep = self._by_policy(found.remove, entries)
        cleared = clear_pods(credentials(), self._instance, delete, keep=keep, limit=CLOSE_LIMIT, beat=self._beat)
        self.journal.finish(time.time())
        return list(cleared.refused.values())


def _failed(entry: TaskEntry) -> bool:
    return entry.ended and (entry.result or {}).get("state") in ("failed", "lost")


def _reopened(entry: TaskEntry) -> TaskEntry:
    """What `Journal.reopen` makes of an ended task's entry."""
    return TaskEntry(entry.id, entry.digest, entry.try_number + 1)


def _restart(entry: TaskEntry) -> Again:
    """An interrupted task begins anew: that used up none of its retries."""
    record = {
        "id": entry.id,
        "state": "revoked",
        "message": "interrupted; its pod was deleted",
        "tries": entry.try_number + 1,
    }
    return Again(entry.id, entry.try_number + 1, entry.failures, entry.disruptions, 0.0, record)
