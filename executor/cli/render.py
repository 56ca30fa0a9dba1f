"""`shard-executor render`: shows the pods that tasks would get, without creating any."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from shard_executor.cli.access import Access
    from shard_executor.cli.tasklist import TaskList
    from shard_executor.pods.body import PodBuilder
    from shard_executor.pods.task import TaskSpec

EXIT_REFUSED = 1
EPILOG = """\b
The pods are those of each task's first attempt, as they would be sent. Names, bins and annotations follow from the
run id: give the same --run-id here and to run, and they are the same. retries and priority are not part of a pod; in
YAML they are shown as a comment.
\b
Examples:
  shard-executor render tasks.jsonl
  shard-executor render tasks.yaml --task resize-1 --template pod.yaml -o json
  shard-executor render tasks.jsonl --dry-run server > /dev/null
\b
Exit codes:
  0    every pod is well-formed, and with --dry-run server was accepted
  1    at least one pod is not, or was not; standard error says why
  2    bad input, or with --dry-run server no usable cluster
"""


@click.command("render", epilog=EPILOG)
@click.argument("tasks", metavar="TASKS")
@click.option("--task", "wanted", multiple=True, metavar="ID", help="Only this task; may be given again.")
@click.option(
    "--format",
    type=click.Choice(["auto", "jsonl", "yaml"]),
    default="auto",
    help="How TASKS is written.  [default: by its suffix or content]",
)
@click.option("--template", "template_path", help="A Pod in YAML; each task's fields are merged into it.")
@click.option("--run-id", default="render", show_default=True, help="Name of the run in names and labels.")
@click.option("-n", "--namespace", help="Namespace of tasks that name none.  [default: the context's, else 'default']")
@click.option("--kubeconfig", help="Kubeconfig file.  [default: as kubectl: $KUBECONFIG, ~/.kube/config, in-cluster]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option(
    "--dry-run",
    type=click.Choice(["none", "server"]),
    default="none",
    show_default=True,
    help="server: have the API server judge each pod; nothing is created.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="YAML documents, or JSON: the pod of one --task, else a List.",
)
def command(
    tasks: str,
    wanted: tuple[str, ...],
    format: str,
    template_path: str | None,
    run_id: str,
    namespace: str | None,
    kubeconfig: str | None,
    context: str | None,
    dry_run: str,
    output: str,
) -> int:
    """Prints the pods that the tasks in TASKS (a file, or - for standard input) would get.

    Works without a cluster; a kubeconfig is read for the namespace only. What an API server would refuse is told on
    standard error, as far as that can be known without one.
    """
    from shard_executor.cli.access import namespace_without_cluster, open_access
    from shard_executor.cli.errors import EXIT_OK, CommandError
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.run_settings import RunSettings, check_run_id
    from shard_executor.cli.session import Session
    from shard_executor.cli.streams import print_out
    from shard_executor.cli.tasklist import namespaces_of, read_tasks
    from shard_executor.pods.template import TemplateError, load_template

    set_up_logging(0)
    if template_path == "":
        raise CommandError("--template: is empty; give the path of a Pod in YAML")
    try:
        template = load_template(Path(template_path)) if template_path is not None else None
    except TemplateError as fault:
        raise CommandError(f"--template: {fault}") from fault
    session = Session(RunSettings(template=template, run_id=check_run_id(run_id)))
    listed = read_tasks(tasks, format)
    session.check_images(listed)
    chosen = _chosen(listed, wanted)
    with ExitStack() as stack:
        access: Access | None = None
        if dry_run == "server":
            access = open_access(kubeconfig, context, namespace)
            stack.callback(access.source.close)
        session.namespace = access.namespace if access else namespace_without_cluster(kubeconfig, context, namespace)
        builder = session.builder(listed)
        namespaces = namespaces_of(listed, builder, chosen)
        bodies = _bodies(builder, chosen)
        # A server knows better than the rules here, and says more.
        if access is None:
            fit = _told_offline(chosen, bodies)
        else:
            fit = asyncio.run(_asked(access, chosen, namespaces, bodies))
    print_out(_shown(chosen, bodies, output, single=len(wanted) == 1))
    return EXIT_OK if fit else EXIT_REFUSED


def _chosen(listed: TaskList, wanted: Sequence[str]) -> list[TaskSpec]:
    """The tasks asked for, in the order of the list; all of them where none is named."""
    from shard_executor.cli.errors import CommandError
    from shard_executor.pods.task import suggestion

    ids = [task.id for task in listed.tasks]
    for name in wanted:
        if name not in ids:
            raise CommandError(f"--task {name!r}: {listed.name} has no task of that id{suggestion(name, ids)}")
    return [task for task in listed.tasks if not wanted or task.id in wanted]


def _bodies(builder: PodBuilder, chosen: Sequence[TaskSpec]) -> list[bytes]:
    """The body of each task's create request."""
    from shard_executor.pods.names import pod_name
    from shard_executor.shard.pod_requests import fill_body

    return [fill_body(builder.body(task), pod_name(task.id, builder.submission_id(task.id), 0), 0) for task in chosen]


