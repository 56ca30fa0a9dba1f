"""What a person sees of running executors: a block each, made of lines and tables, as plain text or for a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shard_executor.cli.streams import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

MESSAGE_WIDTH = 300  # characters of a server's or shard's words in one line
NARROW = 100  # columns: a terminal with fewer gets a table of the main figures only
_SHARD_COLUMNS = ("shard", "pid", "queued", "creating", "pending", "running", "cleaning", "window")
_COUNTS = ("failed", "running", "pending", "waiting")
_NARROW_LEFT_OUT = frozenset({"pid", "creating", "cleaning", "window", "silent", "peak MiB"})
_BAR_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Line:
    """style: head, trouble or nothing."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """Progress; only a terminal shows it, the counts stand in a line beside it."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. marked: the rows that deserve a look."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()


Section = Line | Bar | Grid


def block(executor: Mapping[str, Any], now: float) -> list[Section]:
    """One executor's block.

    Args:
        executor: its answer, with `rates` if it was asked twice. What is absent is left out: it may be of another
            version.
        now: unix seconds.
    """
    sections: list[Section] = [Line(_head(executor, now), "head"), *_totals(executor)]
    shards: list[dict[str, Any]] = executor.get("shards") or []
    if shards:
        sections.append(_shards(shards))
    sections += [Line(text, "trouble") for text in _troubles(executor, shards)]
    rates = executor.get("rates")
    if rates:
        sections.append(
            Line(
                f"rates over {rates['seconds']:.1f} s: {rates['pods_per_second']:.1f} pods/s, "
                f"parent's CPU {rates['parent_cpu_percent']:.0f} %"
            )
        )
    sections += _resources(executor, shards)
    if executor.get("latencies"):
        sections.append(_latencies(executor["latencies"]))
    for title, counts in (
        ("ended", executor.get("outcomes") or {}),
        ("calls that failed", failed_calls(executor.get("calls") or {})),
        ("re-lists", executor.get("relists") or {}),
    ):
        if counts:
            sections.append(Line(f"{title}: {_counted(counts)}"))
    return sections


def failed_calls(calls: Mapping[str, int]) -> dict[str, int]:
    """Those of the requests by `<verb> <code>` that brought no success, most frequent first."""
    failed = {call: count for call, count in calls.items() if not call.rpartition(" ")[2].startswith(("1", "2", "3"))}
    return dict(sorted(failed.items(), key=lambda item: -item[1]))


def _head(executor: Mapping[str, Any], now: float) -> str:
    started = str(executor.get("started") or "")
    since = ""
    try:
        at = datetime.fromisoformat(started)
    except ValueError:
        at = None
    if at is not None:
        since = f", since {at.astimezone():%Y-%m-%d %H:%M:%S} ({_duration(now - at.timestamp())})"
    namespaces = [str(name) for name in executor.get("namespaces") or []]
    where = f", namespace{'s' if len(namespaces) > 1 else ''} {', '.join(namespaces)}" if namespaces else ""
    who = f"{executor.get('kind', 'executor')} {executor['name']}: pid {executor['pid']} on {executor.get('host')}"
    return shown(who + since + where, MESSAGE_WIDTH)


def _totals(executor: Mapping[str, Any]) -> list[Section]:
    totals: dict[str, int] = executor.get("totals") or {}
    parts = []
    total, done = totals.get("total"), totals.get("done", 0)
    if total is not None:
        share = f" ({100 * done / total:.1f} %)" if total else ""
        parts.append(f"{done}/{total} done{share}")
    parts += [f"{totals[name]} {name}" for name in _COUNTS if name in totals]
    parts += [f"{count} {name}" for name, count in totals.items() if name not in (*_COUNTS, "total", "done")]
    if executor.get("parallelism") is not None:
        parts.append(f"parallelism {executor['parallelism']}")
    line = Line(shown(f"{executor.get('phase') or 'tasks'}: {', '.join(parts)}", MESSAGE_WIDTH))
    return [line] if total is None else [line, Bar(done, total)]


def _shards(shards: Sequence[Mapping[str, Any]]) -> Grid:
    columns = [*_SHARD_COLUMNS, "restarts", "watch", "silent", "CPU s", "MiB", "peak MiB"]
    rows, marked = [], set()
    for number, shard in enumerate(shards):
        watch = shard.get("watch") or {}
        silent = watch.get("silent_seconds")
        rows.append(
            [
                *(str(shard.get(name, "")) for name in _SHARD_COLUMNS),
                str(shard.get("restarts", "")),
                shown(str(watch.get("state") or "-"), 40) if shard.get("alive") else "dead",
                "-" if silent is None else f"{silent:.0f} s",
                f"{shard.get('cpu_seconds', 0.0):.1f}",
                f"{shard.get('rss_mb', 0.0):.0f}",
                f"{shard.get('peak_rss_mb', 0.0):.0f}",
            ]
        )
        if not shard.get("alive") or watch.get("health") not in ("ok", None):
            marked.add(number)
    return Grid(columns, rows, frozenset(marked))


