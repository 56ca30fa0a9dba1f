"""`shard-executor doctor`: looks into a cluster before one runs on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shard_executor.cli.access import Access
    from shard_executor.cli.doctor_report import Check, Report
    from shard_executor.pods.template import PodTemplate
    from shard_executor.shard.api import Api

EPILOG = """\b
Examples:
  shard-executor doctor
  shard-executor doctor --context prod -n jobs --template pod.yaml
  shard-executor doctor -o json | jq '.checks[] | select(.state == "problem")'
\b
Exit codes:
  0    nothing is in the way of a run; there may be warnings
  1    there are problems; each says what to do next
  2    bad usage, or no cluster configured
"""
PLACEHOLDER_IMAGE = "registry.k8s.io/pause:3.10"  # for templates whose image the tasks give


@click.command("doctor", epilog=EPILOG)
@click.option("-n", "--namespace", help="Namespace of the pods.  [default: the context's, else 'default']")
@click.option("--kubeconfig", help="Kubeconfig file.  [default: as kubectl: $KUBECONFIG, ~/.kube/config, in-cluster]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option("--template", "template_path", help="A Pod in YAML that the server shall judge by a dry run.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the report on standard output.",
)
def command(
    namespace: str | None, kubeconfig: str | None, context: str | None, template_path: str | None, output: str
) -> int:
    """Looks whether a cluster and namespace are fit for a run, and says what to do about what is not.

    Asks only; it creates nothing. Checks the server, its version and clock, the account and its permissions, the
    namespace, quotas, a template if one is given, and how the server lists and watches.
    """
    from shard_executor.cli.access import open_access
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.logs import set_up_logging
    from shard_executor.cli.streams import print_out
    from shard_executor.cli.summary import print_json
    from shard_executor.pods.template import TemplateError, load_template

    set_up_logging(0)
    try:
        template = load_template(Path(template_path)) if template_path else None
    except TemplateError as fault:
        raise CommandError(f"--template: {fault}") from fault
    access = open_access(kubeconfig, context, namespace)
    try:
        body = None if template is None else template_body(template, access.namespace)
        report = asyncio.run(examine(access, body))
    finally:
        access.source.close()
    if output == "json":
        print_json(report.to_json())
    else:
        print_out(report.text(colour=sys.stdout is not None and sys.stdout.isatty()))
    return report.exit_code


def template_body(template: PodTemplate, namespace: str) -> bytes:
    """The pod that a task without fields of its own would get from a template.

    Raises:
        CommandError: the template is meant for another namespace.
    """
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.run_settings import INSTANCE_PREFIX
    from shard_executor.pods.body import PodBuilder
    from shard_executor.pods.names import pod_name
    from shard_executor.pods.task import TaskSpec
    from shard_executor.pods.template import TemplateError
    from shard_executor.shard.pod_requests import fill_body

    run_id = "doctor"
    try:
        builder = PodBuilder(
            namespace=namespace, instance=INSTANCE_PREFIX + run_id, owner=run_id, run_id=run_id, template=template
        )
    except TemplateError as fault:
        raise CommandError(str(fault)) from fault
    task = TaskSpec(run_id, image=None if template.image else PLACEHOLDER_IMAGE)
    return fill_body(builder.body(task), pod_name(task.id, builder.submission_id(task.id), 0), 0)


async def examine(access: Access, body: bytes | None) -> Report:
    """Asks the cluster everything and reports. A server that cannot be reached is a problem in the report.

    Args:
        access: which cluster and namespace.
        body: a pod in JSON to have judged, None for none.
    """
    from shard_executor.cli.answers import shown_address, unreachable
    from shard_executor.cli.doctor_report import Check, Report, State
    from shard_executor.cli.doctor_watch import check_shards
    from shard_executor.shard.api import Api, TransportFault

    credentials, origin = access.credentials, access.source.description
    checks: list[Check] = []
    commands: list[str] = []
    api = Api(credentials, connections=8)
    try:
        await api.start()
        commands = await _look(api, access.namespace, body, checks)
    except TransportFault as fault:
        words, advice = unreachable(credentials, fault.info, origin)
        checks.append(Check("server", State.PROBLEM, words, advice))
    finally:
        await api.end()
    checks.append(check_shards())
    return Report(shown_address(credentials), origin, access.namespace, checks, commands)


async def _look(api: Api, namespace: str, body: bytes | None, checks: list[Check]) -> list[str]:
    """Adds to `checks` in order; returns the commands that grant missing permissions. Raises TransportFault."""
    from shard_executor.cli.doctor_quota import check_quota
    from shard_executor.cli.doctor_report import State
    from shard_executor.cli.doctor_server import check_account, check_namespace, check_permissions, check_server
    from shard_executor.cli.doctor_watch import check_lists, check_streaming
    from shard_executor.cli.permissions import granting_commands
    from shard_executor.cli.run_settings import RunSettings

    server = await check_server(api)
    checks += server
    if server[0].state is not State.OK:
        return []
    account, name = await check_account(api)
    checks.append(account)
    if account.state is State.PROBLEM:
        return []
    granted, missing = await check_permissions(api, namespace)
    checks += granted
    place = await check_namespace(api, namespace)
    checks.append(place)
    if place.state is not State.PROBLEM:
        checks.append(await check_quota(api, namespace, RunSettings().parallelism))
        if body is not None:
            checks.append(await _check_template(api, namespace, body))
    # A broken watch must not take the rest of the report with it, and the other way round.
    checks.append(await _unless_broken("lists", lambda: check_lists(api, namespace)))
    checks.append(await _unless_broken("watches", lambda: check_streaming(api, namespace)))
    return granting_commands(missing, namespace, name)


async def _check_template(api: Api, namespace: str, body: bytes) -> Check:
    from shard_executor.cli.doctor_report import Check, State
    from shard_executor.cli.dry_run import Outcome, try_create

    verdict = await try_create(api, namespace, body, strict=False)
    remarks = "; ".join(verdict.warnings)
    if verdict.outcome is Outcome.REFUSED:
        message = f"the server refuses its pod: {verdict.words}"
        return Check("template", State.PROBLEM, message, "change the template as the server's words say")
    if verdict.outcome is Outcome.LATER:
        message = f"the server does not take its pod now: {verdict.words}"
        return Check("template", State.WARNING, message, "run doctor again once that is over")
    if remarks:
        message = f"the server accepts its pod with a warning: {remarks}"
        return Check("template", State.WARNING, message, "change the template as the server's words say")
    return Check("template", State.OK, "the server accepts its pod (dry run)")


async def _unless_broken(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    """The check, or a problem if the connection failed under it."""
    from shard_executor.cli.doctor_report import Check, State
    from shard_executor.shard.api import TransportFault

    try:
        return await check()
    except TransportFault as fault:
        advice = "look for a proxy or load balancer in between that cuts connections, then run doctor again"
        return Check(name, State.PROBLEM, f"no whole answer came: {fault.info}", advice)
