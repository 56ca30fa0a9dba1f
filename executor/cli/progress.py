"""What a user sees while a run goes on: a live table on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shard_executor.cli.streams import mute, say, shown
from shard_executor.cli.troubles import Troubles
from shard_executor.core.tries import Then

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from shard_executor.core.tries import NextTry
    from shard_executor.supervisor import ShardStats

LIVE_EVERY = 0.25  # seconds between two redraws
PLAIN_EVERY = 5.0  # seconds between two lines
RATE_OVER = 10.0  # seconds that pods/s looks back
MAX_FAILURE_LINES = 10
MESSAGE_WIDTH = 300  # characters of a failed task's message in one line
TAIL_WIDTH = 200  # characters of a line of its log
NARROW = 76  # columns: a terminal with fewer gets a table of the main counts only


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a run stands. `phase` is what it is doing: running, stopping, cleaning up; `over` at the end.

    `retrying` tasks wait for their next try; `earlier` ones ended before the run was taken up again.
    """

    phase: str
    total: int
    done: int
    failed: int
    running: int
    pending: int
    shards: Sequence[ShardStats]
    over: bool = False
    retrying: int = 0
    earlier: int = 0

    def counts(self) -> str:
        """`3/10 done, 2 running, 1 pending` and what else there is."""
        retrying = f", {self.retrying} to be retried" if self.retrying else ""
        return f"{self.done}/{self.total} done, {self.running} running, {self.pending} pending{retrying}"


class Rate:
    """Ended pods per second over the last RATE_OVER seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def update(self, now: float, done: int) -> float:
        marks = self._marks
        marks.append((now, done))
        while len(marks) > 2 and now - marks[0][0] > RATE_OVER:
            marks.popleft()
        elapsed = now - marks[0][0]
        return (done - marks[0][1]) / elapsed if elapsed > 0 else 0.0


class View(Protocol):
    """Shows a run. Constructing shows nothing; `update` may be called often and throttles itself.

    Where nobody can read it any more it goes on showing nothing: a run never ends because its display has gone.
    """

    live: bool

    def start(self) -> None: ...
    def update(self, snapshot: Snapshot, *, force: bool = False) -> None: ...
    def failure(self, record: dict[str, Any]) -> None: ...
    def again(self, record: dict[str, Any], following: NextTry) -> None: ...
    def end(self) -> None: ...


class NoView:
    """Shows nothing."""

    live = False

    def start(self) -> None:
        """Nothing to begin."""

    def update(self, snapshot: Snapshot, *, force: bool = False) -> None:
        """Shows nothing."""

    def failure(self, record: dict[str, Any]) -> None:
        """Shows nothing."""

    def again(self, record: dict[str, Any], following: NextTry) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Nothing to end."""