def _troubles(executor: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps it from getting on, a line each."""
    lines = []
    if executor.get("failure"):
        lines.append(f"it cannot go on: {executor['failure']}")
    for shard in shards:
        name = f"shard {shard.get('shard')}"
        if shard.get("restarts"):
            times = f"{shard['restarts']} time{'s' if shard['restarts'] > 1 else ''}"
            words = f"; last error: {shard['last_error']}" if shard.get("last_error") else ""
            lines.append(f"{name} was started again {times}{words}")
        elif shard.get("last_error"):
            lines.append(f"{name}: last error: {shard['last_error']}")
        health = (shard.get("watch") or {}).get("health")
        if health not in ("ok", None):
            lines.append(f"{name}: its watch waits: {health}")
        if shard.get("parked"):
            lines.append(f"{name} waits for quota in {', '.join(map(str, shard['parked']))}")
    return [shown(" ".join(line.split()), MESSAGE_WIDTH) for line in lines]


def _resources(executor: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> list[Section]:
    parent = executor.get("parent")
    if not parent:
        return []
    sums = {name: sum(shard.get(name, 0.0) for shard in shards) for name in ("rss_mb", "peak_rss_mb", "cpu_seconds")}
    memory = f"parent {parent['rss_mb']:.0f} MiB (peak {parent['peak_rss_mb']:.0f})"
    cpu = f"parent {parent['cpu_seconds']:.1f} s"
    if shards:
        memory += f", shards {sums['rss_mb']:.0f} MiB together (peak {sums['peak_rss_mb']:.0f})"
        cpu += f", shards {sums['cpu_seconds']:.1f} s together"
    return [Line(f"memory: {memory}; CPU: {cpu}")]


def _latencies(latencies: Mapping[str, Mapping[str, float]]) -> Grid:
    figures = ("mean", "p50", "p95", "p99")
    rows = [
        [shown(name, 40), f"{each.get('count', 0):.0f}", *(_seconds(each.get(figure)) for figure in figures)]
        for name, each in latencies.items()
    ]
    return Grid(("latency", "count", *figures), rows)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _counted(counts: Mapping[str, int]) -> str:
    return shown(", ".join(f"{count} x {name}" for name, count in counts.items()), MESSAGE_WIDTH)


# ---- the two forms


def plain(executors: Sequence[Mapping[str, Any]], now: float | None = None) -> str:
    """All blocks as text with aligned columns, an empty line between two of them."""
    at = time.time() if now is None else now
    blocks = []
    for executor in executors:
        head, *rest = block(executor, at)
        lines = [line for section in rest for line in _plain(section)]
        blocks.append("\n".join([*_plain(head), *(f"  {line}" for line in lines)]))
    return "\n\n".join(blocks)


def _plain(section: Section) -> list[str]:
    if isinstance(section, Line):
        return [section.text]
    if isinstance(section, Bar):
        return []
    table = [list(section.columns), *section.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(section.columns))]
    left = 0 if section.columns[0] == "latency" else None
    return [
        "  ".join(
            text.ljust(width) if column == left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def rich_view(executors: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """All blocks for a terminal of so many columns."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = []
    for number, executor in enumerate(executors):
        head, *rest = block(executor, time.time())
        parts += [Text("")] if number else []
        parts.append(_rich(head, width))
        parts.append(Padding(Group(*(_rich(section, width) for section in rest)), (0, 0, 0, 2)))
    return Group(*parts)


def _rich(section: Section, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if isinstance(section, Line):
        return Text(section.text, style={"head": "bold", "trouble": "yellow"}.get(section.style, ""))
    if isinstance(section, Bar):
        bar = Table.grid()  # a bare bar would not end its line
        bar.add_row(ProgressBar(total=max(section.total, 1), completed=section.done, width=min(_BAR_WIDTH, width - 4)))
        return bar
    wanted = [
        index for index, column in enumerate(section.columns) if width >= NARROW or column not in _NARROW_LEFT_OUT
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index in wanted:
        table.add_column(section.columns[index], justify="left" if section.columns[index] == "latency" else "right")
    for number, row in enumerate(section.rows):
        table.add_row(*(Text(row[index]) for index in wanted), style="red" if number in section.marked else "")
    return table
