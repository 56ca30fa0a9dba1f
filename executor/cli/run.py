"""`shard-executor run`: runs a task list on a cluster."""

from __future__ import annotations

from pathlib import Path

import click

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
Fields: id (needed, unique), image, command, args, env, resources, labels, annotations, template.
\b
Examples:
  shard-executor run tasks.jsonl
  shard-executor run tasks.yaml --template pod.yaml --results out.jsonl --parallelism 500
  make-tasks | shard-executor run - --results - | jq -c 'select(.state != "succeeded")'
\b
Exit codes:
  0    every task succeeded
  1    at least one task did not succeed
  2    bad input or no usable cluster; nothing was created
  3    results could not be written; the run was stopped
  130  stopped by Ctrl-C (143: by SIGTERM); pods under way were deleted
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
@click.option("--run-id", help="Name of this run in pod labels.  [default: random]")
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
    run_id: str | None,
    verbose: int,
) -> int:
    """Runs the tasks in TASKS (a file, or - for standard input) as pods and waits for them.

    Ctrl-C stops cleanly: no new pods, those under way are deleted, results are written. A second Ctrl-C leaves at
    once.
    """
    from shard_executor.cli.errors import CommandError, warn
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.progress import make_view
    from shard_executor.cli.results import ResultFile
    from shard_executor.cli.session import RunSettings, Session, delete_command
    from shard_executor.cli.stop import StopRequest
    from shard_executor.cli.streams import print_out, say
    from shard_executor.cli.summary import exit_code_of, print_json, summary_object, summary_text
    from shard_executor.cli.tasklist import read_tasks
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
    session = Session(
        RunSettings(
            shards=shards,
            parallelism=parallelism,
            namespace=namespace,
            kubeconfig=kubeconfig,
            context=context,
            template=template,
            run_id=run_id,
            keep_pods=keep_pods,
            log_tail_lines=log_tail,
            stop_limit=stop_timeout,
        )
    )
    result_file = None
    if results is not None:
        inputs = [path for path in (tasks, template_path) if path is not None and path != "-"]
        result_file = ResultFile(results, overwrite=overwrite, inputs=inputs)
    listed = read_tasks(tasks, format)
    if not listed.tasks:
        warn(f"{listed.name} holds no tasks")
    try:
        session.check_images(listed)
        cluster = session.connect()
        builder = session.builder(listed)
        view = make_view(progress)
        if result_file is not None:
            result_file.open()
        with StopRequest(f"remove them with: {delete_command(session.namespace, session.instance)}") as stop:
            stop.live = view.live
            if progress != "none":
                count = f"{len(listed.tasks)} task{'s' if len(listed.tasks) != 1 else ''}"
                say(f"run {session.run_id}: {count} on {cluster.host}, namespace {session.namespace}")
            outcome = session.run(listed, builder, cluster, results=result_file, view=view, stop=stop)
    finally:
        session.close()
        if result_file is not None:
            result_file.close()
    code = exit_code_of(outcome, stop)
    if output == "json":
        print_json(summary_object(outcome, results, code))
    else:
        print_out(summary_text(outcome, results), to_error=results == "-")
    return code
