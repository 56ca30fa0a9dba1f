"""`shard-executor status`: how running executors of this user on this machine stand."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from shard_executor.cli.errors import CommandError
from shard_executor.cli.streams import STANDARD_OUTPUT_CLOSED, OutputError, mute, print_out, say, shown

if TYPE_CHECKING:
    from shard_executor.status.client import Answers

EXIT_NOT_ALL = 1

EPILOG = """\b
An executor is a `shard-executor run` or a PodExecutor of a Python program. While it runs it listens on a socket in a
folder of its user:
  $SHARD_EXECUTOR_RUNTIME_DIR, else $XDG_RUNTIME_DIR/shard-executor, else /tmp/shard-executor-<uid>
So run this as the same user on the same machine, or in the same container.
\b
Examples:
  shard-executor status                              all that run
  shard-executor status nightly                      the one of that run id; the beginning of it will do
  shard-executor status 4242 --watch                 those of a process, until Ctrl-C
  shard-executor status -o json --interval 0 | jq '.executors[].totals'
  kubectl exec -n jobs runner-0 -- shard-executor status
\b
Exit codes:
  0    every executor that was asked has answered
  1    nothing runs, nothing of that name does, or one does not answer
  2    bad usage, or several executors go by that name
"""


@click.command("status", epilog=EPILOG)
@click.argument("name", metavar="[NAME|PID]", required=False)
@click.option(
    "--interval",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between the two looks that rates come from; 0: one look, no rates.",
)
@click.option("-w", "--watch", is_flag=True, help="Look again every interval, until Ctrl-C or until all have ended.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the answer on standard output; json with --watch is one object a line.",
)
def command(name: str | None, interval: float, watch: bool, output: str) -> int:
    """Shows what runs here: shards, queues, rates, latencies, memory.

    Asks executors that are running; it asks no cluster and changes nothing.
    """
    from shard_executor.status.rates import add_rates

    if math.isnan(interval):
        raise CommandError("--interval: nan is no number of seconds")
    if watch and interval == 0:
        raise CommandError("--watch needs an --interval above 0")
    if watch and sys.stdout is None:
        raise CommandError(f"--watch: {STANDARD_OUTPUT_CLOSED}")
    if name == "":
        raise CommandError("NAME: is empty; leave it out for all executors")
    answers, asked_at = _look(name), time.monotonic()
    if watch and answers.executors:
        return _watch(name, answers, asked_at, interval, output)
    if interval and answers.executors:
        time.sleep(interval)
        first, before = answers, asked_at
        answers, asked_at = _look(name, first), time.monotonic()
        add_rates(first.executors, answers.executors, asked_at - before)
        if not answers.executors and not answers.silent:
            answers = first  # ended between the two looks: the first is the last that can be said of them
    code = EXIT_NOT_ALL if answers.silent or not answers.executors else 0
    if output == "json":
        print_out(_json(answers, code, indent=True))
    elif answers.executors:
        print_out(_text(answers))
    _complain(answers, name)
    return code


def _look(name: str | None, before: Answers | None = None) -> Answers:
    """Asks the executors that go by a name or process id, None for all.

    Args:
        name: as on the command line.
        before: the last look, which settled what the name means.

    Raises:
        CommandError: several executors could be meant.
    """
    from shard_executor.status.client import ask_all
    from shard_executor.status.folder import places

    answers = ask_all(places())
    if name is None:
        return answers
    if before is None:
        answers.executors = choose(answers.executors, name)
        if answers.executors:  # else it may be one of the silent ones
            answers.silent = [each for each in answers.silent if str(each.pid) == name]
    else:
        known = {each["socket"] for each in before.executors}
        answers.executors = [each for each in answers.executors if each["socket"] in known or str(each["pid"]) == name]
        answers.silent = [each for each in answers.silent if each.socket in known or str(each.pid) == name]
    return answers


def choose(executors: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The executor of that name, else all of the process of that id, else the one whose name begins so.

    Raises:
        CommandError: several executors could be meant; they are listed.
    """
    exact = [each for each in executors if each["name"] == name]
    of_process = [each for each in executors if str(each["pid"]) == name and each not in exact]
    if of_process and not exact:
        return of_process
    found = [*exact, *of_process] or [each for each in executors if each["name"].startswith(name)]
    if len(found) > 1:
        candidates = [shown(f"{each.get('kind')} {each['name']}, pid {each['pid']}", 200) for each in found]
        raise CommandError(f"{name!r} may be any of these; give the whole name or the process id:", candidates)
    return found


