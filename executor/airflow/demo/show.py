"""How the demo says what happens: a line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from shard_executor.airflow.demo.verdict import Figures, Row

_ORDER = ("success", "failed", "running", "up_for_retry", "queued", "scheduled")
_EVERY = 5.0  # seconds between plain lines of progress


class Speaker:
    """Writes to standard error; each line begins with the seconds since its making."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._last = ""
        self._last_time = 0.0

    def say(self, words: str) -> None:
        """One line that stays."""
        self._close()
        print(f"{self._clock()} {words}", file=sys.stderr, flush=True)

    def progress(self, states: Counter[str]) -> None:
        """The number of task instances in each state."""
        names = [*_ORDER, *sorted(name for name in states if name not in _ORDER)]
        words = ", ".join(f"{states[name]} {name.replace('_', ' ')}" for name in names if states[name])
        if self._terminal:
            print(f"\r{self._clock()} {words}\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = True
        elif words != self._last and time.monotonic() - self._last_time >= _EVERY:
            self.say(words)
            self._last, self._last_time = words, time.monotonic()

    def _clock(self) -> str:
        return f"{time.monotonic() - self._begin:6.1f} s "

    def _close(self) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False


def table(rows: Iterable[Row]) -> list[str]:
    """The task instances as aligned lines, heading first."""
    lines = [("TASK", "STATE", "TRIES", "SECONDS", "POD OF THE LAST TRY")]
    lines += [
        (row.name, row.state, str(row.tries), "-" if row.seconds is None else f"{row.seconds:.1f}", row.pod)
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return [
        "  ".join([*(word.ljust(width) for word, width in zip(line, widths, strict=False)), line[4]]) for line in lines
    ]


def summary(rows: Sequence[Row], found: Figures | None, pods: int, problems: Sequence[str]) -> list[str]:
    """The last lines: figures, and whether all was as expected."""
    states = Counter(row.state for row in rows)
    words = ", ".join(f"{count} {state}" for state, count in states.most_common())
    lines = [f"{len(rows)} tasks: {words}; {sum(row.tries for row in rows)} tries in {pods} pods"]
    if found is not None:
        lines.append(
            f"the run took {found.duration:.1f} s; from queued to the begin of a task "
            f"{found.to_begin_median:.1f} s in the median, {found.to_begin_most:.1f} s at most"
        )
    if problems:
        return [*lines, "NOT as expected:", *(f"  {problem}" for problem in problems)]
    return [*lines, "everything as expected; each try ran exactly once, in a pod of its own"]
