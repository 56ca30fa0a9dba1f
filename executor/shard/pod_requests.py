"""The single-pod requests of a shard: create, read, remove, adopt, mark as done, tail the log. Answers become events.

Nothing is decided or repeated here: a request is sent once and what came of it goes back to the shard's state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from shard_executor._fast import FORMAT_JSON, PodChange, PodTable
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import Verdict, judge
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.shard.api import Answer, Api, TransportFault, fault_of

ATTEMPT_ANNOTATION = "shard-executor/attempt"
SUBMISSION_ANNOTATION = "shard-executor/submission"
DONE_LABEL = "airflow_executor_done"

# A create or delete answers with the whole pod unless asked for less.
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
# Strict decoding of the body costs the server time and says nothing to a program; unknown fields were the user's
# template and are reported by `render`.
_CREATE_QUERY = {"fieldValidation": "Ignore"}
_LOG_TIMEOUT = 10.0
# limitBytes counts from the first of the tail's lines; the end is what matters, so more is fetched than is kept.
_LOG_FETCHED = 1024 * 1024
_LOG_KEPT = 16 * 1024

NAME_SLOT, ATTEMPT_SLOT = "\x00N", "\x00A"


def fill_body(body: str, name: str, attempt: int) -> bytes:
    """The request body of one launch attempt: the raw slots of the submission's text replaced."""
    return body.replace(NAME_SLOT, name).replace(ATTEMPT_SLOT, str(attempt)).encode()


def _pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _protocol_fault(what: str, answer: Answer) -> FaultInfo:
    return FaultInfo(Fault.PROTOCOL, answer.status, "Unreadable", f"{what} was answered with something that is no pod")


