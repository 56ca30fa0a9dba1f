"""The one truth about a run: which tasks it has, how far each has come, and what became of those that ended.

One SQLite file a run, held by one process at a time. What `begin`, `commit`, `reopen` and `finish` were given is on
disk when they return, whole; what they raised for is not there. docs/journal.md describes the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from shard_executor.runs.journal_errors import (
    JournalDamaged,
    JournalError,
    JournalHeld,
    JournalOfAnotherRun,
    JournalUnwritable,
    damaged,
)
from shard_executor.runs.journal_rows import Again, Launched, RunHeader, TaskEntry
from shard_executor.runs.journal_store import Store
from shard_executor.runs.journal_writes import (
    add_tasks,
    end_tasks,
    put_header,
    record_progress,
    reopen_tasks,
    set_interrupted,
    start_tries,
)

__all__ = [
    "Again",
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalHeld",
    "JournalOfAnotherRun",
    "JournalUnwritable",
    "Launched",
    "RunHeader",
    "TaskEntry",
]

_PAGE = 500  # result records read at a time


class Journal:
    """A run's journal. Constructing touches nothing; `start` comes first. Used by one thread.

    Args:
        path: of the file; None keeps it in memory, for a run that cannot be resumed.
        run_id: of the run; a file that holds another one is refused.
        make_folder: make the file's folder, mode 0700, if it is missing; else that is an error.
        clock: unix seconds.

    Every method may raise JournalError after `start`: JournalUnwritable (a full disk), JournalDamaged, or JournalHeld
    when a process on another host has taken the journal, as this one was silent for too long.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        run_id: str,
        make_folder: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.run_id = run_id
        self._store = Store(self.path, make_folder=make_folder, clock=clock)
        self._header: RunHeader | None = None
        self._finished = False

    # ---- opening and closing

    def start(self) -> None:
        """Takes the journal for this process and opens it, or makes a new one.

        Raises:
            JournalHeld: another process has it.
            JournalDamaged: there is something at the path, and it is no journal that can be used; left as it was.
            JournalOfAnotherRun: it is another run's.
            JournalUnwritable: it cannot be created or written.
        """
        self._store.start(self._read_header)

    def _read_header(self) -> None:
        columns = "id, namespace, server, namespace_uid, created, results, finished"
        rows = list(self._store.each(f"SELECT {columns} FROM run"))
        if not rows:
            return
        *values, finished = rows[0]
        header = RunHeader(*values)
        if len(rows) > 1 or header.run_id != self.run_id:
            held = ", ".join(repr(row[0]) for row in rows)
            raise JournalOfAnotherRun(
                f"journal {self._store.file}: holds run {held}, not {self.run_id!r}; give that run id, or name another "
                f"file with --journal"
            )
        self._header, self._finished = header, finished is not None

    def end(self) -> None:
        """Closes the journal and lets others have it. Safe to call again, and without a `start`."""
        self._store.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    # ---- reading

    @property
    def header(self) -> RunHeader | None:
        """The run; None if it is a new one."""
        return self._header

    @property
    def durable(self) -> bool:
        """What is committed outlives this process: the journal is a file."""
        return self.path is not None

    @property
    def finished(self) -> bool:
        """Every task has ended."""
        return self._finished

    def entries(self) -> dict[str, TaskEntry]:
        """All tasks by id, in the order of the first list."""
        found: dict[str, TaskEntry] = {}
        rows = self._store.each(
            "SELECT id, digest, task.try_number, attempt, uid, began, interrupted, failures, disruptions, due, record "
            "FROM task LEFT JOIN result ON result.task = task.id ORDER BY task.position"
        )
        for id_, digest, number, attempt, uid, began, interrupted, failures, disruptions, due, record in rows:
            stored = None
            if record is not None:
                self._decoded(id_, record)
                stored = record.encode()
            found[id_] = TaskEntry(
                id_, digest, number, attempt, uid, bool(began), bool(interrupted), failures, disruptions, due, stored
            )
        return found

    def results(self) -> Iterator[dict[str, Any]]:
        """The final records in the order in which tasks ended. The journal may be written to meanwhile."""
        last = -1
        while True:
            rows = list(
                self._store.each(
                    "SELECT position, task, record FROM result WHERE position > ? ORDER BY position LIMIT ?",
                    (last, _PAGE),
                )
            )
            for last, task, record in rows:  # noqa: B007  # `last` is the next page's start
                yield self._decoded(task, record)
            if len(rows) < _PAGE:
                return

    def _decoded(self, task: str, record: str) -> dict[str, Any]:
        try:
            found = orjson.loads(record)
        except ValueError as fault:
            raise damaged(self._store.file, f"the result of task {task!r} is no JSON ({fault})") from fault
        if not isinstance(found, dict):
            raise damaged(self._store.file, f"the result of task {task!r} is no JSON object")
        return found

    # ---- writing

    def begin(self, header: RunHeader, new: Iterable[tuple[str, str]]) -> None:
        """Takes up the run with tasks that it does not know yet, all or none.

        Args:
            header: kept when the run is new; of a known run only its `results` are.
            new: id and digest of each new task, in the order of the list.

        Raises:
            ValueError: an id is known already, or the header is another run's.
        """
        if header.run_id != self.run_id:
            raise ValueError(f"the journal is of run {self.run_id!r}, not {header.run_id!r}")
        with self._store.transaction() as connection:
            kept = put_header(connection, header, self._header)
            added = add_tasks(connection, new)
            finished = self._finished and not added
            if finished != self._finished:
                connection.execute("UPDATE run SET finished = NULL")
        self._header, self._finished = kept, finished

    def commit(
        self,
        launched: Sequence[Launched] = (),
        again: Sequence[Again] = (),
        ended: Sequence[tuple[str, dict[str, Any]]] = (),
    ) -> None:
        """Saves what has happened, all or none; on disk when it returns. Its pods may be deleted from then on.

        Args:
            launched: progress of tries. What concerns a try that is over, also by this very call, is passed over.
            again: tries that have ended and are followed by another.
            ended: id and final record of tasks that have ended for good, in the order in which they did.

        Raises:
            ValueError: a task is not known or has ended already, a try is skipped, or a record is no JSON.
        """
        if not (launched or again or ended):
            return
        with self._store.transaction() as connection:
            start_tries(connection, again)
            record_progress(connection, launched)
            end_tasks(connection, ended)

    def reopen(self, ids: Iterable[str]) -> None:
        """Has ended tasks run again: as a further try, with nothing used up. Their results stay in the history.

        Raises:
            ValueError: a task has not ended.
        """
        with self._store.transaction() as connection:
            finished = not reopen_tasks(connection, ids) and self._finished
            if finished != self._finished:
                connection.execute("UPDATE run SET finished = NULL")
        self._finished = finished

    def interrupt(self, ids: Iterable[str]) -> None:
        """Notes that the current tries of open tasks are being ended on the user's word. The next try clears it.

        Raises:
            ValueError: a task is not known.
        """
        with self._store.transaction() as connection:
            set_interrupted(connection, ids, True)

    def carry_on(self, ids: Iterable[str]) -> None:
        """Takes `interrupt` back for tries that go on after all, as their pods are still there."""
        with self._store.transaction() as connection:
            set_interrupted(connection, ids, False)

    def finish(self, now: float) -> None:
        """Notes that every task has ended, at `now` in unix seconds. Raises ValueError if one has not."""
        with self._store.transaction() as connection:
            tasks, results = connection.execute(
                "SELECT (SELECT count(*) FROM task), (SELECT count(*) FROM result)"
            ).fetchone()
            if self._header is None:
                raise ValueError("begin() comes first")
            if tasks != results:
                raise ValueError(f"{tasks - results} tasks have not ended")
            connection.execute("UPDATE run SET finished = ?", (now,))
        self._finished = True

    def beat(self, now: float) -> None:
        """A sign of life, unix seconds; written once in 10 seconds, so that it may be called at any rate."""
        self._store.beat(now)
