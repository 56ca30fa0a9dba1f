"""Errors that end a command: their exit codes and how they are shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, Any

import click

EXIT_OK = 0
EXIT_TASKS_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_ENGINE = 3
EXIT_SIGINT = 130
EXIT_SIGTERM = 143

MAX_SHOWN = 20


class CommandError(click.ClickException):
    """Bad input or no usable cluster: nothing has been created.

    Shown without a traceback, as `error: ...` and a line for each further problem.

    Args:
        message: what is wrong, where, and what to do next.
        problems: single problems listed below the message; the first 20 are shown.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    def format_message(self) -> str:
        lines = [self.message, *(f"  {problem}" for problem in self.problems[:MAX_SHOWN])]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"  ... and {len(self.problems) - MAX_SHOWN} more")
        return "\n".join(lines)

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.format_message()}", file=file or sys.stderr)


def warn(message: str) -> None:
    """A warning on standard error."""
    click.echo(f"warning: {message}", err=True)
