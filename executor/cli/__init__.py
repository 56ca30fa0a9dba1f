"""The `shard-executor` command: one file a subcommand, imported when it is called for."""

from __future__ import annotations

import importlib
import sys

import click

from shard_executor import __version__
from shard_executor.cli.errors import EXIT_SIGINT
from shard_executor.cli.streams import occupy_closed

_COMMANDS = {
    "run": "shard_executor.cli.run",
    "render": "shard_executor.cli.render",
    "doctor": "shard_executor.cli.doctor",
    "status": "shard_executor.cli.status",
    "devcluster": "shard_executor.cli.devcluster",
    "demo": "shard_executor.cli.demo",
}

EPILOG = """\b
Examples:
  shard-executor demo                                    a real job on a cluster inside this machine
  shard-executor devcluster                              start such a cluster and write a kubeconfig
  shard-executor run tasks.jsonl --results out.jsonl     run a list on the current context's cluster
  shard-executor render tasks.jsonl                      the pods it would create
  shard-executor doctor                                  is the current context's cluster fit for a run?
  shard-executor run --help                              what a task list looks like
"""


class _Commands(click.Group):
    """Subcommands in the order above, each imported on first use so that `--help` of one does not load another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[name]).command
        return command


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="shard-executor")
def cli() -> None:
    """Runs lists of tasks as Kubernetes pods, thousands at a time.

    Every task becomes one pod. The command creates the pods, follows them through a sharded watch, writes one result
    line a task and removes the pods.
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Ends the process: 0 all well, 1 tasks failed, 2 bad input, 3 results lost, 130/143 stopped."""
    occupy_closed()
    try:
        code = cli.main(arguments, prog_name="shard-executor", standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_SIGINT)
    sys.exit(code if isinstance(code, int) else 0)
