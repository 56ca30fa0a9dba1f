"""The journal's file: made whole or not at all, and opened only if it is what it should be."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from shard_executor.runs.journal_errors import JournalError, damaged, from_sqlite, unwritable
from shard_executor.runs.journal_schema import check_content, check_marks, create_tables

BUSY_LIMIT = 10.0  # seconds to wait for another program's lock, such as that of a sqlite3 shell
_MAGIC = b"SQLite format 3\x00"
_HEADER = 100  # bytes; https://www.sqlite.org/fileformat.html#the_database_header
_USER_VERSION, _APPLICATION_ID = 60, 68  # offsets of big-endian 32-bit numbers
_SIDE_FILES = ("-wal", "-journal")  # hold commits of a database that was not closed


def side_files(path: Path) -> list[Path]:
    """The files that SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in (*_SIDE_FILES, "-shm")]


def make_folders(path: Path) -> None:
    """Makes a folder and those above it, on disk and each readable by its owner only. Raises OSError."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)


def is_new(path: Path) -> bool:
    """Looks at the file without SQLite, which would leave traces: whether there is none, or an empty one.

    Changes nothing. The caller makes sure that this process does not have the journal open: closing a file gives up
    all POSIX locks that the process has on it, those of SQLite too (https://www.sqlite.org/howtocorrupt.html, 2.2).

    Raises:
        JournalDamaged: there is something, and it is no journal that we can read.
        JournalUnwritable: it is one, but may not be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except IsADirectoryError as fault:
        raise damaged(path, "is a folder; --journal takes a file") from fault
    except OSError as fault:
        if fault.errno in (errno.ENXIO, errno.ENODEV):
            raise damaged(path, "is no regular file") from fault
        raise unwritable(path, f"cannot be opened for writing: {fault.strerror or fault}") from fault
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        header = os.pread(descriptor, _HEADER, 0) if regular else b""
    except OSError as fault:
        raise unwritable(path, f"cannot be read: {fault.strerror or fault}") from fault
    finally:
        os.close(descriptor)
    if not regular:
        raise damaged(path, "is no regular file")
    if not header:
        return True
    if not header.startswith(_MAGIC):
        raise damaged(path, "is no SQLite database, so not a journal")
    if len(header) < _HEADER:
        raise damaged(path, f"is cut off after {len(header)} bytes")
    numbers = [int.from_bytes(header[at : at + 4], "big") for at in (_APPLICATION_ID, _USER_VERSION)]
    check_marks(path, *numbers)
    return False


def _refuse_leftovers(path: Path) -> None:
    """SQLite would take the leftovers of another database for the new one's own commits."""
    for suffix in _SIDE_FILES:
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size:
            raise damaged(path, f"is missing or empty, but a part of it is still there, {beside}")
    for beside in side_files(path):
        beside.unlink(missing_ok=True)


def has_log(path: Path) -> bool:
    """Whether commits of a process that was killed are still in the log beside the file."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens a database that exists; a commit is on disk when it returns. Raises sqlite3.Error."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_LIMIT
    )
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def in_memory() -> sqlite3.Connection:
    """A journal that is gone when it is closed."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _set_up(connection)
    create_tables(connection)
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    # With a rollback journal only EXTRA makes its removal, which is the commit, survive a power loss; with a
    # write-ahead log it is the same as FULL.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")


def open_checked(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens a journal that `is_new` let pass.

    Args:
        path: of the file.
        read_only: closing it leaves the log beside it alone, instead of moving what is in there into the file.

    Raises:
        JournalDamaged, JournalUnwritable: see there.
    """
    try:
        connection = connect(path, read_only=read_only)
        try:
            check_content(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as fault:
        raise from_sqlite(path, fault) from fault
    return connection


def create(path: Path) -> None:
    """Makes an empty journal under another name and gives it its own once it is whole and on disk.

    Raises:
        JournalDamaged: the journal has gone, but not all of it.
        JournalUnwritable: with nothing left behind.
    """
    draft = path.with_name(path.name + ".new")
    try:
        _refuse_leftovers(path)
        with _removed_afterwards(draft):
            if not _make(draft, wal=True):
                _make(draft, wal=False)
            os.rename(draft, path)
            _sync_folder(path.parent)
    except sqlite3.Error as fault:
        raise from_sqlite(path, fault) from fault
    except JournalError:
        raise
    except OSError as fault:
        advice = "make room and run again with the same run id" if fault.errno == errno.ENOSPC else ""
        raise unwritable(path, f"cannot be created: {fault.strerror or fault}", advice) from fault


def _make(draft: Path, *, wal: bool) -> bool:
    """Makes a whole journal at `draft`; False, if SQLite cannot have a write-ahead log there."""
    _remove(draft)
    # Made before SQLite opens it: its mode, which SQLite gives to the files beside it as well, is then ours.
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = connect(draft)
    try:
        create_tables(connection)
        return not wal or takes_wal(connection)
    finally:
        connection.close()


def takes_wal(connection: sqlite3.Connection) -> bool:
    """Switches to a write-ahead log, which readers do not block; False where SQLite says that it cannot.

    It needs memory shared through a file, which some network file systems do not have
    (https://www.sqlite.org/wal.html). An error means the same as another answer than `wal`: if it had another reason,
    the rollback journal meets it as well.
    """
    try:
        answer = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        # The first use of the shared memory, which is where most of them fail.
        connection.execute("SELECT count(*) FROM run").fetchone()
    except sqlite3.OperationalError:
        return False
    return str(answer).lower() == "wal"


def _remove(path: Path) -> None:
    for name in (path, *side_files(path)):
        name.unlink(missing_ok=True)


@contextlib.contextmanager
def _removed_afterwards(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _remove(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)
