"""`airflow shard-executor cleanup-pods`: which pods go, and the requests that remove them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson

from shard_executor.airflow.instance import is_foreign
from shard_executor.core.backoff import backoff_delay
from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import TRANSIENT, Fault, FaultInfo
from shard_executor.shard.api import Answer, Api, TransportFault, fault_of

# Labels that the provider puts on every pod of a task, KubernetesPodOperator's among them.
SELECTOR = "dag_id,task_id,try_number,airflow_version"
INSTANCE_LABEL = "shard-executor/instance"
LEAST_PENDING = timedelta(minutes=5)  # a pod that was just created is never in the way
PAGE = 500
AT_ONCE = 8
TRIES = 6  # of one request; without a Retry-After, the pauses between them are 16 s at most
MAX_PAUSE = 30.0  # seconds
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which pods go.

    Args:
        deployment: pods of other deployments of this executor stay.
        pending: how long a pod may be pending; LEAST_PENDING at least.
        finished: how long a pod stays after its end; zero for not at all.
    """

    deployment: str
    pending: timedelta
    finished: timedelta


@dataclass(slots=True)
class Summary:
    """What was done. `problems` says what was not, and why."""

    seen: int = 0
    deleted: int = 0
    problems: list[str] = field(default_factory=list)


def why_remove(pod: dict[str, Any], rules: Rules, now: datetime) -> str | None:
    """Why a pod goes, in words; None if it stays."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    phase, reason = str(status.get("phase") or ""), str(status.get("reason") or "")
    created = _time(metadata["creationTimestamp"])
    if metadata.get("deletionTimestamp") or is_foreign(
        (metadata.get("labels") or {}).get(INSTANCE_LABEL), rules.deployment
    ):
        return None
    if phase == "Pending":
        age = now - created
        return f"pending for {_minutes(age)}" if age > max(rules.pending, LEAST_PENDING) else None
    never = (pod.get("spec") or {}).get("restartPolicy") == "Never"
    evicted = reason == "Evicted"
    if not (phase == "Succeeded" or (phase == "Failed" and never) or evicted):
        return None
    age = now - ended_at(status, created)
    if rules.finished and age <= rules.finished:
        return None
    return f"{'evicted' if evicted else phase.lower()} {_minutes(age)} ago"


def ended_at(status: dict[str, Any], created: datetime) -> datetime:
    """When the last container ended; where no container says so, the last change of a condition, or the creation."""
    containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    ends = [((item.get("state") or {}).get("terminated") or {}).get("finishedAt") for item in containers]
    changes = [item.get("lastTransitionTime") for item in status.get("conditions") or ()]
    for times in (ends, changes):
        known = [_time(text) for text in times if text]
        if known:
            return max(known)
    return created


def cleanup(
    credentials: Credentials,
    namespaces: Sequence[str | None],
    rules: Rules,
    *,
    tell: Callable[[str], None],
    look: Callable[[str], None],
    clock: Callable[[], datetime],
    dry_run: bool = False,
    delete_options: dict[str, Any] | None = None,
    request_timeout: float = 30.0,
) -> Summary:
    """Removes the pods that the rules name.

    Args:
        namespaces: where to look; None is all of them.
        tell: gets a line for each pod that goes. look: gets a line for each pod that stays.
        clock: the time now, with its zone.
        dry_run: say it only.
        delete_options: fields of DeleteOptions besides the preconditions.
        request_timeout: seconds.
    """
    work = _Work(rules, tell, look, clock, dry_run, delete_options or {}, request_timeout)
    asyncio.run(work.run(credentials, namespaces))
    return work.summary


class _Work:
    def __init__(
        self,
        rules: Rules,
        tell: Callable[[str], None],
        look: Callable[[str], None],
        clock: Callable[[], datetime],
        dry_run: bool,
        delete_options: dict[str, Any],
        request_timeout: float,
    ) -> None:
        self.summary = Summary()
        self._rules, self._tell, self._look, self._clock = rules, tell, look, clock
        self._dry_run, self._delete_options, self._timeout = dry_run, delete_options, request_timeout
        self._rng = random.Random()

    async def run(self, credentials: Credentials, namespaces: Sequence[str | None]) -> None:
        api = Api(credentials, connections=AT_ONCE)
        await api.start()
        try:
            for namespace in namespaces:
                async for pods in self._pages(api, namespace):
                    await self._page(api, pods)
        finally:
            await api.end()

    async def _page(self, api: Api, pods: list[dict[str, Any]]) -> None:
        now, room = self._clock(), asyncio.Semaphore(AT_ONCE)

        async def consider(pod: dict[str, Any]) -> None:
            self.summary.seen += 1
            where = f"{pod['metadata'].get('namespace')}/{pod['metadata'].get('name')}"
            try:
                why = why_remove(pod, self._rules, now)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                self.summary.problems.append(f"{where}: cannot be read: {error!r}")
                return
            if why is None:
                self._look(f"{where} stays ({(pod.get('status') or {}).get('phase')})")
                return
            async with room:
                await self._remove(api, pod, where, why)

        await asyncio.gather(*(consider(pod) for pod in pods))

    async def _remove(self, api: Api, pod: dict[str, Any], where: str, why: str) -> None:
        metadata = pod["metadata"]
        if self._dry_run:
            self._tell(f"{where} would be deleted: {why}")
            self.summary.deleted += 1
            return
        preconditions = {"uid": metadata["uid"]}
        if (pod.get("status") or {}).get("phase") == "Pending":
            # It may have started since it was listed, or start before the request arrives.
            preconditions["resourceVersion"] = metadata["resourceVersion"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            **self._delete_options,
            "preconditions": preconditions,
        }
        path = f"{_path(metadata['namespace'])}/{quote(metadata['name'], safe='')}"
        answer = await self._asked(api, "DELETE", path, body=orjson.dumps(body), accept=_METADATA_ONLY)
        if not isinstance(answer, FaultInfo):
            self._tell(f"{where} deleted: {why}")
            self.summary.deleted += 1
        elif answer.fault is Fault.NOT_FOUND:
            self._look(f"{where} has gone by itself")
        elif answer.fault is Fault.CONFLICT:
            self._look(f"{where} stays: it has changed meanwhile")
        else:
            self.summary.problems.append(f"{where}: not deleted: {_words(answer)}")

    async def _pages(self, api: Api, namespace: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        query = {"labelSelector": SELECTOR, "limit": str(PAGE)}
        where = "all namespaces" if namespace is None else f"namespace {namespace}"
        while True:
            answer = await self._asked(api, "GET", _path(namespace), query=query)
            if isinstance(answer, FaultInfo):
                if answer.fault is Fault.EXPIRED and query.pop("continue", ""):
                    continue  # the list is too old to go on with: from the start, what was deleted is gone from it
                self.summary.problems.append(f"{where}: not listed: {_words(answer)}")
                return
            try:
                page = orjson.loads(answer.body)
                pods, token = list(page.get("items") or ()), (page.get("metadata") or {}).get("continue")
            except (ValueError, AttributeError, TypeError) as error:
                self.summary.problems.append(f"{where}: the list cannot be read: {error!r}")
                return
            yield pods
            if not token:
                return
            query["continue"] = token

    async def _asked(
        self,
        api: Api,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        accept: str = "application/json",
    ) -> Answer | FaultInfo:
        """The answer to a request that is repeated while its fault passes, or its last fault."""
        for tries in range(1, TRIES + 1):
            try:
                answer = await api.request(method, path, query=query, body=body, accept=accept, timeout=self._timeout)
            except TransportFault as fault:
                info = fault.info
            else:
                if 200 <= answer.status < 300:
                    return answer
                info = fault_of(answer)
            if tries == TRIES or info.fault not in TRANSIENT or info.fault is Fault.CONFLICT:
                break
            await asyncio.sleep(max(min(info.retry_after or 0.0, MAX_PAUSE), backoff_delay(tries, self._rng)))
        return info


def _path(namespace: str | None) -> str:
    return "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"


def _words(info: FaultInfo) -> str:
    return f"{info.reason or info.fault}: {info.message}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _minutes(age: timedelta) -> str:
    seconds = age.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds // 60:.0f} min"
