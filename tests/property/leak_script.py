"""Run by test_leaks.py in a process of its own: every public call, on success and on each error path, many times over.

Prints the growth of memory in bytes per round, traced Python objects and the process's resident memory.
"""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle import encode, wire
from oracle.model import told
from pods_as_text import body, line, pod
from shard_executor._fast import (
    FORMAT_JSON,
    FORMAT_PROTOBUF,
    DecodeError,
    PodTable,
    bin_of,
    fnv1a64,
)

DETAILED = {
    "labels": {"a": "\\u00e9\n"},
    "annotations": {"b": "x" * 300},
    "conditions": [{"type": "Ready", "message": '"'}] * 9,
    "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}]
    * 6,
}
JSON = b"".join(line("ADDED", pod(f"u{i}\n", i + 1, **DETAILED)) for i in range(20)) + b"".join(
    (
        line("MODIFIED", pod("u1\n", 100, "Failed")),
        line("DELETED", pod("u2\n", 101)),
        line("BOOKMARK", {"metadata": {"resourceVersion": "5", "annotations": {"a": "b"}}}),
        line("ERROR", {"code": 410}),
        line("ERROR", []),
        line("ADDED", []),
    )
)
PROTOBUF = b"".join(
    encode.protobuf_event("ADDED", "Pod", encode.message(pod(f"u{i}", i + 1, **DETAILED), wire.POD)) for i in range(20)
) + b"".join(
    (
        encode.protobuf_event("ERROR", "Status", encode.message({"details": {"causes": [{}] * 9}}, wire.ANSWER)),
        encode.protobuf_event("ERROR", "Status", b"\x0b"),
        encode.protobuf_event("BOOKMARK", "Pod", encode.field(1, encode.field(6, b"7"))),
        encode.protobuf_event("ADDED", "Pod", b"\x0b"),
    )
)
LIST = body(*(pod(f"u{i}", i + 1, **DETAILED) for i in range(200)))
PROTOBUF_LIST = encode.protobuf_list([encode.message(pod(f"u{i}", 5), wire.POD) for i in range(200)] + [b"\x0b"], 7)


def refused(call: Callable[..., object], *arguments: object, **options: object) -> None:
    try:
        call(*arguments, **options)
    except (DecodeError, RuntimeError, TypeError, ValueError):
        return
    raise AssertionError("no error")


def stream(form: int, data: bytes) -> None:
    table = PodTable()
    for step in (len(data), 999):
        table.open_stream(form)
        for at in range(0, len(data), step):
            for item in table.feed(data[at : at + step]):
                told(item)
                repr(item)
        table.end_stream()
    table.open_stream(form)
    table.apply(data)
    table.feed(data[:500])
    table.stats()
    table.validate()
    table.begin_replace()
    for gone in table.commit_replace():
        told(gone)


def lists() -> None:
    for data, form in ((LIST, FORMAT_JSON), (PROTOBUF_LIST, FORMAT_PROTOBUF)):
        table = PodTable()
        _, items = table.apply_list(data, form)
        told(items[0])
        for uid in table.uids()[:50]:
            table.get(uid)
            table.forget(uid)
        refused(table.apply_list, data[:-1], form)
        refused(table.apply_list, b"", form)
        refused(table.apply_list, data, 9)


def errors() -> None:
    table = PodTable()
    refused(PodTable, bin_lo=-1)
    refused(table.feed, b"")
    refused(table.commit_replace)
    refused(bin_of)
    for form, data in ((FORMAT_JSON, b"{\n"), (FORMAT_PROTOBUF, b"\xff" * 8)):
        table.open_stream(form)
        refused(table.feed, data)
        table.open_stream(form)
        table.feed(JSON + data if form == FORMAT_JSON else PROTOBUF + data)
        refused(table.feed, b"")
    bin_of("a", "b")
    fnv1a64(b"x")
    table.open_stream(FORMAT_JSON)
    table.feed(b" " * 5000)


def everything() -> None:
    stream(FORMAT_JSON, JSON)
    stream(FORMAT_PROTOBUF, PROTOBUF)
    lists()
    errors()


ROUNDS = 600
for _ in range(20):
    everything()
tracemalloc.start()
everything()
traced = tracemalloc.get_traced_memory()[0]
for _ in range(ROUNDS):
    everything()
traced = tracemalloc.get_traced_memory()[0] - traced
tracemalloc.stop()
resident = psutil.Process().memory_info().rss
for _ in range(ROUNDS):
    everything()
print(traced // ROUNDS, (psutil.Process().memory_info().rss - resident) // ROUNDS)
