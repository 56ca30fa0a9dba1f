"""Streams and lists to what a PodTable tells, with a dictionary for the rows.

Everything told is a tuple: ("change", kind, uid, name, namespace, version, phase, deleting, labels, annotations,
status), ("bookmark", version, end), ("status", code, reason, message, retry_after, causes) or ("undecodable",).
"""

import re
from collections.abc import Iterator
from typing import Any

from oracle import wire
from oracle.project import Pod, Refused, parse, project
from shard_executor._fast.views import Bookmark, PodStatusView, StreamStatus, Undecodable

KINDS = ("ADDED", "MODIFIED", "DELETED")
NO_STATUS = PodStatusView("", "", None, (), (), ())


def told(item: Any) -> tuple[Any, ...]:
    """What the compiled table returned, in the model's form."""
    if isinstance(item, Undecodable):
        return ("undecodable",)
    if isinstance(item, Bookmark):
        return ("bookmark", item.resource_version, item.initial_events_end)
    if isinstance(item, StreamStatus):
        return ("status", item.code, item.reason, item.message, item.retry_after, item.causes)
    return (
        "change",
        item.kind,
        item.uid,
        item.name,
        item.namespace,
        item.resource_version,
        item.phase,
        item.deleting,
        item.labels(),
        item.annotations(),
        item.status(),
    )


def json_events(stream: bytes) -> Iterator[tuple[str, Any]]:
    for line in stream.splitlines():
        event = parse(line)
        yield event["type"], event["object"]


def protobuf_frames(stream: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(stream):
        size = int.from_bytes(stream[at : at + 4], "big")
        yield stream[at + 4 : at + 4 + size]
        at += 4 + size


def protobuf_events(stream: bytes) -> Iterator[tuple[str, Any]]:
    for frame in protobuf_frames(stream):
        outer = {number: value for number, _, value in wire.fields(frame)}
        kind, raw = wire.unwrap(next(value for number, _, value in wire.fields(outer[2]) if number == 1))
        shape = wire.ANSWER if kind == "Status" else wire.POD
        yield outer[1].decode(), {"kind": kind, **wire.read(raw, shape)}


class Model:
    """A PodTable's meaning."""

    def __init__(self, bin_lo: int = 0, bin_hi: int = 256) -> None:
        self.bins = range(bin_lo, bin_hi)
        self.rows: dict[str, Pod] = {}
        self.seen: set[str] = set()

    def foreign(self, pod: Pod) -> bool:
        if pod.bin is None:
            return self.bins.start != 0
        return not re.fullmatch("0|[1-9][0-9]{0,2}", pod.bin) or int(pod.bin) not in self.bins

    def change(self, kind: int, pod: Pod, *, deleting: bool) -> tuple[Any, ...]:
        return (
            "change",
            kind,
            pod.uid,
            pod.name,
            pod.namespace,
            pod.version,
            pod.phase,
            deleting,
            pod.labels,
            pod.annotations,
            pod.status,
        )

    def event(self, kind: str, obj: Any) -> list[tuple[Any, ...]]:
        try:
            if kind == "BOOKMARK":
                metadata = obj["metadata"]
                end = metadata.get("annotations", {}).get("k8s.io/initial-events-end") == "true"
                return [("bookmark", int(metadata["resourceVersion"]), end)]
            if kind == "ERROR":
                details = obj.get("details", {})
                causes = tuple(cause.get("reason", "") for cause in details.get("causes", []))
                retry = details.get("retryAfterSeconds") or None
                return [("status", obj.get("code", 0), obj.get("reason", ""), obj.get("message", ""), retry, causes)]
            return self.pod(kind, project(obj))
        except Refused:
            return [("undecodable",)]

    def pod(self, kind: str, pod: Pod) -> list[tuple[Any, ...]]:
        deleted = kind == "DELETED"
        row = self.rows.get(pod.uid)
        if row is None:
            if self.foreign(pod):
                return []
            if deleted:
                return [self.change(2, pod, deleting=pod.deleting)]
            self.rows[pod.uid] = pod
            self.seen.add(pod.uid)
            return [self.change(0, pod, deleting=pod.deleting)]
        if pod.version < row.version or (pod.version == row.version and not deleted):
            self.seen.add(pod.uid)
            return []
        if deleted or self.foreign(pod):
            del self.rows[pod.uid]
            return [self.change(2, pod, deleting=pod.deleting and deleted)]
        self.rows[pod.uid] = pod
        self.seen.add(pod.uid)
        return [] if pod.state == row.state else [self.change(1, pod, deleting=pod.deleting)]

    def begin(self) -> None:
        self.seen = set()

    def commit(self) -> list[tuple[Any, ...]]:
        gone = [pod for uid, pod in self.rows.items() if uid not in self.seen]
        for pod in gone:
            del self.rows[pod.uid]
        return [
            ("change", 3, p.uid, p.name, p.namespace, p.version, p.phase, p.deleting, {}, {}, NO_STATUS) for p in gone
        ]


def replay(events: Iterator[tuple[str, Any]], model: Model | None = None) -> list[tuple[Any, ...]]:
    """All that a new table tells of a stream."""
    model = model or Model()
    return [item for kind, obj in events for item in model.event(kind, obj)]
