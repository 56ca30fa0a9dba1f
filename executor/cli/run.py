"""`shard-executor run`: runs a task list on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shard_executor.cli.preflight import Cluster
    from shard_executor.cli.run_book import Opened
    from shard_executor.cli.session import Session
    from shard_executor.cli.tasklist import TaskList

EPILOG = """\b
A task list has one task a line (JSON Lines):
  {"id": "a", "image": "busybox", "command": ["echo", "hello"]}
  {"id": "b", "image": "busybox", "args": ["sleep", "5"], "env": {"LEVEL": 3}}
\b
or is YAML: a list of the same fields.
  - id: a
    image: busybox
    command: [echo, hello]
    resources: {requests: {cpu: 100m}}
\b
Fields: id (needed, unique), image, command, args, env, resources, labels, annotations, template, retries, timeout,
priority, namespace, service_account, node_selector, tolerations.
\b
Examples:
  shard-executor run tasks.jsonl
  shard-executor run tasks.yaml --template pod.yaml --results out.jsonl --parallelism 500
  make-tasks | shard-executor run - --results - | jq -c 'select(.state != "succeeded")'
  shard-executor run tasks.jsonl --run-id nightly --retries 2
  shard-executor run tasks.jsonl --run-id nightly --shards 4     take it up again after it was stopped or killed
\b
Exit codes:
  0    every task succeeded
  1    at least one task did not succeed
  2    bad input or no usable cluster; nothing was created
  3    results could not be written; the run was stopped
  130  stopped by Ctrl-C (143: by SIGTERM) before every task had ended
