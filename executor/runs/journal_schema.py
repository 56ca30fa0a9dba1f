"""The tables of a journal: made, and checked when an existing one is opened. docs/journal.md describes them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from shard_executor.runs.journal_errors import damaged

APPLICATION_ID = 0x73684A72  # "shJr": `file` and SQLite show whose file it is
VERSION = 1  # of the format; user_version in the file

# The comments are kept by SQLite and shown by `.schema`.
_TABLES = """
CREATE TABLE run (
    id            TEXT PRIMARY KEY NOT NULL,
    server        TEXT NOT NULL,           -- address of the API server
    namespace     TEXT NOT NULL,
    namespace_uid TEXT,
    created       REAL NOT NULL,           -- unix seconds
    results       TEXT,                    -- path of the file of result lines
    finished      REAL                     -- unix seconds; set: every task has ended
);
CREATE TABLE task (
    position      INTEGER PRIMARY KEY,     -- order of the first list
    id            TEXT NOT NULL UNIQUE,
    digest        TEXT NOT NULL,           -- of all that the user said about the task
    try_number    INTEGER NOT NULL DEFAULT 0,
    attempt       INTEGER NOT NULL DEFAULT 0,
    uid           TEXT,                    -- of the current attempt's pod
    began         INTEGER NOT NULL DEFAULT 0,
    interrupted   INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0,  -- retries used
    disruptions   INTEGER NOT NULL DEFAULT 0,  -- resubmissions used
    due           REAL NOT NULL DEFAULT 0  -- earliest start of the current try, unix seconds
);
CREATE TABLE result (
    position      INTEGER PRIMARY KEY,     -- order in which tasks ended
    task          TEXT NOT NULL UNIQUE REFERENCES task (id),
    try_number    INTEGER NOT NULL,
    state         TEXT,                    -- the record's
    record        TEXT NOT NULL            -- JSON, the task's result line
);
CREATE TABLE try (
    position      INTEGER PRIMARY KEY,     -- order in which tries ended
    task          TEXT NOT NULL REFERENCES task (id),
    try_number    INTEGER NOT NULL,
    state         TEXT,
    record        TEXT NOT NULL,           -- JSON; of a try that another one followed
    UNIQUE (task, try_number)
);
CREATE TABLE holder (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    host          TEXT NOT NULL,
    boot          TEXT NOT NULL,           -- id of the host's boot
    pid           INTEGER NOT NULL,
    since         REAL NOT NULL,           -- unix seconds
    beat          REAL NOT NULL,           -- unix seconds; last sign of life
    token         TEXT NOT NULL            -- random; whose it is
);
"""


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Columns by table, without SQLite's own tables."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return {
        name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')] for (name,) in tables.fetchall()
    }


def create_tables(connection: sqlite3.Connection) -> None:
    """Makes the tables in an empty database, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def check_marks(path: Path, application_id: int, version: int) -> None:
    """Raises JournalDamaged unless the marks in a database's header are those of a journal that we can read."""
    if application_id != APPLICATION_ID:
        raise damaged(path, "is an SQLite database, but not a journal of shard-executor")
    if version > VERSION:
        raise damaged(
            path, f"was written by a newer shard-executor (format {version}, this one reads {VERSION}); use that one"
        )
    if version < VERSION:
        raise damaged(path, f"has the unknown format {version}; this shard-executor reads {VERSION}")


def check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raises JournalDamaged, or sqlite3.Error, unless SQLite finds the file sound and it has our tables."""
    marks = [int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")]
    check_marks(path, *marks)
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise damaged(path, f"is damaged ({'; '.join(found)})")
    have = _columns(connection)
    for table, columns in expected_columns().items():
        missing = [f"{table}.{name}" for name in columns if name not in have.get(table, ())]
        if missing:
            raise damaged(path, f"lacks {', '.join(missing)}")


def expected_columns() -> dict[str, list[str]]:
    """Columns by table of a new journal, as SQLite itself reads the definitions above."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        create_tables(connection)
        return _columns(connection)
    finally:
        connection.close()
