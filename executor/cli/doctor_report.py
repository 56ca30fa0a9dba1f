"""What doctor found: checks with a state each, shown as lines for a person or as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import click

from shard_executor.cli.errors import EXIT_OK

EXIT_PROBLEMS = 1
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "bright_black"}


class State(StrEnum):
    """How a check came out. Only problems are in the way of a run; what is skipped could not be looked at."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line. next: what to do about it, "" if nothing. facts: the same for machines, by name."""

    name: str
    state: State
    message: str
    next: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The keys of one entry of `checks`; absent `next` is null."""
        entry = {"check": self.name, "state": str(self.state), "message": self.message, "next": self.next or None}
        return {**entry, **({"facts": self.facts} if self.facts else {})}


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one cluster and namespace. commands: what grants the missing permissions, in order."""

    host: str
    origin: str
    namespace: str
    checks: Sequence[Check]
    commands: Sequence[str] = ()

    def count(self, state: State) -> int:
        """How many checks are in a state."""
        return sum(check.state is state for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 if nothing is in the way, else 1."""
        return EXIT_PROBLEMS if self.count(State.PROBLEM) else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """The object of `-o json`."""
        return {
            "host": self.host,
            "origin": self.origin,
            "namespace": self.namespace,
            "checks": [check.to_json() for check in self.checks],
            "granting_commands": list(self.commands),
            "problems": self.count(State.PROBLEM),
            "warnings": self.count(State.WARNING),
            "exit_code": self.exit_code,
        }

    def text(self, *, colour: bool) -> str:
        """Lines for a person: a heading, one or two lines a check, commands if there are any, the outcome."""
        lines = [f"{self.host} ({self.origin}), namespace {self.namespace}"]
        width = max((len(check.name) for check in self.checks), default=0)
        for check in self.checks:
            word = f"{check.state:<8}"
            shown = click.style(word, fg=_COLOURS[check.state]) if colour else word
            lines.append(f"{shown} {check.name:<{width}}  {check.message}")
            if check.next:
                lines.append(f"{'':8} {'':{width}}  next: {check.next}")
        if self.commands:
            lines.append("to grant what is missing, somebody who may do so runs:")
            lines += [f"  {command}" for command in self.commands]
        lines.append(self._outcome())
        return "\n".join(lines)

    def _outcome(self) -> str:
        problems, warnings = self.count(State.PROBLEM), self.count(State.WARNING)
        beside = f"{warnings} warning{'s' if warnings != 1 else ''}"
        if problems:
            return f"{problems} problem{'s' if problems != 1 else ''}, {beside}: a run would fail or wait as things are"
        return f"nothing is in the way of a run; {beside}"
