"""The counts of a run, as its job keeps them and its summary shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from shard_executor.runs.journal_errors import JournalHeld


@dataclass(slots=True)
class Tally:
    """The counts of a run so far.

    `earlier` tasks had ended before this process took the run up; they are in `states`, `classes` and `examples` too.
    `examples` are the first failed result records, one of each class. `retried` and `resubmitted` count tries that
    were followed by another one. `unconfirmed` tasks were revoked without an answer in time; `left` ones go on without
    us; `unsaved` ones ended but their results could not be written, so that their pods are kept. `pods_left` are pods
    that the cluster would not delete, with its words; `cleaned` is False if the deletion of finished pods took too
    long. After `write_error` or `engine_error` no further results could be had.
    """

    total: int
    states: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: int = 0
    ran: int = 0
    retried: int = 0
    resubmitted: int = 0
    seconds: float = 0.0
    unconfirmed: int = 0
    left: int = 0
    unsaved: int = 0
    pods_left: list[tuple[str, str]] = field(default_factory=list)
    cleaned: bool = True
    write_error: OSError | None = None
    engine_error: str | None = None

    @property
    def done(self) -> int:
        """Tasks that have ended, those that were revoked among them."""
        return self.states["succeeded"] + self.failed + self.states["revoked"]

    @property
    def failed(self) -> int:
        return self.states["failed"] + self.states["lost"]

    @property
    def rate(self) -> float:
        """Pods that ran to an end under this process, per second."""
        return self.ran / self.seconds if self.seconds else 0.0

    @property
    def taken(self) -> bool:
        """Whether another process has taken the run's journal: pods and results are that one's."""
        return isinstance(self.write_error, JournalHeld)

    @property
    def broken(self) -> bool:
        return self.write_error is not None or self.engine_error is not None

    def count(self, record: dict[str, Any]) -> None:
        """Adds a task's last record."""
        state = record["state"]
        self.states[state] += 1
        if state in ("failed", "lost"):
            name = record.get("class") or state
            self.classes[name] += 1
            self.examples.setdefault(name, record)
