"""The statements that change a journal's tables. The caller has a transaction open, and commits or rolls back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from shard_executor.runs.journal_rows import Again, Launched, RunHeader

_OPEN = "NOT EXISTS (SELECT 1 FROM result WHERE result.task = task.id)"


def put_header(connection: sqlite3.Connection, header: RunHeader, known: RunHeader | None) -> RunHeader:
    """Keeps a new run's header, or a known one's new path of results; returns what is kept."""
    if known is not None:
        connection.execute("UPDATE run SET results = ?", (header.results,))
        return replace(known, results=header.results)
    connection.execute(
        "INSERT INTO run (id, namespace, server, namespace_uid, created, results) VALUES (?, ?, ?, ?, ?, ?)",
        (header.run_id, header.namespace, header.server, header.namespace_uid, header.created, header.results),
    )
    return header


def add_tasks(connection: sqlite3.Connection, new: Iterable[tuple[str, str]]) -> int:
    """Adds tasks at the end of the list; returns how many. Raises sqlite3.IntegrityError for a known id."""
    # Without any row the count of some Python versions is -1.
    return max(0, connection.executemany("INSERT INTO task (id, digest) VALUES (?, ?)", new).rowcount)


def start_tries(connection: sqlite3.Connection, again: Sequence[Again]) -> None:
    """Moves tries that ended into the history and their tasks on to the next one."""
    for each in again:
        changed = connection.execute(
            "UPDATE task SET try_number = ?, attempt = 0, uid = NULL, began = 0, interrupted = 0, "
            f"failures = ?, disruptions = ?, due = ? WHERE id = ? AND try_number = ? AND {_OPEN}",
            (each.try_number, each.failures, each.disruptions, each.due, each.id, each.try_number - 1),
        ).rowcount
        if changed != 1:
            raise ValueError(f"try {each.try_number} of task {each.id!r} does not follow its current one")
    connection.executemany(
        "INSERT INTO try (task, try_number, state, record) VALUES (?, ?, ?, ?)",
        ((each.id, each.try_number - 1, _state(each.record), _json(each.id, each.record)) for each in again),
    )


def record_progress(connection: sqlite3.Connection, launched: Sequence[Launched]) -> None:
    """Notes the pods of current tries; passes over what concerns a try or a task that is over."""
    for each in launched:
        changed = connection.execute(
            f"UPDATE task SET attempt = ?, uid = ?, began = ? WHERE id = ? AND try_number = ? AND {_OPEN}",
            (each.attempt, each.uid, each.began, each.id, each.try_number),
        ).rowcount
        if changed != 1:
            row = connection.execute("SELECT try_number FROM task WHERE id = ?", (each.id,)).fetchone()
            if row is None or row[0] < each.try_number:
                raise ValueError(f"try {each.try_number} of task {each.id!r} is not known to the journal")


def end_tasks(connection: sqlite3.Connection, ended: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Adds final records, in order. Raises sqlite3.IntegrityError for a task that has one."""
    for task, record in ended:
        changed = connection.execute(
            "INSERT INTO result (task, try_number, state, record) SELECT id, try_number, ?, ? FROM task WHERE id = ?",
            (_state(record), _json(task, record), task),
        ).rowcount
        if changed != 1:
            raise ValueError(f"task {task!r} is not known to the journal")


def reopen_tasks(connection: sqlite3.Connection, ids: Iterable[str]) -> int:
    """Moves results into the history and their tasks on to a further try; returns how many."""
    count = 0
    for task in ids:
        moved = connection.execute(
            "INSERT INTO try (task, try_number, state, record) "
            "SELECT task, try_number, state, record FROM result WHERE task = ?",
            (task,),
        ).rowcount
        if moved != 1:
            raise ValueError(f"task {task!r} has not ended")
        connection.execute("DELETE FROM result WHERE task = ?", (task,))
        connection.execute(
            "UPDATE task SET try_number = try_number + 1, attempt = 0, uid = NULL, began = 0, interrupted = 0, "
            "failures = 0, disruptions = 0, due = 0 WHERE id = ?",
            (task,),
        )
        count += 1
    return count


def set_interrupted(connection: sqlite3.Connection, ids: Iterable[str], interrupted: bool) -> None:
    """Marks the current tries of tasks as being ended by the user, or as not."""
    for task in ids:
        if connection.execute("UPDATE task SET interrupted = ? WHERE id = ?", (interrupted, task)).rowcount != 1:
            raise ValueError(f"task {task!r} is not known to the journal")


def _state(record: Mapping[str, Any]) -> str | None:
    state = record.get("state")
    return None if state is None else str(state)


def _json(task: str, record: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(record).decode()
    except TypeError as fault:
        raise ValueError(f"the record of task {task!r} cannot be written as JSON: {fault}") from fault
