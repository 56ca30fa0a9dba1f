"""Where journals live when the user names no file, and the removal of those that nobody needs any more."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shard_executor.runs import journal_file
from shard_executor.runs.holder import Holder
from shard_executor.runs.journal_errors import JournalHeld, JournalUnwritable, from_sqlite

STATE_DIR = "SHARD_EXECUTOR_STATE_DIR"
KEEP_DAYS = 30.0
_SUFFIX = ".sqlite"
_DAY = 86_400.0


def runs_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of journals; it need not exist.

    $SHARD_EXECUTOR_STATE_DIR/runs, else $XDG_STATE_HOME/shard-executor/runs, else ~/.local/state/shard-executor/runs.
    A relative $XDG_STATE_HOME is passed over, as the XDG Base Directory Specification 0.8 asks for.

    Raises:
        JournalUnwritable: there is no home folder to fall back to.
    """
    given = environ.get(STATE_DIR)
    if given:
        return Path(os.path.abspath(given)) / "runs"
    state = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / "shard-executor" / "runs"
    home = environ.get("HOME") or os.path.expanduser("~")  # the second asks the user database
    if not os.path.isabs(home):
        raise JournalUnwritable(
            f"no folder for the run's journal: neither ${STATE_DIR} nor $XDG_STATE_HOME nor $HOME is set; set one, or "
            f"name a file with --journal"
        )
    return Path(home) / ".local" / "state" / "shard-executor" / "runs"


def journal_path(
    run_id: str, given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> Path:
    """The absolute path of a run's journal. Nothing is created.

    Args:
        run_id: of the run; letters, digits and `._-`, beginning with a letter or digit.
        given: the file that the user named; None takes the state folder.
        environ: environment variables.

    Raises:
        ValueError: the run id cannot be a file's name.
        JournalUnwritable: see `runs_folder`.
    """
    if given is not None:
        return Path(os.path.abspath(given))
    if not run_id or run_id.startswith(".") or "/" in run_id or "\0" in run_id:
        raise ValueError(f"run id {run_id!r} cannot be a file's name")
    return runs_folder(environ) / (run_id + _SUFFIX)


@dataclass(slots=True)
class Pruned:
    """What `prune` did.

    Args:
        removed: names of the journals that are gone.
        unreadable: names of those that could not be read or removed, with the reason; they are still there.
    """

    removed: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def prune(folder: Path, now: float, keep_days: float = KEEP_DAYS) -> Pruned:
    """Removes journals of finished runs that nobody holds and that have been untouched for long. Never raises OSError.

    Args:
        folder: of journals; one that does not exist has none.
        now: unix seconds.
        keep_days: days that an untouched journal is kept.
    """
    done = Pruned()
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return done
    except OSError as fault:
        done.unreadable[str(folder)] = f"{folder}: {fault.strerror or fault}"
        return done
    for name in names:
        path = folder / name
        try:
            if _untouched_since(path, now - keep_days * _DAY) and _remove_if(path, _finished):
                done.removed.append(name)
        except JournalHeld:
            continue
        except OSError as fault:  # JournalError among them
            done.unreadable[name] = str(fault)
    return done


def _untouched_since(path: Path, limit: float) -> bool:
    """Whether neither the journal nor what SQLite keeps beside it was written since `limit`, unix seconds."""
    files: Iterable[Path] = (path, *(beside for beside in journal_file.side_files(path) if beside.exists()))
    return all(each.stat().st_mtime < limit for each in files)


def discard_unbegun(path: Path) -> bool:
    """Removes a journal in which no run has begun; whether it did.

    Raises:
        JournalError: another process has it, or it cannot be read or removed.
    """
    return path.exists() and _remove_if(Path(os.path.realpath(path)), _unbegun)


def _remove_if(path: Path, unwanted: Callable[[list[float | None]], bool]) -> bool:
    holder = Holder(path)
    holder.take()
    removed = False
    try:
        if journal_file.is_new(path) or not unwanted(_runs(path)):
            return False
        # The name that others look for goes first: what is left then is refused as a part, not taken for a run.
        path.unlink()
        removed = True
        for beside in journal_file.side_files(path):
            beside.unlink(missing_ok=True)
    finally:
        holder.release(forget=True, remove=removed)
    return True


def _runs(path: Path) -> list[float | None]:
    """When each run in the journal was finished; None if it was not."""
    try:
        connection = journal_file.connect(path, read_only=journal_file.has_log(path))
        try:
            rows = connection.execute("SELECT finished FROM run").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as fault:
        raise from_sqlite(path, fault) from fault
    return [row[0] for row in rows]


def _finished(runs: list[float | None]) -> bool:
    return bool(runs) and None not in runs


def _unbegun(runs: list[float | None]) -> bool:
    return not runs
