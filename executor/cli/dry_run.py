"""Asks the API server what it would say to a pod, without creating one (dryRun=All)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from shard_executor.cli.answers import REQUEST_LIMIT
from shard_executor.core.faults import TRANSIENT, Fault

if TYPE_CHECKING:
    from shard_executor.shard.api import Answer, Api

TRIES = 3  # a throttled request is sent so often
AT_ONCE = 8  # requests in flight
LONGEST_PAUSE = 5.0  # seconds between two tries, whatever the server asks for
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
# RFC 9110 had the header removed; Kubernetes sends `299 - "text"`, with \" and \\ escaped (KEP-1693).
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')


class Outcome(StrEnum):
    """What a server said. LATER: not now, but the same pod may be taken later (quota, throttling, a fault)."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A server's answer to one pod. words: why not, "" if accepted. warnings: its Warning headers."""

    outcome: Outcome
    status: int
    words: str = ""
    warnings: tuple[str, ...] = ()


async def try_create(api: Api, namespace: str, body: bytes, *, strict: bool) -> Verdict:
    """Has one pod judged by admission and validation.

    Args:
        body: the pod in JSON.
        strict: unknown fields are refused (fieldValidation=Strict), else they are warnings.

    Raises:
        TransportFault: no answer came.
    """
    from shard_executor.shard.api import fault_of

    path = f"/api/v1/namespaces/{namespace}/pods"
    query = {"dryRun": "All", "fieldValidation": "Strict" if strict else "Warn"}
    for left in reversed(range(TRIES)):
        answer = await api.request(
            "POST", path, query=query, body=body, accept=_METADATA_ONLY, timeout=REQUEST_LIMIT, verb="create"
        )
        warnings = _warnings(answer)
        if 200 <= answer.status < 300:
            return Verdict(Outcome.ACCEPTED, answer.status, warnings=warnings)
        info = fault_of(answer)
        if info.fault is not Fault.THROTTLED or not left:
            break
        await asyncio.sleep(min(1.0 if info.retry_after is None else info.retry_after, LONGEST_PAUSE))
    later = info.fault in TRANSIENT or info.fault is Fault.QUOTA
    outcome = Outcome.LATER if later else Outcome.REFUSED
    return Verdict(outcome, answer.status, f"{answer.status} {info.message}", warnings)


async def try_all(api: Api, namespace: str | Sequence[str], bodies: Sequence[bytes]) -> list[Verdict]:
    """Has many pods judged strictly, a few at a time; the verdicts in their order.

    Args:
        namespace: that of all pods, or of each pod.
        bodies: the pods in JSON.

    Raises:
        TransportFault: the first answer that did not come; nothing more is asked then.
    """
    from shard_executor.shard.api import TransportFault

    places = asyncio.Semaphore(AT_ONCE)  # before the request: its limit counts the wait for a connection too

    async def judged(namespace: str, body: bytes) -> Verdict:
        async with places:
            return await try_create(api, namespace, body, strict=True)

    namespaces = [namespace] * len(bodies) if isinstance(namespace, str) else namespace
    fault: TransportFault | None = None
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(judged(*pod)) for pod in zip(namespaces, bodies, strict=True)]
    except* TransportFault as faults:
        found: BaseException = faults
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, TransportFault):
            fault = found
    if fault is not None:
        raise fault
    return [task.result() for task in asked]


def _warnings(answer: Answer) -> tuple[str, ...]:
    values = [value for name, value in answer.headers.items() if name.lower() == "warning"]
    return tuple(re.sub(r"\\(.)", r"\1", text) for value in values for text in _WARNING.findall(value))
