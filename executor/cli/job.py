"""Carries a task list through the supervisor: submits, writes results, acknowledges, stops cleanly, counts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from shard_executor.cli.progress import Snapshot, View
from shard_executor.cli.results import NOT_STARTED, bare_record, record_of
from shard_executor.cli.stop import StopRequest
from shard_executor.pods.body import PodBuilder
from shard_executor.pods.task import TaskSpec

if TYPE_CHECKING:
    from shard_executor.supervisor import Report, ShardStats, Submission

TICK = 0.1  # seconds between two looks at signals and the display
SHOW_EVERY = 0.2  # seconds between two snapshots for the display
CLEANUP_LIMIT = 60.0  # seconds that the deletion of finished pods may take after the last result
MAX_SAMPLES = 10
EXTRA_SUBMITTED = 500  # tasks handed over beyond twice the parallelism: enough to never starve a shard


class Engine(Protocol):
    """What a job uses of the supervisor."""

    def submit(self, submission: Submission) -> None: ...
    def drain(self) -> list[Report]: ...
    def wait(self, timeout: float) -> bool: ...
    def acknowledge(self, ticket: str) -> None: ...
    def revoke(self, ticket: str) -> None: ...
    def stats(self) -> list[ShardStats]: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def open_tickets(self) -> int: ...
    @property
    def pods_left(self) -> list[tuple[str, str]]: ...


@dataclass(slots=True)
class Tally:
    """The counts of a run so far.

    `samples` are the first failed result records. `unconfirmed` tasks were revoked without an answer in time;
    `unsaved` ones ended but their results could not be written, so that their pods are kept. `pods_left` are pods
    that the cluster would not delete, with its words; `cleaned` is False if the deletion of finished pods took too
    long. After `write_error` or `engine_error` no further results could be had.
    """

    total: int
    states: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    submitted: int = 0
    seconds: float = 0.0
    unconfirmed: int = 0
    unsaved: int = 0
    pods_left: list[tuple[str, str]] = field(default_factory=list)
    cleaned: bool = True
    write_error: OSError | None = None
    engine_error: str | None = None

    @property
    def done(self) -> int:
        return self.states.total()

    @property
    def failed(self) -> int:
        return self.states["failed"] + self.states["lost"]

    @property
    def rate(self) -> float:
        """Pods that ran to an end, per second."""
        ended = self.states["succeeded"] + self.states["failed"]
        return ended / self.seconds if self.seconds else 0.0

    @property
    def broken(self) -> bool:
        return self.write_error is not None or self.engine_error is not None


class Job:
    """One run of a list of tasks. Constructing starts nothing.

    Args:
        engine: a started supervisor.
        builder: makes the pod bodies.
        tasks: checked tasks with distinct ids; the id is the ticket.
        namespace: of the pods.
        parallelism: pods alive at a time; bounds how many tasks are handed over ahead.
        write: makes result records durable; a task's pod may be deleted once it has returned. May raise OSError.
        view: shows progress.
        stop: asked to stop by a signal.
        stop_limit: seconds that revoked tasks may take to be confirmed.
    """

    def __init__(
        self,
        engine: Engine,
        builder: PodBuilder,
        tasks: Sequence[TaskSpec],
        *,
        namespace: str,
        parallelism: int,
        write: Callable[[list[dict[str, Any]]], None],
        view: View,
        stop: StopRequest,
        stop_limit: float,
    ) -> None:
        self._engine = engine
        self._builder = builder
        self._namespace = namespace
        self._ahead = 2 * parallelism + EXTRA_SUBMITTED
        self._write = write
        self._view = view
        self._stop = stop
        self._stop_limit = stop_limit
        self._waiting: Iterator[TaskSpec] = iter(tasks)
        self._open: dict[str, str] = {}  # ticket -> the state last reported
        self._exhausted = False
        self._shown = ("", 0.0)
        self.tally = Tally(total=len(tasks))

    def run(self) -> Tally:
        """Runs to the end, or until stopped; returns the counts. Blocking."""
        began = time.monotonic()
        self._take_and_collect()
        if self._open or not self._exhausted:
            self._wind_up()
        self.tally.seconds = time.monotonic() - began
        self._clean_up()
        return self.tally

    def _take_and_collect(self) -> None:
        while not (self._stop.asked or self.tally.broken):
            self._hand_over()
            if self._exhausted and not self._open:
                return
            self._engine.wait(TICK)
            self._collect()
            self._show("running")

    def _hand_over(self) -> None:
        from shard_executor.supervisor import Submission

        while not self._exhausted and len(self._open) < self._ahead:
            task = next(self._waiting, None)
            if task is None:
                self._exhausted = True
                return
            bin_number = self._builder.bin(task.id)
            self._engine.submit(
                Submission(
                    ticket=task.id,
                    bin=bin_number,
                    namespace=self._namespace,
                    name_stem=task.id,
                    submission_id=self._builder.submission_id(task.id),
                    body=self._builder.body(task, bin_number),
                )
            )
            self._open[task.id] = "waiting"
            self.tally.submitted += 1

    def _collect(self) -> None:
        """Writes the results that have come, and only then lets their pods go."""
        ended = []
        for report in self._engine.drain():
            if report.ticket not in self._open:
                continue
            if report.terminal:
                ended.append(report)
            else:
                self._open[report.ticket] = report.state
        self.tally.engine_error = self._engine.failure
        if not ended:
            return
        saved = self._record([record_of(report.ticket, report) for report in ended])
        for report in ended:
            del self._open[report.ticket]
            if saved:
                self._engine.acknowledge(report.ticket)
        if not saved:
            self.tally.unsaved += len(ended)

    def _record(self, records: list[dict[str, Any]]) -> bool:
        try:
            self._write(records)
        except OSError as fault:
            self.tally.write_error = fault
            return False
        for record in records:
            self.tally.states[record["state"]] += 1
            if record["state"] in ("failed", "lost"):
                self.tally.classes[record.get("class") or record["state"]] += 1
                self._view.failure(record)
                if len(self.tally.samples) < MAX_SAMPLES:
                    self.tally.samples.append(record)
        return True

    def _wind_up(self) -> None:
        """Revokes what is under way and waits for it, at most the stop limit; every task gets a result line."""
        tally = self.tally
        if tally.engine_error is None:
            for ticket in self._open:
                self._engine.revoke(ticket)
        deadline = time.monotonic() + self._stop_limit
        while self._open and time.monotonic() < deadline and not tally.broken:
            self._engine.wait(TICK)
            self._collect()
            self._show("stopping")
        if tally.write_error is not None:
            self._drop_without_results(deadline)
            return
        tally.unconfirmed = len(self._open)
        why = tally.engine_error or f"stopped; the end of its pod was not confirmed within {self._stop_limit:g} s"
        state = "lost" if tally.engine_error else "revoked"
        self._record([bare_record(ticket, state, why) for ticket in self._open])
        self._record([bare_record(task.id, NOT_STARTED, "stopped before it was started") for task in self._waiting])

    def _drop_without_results(self, deadline: float) -> None:
        """Results can no longer be written: pods under way go, those that have a result are kept for their owner."""
        while self._open and time.monotonic() < deadline and not self._engine.failure:
            for report in self._engine.drain():
                if not report.terminal or self._open.pop(report.ticket, None) is None:
                    continue
                if report.state == "revoked":
                    self._engine.acknowledge(report.ticket)
                else:
                    self.tally.unsaved += 1
            self._engine.wait(TICK)
            self._show("stopping")
        self.tally.unconfirmed = len(self._open)

    def _clean_up(self) -> None:
        """Waits until the finished pods are deleted, at most CLEANUP_LIMIT."""
        deadline = time.monotonic() + CLEANUP_LIMIT
        kept = self.tally.unconfirmed + self.tally.unsaved
        while self._engine.open_tickets > kept and not (self.tally.unconfirmed or self._engine.failure):
            if time.monotonic() >= deadline:
                self.tally.cleaned = False
                break
            self._engine.drain()
            self._engine.wait(TICK)
            self._show("cleaning up")
        self.tally.pods_left = self._engine.pods_left
        self._show("stopped" if self._stop.asked else "finished", over=True)

    def _show(self, phase: str, *, over: bool = False) -> None:
        now = time.monotonic()
        if not over and phase == self._shown[0] and now - self._shown[1] < SHOW_EVERY:
            return
        self._shown = (phase, now)
        tally = self.tally
        states = Counter(self._open.values())
        self._view.update(
            Snapshot(
                phase=phase,
                total=tally.total,
                done=tally.done,
                failed=tally.failed,
                running=states["running"],
                pending=states["pending"],
                shards=self._engine.stats(),
                over=over,
            ),
            force=over,
        )
