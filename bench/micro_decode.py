"""Decoding a recorded watch stream: what each way of reading it costs per event.

    python bench/micro_decode.py [--rounds N] [--json FILE] [--json-stream FILE --protobuf-stream FILE]

The same events in every line, by default the recorded churn of tests/corpus (every pod from creation to deletion).
Before anything is timed, the compiled core's changes are compared with the plain-Python oracle's, in both formats.
Each round runs every line once, in turn, so that a noisy neighbour hits all of them; the median over rounds counts.

"Applied" lines decode every event and apply it to a table of rows. No Python object is made in the first two; the
64 KB lines hand each changed row to Python as a PodChange, as a watcher's reads do. The peers decode only: they keep
no rows and compare nothing. Two typed msgspec peers stand for two needs: all that a PodChange can tell, and only what
a row compares; the two last columns are the ratios to them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from corpus_data import recorded
from oracle.model import json_events, protobuf_events, replay, told
from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, PodTable

READ_SIZE = 64 * 1024
PEER = "msgspec typed, what a change tells"
ROW_PEER = "msgspec typed, what a row compares"


class Metadata(msgspec.Struct):
    """What a PodChange offers, as everywhere below down to Event: the peer reads no more than the core can tell."""

    resourceVersion: str
    name: str = ""
    namespace: str = ""
    uid: str = ""
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Waiting(msgspec.Struct):
    reason: str = ""
    message: str = ""


class Running(msgspec.Struct):
    startedAt: str | None = None


class Terminated(msgspec.Struct):
    exitCode: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    startedAt: str | None = None
    finishedAt: str | None = None


class State(msgspec.Struct):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class Container(msgspec.Struct):
    name: str = ""
    state: State | None = None
    restartCount: int = 0
    ready: bool = False


class Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Status(msgspec.Struct):
    phase: str = ""
    reason: str = ""
    message: str = ""
    startTime: str | None = None
    conditions: list[Condition] = []
    initContainerStatuses: list[Container] = []
    containerStatuses: list[Container] = []


class Pod(msgspec.Struct):
    metadata: Metadata
    status: Status | None = None


class Event(msgspec.Struct):
    type: str
    object: Pod


class RowCondition(msgspec.Struct):
    """From here on what a row compares and nothing else: what the core's lines without objects look at."""

    type: str = ""
    status: str = ""
    reason: str = ""


class RowReason(msgspec.Struct):
    reason: str = ""


class RowTerminated(msgspec.Struct):
    exitCode: int = 0
    reason: str = ""


class RowState(msgspec.Struct):
    waiting: RowReason | None = None
    running: RowReason | None = None
    terminated: RowTerminated | None = None


class RowContainer(msgspec.Struct):
    name: str = ""
    state: RowState | None = None


class RowStatus(msgspec.Struct):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[RowCondition] = []
    initContainerStatuses: list[RowContainer] = []
    containerStatuses: list[RowContainer] = []


class RowMetadata(msgspec.Struct):
    resourceVersion: str
    name: str = ""
    namespace: str = ""
    uid: str = ""
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None


class RowPod(msgspec.Struct):
    metadata: RowMetadata
    status: RowStatus | None = None


class RowEvent(msgspec.Struct):
    type: str
    object: RowPod


def check(stream: bytes, form: int, events: list[Any]) -> None:
    """Raises AssertionError unless the core tells of the stream exactly what the oracle tells."""
    table = PodTable()
    table.open_stream(form)
    found = [told(item) for at in range(0, len(stream), READ_SIZE) for item in table.feed(stream[at : at + READ_SIZE])]
    assert table.end_stream() == 0, "the stream ends inside a frame"
    assert found == replay(iter(events)), "the core and the oracle differ"
    table.validate()


def decode_lines(decode: Callable[[Any], object], stream: bytes) -> None:
    """Cuts the stream where the peer needs it cut, in the cheapest way: bytes.split would cost more than decoding."""
    view, at = memoryview(stream), 0
    while (end := stream.find(b"\n", at)) >= 0:
        decode(view[at:end])
        at = end + 1


def apply(stream: bytes, form: int) -> None:
    table = PodTable()
    table.open_stream(form)
    table.apply(stream)


