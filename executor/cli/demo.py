"""`shard-executor demo`: a development cluster, a real job on it, and the check of every result."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from shard_executor.cli.chaos_run import ChaosRun
    from shard_executor.cli.hashing import Check, Group
    from shard_executor.cli.run_settings import Outcome

EPILOG = """\b
Examples:
  shard-executor demo                      hash Python's standard library
  shard-executor demo /usr/share/doc       hash every file of a folder
  shard-executor demo --group 1            one pod a file
  shard-executor demo --chaos              the same while shards are killed, watches cut and pods evicted
  shard-executor demo --chaos --seed 7     with the disturbances of an earlier run
\b
Exit codes: 0 all hashes agree, 1 something differs or a pod failed, 2 it could not start, 3 results or the chaos
broke down, 130 stopped by Ctrl-C.
"""
MAX_SEED = 1_000_000  # of those that are drawn: short enough to be typed again


@click.command("demo", epilog=EPILOG)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--group",
    type=click.IntRange(min=1),
    help="Files in a pod.  [default: so that there are about 1000 pods, 2500 with --chaos]",
)
@click.option("--parallelism", type=click.IntRange(min=1), default=40, show_default=True, help="Pods alive at a time.")
@click.option("--shards", type=click.IntRange(1, 256), default=2, show_default=True, help="Shard processes.")
@click.option(
    "--chaos",
    is_flag=True,
    help="Meanwhile kill shards (SIGKILL), cut watches, lose the answers of creates and evict pods; also preempt them, "
    "drain and lose nodes, throttle and fail requests, forget the history and send broken objects. Every task must "
    "still succeed exactly once.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of --chaos: what is done, in which order, at which point of the job. When that is, and what it hits, depends "
    "on the machine.  [default: drawn, and shown]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the summary on standard output.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "live", "plain", "none"]),
    default="auto",
    show_default=True,
    help="Progress on standard error: a live table, plain lines, nothing.",
)
@click.option("-v", "--verbose", count=True, help="Show what the shards log; twice for more.")
def command(
    folder: Path | None,
    group: int | None,
    parallelism: int,
    shards: int,
    chaos: bool,
    seed: int | None,
    output: str,
    progress: str,
    verbose: int,
) -> int:
    """Computes the SHA-256 of every file of Python's standard library, or of FOLDER, in pods.

    Starts a development cluster on this machine whose pods are local processes (no Kubernetes and no image needed),
    runs the job on it with `run`'s machinery, computes every hash once more directly and compares.
    """
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.hashing import (
        AIMED_PODS,
        AIMED_UNDER_CHAOS,
        compare,
        make_groups,
        regular_files,
        standard_library,
    )
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.streams import print_out
    from shard_executor.cli.summary import print_json

    if seed is not None and not chaos:
        raise CommandError("--seed: is the seed of --chaos; give both")
    set_up_logging(verbose)
    absent = [program for program in ("sh", "xargs", "sha256sum") if shutil.which(program) is None]
    if absent:
        raise CommandError(f"the demo's pods need {', '.join(absent)} on this machine (packages findutils, coreutils)")
    root = folder or standard_library()
    files = regular_files(root, skip_packages=folder is None)
    if not files:
        raise CommandError(f"folder {root}: has no files to hash")
    with tempfile.TemporaryDirectory(prefix="shard-executor-demo-") as name:
        groups = make_groups(files, group, Path(name), aim=AIMED_UNDER_CHAOS if chaos else AIMED_PODS)
        click.echo(f"{len(files)} files of {root} in {len(groups)} pods of up to {len(groups[0].files)}", err=True)
        if chaos and seed is None:
            seed = secrets.randbelow(MAX_SEED)
        ran = _run(groups, Path(name), parallelism, shards, progress, seed)
        outcome = ran.outcome
        if outcome.stopped_by is not None:
            print_out(f"stopped by {outcome.stopped_by}; nothing was compared", to_error=True)
            return ran.code
        check = compare(groups)
    good = not check.differences and not ran.left and ran.code == 0 and ran.exactly_once
    report = _report(ran, check, root, len(groups), good)
    if output == "json":
        print_json(report)
    else:
        print_out(_words(ran, check, report))
    return 0 if good else (ran.code or 1)


@dataclass(slots=True)
class _Ran:
    """What came of the job: its exit code, the pods that are still there, and the chaos beside it if there was any."""

    outcome: Outcome
    code: int
    left: list[str]
    chaos: ChaosRun | None
    exactly_once: bool


def _run(groups: list[Group], work: Path, parallelism: int, shards: int, progress: str, seed: int | None) -> _Ran:
    """Runs the job on a fresh cluster, with chaos if there is a seed for it."""
    from shard_executor.cli.chaos_run import LIMITS, NODES, ChaosRun
    from shard_executor.cli.hashing import task_of
    from shard_executor.cli.local_cluster import local_cluster
    from shard_executor.cli.progress import make_view
    from shard_executor.cli.run_settings import RunSettings
    from shard_executor.cli.session import Session
    from shard_executor.cli.stop import StopRequest
    from shard_executor.cli.summary import exit_code_of
    from shard_executor.cli.tasklist import TaskList
    from shard_executor.core.tries import TryLimits

    listed = TaskList("the demo", [task_of(group) for group in groups], [group.task_id for group in groups])
    tries = TryLimits() if seed is None else LIMITS
    with StopRequest() as stop, local_cluster(work, nodes=1 if seed is None else NODES) as local:
        session = Session(
            RunSettings(shards=shards, parallelism=parallelism, kubeconfig=str(local.kubeconfig), tries=tries)
        )
        try:
            cluster = session.connect(listed)
            builder = session.builder(listed)
            click.echo(f"development cluster {cluster.host} ({cluster.version}) is up", err=True)
            view = make_view(progress)
            stop.live = view.live
            chaos = None
            if seed is not None:
                click.echo(f"chaos with seed {seed}; repeat it with --chaos --seed {seed}", err=True)
                chaos = ChaosRun(local, groups, seed, lambda: stop.asked)
                view = chaos.view(view)
            outcome = session.run(
                listed,
                builder,
                cluster,
                results=None,
                on_records=chaos.ends.take if chaos is not None else None,
                view=view,
                stop=stop,
                beside=chaos.beside if chaos is not None else None,
            )
            left = session.pods_left() if not stop.asked else []
            exactly_once = chaos is None or chaos.conclude(outcome.tally)
        finally:
            session.close()
    return _Ran(outcome, exit_code_of(outcome, stop), left, chaos, exactly_once)


def _report(ran: _Ran, check: Check, root: Path, pods: int, good: bool) -> dict[str, Any]:
    outcome, tally = ran.outcome, ran.outcome.tally
    return {
        "folder": str(root),
        "verified": good,
        "files": check.compared,
        "bytes": check.size,
        "pods": pods,
        "succeeded": tally.states["succeeded"],
        "failed": tally.failed,
        "failures": list(tally.examples.values()),
        "differences": check.differences,
        "pods_left": ran.left,
        "seconds": round(tally.seconds, 3),
        "pods_per_second": round(tally.rate, 2),
        "shards": outcome.shards,
        "chaos": ran.chaos.report() if ran.chaos is not None else None,
    }


def _words(ran: _Ran, check: Check, report: dict[str, Any]) -> str:
    from shard_executor.cli.summary import summary_text

    lines = [summary_text(ran.outcome, None)]
    if ran.chaos is not None:
        lines += ran.chaos.words()
    for difference in check.differences[:10]:
        lines.append(f"  differs: {difference}")
    if len(check.differences) > 10:
        lines.append(f"  ... and {len(check.differences) - 10} more")
    if report["pods_left"]:
        lines.append(f"  pods left on the cluster: {', '.join(report['pods_left'][:10])}")
    same = check.compared - len(check.differences)
    lines.append(
        f"{'verified' if report['verified'] else 'NOT VERIFIED'}: {same} of {check.compared} hashes from pods equal "
        f"those computed directly ({check.size / 1e6:.1f} MB), "
        f"{report['succeeded']} of {report['pods']} pods succeeded, "
        f"{len(report['pods_left'])} pods left on the cluster"
    )
    return "\n".join(lines)
