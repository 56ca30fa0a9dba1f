"""The pods of a run on the cluster: found before it goes on, removed and waited for. One short-lived connection each.

Blocking; for the moments before a run's shards start and after they have ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

import orjson

from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, PodChange, PodTable
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.credentials import Credentials
from shard_executor.core.failures import Stage, judge
from shard_executor.core.faults import Fault
from shard_executor.runs.resume import FoundPod
from shard_executor.shard.api import Api, TransportFault, fault_of
from shard_executor.shard.pod_requests import ATTEMPT_ANNOTATION, DONE_LABEL, SUBMISSION_ANNOTATION, PodRequests
from shard_executor.shard.watcher import ACCEPT

REQUEST_LIMIT = 30.0  # seconds for one request
PAGE = 500  # pods in one list request, as client-go's pager asks for
AT_ONCE = 16  # removals in flight
POLL, LAST_POLL, POLL_GROWTH = 0.5, 5.0, 1.5  # seconds between two looks at pods that are to go: from, to, factor
DESCRIBED = 5  # pods whose state is asked for one by one
# Only somebody's doing would change such an answer.
_FINAL = frozenset({Fault.NOT_PERMITTED, Fault.FORBIDDEN, Fault.INVALID})

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class PodsError(Exception):
    """The cluster did not answer as it had to; the message says what was asked and what came."""


def find_pods(credentials: Credentials, namespaces: Sequence[str], instance: str) -> list[FoundPod]:
    """Every pod of an instance in these namespaces, kept ones too. One that cannot be read is warned of and left out.

    Raises:
        PodsError: the cluster did not answer a list.
    """
    unreadable: list[str] = []
    found = asyncio.run(_with_api(credentials, lambda api: _find(api, namespaces, instance, unreadable)))
    for words in unreadable:
        log.warning("%s; it is left alone", words)
    return found


@dataclass(slots=True)
class Cleared:
    """What became of pods that were to go.

    Args:
        there: awaited pods that are still there, as they were seen last.
        refused: by uid, `namespace/name` of each that could not be removed, and the server's words.
        holds: by uid, what is known of why an awaited pod is still alive.
    """

    there: list[FoundPod] = field(default_factory=list)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)


def clear_pods(
    credentials: Credentials,
    instance: str,
    delete: Sequence[FoundPod],
    *,
    keep: Sequence[FoundPod] = (),
    awaited: Sequence[FoundPod] = (),
    limit: float,
    beat: Callable[[], None],
) -> Cleared:
    """Deletes pods or labels them as done, each only if its uid is still the same, and waits for some to go.

    What the server refuses is repeated with growing delays, and not before its Retry-After, where that may help.

    Args:
        credentials: of the cluster.
        instance: label value of all these pods.
        delete: to be deleted.
        keep: to be labelled as done.
        awaited: to be deleted, and waited for until they have gone or have finished.
        limit: seconds for all of it.
        beat: called again and again meanwhile; what it raises ends the work.

    Raises:
        PodsError: awaited pods could not be listed.
    """
    if not (delete or keep or awaited):
        return Cleared()

    async def work(api: Api) -> Cleared:
        clearing = _Clearing(api, instance, time.monotonic() + limit, beat)
        return await clearing.run(
            [(pod, False) for pod in (*delete, *awaited)] + [(pod, True) for pod in keep], awaited
        )

    return asyncio.run(_with_api(credentials, work))


@dataclass(slots=True)
class _Removal:
    pod: FoundPod
    keep: bool
    awaited: bool
    due: float = 0.0
    tries: int = 0


class _Clearing:
    """One `clear_pods`: rounds of removals that are due and a look at what is awaited, until nothing is left to do."""

    def __init__(self, api: Api, instance: str, deadline: float, beat: Callable[[], None]) -> None:
        self._api = api
        self._instance = instance
        self._deadline = deadline
        self._beat = beat
        self._requests = PodRequests(api, timeout=REQUEST_LIMIT, log_lines=0, selects=lambda labels: True)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._rng = random.Random()
        self._cleared = Cleared()

    async def run(self, pods: Sequence[tuple[FoundPod, bool]], awaited: Sequence[FoundPod]) -> Cleared:
        wanted = {pod.uid for pod in awaited}
        removals = [_Removal(pod, keep, pod.uid in wanted) for pod, keep in pods]
        poll = POLL
        while True:
            self._beat()
            now = time.monotonic()
            later = [removal for removal in removals if removal.due > now]
            answers = await asyncio.gather(*(self._remove(removal) for removal in removals if removal.due <= now))
            removals = later + [removal for removal in answers if removal is not None]
            alive = await self._look(awaited) if wanted else []
            if wanted and not alive:
                removals = [removal for removal in removals if not removal.awaited]
            now = time.monotonic()
            if now >= self._deadline or not (removals or alive):
                break
            next_due = min((removal.due for removal in removals), default=self._deadline)
            wait = min(poll, self._deadline - now) if alive else next_due - now
            await asyncio.sleep(max(0.0, min(wait, next_due - now, LAST_POLL)))
            poll = min(LAST_POLL, poll * POLL_GROWTH)
        for pod in alive[:DESCRIBED]:
            self._cleared.holds[pod.uid] = await self._state_of(pod)
        return self._cleared

    async def _remove(self, removal: _Removal) -> _Removal | None:
        """One request; the removal, with its next time set, if it is to be repeated."""
        pod = removal.pod
        async with self._room:
            self._beat()
            asked = act.RemovePod(pod.uid, pod.namespace, pod.name, pod.uid, removal.keep)
            answer = await self._requests.remove(asked)
        if not isinstance(answer, ev.RemoveFailed):
            self._cleared.refused.pop(pod.uid, None)
            return None
        info = answer.info
        self._cleared.refused[pod.uid] = f"{pod.namespace}/{pod.name}", f"{info.reason}: {info.message}"
        removal.tries += 1
        delay = max(info.retry_after or 0.0, backoff_delay(removal.tries, self._rng, POLL, LAST_POLL))
        removal.due = time.monotonic() + delay
        return removal if removal.due < self._deadline and (removal.awaited or info.fault not in _FINAL) else None

    async def _look(self, awaited: Sequence[FoundPod]) -> list[FoundPod]:
        """The awaited pods that are still alive. While the server cannot be asked they are as they were."""
        self._beat()
        uids = {pod.uid for pod in awaited}
        try:
            found = await _find(self._api, sorted({pod.namespace for pod in awaited}), self._instance, [])
        except (TransportFault, PodsError):
            if time.monotonic() >= self._deadline:
                raise
            return list(awaited)
        self._cleared.there = [pod for pod in found if pod.uid in uids]
        for gone in uids - {pod.uid for pod in self._cleared.there}:
            self._cleared.refused.pop(gone, None)
        return [pod for pod in self._cleared.there if not pod.finished]

    async def _state_of(self, pod: FoundPod) -> str:
        """What may hold a pod, in words; empty if the server does not say."""
        path = f"/api/v1/namespaces/{quote(pod.namespace, safe='')}/pods/{quote(pod.name, safe='')}"
        try:
            answer = await self._api.request("GET", path, timeout=REQUEST_LIMIT, verb="get")
            shown = orjson.loads(answer.body) if answer.status == 200 else {}
        except (TransportFault, ValueError):
            return ""
        meta, spec = shown.get("metadata") or {}, shown.get("spec") or {}
        words = []
        if meta.get("deletionTimestamp"):
            words.append(f"being deleted since {meta['deletionTimestamp']}")
        if spec.get("nodeName"):
            words.append(f"on node {spec['nodeName']}")
        if meta.get("finalizers"):
            words.append(f"held by finalizers {', '.join(map(str, meta['finalizers']))}")
        return ", ".join(words)


async def _with_api(credentials: Credentials, work: Callable[[Api], Awaitable[_T]]) -> _T:
    api = Api(credentials, connections=AT_ONCE + 2)
    await api.start()
    try:
        return await work(api)
    except TransportFault as fault:
        raise PodsError(f"the pods of the run could not be listed: {fault.info.message}") from fault
    finally:
        await api.end()


async def _find(api: Api, namespaces: Sequence[str], instance: str, unreadable: list[str]) -> list[FoundPod]:
    """The pods of an instance; why others could not be read is added to `unreadable`."""
    found: list[FoundPod] = []
    for namespace in namespaces:
        query = {"labelSelector": f"shard-executor/instance={instance}", "limit": str(PAGE)}
        while True:
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
            answer = await api.request("GET", path, query=query, accept=ACCEPT, timeout=REQUEST_LIMIT, verb="LIST")
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
                if isinstance(item, PodChange):
                    found.append(_found(item))
                else:
                    unreadable.append(f"a pod in namespace {namespace} cannot be read: {item.reason}")
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