def hand_over(pieces: list[bytes], form: int) -> None:
    table = PodTable()
    table.open_stream(form)
    for piece in pieces:
        table.feed(piece)


def memory_scan(stream: bytes) -> None:
    """One pass of memchr over the bytes: the floor of anything that must look at each of them."""
    stream.find(b"\0")


def pieces(stream: bytes) -> list[bytes]:
    return [stream[at : at + READ_SIZE] for at in range(0, len(stream), READ_SIZE)]


def lines(as_json: bytes, as_protobuf: bytes) -> dict[str, Callable[[], None]]:
    """What is measured, in the order in which it is printed."""
    typed, row_typed = msgspec.json.Decoder(Event), msgspec.json.Decoder(RowEvent)
    json_pieces, protobuf_pieces = pieces(as_json), pieces(as_protobuf)
    return {
        "json.loads": lambda: decode_lines(lambda line: json.loads(bytes(line)), as_json),
        "orjson": lambda: decode_lines(orjson.loads, as_json),
        ROW_PEER: lambda: decode_lines(row_typed.decode, as_json),
        PEER: lambda: decode_lines(typed.decode, as_json),
        "JSON, applied, no objects": lambda: apply(as_json, FORMAT_JSON),
        "protobuf, applied, no objects": lambda: apply(as_protobuf, FORMAT_PROTOBUF),
        "JSON, applied, changes to Python, 64 KB reads": lambda: hand_over(json_pieces, FORMAT_JSON),
        "protobuf, applied, changes to Python, 64 KB reads": lambda: hand_over(protobuf_pieces, FORMAT_PROTOBUF),
        "(memchr over the JSON bytes)": lambda: memory_scan(as_json),
    }


def measure(work: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each line in each round. A fast line is repeated inside a round until it lasts 20 ms."""
    repeats = {}
    for name, call in work.items():
        began = time.perf_counter()
        call()
        repeats[name] = max(1, round(0.02 / (time.perf_counter() - began)))
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - began) / repeats[name])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--json-stream", type=Path, help="another recorded watch, as JSON lines")
    parser.add_argument("--protobuf-stream", type=Path, help="the same events as protobuf frames")
    options = parser.parse_args()
    if (options.json_stream is None) != (options.protobuf_stream is None):
        parser.error("--json-stream and --protobuf-stream belong together")
    as_json = options.json_stream.read_bytes() if options.json_stream else recorded("churn.json.watch")
    as_protobuf = options.protobuf_stream.read_bytes() if options.protobuf_stream else recorded("churn.pb.watch")

    events = list(json_events(as_json))
    check(as_json, FORMAT_JSON, events)
    check(as_protobuf, FORMAT_PROTOBUF, list(protobuf_events(as_protobuf)))
    table = PodTable()
    table.open_stream(FORMAT_JSON)
    changed = table.apply(as_json)
    print(
        f"{len(events)} events, {changed} of them change a row; {len(as_json):,} bytes as JSON, "
        f"{len(as_protobuf):,} as protobuf; checked against the oracle\n"
    )

    seconds = measure(lines(as_json, as_protobuf), options.rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    title = f"median of {options.rounds} rounds"
    print(f"{title:50} {'events/s':>10} {'µs/event':>9} {'to change':>10} {'to row':>8}")
    for name, median in medians.items():
        rate = len(events) / median
        ratios = medians[PEER] / median, medians[ROW_PEER] / median
        print(f"{name:50} {rate:10,.0f} {1e6 / rate:9.2f} {ratios[0]:9.2f}x {ratios[1]:7.2f}x")
    if options.json:
        figures = {
            "benchmark": "micro_decode",
            "python": platform.python_version(),
            "machine": platform.machine(),
            "events": len(events),
            "changed": changed,
            "rounds": options.rounds,
            "lines": {
                name: {
                    "events_per_second": len(events) / median,
                    "ratio_to_msgspec_change": medians[PEER] / median,
                    "ratio_to_msgspec_row": medians[ROW_PEER] / median,
                    "seconds": seconds[name],
                }
                for name, median in medians.items()
            },
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
