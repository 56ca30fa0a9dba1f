"""What can be wrong with a journal, in words for the user, and SQLite's errors put into them."""

from __future__ import annotations

import sqlite3
from pathlib import Path


class JournalError(OSError):
    """A run's journal cannot be used. `str()` is a message for the user that names the file and says what to do."""


class JournalUnwritable(JournalError):
    """Folder or file cannot be created, opened or written: permissions, a read-only or full disk, no locks there."""


class JournalDamaged(JournalError):
    """The file is not a journal, is broken, or was written by a newer version. Nothing in it has been changed."""


class JournalOfAnotherRun(JournalError):
    """The file is a sound journal, but of a run with another id."""


class JournalHeld(JournalError):
    """Another process carries the run on.

    Args:
        message: for the user.
        host: where that process runs; empty if it is not known.
        pid: its process id there; 0 if it is not known.
        since: when it took the journal, unix seconds; 0 if it is not known.
    """

    def __init__(self, message: str, *, host: str = "", pid: int = 0, since: float = 0.0) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid
        self.since = since


# Primary result codes, https://www.sqlite.org/rescode.html
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNWRITABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
    }
)
_PRIMARY = 0xFF  # an extended code carries its primary one in the low byte


def primary_code(fault: sqlite3.Error) -> int | None:
    """The primary result code behind an exception; None if it does not come from SQLite itself."""
    code = getattr(fault, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY


def damaged(path: Path, why: str) -> JournalDamaged:
    """The error for a file whose content cannot be trusted."""
    return JournalDamaged(
        f"journal {path}: {why}. Nothing was changed. If it is something else, name another file with --journal. If it "
        f"is the run's journal, restore a copy of it, or move it away, with {path.name}-wal if that is there: but then "
        f"all tasks run again, also those that have ended"
    )


def unwritable(path: Path, why: str, advice: str = "") -> JournalUnwritable:
    """The error for a file or folder that cannot be created, opened or written."""
    advice = advice or "correct that and run again with the same run id, or name another file with --journal"
    return JournalUnwritable(f"journal {path}: {why}; {advice}")


def from_sqlite(path: Path, fault: sqlite3.Error) -> JournalError:
    """The error of ours that says what SQLite's exception means for the journal at `path`."""
    code = primary_code(fault)
    if code in _BUSY:
        return unwritable(
            path,
            f"another program keeps it locked ({fault})",
            "close what has it open for writing, such as a sqlite3 shell, and run again with the same run id",
        )
    if code == sqlite3.SQLITE_FULL:
        return unwritable(
            path, f"cannot be written: {fault}", "make room and run again with the same run id; nothing saved is lost"
        )
    if code in _UNWRITABLE:
        return unwritable(path, f"cannot be written: {fault}")
    if code in _DAMAGE:
        return damaged(path, f"is damaged ({fault})")
    if code in (None, sqlite3.SQLITE_ERROR):  # text that is no UTF-8; a table or column that is not there
        return damaged(path, f"cannot be read as a journal ({fault})")
    return JournalError(f"journal {path}: SQLite cannot go on with it: {fault}")
