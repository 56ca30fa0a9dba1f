"""Doctor's look at how a server lists and watches: protobuf, streaming lists, and how many shards suit it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from shard_executor.cli.answers import words_of
from shard_executor.cli.doctor_report import Check, State
from shard_executor.core.faults import Fault, FaultInfo, classify_status

if TYPE_CHECKING:
    from shard_executor.shard.api import Api

LIST_LIMIT = 15.0  # seconds for a list of one pod
STREAM_LIMIT = 10.0  # seconds until the end of the initial events of a watch that selects no pod
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_PROXY = "look for a proxy or load balancer in between that holds answers back or rewrites them"


async def check_lists(api: Api, namespace: str) -> Check:
    """Lists one pod as the shards do and decodes it: protobuf, else JSON. Raises TransportFault."""
    from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, DecodeError, PodTable
    from shard_executor.shard.watcher import ACCEPT

    path = f"/api/v1/namespaces/{namespace}/pods"
    answer = await api.request("GET", path, query={"limit": "1"}, accept=ACCEPT, timeout=LIST_LIMIT)
    if answer.status == 403:
        return Check("lists", State.SKIPPED, "this account may not list pods")
    if answer.status != 200:
        message = f"listing one pod was answered {answer.status} {words_of(answer)}"
        return Check("lists", State.PROBLEM, message, "run doctor again, or ask who runs the server")
    protobuf = answer.content_type.startswith(_PROTOBUF)
    table = PodTable()
    table.begin_replace()
    try:
        table.apply_list(answer.body, FORMAT_PROTOBUF if protobuf else FORMAT_JSON)
    except DecodeError as fault:
        message = f"the answer ({answer.content_type or 'of no type'}) is no list of pods: {fault}"
        return Check("lists", State.PROBLEM, message, _PROXY)
    facts = {"protobuf": protobuf}
    if protobuf:
        return Check("lists", State.OK, "in protobuf", facts=facts)
    message = "in JSON: the server did not answer in protobuf, which costs both sides less"
    return Check("lists", State.WARNING, message, _PROXY, facts)


async def check_streaming(api: Api, namespace: str) -> Check:
    """Tries a streaming list (KEP-3157) that selects no pod. Raises TransportFault."""
    try:
        async with asyncio.timeout(STREAM_LIMIT):
            return await _streaming(api, namespace)
    except TimeoutError:
        return _unmarked(f"sent no end of the initial events within {STREAM_LIMIT:g} s")


async def _streaming(api: Api, namespace: str) -> Check:
    from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, DecodeError, PodTable
    from shard_executor.shard.api import fault_of
    from shard_executor.shard.watcher import ACCEPT

    query = {
        "labelSelector": f"shard-executor/instance=shard-executor.doctor-{secrets.token_hex(5)}",
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(round(STREAM_LIMIT)),
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with api.stream(path, query=query, accept=ACCEPT, connect_timeout=2 * STREAM_LIMIT) as stream:
        if stream.status != 200:
            return _refused(fault_of(await stream.answer(STREAM_LIMIT)))
        protobuf = stream.content_type.startswith(_PROTOBUF)
        table = PodTable()
        table.open_stream(FORMAT_PROTOBUF if protobuf else FORMAT_JSON)
        while data := await stream.read():
            try:
                items = table.feed(data)
            except DecodeError as fault:
                message = f"the stream ({stream.content_type or 'of no type'}) cannot be read: {fault}"
                return Check("watches", State.PROBLEM, message, _PROXY)
            for item in items:
                found = _judge(item, protobuf)
                if found is not None:
                    return found
    return _unmarked("ended it before the end of the initial events")


def _judge(item: object, protobuf: bool) -> Check | None:
    """The check that an item of the stream settles, None if it settles nothing."""
    from shard_executor._fast import Bookmark, StreamStatus

    if isinstance(item, StreamStatus):
        return _refused(classify_status(item.code, item.reason, item.message, item.retry_after, item.causes))
    if isinstance(item, Bookmark) and item.initial_events_end:
        facts = {"streaming_lists": True, "protobuf": protobuf}
        return Check("watches", State.OK, f"with streaming lists, in {'protobuf' if protobuf else 'JSON'}", facts=facts)
    return None


def _refused(info: FaultInfo) -> Check:
    if info.fault in (Fault.FORBIDDEN, Fault.NOT_PERMITTED):
        return Check("watches", State.SKIPPED, "this account may not watch pods")
    if info.fault in (Fault.INVALID, Fault.FEATURE_DISABLED):
        message = f"without streaming lists ({info.status}): shards list in pages first, which works as well"
        return Check("watches", State.OK, message, facts={"streaming_lists": False})
    message = f"a watch was answered {info.status} {info.message}"
    if info.fault in (Fault.THROTTLED, Fault.TOO_LARGE_VERSION):
        return Check("watches", State.WARNING, message, "the server is busy: run doctor again")
    return Check("watches", State.PROBLEM, message, "run doctor again, or ask who runs the server")


def _unmarked(what: str) -> Check:
    """A stream that opens and then says too little. Shards fall back to pages, but later events may be held back."""
    message = f"the server opened a streaming list and {what}"
    facts = {"streaming_lists": False}
    return Check("watches", State.WARNING, message, f"{_PROXY}; servers before 1.27 know none", facts)


def check_shards() -> Check:
    """How many shard processes suit this machine; asks nobody."""
    from shard_executor.supervisor.config import cgroup_cpus, default_shards

    cpus, shards = cgroup_cpus(), default_shards()
    message = (
        f"{shards} by default ({cpus} CPU{'s' if cpus != 1 else ''} here); each holds a watch, and from ten watches in "
        "a namespace on every write of a pod costs the server more"
    )
    return Check("shards", State.OK, message, facts={"cpus": cpus, "shards": shards})