def _watch(name: str | None, answers: Answers, asked_at: float, interval: float, output: str) -> int:
    from shard_executor.status.rates import add_rates

    try:
        with _screen(output) as show:
            while answers.executors:
                show(answers)
                before, first = asked_at, answers
                time.sleep(interval)
                answers, asked_at = _look(name, first), time.monotonic()
                add_rates(first.executors, answers.executors, asked_at - before)
    except KeyboardInterrupt:  # the way to end it
        return 0
    except BrokenPipeError:  # as with `| head`
        mute(sys.stdout)
        return 0
    if answers.silent:
        _complain(answers, name)
        return EXIT_NOT_ALL
    say("nothing runs any more" if name is None else f"{shown(name, 100)} does not run any more")
    return 0


@contextmanager
def _screen(output: str) -> Iterator[Callable[[Answers], None]]:
    """What shows answers one after the other: in place on a terminal, else below each other."""
    if output == "json" or not _on_terminal():
        yield lambda answers: _print_one_of_many(answers, output)
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from shard_executor.status.view import rich_view

    class StandardOutput(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end the process here."""
            raise BrokenPipeError

    with Live(console=StandardOutput(), auto_refresh=False, transient=False) as live:

        def redraw(answers: Answers) -> None:
            silent = [Text(words, style="yellow") for words in _silent(answers)]
            view = rich_view(answers.executors, live.console.width)
            live.update(Group(Text(time.strftime("%H:%M:%S"), style="dim"), view, *silent), refresh=True)

        yield redraw


def _print_one_of_many(answers: Answers, output: str) -> None:
    """An object in one line, or text below its time. Raises BrokenPipeError, so that a watch ends with its reader."""
    from shard_executor.status.view import plain

    if output == "json":
        data = _json(answers, EXIT_NOT_ALL if answers.silent else 0, indent=False) + b"\n"
    else:
        lines = [time.strftime("%H:%M:%S"), plain(answers.executors), *_silent(answers), ""]
        data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        mute(sys.stdout)
        raise OutputError(f"standard output cannot be written: {fault.strerror or fault}") from fault


def _text(answers: Answers) -> str:
    from shard_executor.status.view import plain, rich_view

    if not _on_terminal():
        return plain(answers.executors)
    from rich.console import Console

    console = Console()
    with console.capture() as captured:
        console.print(rich_view(answers.executors, console.width))
    return captured.get()


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and (os.environ.get("TERM") or "dumb") != "dumb"


def _json(answers: Answers, code: int, *, indent: bool) -> bytes:
    import orjson

    value = {
        "executors": [{**each, "rates": each.get("rates")} for each in answers.executors],
        "unresponsive": [dataclasses.asdict(each) for each in answers.silent],
        "problems": answers.complaints,
        "exit_code": code,
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)


def _silent(answers: Answers) -> list[str]:
    return [shown(f"the executor of process {each.pid}: {each.why} ({each.socket})", 400) for each in answers.silent]


def _complain(answers: Answers, name: str | None) -> None:
    """Says on standard error what could not be had: executors that do not answer, folders, or that nothing runs."""
    from shard_executor.status.folder import places

    for words in [*answers.complaints, *_silent(answers)]:
        say(f"warning: {words}")
    if answers.executors or (answers.silent and (name is None or str(answers.silent[0].pid) == name)):
        return
    what = "no executor runs here"
    if name is not None:
        what = f"no executor {'of process' if name.isdigit() else 'named'} {shown(name, 100)} runs here"
    folders = ", ".join(str(folder) for folder in places())
    say(f"{what}: none answers in {folders}; `shard-executor status --help` says which are found")
