"""Pods of an executor on the cluster, looked for and removed outside the shards. Blocking, each call within its time.

Only metadata is asked for (PartialObjectMetadataList, KEP-1220): the whole pods of thousands of tasks would be tens of
megabytes to say who owns them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import Fault
from shard_executor.shard.api import Api, TransportFault, fault_of
from shard_executor.shard.pod_requests import PodRequests

PAGE = 500  # pods in one list request, as client-go's pager asks for
AT_ONCE = 8  # requests in flight
LEAST = 0.2  # seconds that a request is given even if the time is nearly over
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_FINAL = frozenset({Fault.NOT_PERMITTED, Fault.FORBIDDEN, Fault.INVALID})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PodMeta:
    """What a pod's metadata says."""

    namespace: str
    name: str
    uid: str
    created: str
    deleting: bool
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(slots=True)
class Listed:
    """Pods that were found, and what could not be asked: `problems` by namespace, empty if all answered."""

    pods: list[PodMeta] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def list_pods(
    credentials: Credentials, namespaces: Sequence[str | None], selector: str, fields: str, limit: float
) -> Listed:
    """The pods of a label and a field selector in these namespaces; None is all of them.

    Args:
        limit: seconds for all of it; a namespace that has not answered by then is among the problems.
    """
    listed = Listed()

    async def work(api: Api) -> None:
        deadline = time.monotonic() + limit
        await asyncio.gather(*(_list(api, name, selector, fields, deadline, listed) for name in namespaces))

    _run(credentials, work)
    return listed


def remove_pods(credentials: Credentials, pods: Sequence[tuple[PodMeta, bool]], limit: float) -> dict[str, str]:
    """Deletes pods, or labels them as done where the second value says so; each only while its uid is the same.

    Returns:
        By namespace and name of each pod that could not be removed within `limit` seconds: the server's words.
    """
    refused: dict[str, str] = {}

    async def work(api: Api) -> None:
        deadline = time.monotonic() + limit
        requests = PodRequests(api, timeout=limit, log_lines=0, selects=lambda labels: True)
        room = asyncio.Semaphore(AT_ONCE)
        rng = random.Random()

        async def remove(pod: PodMeta, keep: bool) -> None:
            tries = 0
            while True:
                async with room:
                    answer = await requests.remove(act.RemovePod(pod.uid, pod.namespace, pod.name, pod.uid, keep))
                if not isinstance(answer, ev.RemoveFailed):
                    return
                tries += 1
                wait = max(answer.info.retry_after or 0.0, backoff_delay(tries, rng))
                if answer.info.fault in _FINAL or time.monotonic() + wait >= deadline:
                    refused[f"{pod.namespace}/{pod.name}"] = f"{answer.info.reason}: {answer.info.message}"
                    return
                await asyncio.sleep(wait)

        await asyncio.gather(*(remove(pod, keep) for pod, keep in pods))

    _run(credentials, work)
    return refused


def _run(credentials: Credentials, work: Callable[[Api], Awaitable[_T]]) -> _T:
    async def with_api() -> _T:
        api = Api(credentials, connections=AT_ONCE)
        await api.start()
        try:
            return await work(api)
        finally:
            await api.end()

    return asyncio.run(with_api())


async def _list(api: Api, namespace: str | None, selector: str, fields: str, deadline: float, listed: Listed) -> None:
    path = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    query = {"labelSelector": selector, "limit": str(PAGE)}
    if fields:
        query["fieldSelector"] = fields
    pods: list[PodMeta] = []
    where = namespace or "all namespaces"
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            listed.problems[where] = "the time for it was over"
            return
        try:
            answer = await api.request(
                "GET", path, query=query, accept=_METADATA_LIST, timeout=max(LEAST, left), verb="LIST"
            )
        except TransportFault as fault:
            listed.problems[where] = fault.info.message
            return
        if answer.status == 410 and "continue" in query:
            del query["continue"]  # the list's version has expired between two pages: from the start
            pods = []
            continue
        if answer.status != 200:
            info = fault_of(answer)
            listed.problems[where] = f"{answer.status} {info.reason}: {info.message}"
            return
        try:
            page = orjson.loads(answer.body)
            pods += [_meta(item["metadata"]) for item in page.get("items") or ()]
            following = (page.get("metadata") or {}).get("continue")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            listed.problems[where] = f"the list cannot be read: {error!r}"
            return
        if not following:
            listed.pods += pods
            return
        query["continue"] = following


def _meta(metadata: dict[str, Any]) -> PodMeta:
    return PodMeta(
        metadata.get("namespace") or "",
        metadata["name"],
        metadata["uid"],
        metadata.get("creationTimestamp") or "",
        bool(metadata.get("deletionTimestamp")),
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
    )
