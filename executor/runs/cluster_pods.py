"""The pods of a run on the cluster: found before it goes on, removed and waited for. One short-lived connection each.

Blocking; for the moments before a run's shards start and after they have ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, PodChange, PodTable
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.credentials import Credentials
from shard_executor.core.failures import Stage, judge
from shard_executor.runs.resume import FoundPod
from shard_executor.shard.api import Api, TransportFault, fault_of
from shard_executor.shard.pod_requests import ATTEMPT_ANNOTATION, DONE_LABEL, SUBMISSION_ANNOTATION, PodRequests

REQUEST_LIMIT = 30.0  # seconds for one request
PAGE = 500  # pods in one list request, as client-go's pager asks for
AT_ONCE = 16  # removals in flight
POLL = 0.5  # seconds between two looks at pods that are to go
_T = TypeVar("_T")
_ACCEPT = "application/vnd.kubernetes.protobuf, application/json"


class PodsError(Exception):
    """The cluster did not answer as it had to; the message says what was asked and what came."""


def find_pods(credentials: Credentials, namespaces: Sequence[str], instance: str) -> list[FoundPod]:
    """Every pod of an instance in these namespaces, kept ones too.

    Raises:
        PodsError: the cluster did not answer a list.
    """
    return asyncio.run(_with_api(credentials, lambda api: _find(api, namespaces, instance)))


def remove_pods(
    credentials: Credentials, pods: Sequence[FoundPod], *, keep: Sequence[FoundPod] = ()
) -> list[tuple[str, str]]:
    """Deletes `pods`, labels those in `keep` as done; each only if its uid is still the same.

    Returns: `namespace/name` of each that could not be removed, with the server's words.
    """

    async def remove(api: Api) -> list[tuple[str, str]]:
        requests = PodRequests(api, timeout=REQUEST_LIMIT, log_lines=0, selects=lambda labels: True)
        room = asyncio.Semaphore(AT_ONCE)

        async def one(pod: FoundPod, keeps: bool) -> tuple[str, str] | None:
            async with room:
                answer = await requests.remove(act.RemovePod(pod.uid, pod.namespace, pod.name, pod.uid, keeps))
                if isinstance(answer, ev.RemoveFailed):
                    return f"{pod.namespace}/{pod.name}", f"{answer.info.reason}: {answer.info.message}"
                return None

        work = [one(pod, False) for pod in pods] + [one(pod, True) for pod in keep]
        return [failed for failed in await asyncio.gather(*work) if failed is not None]

    return asyncio.run(_with_api(credentials, remove)) if pods or keep else []


def await_gone(credentials: Credentials, pods: Sequence[FoundPod], limit: float) -> list[FoundPod]:
    """Waits until these pods have gone or are finished, at most `limit` seconds; those that are there then.

    Raises:
        PodsError: the cluster did not answer a list.
    """
    if not pods:
        return []
    namespaces = sorted({pod.namespace for pod in pods})
    deadline = time.monotonic() + limit
    wanted = {pod.uid for pod in pods}

    async def wait(api: Api) -> list[FoundPod]:
        while True:
            there = [pod for pod in await _find(api, namespaces, None) if pod.uid in wanted]
            if all(pod.finished for pod in there) or time.monotonic() >= deadline:
                return there
            await asyncio.sleep(POLL)

    return asyncio.run(_with_api(credentials, wait))


async def _with_api(credentials: Credentials, work: Callable[[Api], Awaitable[_T]]) -> _T:
    api = Api(credentials, connections=AT_ONCE + 2)
    await api.start()
    try:
        return await work(api)
    except TransportFault as fault:
        raise PodsError(f"the pods of the run could not be listed: {fault.info.message}") from fault
    finally:
        await api.end()


async def _find(api: Api, namespaces: Sequence[str], instance: str | None) -> list[FoundPod]:
    found: list[FoundPod] = []
    selector = f"shard-executor/instance={instance}" if instance else "shard-executor/instance"
    for namespace in namespaces:
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
            answer = await api.request("GET", path, query=query, accept=_ACCEPT, timeout=REQUEST_LIMIT, verb="LIST")
            if answer.status == 410 and "continue" in query:
                del query["continue"]  # the list's version has expired between two pages: from the start
                found = [pod for pod in found if pod.namespace != namespace]
                continue
            if answer.status != 200:
                words = fault_of(answer).message
                raise PodsError(f"the pods in namespace {namespace} could not be listed: {answer.status} {words}")
            protobuf = answer.content_type.startswith("application/vnd.kubernetes.protobuf")
            table = PodTable()
            table.begin_replace()
            try:
                meta, items = table.apply_list(answer.body, FORMAT_PROTOBUF if protobuf else FORMAT_JSON)
            except ValueError as error:
                raise PodsError(f"the list of pods in namespace {namespace} cannot be read: {error}") from error
            for item in items:
                if not isinstance(item, PodChange):
                    raise PodsError(f"a pod in namespace {namespace} cannot be read: {item.reason}")
                found.append(_found(item))
            if not meta.continue_token:
                break
            query["continue"] = meta.continue_token
    return found


def _found(pod: PodChange) -> FoundPod:
    annotations = pod.annotations()
    verdict = judge(pod.phase, pod.deleting, pod.status())
    attempt = annotations.get(ATTEMPT_ANNOTATION, "0")
    return FoundPod(
        pod.namespace,
        pod.name,
        pod.uid,
        annotations.get(SUBMISSION_ANNOTATION, ""),
        int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        verdict.terminal,
        verdict.began,
        pod.deleting,
        pod.labels().get(DONE_LABEL) == "True",
        verdict.stage is Stage.SUCCEEDED,
    )
