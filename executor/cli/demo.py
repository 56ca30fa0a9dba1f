"""`shard-executor demo`: a development cluster, a real job on it, and the check of every result."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from shard_executor.cli.hashing import Check, Group
    from shard_executor.cli.session import Outcome

EPILOG = """\b
Examples:
  shard-executor demo                      hash Python's standard library
  shard-executor demo /usr/share/doc       hash every file of a folder
  shard-executor demo --group 1            one pod a file
\b
Exit codes: 0 all hashes agree, 1 something differs or a pod failed, 2 it could not start, 130 stopped by Ctrl-C.
"""


@click.command("demo", epilog=EPILOG)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--group", type=click.IntRange(min=1), help="Files in a pod.  [default: so that there are about 1000 pods]"
)
@click.option("--parallelism", type=click.IntRange(min=1), default=40, show_default=True, help="Pods alive at a time.")
@click.option("--shards", type=click.IntRange(1, 256), default=2, show_default=True, help="Shard processes.")
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
    output: str,
    progress: str,
    verbose: int,
) -> int:
    """Computes the SHA-256 of every file of Python's standard library, or of FOLDER, in pods.

    Starts a development cluster on this machine whose pods are local processes (no Kubernetes and no image needed),
    runs the job on it with `run`'s machinery, computes every hash once more directly and compares.
    """
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.hashing import compare, make_groups, regular_files, standard_library
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.streams import print_out
    from shard_executor.cli.summary import print_json

    set_up_logging(verbose)
    absent = [program for program in ("sh", "xargs", "sha256sum") if shutil.which(program) is None]
    if absent:
        raise CommandError(f"the demo's pods need {', '.join(absent)} on this machine (packages findutils, coreutils)")
    root = folder or standard_library()
    files = regular_files(root, skip_packages=folder is None)
    if not files:
        raise CommandError(f"folder {root}: has no files to hash")
    with tempfile.TemporaryDirectory(prefix="shard-executor-demo-") as name:
        groups = make_groups(files, group, Path(name))
        click.echo(f"{len(files)} files of {root} in {len(groups)} pods of up to {len(groups[0].files)}", err=True)
        outcome, code, left = _run(groups, Path(name), parallelism, shards, progress)
        if outcome.stopped_by is not None:
            print_out(f"stopped by {outcome.stopped_by}; nothing was compared", to_error=True)
            return code
        check = compare(groups)
    good = not check.differences and not left and code == 0
    report = _report(outcome, check, root, len(groups), left, good)
    if output == "json":
        print_json(report)
    else:
        print_out(_words(outcome, check, report))
    return 0 if good else (code or 1)


def _run(
    groups: list[Group], work: Path, parallelism: int, shards: int, progress: str
) -> tuple[Outcome, int, list[str]]:
    """Runs the job on a fresh cluster; returns its outcome, exit code and the pods that are still there."""
    from shard_executor.cli.hashing import task_of
    from shard_executor.cli.local_cluster import local_cluster
    from shard_executor.cli.progress import make_view
    from shard_executor.cli.session import RunSettings, Session
    from shard_executor.cli.stop import StopRequest
    from shard_executor.cli.summary import exit_code_of
    from shard_executor.cli.tasklist import TaskList

    listed = TaskList("the demo", [task_of(group) for group in groups], [group.task_id for group in groups])
    with StopRequest() as stop, local_cluster(work) as kubeconfig:
        session = Session(RunSettings(shards=shards, parallelism=parallelism, kubeconfig=kubeconfig))
        try:
            cluster = session.connect()
            builder = session.builder(listed)
            click.echo(f"development cluster {cluster.host} ({cluster.version}) is up", err=True)
            view = make_view(progress)
            stop.live = view.live
            outcome = session.run(listed, builder, cluster, results=None, view=view, stop=stop)
            left = session.pods_left() if not stop.asked else []
        finally:
            session.close()
    return outcome, exit_code_of(outcome, stop), left


def _report(outcome: Outcome, check: Check, root: Path, pods: int, left: list[str], good: bool) -> dict[str, Any]:
    tally = outcome.tally
    return {
        "folder": str(root),
        "verified": good,
        "files": check.compared,
        "bytes": check.size,
        "pods": pods,
        "succeeded": tally.states["succeeded"],
        "failed": tally.failed,
        "first_failures": tally.samples,
        "differences": check.differences,
        "pods_left": left,
        "seconds": round(tally.seconds, 3),
        "pods_per_second": round(tally.rate, 2),
        "shards": outcome.shards,
    }


def _words(outcome: Outcome, check: Check, report: dict[str, Any]) -> str:
    from shard_executor.cli.summary import summary_text

    lines = [summary_text(outcome, None)]
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
