"""The demo's development cluster: a process of its own, and the look at what is left on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from shard_executor.cli.errors import CommandError
from shard_executor.core.credentials import Credentials

if TYPE_CHECKING:
    from shard_executor.devcluster.process import DevClusterProcess

REQUEST_LIMIT = 15.0  # seconds for the one list


@contextmanager
def local_cluster(folder: Path, *, nodes: int = 1) -> Iterator[DevClusterProcess]:
    """A started development cluster whose pods are processes. Ends with the block.

    It runs in a session of its own, so that Ctrl-C reaches only the command, which then stops it in order.

    Args:
        folder: an existing folder for its kubeconfig and log.
        nodes: how many it has.

    Raises:
        CommandError: it did not start; the message has the end of its log.
    """
    from shard_executor.devcluster.process import DevClusterError, DevClusterProcess

    home = folder / "cluster"
    home.mkdir()
    cluster = DevClusterProcess(["--kubelet", "process", "--nodes", str(nodes)], folder=home)
    try:
        cluster.start()
    except (DevClusterError, OSError) as fault:
        raise CommandError(f"the development cluster did not start: {fault}") from fault
    try:
        yield cluster
    finally:
        cluster.end()


def pods_of(credentials: Credentials, namespace: str, instance: str) -> list[str]:
    """The names of the pods of a run that are on the cluster now. Blocking, at most REQUEST_LIMIT.

    Raises:
        CommandError: the cluster did not answer the list.
    """
    return asyncio.run(_pods_of(credentials, namespace, instance))


async def _pods_of(credentials: Credentials, namespace: str, instance: str) -> list[str]:
    from shard_executor.shard.api import Api, TransportFault, fault_of

    api = Api(credentials, connections=1)
    await api.start()
    try:
        query = {"labelSelector": f"shard-executor/instance={instance}"}
        answer = await api.request("GET", f"/api/v1/namespaces/{namespace}/pods", query=query, timeout=REQUEST_LIMIT)
    except TransportFault as fault:
        raise CommandError(f"the pods that are left could not be listed: {fault.info.message}") from fault
    finally:
        await api.end()
    if answer.status != 200:
        raise CommandError(f"the pods that are left could not be listed: {answer.status} {fault_of(answer).message}")
    return [pod["metadata"]["name"] for pod in orjson.loads(answer.body).get("items") or []]
