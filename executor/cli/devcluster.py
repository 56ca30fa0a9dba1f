"""`shard-executor devcluster`: serves a development cluster, and injects faults into one that is running."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from shard_executor.devcluster.cluster import ClusterConfig

DEFAULT_KUBECONFIG = "devcluster.kubeconfig"
REQUEST_LIMIT = 30.0  # seconds that a fault may take to be answered
CONNECT_LIMIT = 1.0  # seconds for a connection on loopback
_SERVER = re.compile(r"server: (?P<url>https?://127\.0\.0\.1:(?P<port>\d+))")

EPILOG = """\b
Examples:
  shard-executor devcluster
  shard-executor devcluster --kubelet simulated --nodes 20
\b
In another terminal:
  shard-executor run tasks.jsonl --kubeconfig devcluster.kubeconfig
  kubectl --kubeconfig devcluster.kubeconfig get pods --watch
  shard-executor devcluster fault evict count=3
"""

FAULT_EPILOG = """\b
Examples:
  shard-executor devcluster fault --list                           every kind and its arguments
  shard-executor devcluster fault latency ms=200 verb=create       creates take 200 ms longer
  shard-executor devcluster fault throttle probability=0.3 seconds=20
  shard-executor devcluster fault evict selector=app=sha256 count=3
  shard-executor devcluster fault cut-watches
  shard-executor devcluster fault --clear                          ends all rules
"""


@click.group("devcluster", invoke_without_command=True, epilog=EPILOG)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1.  [default: a free one]")
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_KUBECONFIG,
    show_default=True,
    help="Where to write a kubeconfig; it is removed at the end.",
)
@click.option(
    "--kubelet",
    type=click.Choice(["process", "simulated"]),
    default="process",
    show_default=True,
    help="Run each pod's command on this machine, or only play its life.",
)
@click.option("--nodes", type=click.IntRange(min=1), help="Number of nodes.  [default: 1, simulated 10]")
@click.option("--capacity", type=click.IntRange(min=1), help="Pods at once on a node.  [default: 110, simulated 1100]")
@click.pass_context
def command(
    context: click.Context, port: int, kubeconfig: Path, kubelet: str, nodes: int | None, capacity: int | None
) -> int | None:
    """Starts a Kubernetes API server for pods on this machine, until Ctrl-C.

    It needs no Kubernetes, container runtime or images: a pod's command runs as a process of this machine. kubectl
    and other Kubernetes clients work against it. It is for development and tests, not for anyone else's tasks.
    """
    if context.invoked_subcommand is not None:
        return None
    from shard_executor.cli.errors import CommandError
    from shard_executor.devcluster.cluster import ClusterConfig

    _may_write(kubeconfig)
    config = ClusterConfig(port=port, kubelet=kubelet, nodes=nodes, capacity=capacity)
    try:
        asyncio.run(_serve(config, kubeconfig))
    except OSError as fault:
        raise CommandError(f"the development cluster could not start: {fault.strerror or fault}") from fault
    return 0


def _may_write(kubeconfig: Path) -> None:
    """Refuses to replace a kubeconfig that is not a development cluster's, or one whose cluster is running."""
    from shard_executor.cli.errors import CommandError
    from shard_executor.devcluster.cluster import NAME

    if not kubeconfig.parent.is_dir():
        raise CommandError(f"--kubeconfig {kubeconfig}: the folder {kubeconfig.parent} does not exist")
    if not kubeconfig.exists():
        return
    text = kubeconfig.read_text(errors="replace")
    if f"current-context: {NAME}" not in text:
        raise CommandError(
            f"--kubeconfig {kubeconfig}: the file exists and is not a development cluster's; give another"
        )
    found = _SERVER.search(text)
    if found is not None and _listens(int(found["port"])):
        raise CommandError(
            f"--kubeconfig {kubeconfig}: is in use: the development cluster {found['url']} that wrote it is running; "
            "use that one, or give another file, such as --kubeconfig second.kubeconfig"
        )


