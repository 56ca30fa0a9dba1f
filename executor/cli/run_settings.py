"""How a list is to be run, what became of it, and the names of a run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shard_executor.cli.errors import CommandError
from shard_executor.core.tries import TryLimits

if TYPE_CHECKING:
    from shard_executor.cli.preflight import Cluster
    from shard_executor.cli.tally import Tally
    from shard_executor.pods.template import PodTemplate

INSTANCE_PREFIX = "shard-executor.standalone-"
MAX_RUN_ID = 63 - len(INSTANCE_PREFIX)  # the instance label's value has at most 63 characters
_RUN_ID = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{MAX_RUN_ID - 2}}}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a list; see `shard-executor run --help`. None means the default, resolved later.

    `fresh` says that nobody can have used the run id before. `journal` is the path of the run's journal; None keeps it
    in memory, so that the run cannot be taken up again; `journal_named` says that the user named that file.
    """

    shards: int | None = None
    parallelism: int = 100
    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    template: PodTemplate | None = None
    run_id: str | None = None
    fresh: bool = True
    keep_pods: str = "never"
    log_tail_lines: int = 20
    stop_limit: float = 45.0
    tries: TryLimits = TryLimits()  # noqa: RUF009  # frozen
    leave: bool = False
    retry_failed: bool = False
    journal: Path | None = None
    journal_named: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a run.

    `journal` is where it can be taken up again from, if anywhere; `namespaces` are all that its tasks are in.
    """

    run_id: str
    namespace: str
    instance: str
    cluster: Cluster
    shards: int
    parallelism: int
    tally: Tally
    started: float
    stopped_by: str | None = None
    journal: Path | None = None
    resumed: bool = False
    namespaces: Sequence[str] = ()


def new_run_id() -> str:
    """A short random id: 40 bits, so that two runs in one namespace do not meet."""
    return secrets.token_hex(5)


def delete_command(namespaces: Sequence[str], instance: str) -> str:
    """The command with which a user removes the pods of a run from all of its namespaces."""
    return " && ".join(f"kubectl delete pods -n {name} -l shard-executor/instance={instance}" for name in namespaces)


def check_run_id(run_id: str) -> str:
    """The run id if it can stand in a label, else CommandError."""
    if not _RUN_ID.fullmatch(run_id):
        raise CommandError(
            f"--run-id {run_id!r}: must have 1 to {MAX_RUN_ID} letters, digits, '-', '_' or '.', "
            "and begin and end with a letter or digit"
        )
    return run_id