class PodRequests:
    """Sends what the shard's state asks for.

    Args:
        api: the API server.
        timeout: limit of one request in seconds.
        log_lines: lines of a failed pod's log to fetch.
        selects: whether lists and watches of this shard show a pod with such labels.
        judge: reads a pod's status.
        delete_options: of every delete, besides its precondition.
        clock: seconds, monotonic; for latencies.
    """

    def __init__(
        self,
        api: Api,
        *,
        timeout: float,
        log_lines: int,
        selects: Callable[[Mapping[str, str]], bool],
        judge: Callable[..., Verdict] = judge,
        delete_options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._timeout = timeout
        self._log_lines = log_lines
        self._selects = selects
        self._judge = judge
        self._delete_options = dict(delete_options or {})
        self._clock = clock

    async def create(self, action: act.CreatePod, body: str) -> ev.Created | ev.CreateFailed:
        began = self._clock()
        try:
            answer = await self._api.request(
                "POST",
                _pods_path(action.namespace),
                query=_CREATE_QUERY,
                body=fill_body(body, action.name, action.attempt),
                accept=_METADATA_ONLY,
                timeout=self._timeout,
                verb="create",
            )
        except TransportFault as fault:
            return ev.CreateFailed(action.ticket, action.attempt, fault.info, self._clock() - began)
        latency = self._clock() - began
        if 200 <= answer.status < 300:
            try:
                uid = orjson.loads(answer.body)["metadata"]["uid"]
            except (ValueError, KeyError, TypeError):
                info = _protocol_fault("the create", answer)
            else:
                return ev.Created(action.ticket, action.attempt, uid, latency)
        else:
            info = fault_of(answer)
        return ev.CreateFailed(action.ticket, action.attempt, info, latency)

    async def read(self, action: act.ReadPod, submission_id: str) -> ev.PodRead | ev.ReadFailed:
        ticket, attempt = action.ticket, action.attempt
        try:
            answer = await self._api.request(
                "GET", f"{_pods_path(action.namespace)}/{action.name}", timeout=self._timeout, verb="get"
            )
        except TransportFault as fault:
            return ev.ReadFailed(ticket, fault.info, attempt)
        if answer.status != 200:
            info = fault_of(answer)
            if info.fault is Fault.NOT_FOUND:
                return ev.PodRead(ticket, None, attempt=attempt)
            return ev.ReadFailed(ticket, info, attempt)
        pod = decode_single(answer.body)
        if pod is None:
            return ev.ReadFailed(ticket, _protocol_fault("reading the pod", answer), attempt)
        annotations = pod.annotations()
        same = (annotations.get(SUBMISSION_ANNOTATION), annotations.get(ATTEMPT_ANNOTATION)) == (
            submission_id,
            str(attempt),
        )
        verdict = self._judge(pod.phase, pod.deleting, pod.status())
        return ev.PodRead(ticket, pod.uid, same, pod.deleting, verdict, attempt, self._selects(pod.labels()))

    async def remove(self, action: act.RemovePod) -> ev.Removed | ev.RemoveFailed:
        path = f"{_pods_path(action.namespace)}/{action.name}"
        try:
            if action.keep:
                answer = await self._mark_done(path, action)
            else:
                answer = await self._delete(path, action.uid)
        except TransportFault as fault:
            return ev.RemoveFailed(action.key, fault.info)
        if 200 <= answer.status < 300:
            return ev.Removed(action.key, not action.keep and _is_gone(answer.body))
        info = fault_of(answer)
        if info.fault is Fault.NOT_FOUND or _is_anothers(info):
            return ev.Removed(action.key, True)
        return ev.RemoveFailed(action.key, info)

    async def _delete(self, path: str, uid: str | None) -> Answer:
        body = None
        if self._delete_options:  # a server reads either a body or the query
            options = {"kind": "DeleteOptions", "apiVersion": "v1", **self._delete_options}
            body = orjson.dumps({**options, "preconditions": {"uid": uid}} if uid else options)
        return await self._api.request(
            "DELETE",
            path,
            query={"uid": uid} if uid and body is None else None,  # the precondition, in its query form
            body=body,
            accept=_METADATA_ONLY,
            timeout=self._timeout,
            verb="delete",
        )

    async def adopt(self, action: act.AdoptPod) -> ev.Adopted | ev.AdoptFailed:
        """Writes our labels on a pod; the answer is the pod as it is then."""
        ticket, attempt = action.ticket, action.attempt
        labels, annotations = action.marks
        metadata = {"uid": action.uid, "labels": labels, "annotations": annotations}
        try:
            answer = await self._patch(f"{_pods_path(action.namespace)}/{action.name}", metadata, "application/json")
        except TransportFault as fault:
            return ev.AdoptFailed(ticket, fault.info, attempt=attempt)
        if answer.status != 200:
            info = fault_of(answer)
            gone = info.fault is Fault.NOT_FOUND or _is_anothers(info)
            return ev.AdoptFailed(ticket, info, gone, attempt)
        pod = decode_single(answer.body)
        if pod is None or pod.uid != action.uid:
            return ev.AdoptFailed(ticket, _protocol_fault("the patch", answer), attempt=attempt)
        return ev.Adopted(ticket, pod.deleting, self._judge(pod.phase, pod.deleting, pod.status()), attempt)

    async def _mark_done(self, path: str, action: act.RemovePod) -> Answer:
        metadata: dict[str, Any] = {"labels": {DONE_LABEL: "True"}}
        if action.uid:
            metadata["uid"] = action.uid
        return await self._patch(path, metadata, _METADATA_ONLY)

    async def _patch(self, path: str, metadata: dict[str, Any], accept: str) -> Answer:
        return await self._api.request(
            "PATCH",
            path,
            body=orjson.dumps({"metadata": metadata}),
            content_type="application/merge-patch+json",
            accept=accept,
            timeout=self._timeout,
            verb="patch",
        )

    async def tail(self, action: act.TailLog) -> ev.LogRead:
        """The last lines of a container's log, or None where the server has none; never a fault of its own."""
        query = {"tailLines": str(self._log_lines), "limitBytes": str(_LOG_FETCHED)}
        if action.container:
            query["container"] = action.container
        try:
            answer = await self._api.request(
                "GET",
                f"{_pods_path(action.namespace)}/{action.name}/log",
                query=query,
                accept="text/plain, */*",
                timeout=_LOG_TIMEOUT,
                verb="log",
            )
        except TransportFault:
            return ev.LogRead(action.ticket, None)
        if answer.status != 200 or not answer.body:
            return ev.LogRead(action.ticket, None)
        return ev.LogRead(action.ticket, answer.body[-_LOG_KEPT:].decode("utf-8", "replace"))


def _is_anothers(info: FaultInfo) -> bool:
    """Whether a refusal says that the name belongs to a pod with another uid by now, so that ours is gone.

    A delete's precondition is answered by 409 (registry/rest/delete.go, storage/interfaces.go), a patch that would
    change the uid by 422. Other conflicts say no such thing, and the pod's name in their words proves nothing.
    """
    message = info.message.lower()
    if info.fault is Fault.CONFLICT:
        return "uid in" in message and "precondition" in message
    return info.fault is Fault.INVALID and "metadata.uid" in message


def _is_gone(body: bytes) -> bool:
    """Whether the answer to a delete says that the pod is gone already.

    A delete without grace (finished and unscheduled pods get none, pkg/registry/core/pod/strategy.go) removes the
    object at once and answers with its last state, unless finalizers hold it; any other leaves it for its grace.
    """
    try:
        metadata = orjson.loads(body)["metadata"]
    except (ValueError, KeyError, TypeError):
        return False
    if not isinstance(metadata, dict):
        return False
    return metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers")


def decode_single(body: bytes) -> PodChange | None:
    """One pod in JSON, by the decoder that lists go through; None if it is no pod."""
    table = PodTable()
    table.begin_replace()
    try:
        _, changes = table.apply_list(b'{"kind":"PodList","metadata":{},"items":[' + body + b"]}", FORMAT_JSON)
    except ValueError:
        return None
    return changes[0] if len(changes) == 1 and isinstance(changes[0], PodChange) else None
