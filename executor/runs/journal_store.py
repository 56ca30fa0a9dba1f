"""An open journal file: held by this process alone, changed only in whole transactions. Knows nothing of tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shard_executor.runs import journal_file
from shard_executor.runs.holder import Holder, Owner, alive_elsewhere, owner_of, seen_elsewhere, this_machine
from shard_executor.runs.journal_errors import JournalError, JournalHeld, from_sqlite, unwritable

BEAT_EVERY = 10.0  # seconds between two signs of life

log = logging.getLogger(__name__)


class Store:
    """One journal file, or one in memory. Constructing touches nothing.

    Args:
        path: of the file; None for memory.
        make_folder: make the file's folder, mode 0700, if it is missing; else that is an error.
        clock: unix seconds.
    """

    def __init__(self, path: Path | None, *, make_folder: bool, clock: Callable[[], float]) -> None:
        self._path = path
        self._make_folder = make_folder
        self._clock = clock
        self._holder: Holder | None = None
        self._open: sqlite3.Connection | None = None
        self._token = ""
        self._beaten = 0.0
        # A link and its target are one journal: they must have one lock. Found out by `start`.
        self.file = Path(":memory:") if path is None else path

    def start(self, check: Callable[[], None]) -> None:
        """Takes the journal for this process and opens it, or makes a new one.

        Args:
            check: called once the file can be read and before anything is written to it; may raise.

        Raises:
            JournalHeld: another process has it.
            JournalDamaged: there is something at the path, and it is no journal that can be used; left as it was.
            JournalUnwritable: it cannot be created or written.
        """
        if self._open is not None:
            raise ValueError("the journal has been started already")
        try:
            owner = self._in_memory() if self._path is None else self._in_file(self._path, check)
            check()
            self._refuse_other_host()
            self._sign_on(owner)
        except BaseException:
            self._close(forget=True)
            raise

    def _in_memory(self) -> Owner:
        self._open = journal_file.in_memory()
        now = self._clock()
        machine = this_machine(now)
        return Owner(machine.host, machine.boot, os.getpid(), now, now, "memory")

    def _in_file(self, path: Path, check: Callable[[], None]) -> Owner:
        self.file = file = Path(os.path.realpath(path))
        self._prepare_folder(file)
        holder = Holder(file, self._clock)
        if not os.path.lexists(
            holder.path
        ):  # so nobody has the journal: a file that is none is refused without a trace
            journal_file.is_new(file)
        owner = holder.take()
        self._holder = holder
        if journal_file.is_new(file):
            journal_file.create(file)
        if journal_file.has_log(file):
            # Looked at read-only first: one that is refused keeps its log.
            with contextlib.closing(journal_file.open_checked(file, read_only=True)) as self._open:
                check()
                self._refuse_other_host()
        self._open = journal_file.open_checked(file)
        return owner

    def _prepare_folder(self, file: Path) -> None:
        folder = file.parent
        if os.path.isdir(folder):
            # SQLite keeps its log there, and would say no more than that the database is read-only.
            if not os.access(folder, os.W_OK | os.X_OK):
                raise unwritable(file, f"the folder {folder} cannot be written to")
            return
        if not self._make_folder:
            raise unwritable(
                file, f"the folder {folder} does not exist", "make it, or name another file with --journal"
            )
        try:
            journal_file.make_folders(folder)
        except OSError as fault:
            raise unwritable(file, f"the folder {folder} cannot be made: {fault.strerror or fault}") from fault

    def _refuse_other_host(self) -> None:
        now = self._clock()
        for row in self.each("SELECT host, boot, pid, since, beat, token FROM holder"):
            before = owner_of(*row)
            if before is not None and alive_elsewhere(before, this_machine(now), now):
                raise seen_elsewhere(self.file, before, now)

    def _sign_on(self, owner: Owner) -> None:
        with self.transaction(fenced=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO holder (one, host, boot, pid, since, beat, token) VALUES (1, ?, ?, ?, ?, ?, ?)",
                (owner.host, owner.boot, owner.pid, owner.since, owner.beat, owner.token),
            )
        self._token, self._beaten = owner.token, owner.beat

    def end(self) -> None:
        """Closes the journal and lets others have it. Safe to call again, and without a `start`."""
        try:
            if self._open is not None and self._token:
                with self.transaction() as connection:
                    connection.execute("DELETE FROM holder")
        except JournalError as fault:
            # Nothing of the run is lost: only another host has to wait until the last sign of life is old.
            log.warning("the journal could not be signed off: %s", fault)
        finally:
            self._close()

    def _close(self, *, forget: bool = False) -> None:
        connection, self._open, self._token = self._open, None, ""
        holder, self._holder = self._holder, None
        try:
            if connection is not None:
                connection.close()
        except sqlite3.Error as fault:
            raise from_sqlite(self.file, fault) from fault
        finally:
            if holder is not None:
                holder.release(forget=forget)

    def each(self, statement: str, values: Sequence[object] = ()) -> Iterator[Any]:
        """The rows of a query, one after the other. Raises JournalError."""
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.ProgrammingError:
            raise  # a mistake of ours, such as the wrong thread; says nothing about the file
        except sqlite3.Error as fault:
            raise from_sqlite(self.file, fault) from fault

    def beat(self, now: float) -> None:
        """A sign of life, unix seconds; written once in BEAT_EVERY seconds, so that it may be called at any rate."""
        if 0 <= now - self._beaten < BEAT_EVERY:
            return
        with self.transaction() as connection:
            connection.execute("UPDATE holder SET beat = ?", (now,))
        if self._holder is not None:
            try:
                self._holder.beat(now)
            except OSError as fault:
                raise unwritable(self.file, f"its lock cannot be written: {fault.strerror}") from fault
        self._beaten = now

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise ValueError("the journal is not open; start() comes first")
        return self._open

    @contextlib.contextmanager
    def transaction(self, *, fenced: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk when it is left, and nothing any more once another process has taken the journal.

        Args:
            fenced: make sure that the journal is still ours.

        Raises:
            JournalError: nothing was changed.
            ValueError: the change contradicts what is there.
        """
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if fenced:
                self._check_fence(connection)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as fault:
            raise ValueError(f"journal {self.file}: {fault}") from fault
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as fault:
            raise from_sqlite(self.file, fault) from fault
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # the first error tells; SQLite rolls back when it is opened
                    connection.execute("ROLLBACK")

    def _check_fence(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT host, pid, since, token FROM holder").fetchone()
        if row is not None and row[3] == self._token:
            return
        host, pid, since, _ = row or ("", 0, 0.0, "")
        who = f"process {pid} on host {host}" if host else "another process, which has ended since,"
        raise JournalHeld(
            f"journal {self.file}: {who} has taken it, as this process had been silent for too long; nothing more is "
            f"written here, so stop this one",
            host=host,
            pid=pid,
            since=since,
        )
