"""Standard input, output and error as the commands use them: closed ones, full disks, readers that have gone."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO

import click

from shard_executor.cli.errors import EXIT_ENGINE, CommandError

STANDARD_OUTPUT_CLOSED = "standard output is closed"


class OutputError(CommandError):
    """The outcome could not be shown. The run itself is over: exit code 3, as for results that cannot be written."""

    exit_code = EXIT_ENGINE


def occupy_closed() -> None:
    """Puts the null device where standard input, output or error is closed (`>&-`).

    Otherwise the next file or socket would get that number, and whatever a shard process says would go into it.
    `sys.stdout` stays None, so that nobody takes the null device for a place where results are safe.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def mute(stream: TextIO) -> None:
    """Sends what is still written to a stream nowhere: the interpreter flushes it once more at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def say(line: str) -> None:
    """A line on standard error. Where nobody reads it any more (`2>&1 | head`, a closed terminal) that is no error."""
    try:
        click.echo(line, err=True)
    except OSError:
        mute(sys.stderr)


def print_out(text: str | bytes, *, to_error: bool = False) -> None:
    """Writes to standard output (or error); a reader that has gone away is no error and leaves no traceback.

    Raises:
        OutputError: standard output cannot be written for another reason, such as a full disk.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    stream = sys.stderr if to_error else sys.stdout
    if stream is None:
        return
    try:
        stream.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        stream.flush()
    except OSError as fault:
        mute(stream)
        if fault.errno != errno.EPIPE and not to_error:
            raise OutputError(f"standard output cannot be written: {fault.strerror or fault}") from fault


def shown(text: str, limit: int) -> str:
    """Text from a pod as a terminal may show it: control characters as escapes (`\\x1b`), cut after `limit`."""
    if len(text) > limit:
        text = text[:limit] + "..."
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in text
    )