def _listens(port: int) -> bool:
    """Whether something on this machine accepts connections on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT_LIMIT).close()
    except OSError:
        return False
    return True


async def _serve(config: ClusterConfig, kubeconfig: Path) -> None:
    from shard_executor.cli.streams import print_out
    from shard_executor.devcluster.cluster import DevCluster

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    cluster = DevCluster(config)
    await cluster.start()
    try:
        cluster.kubeconfig(kubeconfig)
        print_out(_announcement(cluster.url, config.kubelet, kubeconfig))
        await stopped.wait()
    finally:
        await cluster.end()
        _remove_own(kubeconfig, cluster.url)
    print_out("development cluster stopped")


def _announcement(url: str, kubelet: str, kubeconfig: Path) -> str:
    return (
        f"development cluster {url} is up, kubelet: {kubelet}, kubeconfig: {kubeconfig}\n"
        f"  export KUBECONFIG={kubeconfig.resolve()}\n"
        "  shard-executor run tasks.jsonl\n"
        "Ctrl-C stops it."
    )


def _remove_own(kubeconfig: Path, url: str) -> None:
    """Removes the kubeconfig of a cluster that has ended, unless another one has written its own there since."""
    if kubeconfig.exists() and re.search(rf"server: {re.escape(url)}(/|\s)", kubeconfig.read_text(errors="replace")):
        kubeconfig.unlink()


@command.command("fault", epilog=FAULT_EPILOG)
@click.argument("kind", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--kubeconfig", default=DEFAULT_KUBECONFIG, show_default=True, help="Of the running cluster.")
@click.option("--list", "listing", is_flag=True, help="Show every kind and its arguments.")
@click.option("--clear", is_flag=True, help="End all rules and image errors.")
def fault(kind: str | None, arguments: tuple[str, ...], kubeconfig: str, listing: bool, clear: bool) -> int:
    """Makes a running development cluster misbehave.

    KIND is a rule (active until cleared, used up or timed out) or an action (happens once).
    """
    from shard_executor.cli.errors import CommandError
    from shard_executor.cli.streams import print_out
    from shard_executor.cli.summary import print_json
    from shard_executor.devcluster.fault_kinds import describe, parse

    if listing:
        print_out("\n".join(describe()))
        return 0
    if clear:
        print_json(asyncio.run(_ask(kubeconfig, "DELETE", None)))
        return 0
    if kind is None:
        raise CommandError("give a KIND, such as evict; --list shows them all, --clear ends all rules")
    request = {"kind": kind, **_values(arguments)}
    try:
        parse(request)
    except ValueError as wrong:
        raise CommandError(f"{wrong}; `shard-executor devcluster fault --list` shows what each kind takes") from wrong
    print_json(asyncio.run(_ask(kubeconfig, "POST", request)))
    return 0


def _values(arguments: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE pairs; numbers and true/false are read as such, everything else is text."""
    from shard_executor.cli.errors import CommandError

    values: dict[str, Any] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CommandError(f"argument {text!r}: must be KEY=VALUE, such as count=3")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        values[key] = parsed if isinstance(parsed, (bool, int, float)) else value
    return values


async def _ask(kubeconfig: str, method: str, request: dict[str, Any] | None) -> dict[str, Any]:
    from shard_executor.cli.answers import shown_address
    from shard_executor.cli.errors import CommandError
    from shard_executor.shard.api import Api, TransportFault, fault_of
    from shard_executor.supervisor.credentials import CredentialError, CredentialSource

    source = CredentialSource(kubeconfig)
    try:
        credentials = source.load()
    except CredentialError as wrong:
        raise CommandError(
            f"no development cluster to talk to: {wrong}; start one with `shard-executor devcluster`"
        ) from wrong
    api = Api(credentials, connections=1)
    await api.start()
    try:
        body = None if request is None else json.dumps(request).encode()
        answer = await api.request(method, "/devcluster/faults", body=body, timeout=REQUEST_LIMIT)
    except TransportFault as wrong:
        raise CommandError(
            f"the development cluster {shown_address(credentials)} does not answer: {wrong.info.message}"
        ) from wrong
    finally:
        await api.end()
        source.close()
    if answer.status >= 300:
        raise CommandError(f"the development cluster refused: {answer.status} {fault_of(answer).message}")
    found = json.loads(answer.body)
    return found if isinstance(found, dict) else {"answer": found}