class PlainView:
    """One line now and then on standard error, and a line for each of the first failures."""

    live = False

    def __init__(self) -> None:
        self._rate = Rate()
        self._troubles = Troubles()
        self._shown_at = float("-inf")
        self._phase = ""
        self._failures = self._again = 0

    def start(self) -> None:
        """Nothing to begin: the first line comes with the first update."""

    def update(self, snapshot: Snapshot, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and snapshot.phase == self._phase and now - self._shown_at < PLAIN_EVERY:
            return
        self._shown_at, self._phase = now, snapshot.phase
        rate = self._rate.update(now, snapshot.done - snapshot.earlier)
        # Heartbeats come once a second: at the end they are behind the totals.
        shards = "" if snapshot.over else " ".join(f"{s.shard}:{s.running}" for s in snapshot.shards)
        say(
            f"{time.strftime('%H:%M:%S')} {snapshot.phase}: {snapshot.counts()}, {snapshot.failed} failed, "
            f"{rate:.1f} pods/s"
            f"{f', running per shard {shards}' if shards else ''}"
        )
        trouble = self._troubles.update(now, snapshot.shards)
        if trouble and not snapshot.over:
            say(f"{time.strftime('%H:%M:%S')} {trouble}")

    def failure(self, record: dict[str, Any]) -> None:
        self._failures += 1
        if self._failures <= MAX_FAILURE_LINES:
            say(failure_line(record))
            for line in tail_lines(record, 3):
                say(f"  | {line}")
        elif self._failures == MAX_FAILURE_LINES + 1:
            say("further failures are counted in the summary")

    def again(self, record: dict[str, Any], following: NextTry) -> None:
        self._again += 1
        if self._again <= MAX_FAILURE_LINES:
            say(again_line(record, following))
        elif self._again == MAX_FAILURE_LINES + 1:
            say("further tries are counted in the summary")

    def end(self) -> None:
        """Nothing to put away."""


class LiveView:
    """A table on the terminal, redrawn four times a second: totals, a bar, one row a shard, the last failures."""

    live = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        class StandardError(Console):
            def on_broken_pipe(self) -> None:
                """Rich would end the process here."""
                raise BrokenPipeError

        self._console: Console = StandardError(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._rate = Rate()
        self._troubles = Troubles()
        self._gone = False  # nobody reads standard error any more
        self._shown_at = float("-inf")
        self._failures: deque[str] = deque(maxlen=3)

    def start(self) -> None:
        self._try(self._live.start)

    def update(self, snapshot: Snapshot, *, force: bool = False) -> None:
        now = time.monotonic()
        if not self._gone and (force or now - self._shown_at >= LIVE_EVERY):
            self._shown_at = now
            rate = self._rate.update(now, snapshot.done - snapshot.earlier)
            trouble = self._troubles.update(now, snapshot.shards)
            table = self._render(snapshot, rate, trouble)
            self._try(lambda: self._live.update(table, refresh=True))

    def failure(self, record: dict[str, Any]) -> None:
        self._failures.append(failure_line(record))

    def again(self, record: dict[str, Any], following: NextTry) -> None:
        self._failures.append(again_line(record, following))

    def end(self) -> None:
        self._try(self._live.stop)
        if not self._console.is_terminal:  # only on a terminal does Rich end the last line
            self._try(self._console.line)

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except OSError:
            self._gone = True
            mute(sys.__stderr__ or sys.stderr)

    def _render(self, snapshot: Snapshot, rate: float, trouble: str) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Text.assemble(
            (f"{snapshot.phase}: ", "bold"),
            (f"{snapshot.done}/{snapshot.total} done", "green"),
            f", {snapshot.counts().partition(', ')[2]}, ",
            (f"{snapshot.failed} failed", "red" if snapshot.failed else ""),
            f", {rate:.1f} pods/s",
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        columns = ["shard", "pid", "queued", "creating", "pending", "running", "cleaning", "restarts"]
        if self._console.width < NARROW:
            columns = ["shard", "queued", "pending", "running"]
        for column in columns:
            table.add_column(column, justify="right")
        for shard in snapshot.shards:
            table.add_row(*(str(getattr(shard, name)) for name in columns), style="" if shard.alive else "red")
        bar = Table.grid()  # a bare bar would not end its line
        bar.add_row(ProgressBar(total=max(snapshot.total, 1), completed=snapshot.done, width=60))
        failures = [Text(line, style="red", overflow="ellipsis", no_wrap=True) for line in self._failures]
        if snapshot.over:
            return Group(head, *failures)
        return Group(head, bar, table, *([Text(trouble, style="yellow")] if trouble else []), *failures)


def failure_line(record: dict[str, Any]) -> str:
    """One failed task in one line: `failed: task 'a': container-error, exit code 3: ... (pod a-1f3...)`."""
    parts = [record.get("class") or record["state"]]
    if record.get("reason"):
        parts.append(str(record["reason"]))
    if record.get("exit_code") is not None:
        parts.append(f"exit code {record['exit_code']}")
    line = f"{record['state']}: task {record['id']!r}: {', '.join(parts)}"
    message = shown(" ".join(str(record.get("message") or "").split()), MESSAGE_WIDTH)
    pod = record.get("pod")
    return line + (f": {message}" if message else "") + (f" (pod {pod})" if pod else "")


def tail_lines(record: dict[str, Any], count: int) -> list[str]:
    """The last `count` lines of a failed task's log as a terminal may show them."""
    lines = str(record.get("log_tail") or "").rstrip().splitlines()[-count:]
    return [shown(line, TAIL_WIDTH) for line in lines]


def again_line(record: dict[str, Any], following: NextTry) -> str:
    """A try that another one follows, in one line: `again in 8 s (retry 1): failed: task 'a': ...`."""
    used = following.used
    number = f"disruption {used.disruptions}"
    if following.then is not Then.RESUBMIT:
        number = f"retry {used.failures}" if following.then is Then.RETRY else "interrupted"
    return f"again in {following.delay:.0f} s ({number}): {failure_line(record)}"


def make_view(choice: str) -> View:
    """The view for `--progress`: `auto` is live where standard error is a terminal that can, and plain elsewhere."""
    terminal = sys.stderr.isatty() and (os.environ.get("TERM") or "dumb") != "dumb"
    if choice == "none":
        return NoView()
    if choice == "live" or (choice == "auto" and terminal):
        return LiveView()
    return PlainView()
