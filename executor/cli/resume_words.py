"""Where a run's journal lies by default, and the command that takes a run up again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from shard_executor.cli.errors import CommandError
from shard_executor.runs import state_folder
from shard_executor.runs.journal_errors import JournalError


def journal_path(given: str | None, run_id: str) -> Path | None:
    """The journal's path for `--journal`; None for `none`.

    Raises:
        CommandError: an empty path, or there is no folder for it.
    """
    if given == "none":
        return None
    if given == "":
        raise CommandError("--journal: is empty; give the path of a file, or none")
    try:
        return state_folder.journal_path(run_id, given)
    except JournalError as fault:
        raise CommandError(str(fault)) from fault


def resume_command(run_id: str) -> str:
    """This command as it was called, with its run id."""
    words = [word for word in sys.argv[1:] if word != "--retry-failed"]  # it would run what has failed since again
    if not any(word == "--run-id" or word.startswith("--run-id=") for word in words):
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = ["--run-id", run_id]
    return shlex.join(["shard-executor", *words])