"""


@click.command("run", epilog=EPILOG)
@click.argument("tasks", metavar="TASKS")
@click.option(
    "--format",
    type=click.Choice(["auto", "jsonl", "yaml"]),
    default="auto",
    help="How TASKS is written.  [default: by its suffix or content]",
)
@click.option("-n", "--namespace", help="Namespace of the pods.  [default: the context's, else 'default']")
@click.option("--kubeconfig", help="Kubeconfig file.  [default: as kubectl: $KUBECONFIG, ~/.kube/config, in-cluster]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option("--template", "template_path", help="A Pod in YAML; each task's fields are merged into it.")
@click.option("--parallelism", type=click.IntRange(min=1), default=100, show_default=True, help="Pods alive at a time.")
@click.option("--shards", type=click.IntRange(1, 256), help="Shard processes.  [default: min(CPUs, 2)]")
@click.option("--results", help="Write one JSON line a task to this file ('-': standard output).")
@click.option("--overwrite", is_flag=True, help="Replace the results file if it exists.")
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
@click.option(
    "--keep-pods",
    type=click.Choice(["never", "failed", "always"]),
    default="never",
    show_default=True,
    help="Which pods stay after their result is written.",
)
@click.option(
    "--log-tail",
    type=click.IntRange(0, 1000),
    default=20,
    show_default=True,
    help="Lines of a failed pod's log kept in its result.",
)
@click.option(
    "--stop-timeout",
    type=click.FloatRange(min=1),
    default=45.0,
    show_default=True,
    help="Seconds that Ctrl-C waits for pods to be deleted.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often a failed task is run again, where the task does not say.",
)
@click.option(
    "--retry-delay",
    type=click.FloatRange(min=0, max=600),
    default=10.0,
    show_default=True,
    help="Seconds before the first retry of a task; doubled with each, at most 10 minutes.",
)
@click.option(
    "--disruption-retries",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How often a task is run again, beside its retries, when the cluster took its pod away: drain, preemption, "
    "eviction, lost node.",
)
@click.option(
    "--on-interrupt",
    type=click.Choice(["delete", "leave"]),
    default="delete",
    show_default=True,
    help="What Ctrl-C does with pods under way: delete them, or leave them to go on.",
)
@click.option(
    "--run-id",
    help="Name of this run. With the name of a run that was broken off, that one goes on.  [default: random, shown]",
)
@click.option(
    "--journal",
    metavar="FILE",
    help="Where this run is remembered; 'none' for nowhere.  [default: by run id in ~/.local/state/shard-executor]",
)
@click.option("--retry-failed", is_flag=True, help="Run tasks again that have failed in this run before.")
@click.option("-v", "--verbose", count=True, help="Show what the shards log; twice for more.")
def command(
    tasks: str,
    format: str,
    namespace: str | None,
    kubeconfig: str | None,
    context: str | None,
    template_path: str | None,
    parallelism: int,
    shards: int | None,
    results: str | None,
    overwrite: bool,
    output: str,
    progress: str,
    keep_pods: str,
    log_tail: int,
    stop_timeout: float,
    retries: int,
    retry_delay: float,
    disruption_retries: int,
    on_interrupt: str,
    run_id: str | None,
    journal: str | None,
    retry_failed: bool,
    verbose: int,
) -> int:
    """Runs the tasks in TASKS (a file, or - for standard input) as pods and waits for them.

    Ctrl-C stops cleanly: no new pods, those under way are deleted (or left, see --on-interrupt), results are written.
    A second Ctrl-C leaves at once. However a run was stopped, the same list with its --run-id goes on where it was:
    what has ended is not run again, and pods that are still there are followed to their end.
    """
    from shard_executor.cli.errors import CommandError, warn
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.progress import make_view
    from shard_executor.cli.results import ResultFile, absolute
    from shard_executor.cli.resume_words import journal_path, resume_command
    from shard_executor.cli.run_settings import RunSettings, check_run_id, delete_command, new_run_id
    from shard_executor.cli.session import Session
    from shard_executor.cli.stop import StopRequest
    from shard_executor.cli.streams import print_out, say
    from shard_executor.cli.summary import exit_code_of, print_json, summary_object, summary_text
    from shard_executor.cli.tasklist import namespaces_of, read_tasks
    from shard_executor.core.tries import TryLimits
    from shard_executor.pods.template import TemplateError, load_template

    set_up_logging(verbose)
    if results == "-" and output == "json":
        raise CommandError("--results - and --output json both want standard output: write the results to a file")
    if template_path == "":
        raise CommandError("--template: is empty; give the path of a Pod in YAML")
    try:
        template = load_template(Path(template_path)) if template_path is not None else None
    except TemplateError as fault:
        raise CommandError(f"--template: {fault}") from fault
    if retry_failed and (run_id is None or journal == "none"):
        raise CommandError("--retry-failed runs tasks again that failed in an earlier run: name it with --run-id")
    run_id = check_run_id(run_id) if run_id is not None else None
    name = run_id or new_run_id()
    session = Session(
        RunSettings(
            shards=shards,
            parallelism=parallelism,
            namespace=namespace,
            kubeconfig=kubeconfig,
            context=context,
            template=template,
            run_id=name,
            fresh=run_id is None,
            keep_pods=keep_pods,
            log_tail_lines=log_tail,
            stop_limit=stop_timeout,
            tries=TryLimits(retries, retry_delay, disruption_retries=disruption_retries),
            leave=on_interrupt == "leave",
            retry_failed=retry_failed,
            journal=journal_path(journal, name),
            journal_named=journal is not None,
        )
    )
    listed = read_tasks(tasks, format)
    if not listed.tasks:
        warn(f"{listed.name} holds no tasks")
    resume_with = resume_command(name) if session.settings.journal is not None else None
    result_file = None
    try:
        session.check_images(listed)
        book = session.open_journal()
        if results is not None:
            inputs = [path for path in (tasks, template_path) if path is not None and path != "-"]
            if session.settings.journal is not None:
                inputs.append(str(session.settings.journal))
            result_file = ResultFile(results, overwrite=overwrite, inputs=inputs, own=book.results)
        cluster = session.connect(listed)
        builder = session.builder(listed)
        namespaces_of(listed, builder)  # refuses tasks whose templates are meant for another one
        session.check_journal(listed, builder, cluster)
        view = make_view(progress)
        try:
            opened = session.begin(listed, cluster, absolute(results) if results not in (None, "-") else None)
        except KeyboardInterrupt:  # it may wait for pods that are to go
            say(f"interrupted before anything was created; take the run up again with: {resume_with}")
            raise
        if result_file is not None:
            result_file.open()
        hint = f"remove them with: {delete_command(session.namespaces, session.instance)}"
        if resume_with is not None:
            hint = f"take the run up again with: {resume_with}; or {hint}"
        with StopRequest(hint) as stop:
            stop.live = view.live
            if progress != "none":
                say(_first_line(session, listed, cluster, opened))
            outcome = session.run(listed, builder, cluster, opened=opened, results=result_file, view=view, stop=stop)
    finally:
        try:
            session.close()
        finally:
            if result_file is not None:
                result_file.close()
    code = exit_code_of(outcome, stop)
    if output == "json":
        print_json(summary_object(outcome, results, code, resume_with))
    else:
        print_out(summary_text(outcome, results, resume_with), to_error=results == "-")
    return code


def _first_line(session: Session, listed: TaskList, cluster: Cluster, opened: Opened) -> str:
    several = len(session.namespaces) > 1
    where = f"namespace{'s' if several else ''} {', '.join(session.namespaces)}"
    total = len(listed.tasks)
    line = f"run {session.run_id}: {total} task{'s' if total != 1 else ''} on {cluster.host}, {where}"
    if opened.resumed:
        line += f"; taken up again: {len(opened.ended)} had ended"
        adopted = sum(start.known.uid is not None for start in opened.starts.values())
        if adopted:
            line += f", {adopted} had a pod"
    return line
