"""Result lines: one JSON object a task, appended in the order in which tasks end, on disk before a pod is deleted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from shard_executor.cli.errors import CommandError
from shard_executor.cli.streams import STANDARD_OUTPUT_CLOSED

if TYPE_CHECKING:
    from shard_executor.core.tries import Used
    from shard_executor.supervisor import Report

NOT_STARTED = "not-started"
LEFT = "left"
_MILLISECONDS = 1000


def record_of(task_id: str, report: Report, used: Used) -> dict[str, Any]:
    """The result line of an ended task, or the record of a try that another one follows.

    Keys without a value are left out; times are RFC 3339 in UTC. `tries` counts the submissions so far, `disruptions`
    those of them that the cluster ended.
    """
    times = report.times
    record: dict[str, Any] = {
        "id": task_id,
        "state": report.state,
        "class": report.failure_class,
        "reason": report.reason,
        "message": report.message,
        "exit_code": report.exit_code,
        "pod": report.pod or None,
        "namespace": report.namespace,
        "uid": report.uid,
        "attempt": report.attempt,
        "tries": used.try_number + 1,
        "disruptions": used.disruptions or None,
        "times": {name: timestamp(value) for name, value in times.items()},
        "seconds": round(times["finished"] - times["started"], 3)
        if "started" in times and "finished" in times
        else None,
        "log_tail": report.log_tail if report.state != "succeeded" else None,
    }
    return {key: value for key, value in record.items() if value is not None}


def bare_record(task_id: str, state: str, message: str) -> dict[str, Any]:
    """The result line of a task without an end: never started, left to go on, or no answer before the stop's limit."""
    return {"id": task_id, "state": state, "message": message}


def timestamp(seconds: float) -> str:
    """Unix seconds as `2026-01-31T12:00:00.123Z`."""
    rounded = round(seconds * _MILLISECONDS) / _MILLISECONDS
    return datetime.fromtimestamp(rounded, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def absolute(path: str) -> str:
    """The path as the journal remembers it."""
    return os.path.realpath(path)


class ResultFile:
    """Appends result lines to a file or to standard output (`-`).

    Constructing only checks that the path can be used, so that a run that fails beforehand leaves no empty file.

    Args:
        path: of the file, or `-`.
        overwrite: replace a file that exists.
        inputs: files that the run reads; they are never replaced.
        own: the absolute path that this run has written its results to before; that file is replaced, since the
            journal has all that it held.

    Raises:
        CommandError: the file exists and `overwrite` is False, it is an input, or its folder does not exist or may not
            be written.
    """

    def __init__(self, path: str, *, overwrite: bool, inputs: Iterable[str] = (), own: str | None = None) -> None:
        self.path = path
        self._overwrite = overwrite = overwrite or (path != "-" and own == absolute(path))
        self._descriptor: int | None = None
        if not path:
            raise CommandError("--results: is empty; give the path of a file, or - for standard output")
        if path == "-":
            if sys.stdout is None:
                raise CommandError(f"--results -: {STANDARD_OUTPUT_CLOSED}; write the results to a file")
            return
        if os.path.isdir(path):
            raise CommandError(f"--results {path}: is a folder; give the path of a file")
        if os.path.exists(path):
            for name in inputs:
                if os.path.exists(name) and os.path.samefile(name, path):
                    raise CommandError(f"--results {path}: is what the run reads ({name}); give another name")
            if not overwrite:
                raise self._exists()
        folder = Path(path).parent
        if not folder.is_dir():
            raise CommandError(f"--results {path}: the folder {folder} does not exist")
        if not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise CommandError(f"--results {path}: no permission to write there")

    def _exists(self) -> CommandError:
        return CommandError(f"--results {self.path}: the file exists; give another name, or --overwrite to replace it")

    def open(self) -> None:
        """Creates the file. Raises CommandError if it has appeared since, or cannot be created."""
        if self.path == "-":
            self._descriptor = sys.stdout.fileno()
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if self._overwrite else os.O_EXCL)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except FileExistsError:
            raise self._exists() from None
        except OSError as fault:
            raise CommandError(f"--results {self.path}: cannot be created: {fault.strerror or fault}") from fault

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Writes the lines through to the operating system. Raises OSError, e.g. on a full disk or a closed pipe."""
        if self._descriptor is None:
            raise ValueError("the result file is not open")
        left = memoryview(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records))
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        """Safe to call again."""
        if self._descriptor is not None and self.path != "-":
            os.close(self._descriptor)
        self._descriptor = None