def _told_offline(chosen: Sequence[TaskSpec], bodies: Sequence[bytes]) -> bool:
    """Says what is wrong with the pods as far as that is known here; False if a server would refuse one."""
    from shard_executor.cli.offline import judge

    problems: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for task, body in zip(chosen, bodies, strict=True):
        findings = judge(orjson.loads(body))
        for problem in findings.problems:
            problems.setdefault(problem, []).append(task.id)
        for path in findings.unknown:
            unknown.setdefault(f"no Pod field {path!r} is known here: servers drop what they do not know", []).append(
                task.id
            )
    _tell("problem", problems)
    _tell("warning", unknown)
    return not problems


async def _asked(
    access: Access, chosen: Sequence[TaskSpec], namespaces: Sequence[str], bodies: Sequence[bytes]
) -> bool:
    """Has the server judge the pods and says what it said; whether it accepts all of them."""
    from shard_executor.cli.answers import unreachable
    from shard_executor.cli.dry_run import AT_ONCE, Outcome, try_all
    from shard_executor.cli.errors import CommandError
    from shard_executor.shard.api import Api, TransportFault

    origin = access.source.description
    api = Api(access.credentials, connections=AT_ONCE)
    try:
        await api.start()
        verdicts = await try_all(api, namespaces, bodies)
    except TransportFault as fault:
        raise CommandError("; ".join(unreachable(access.credentials, fault.info, origin))) from fault
    finally:
        await api.end()
    refusal = next((verdict for verdict in verdicts if verdict.status == 401), None)
    if refusal is not None:
        raise CommandError(
            f"the server refuses these credentials ({origin}): {refusal.words}; log in again or check the user of "
            "this context"
        )
    told: dict[Outcome, dict[str, list[str]]] = {outcome: {} for outcome in Outcome}
    warnings: dict[str, list[str]] = {}
    for task, verdict in zip(chosen, verdicts, strict=True):
        told[verdict.outcome].setdefault(verdict.words, []).append(task.id)
        for words in verdict.warnings:
            warnings.setdefault(words, []).append(task.id)
    _tell("server refuses", told[Outcome.REFUSED])
    _tell("server does not take now", told[Outcome.LATER])
    _tell("server warns", warnings)
    accepted = sum(map(len, told[Outcome.ACCEPTED].values()))
    click.echo(f"server accepts {accepted} of {len(bodies)} pod{'s' if len(bodies) != 1 else ''} (dry run)", err=True)
    return accepted == len(bodies)


def _tell(kind: str, told: Mapping[str, Sequence[str]]) -> None:
    """A line on standard error for each message, with the task that it is about and how many others."""
    from shard_executor.cli.errors import MAX_SHOWN

    for message, ids in list(told.items())[:MAX_SHOWN]:
        others = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        click.echo(f"{kind}: task {ids[0]!r}{others}: {message}", err=True)
    if len(told) > MAX_SHOWN:
        click.echo(f"{kind}: ... and {len(told) - MAX_SHOWN} more messages", err=True)


def _shown(chosen: Sequence[TaskSpec], bodies: Sequence[bytes], output: str, *, single: bool) -> bytes:
    """The pods as YAML documents, or as JSON: the one pod, or a List as kubectl reads it.

    What is no part of the pod is a comment in YAML.
    """
    from shard_executor.cli.pod_yaml import pod_yaml

    pods: list[dict[str, Any]] = [dict(sorted(orjson.loads(body).items())) for body in bodies]  # spec comes last
    if output == "yaml":
        documents = (_beside(task) + pod_yaml(pod) for task, pod in zip(chosen, pods, strict=True))
        return "---\n".join(documents).encode()
    value = pods[0] if single else {"apiVersion": "v1", "kind": "List", "items": pods}
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _beside(task: TaskSpec) -> str:
    """A comment with what the task says and its pod does not; empty if there is nothing."""
    said = [] if task.retries is None else [f"retries {task.retries}"]
    said += [f"priority {task.priority}"] if task.priority else []
    return f"# not part of the pod, read by shard-executor: {', '.join(said)}\n" if said else ""
