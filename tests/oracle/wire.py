"""A literal reader of protobuf's wire rules, and Kubernetes messages as dictionaries in their JSON shape."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from oracle.project import Refused

Field = tuple[int, int, Any]
TEXT, MESSAGE, LIST, MAP, NUMBER, FLAG, TIME = "text", "message", "list", "map", "number", "flag", "time"

WAITING = {1: ("reason", TEXT), 2: ("message", TEXT)}
RUNNING = {1: ("startedAt", TIME)}
TERMINATED = {
    1: ("exitCode", NUMBER),
    2: ("signal", NUMBER),
    3: ("reason", TEXT),
    4: ("message", TEXT),
    5: ("startedAt", TIME),
    6: ("finishedAt", TIME),
}
STATE = {1: ("waiting", MESSAGE, WAITING), 2: ("running", MESSAGE, RUNNING), 3: ("terminated", MESSAGE, TERMINATED)}
CONTAINER = {
    1: ("name", TEXT),
    2: ("state", MESSAGE, STATE),
    4: ("ready", FLAG),
    5: ("restartCount", NUMBER),
}
CONDITION = {1: ("type", TEXT), 2: ("status", TEXT), 5: ("reason", TEXT), 6: ("message", TEXT)}
STATUS = {
    1: ("phase", TEXT),
    2: ("conditions", LIST, CONDITION),
    3: ("message", TEXT),
    4: ("reason", TEXT),
    7: ("startTime", TIME),
    8: ("containerStatuses", LIST, CONTAINER),
    10: ("initContainerStatuses", LIST, CONTAINER),
}
METADATA = {
    1: ("name", TEXT),
    3: ("namespace", TEXT),
    5: ("uid", TEXT),
    6: ("resourceVersion", TEXT),
    9: ("deletionTimestamp", TIME),
    11: ("labels", MAP),
    12: ("annotations", MAP),
}
POD = {1: ("metadata", MESSAGE, METADATA), 3: ("status", MESSAGE, STATUS)}
LIST_METADATA = {2: ("resourceVersion", TEXT), 3: ("continue", TEXT), 4: ("remainingItemCount", NUMBER)}
POD_LIST = {1: ("metadata", MESSAGE, LIST_METADATA), 2: ("items", LIST, POD)}
CAUSE = {1: ("reason", TEXT)}
DETAILS = {4: ("causes", LIST, CAUSE), 5: ("retryAfterSeconds", NUMBER)}
ANSWER = {3: ("message", TEXT), 4: ("reason", TEXT), 5: ("details", MESSAGE, DETAILS), 6: ("code", NUMBER)}


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if at >= len(data):
            raise Refused("varint cut off")
        value |= (data[at] & 0x7F) << 7 * count
        at += 1
        if data[at - 1] < 0x80:
            if value >= 2**64:
                raise Refused("varint over 64 bits")
            return value, at
    raise Refused("varint over 64 bits")


def fields(data: bytes) -> Iterator[Field]:
    """(number, wire type, value) of each field of a message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number < 1 or tag >= 2**32:
            raise Refused("field number")
        if wire == 0:
            value, at = varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise Refused("wire type")
        if size > len(data) - at:
            raise Refused("length")
        yield number, wire, data[at : at + size]
        at += size


def _time(data: bytes) -> str | None:
    found = {number: value for number, _, value in fields(data) if number in (1, 2)}
    if not found:
        return None
    seconds = found.get(1, 0)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds - 2**64 if seconds >= 2**63 else seconds)
    return moment.replace(tzinfo=None).isoformat() + "Z"


def read(data: bytes, shape: dict[int, Any], into: dict[str, Any] | None = None) -> dict[str, Any]:
    """A message as a dictionary; known fields of another wire type are refused, unknown fields skipped."""
    result: dict[str, Any] = {} if into is None else into
    for number, wire, value in fields(data):
        if number not in shape:
            continue
        name, kind, *inner = shape[number]
        if wire != (0 if kind in (NUMBER, FLAG) else 2):
            raise Refused(f"{name}: wire type")
        if kind == TEXT:
            result[name] = value.decode("utf-8", "replace")
        elif kind == NUMBER:
            low = value & 0xFFFFFFFF
            result[name] = low - 2**32 if low >= 2**31 else low
        elif kind == FLAG:
            result[name] = value != 0
        elif kind == TIME:
            result[name] = _time(value)
        elif kind == MESSAGE:
            if name in ("metadata", "status") and name in result and shape is POD:
                raise Refused(f"{name} occurs twice")
            result[name] = read(value, inner[0], result.get(name))
        elif kind == LIST:
            result.setdefault(name, []).append(read(value, inner[0]))
        else:
            entry = read(value, {1: ("key", TEXT), 2: ("value", TEXT)})
            result.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
    return result


def unwrap(data: bytes) -> tuple[str, bytes]:
    """(kind, raw) of an enveloped object: `k8s`, a zero byte, runtime.Unknown."""
    if data[:4] != b"k8s\0":
        raise Refused("no envelope")
    kind, raw = "", b""
    for number, wire, value in fields(data[4:]):
        if number in (1, 2) and wire != 2:
            raise Refused("envelope")
        if number == 1:
            for inner, inner_wire, text in fields(value):
                if inner == 2:
                    if inner_wire != 2:
                        raise Refused("type")
                    kind = text.decode("utf-8", "replace")
        elif number == 2:
            raw = value
    return kind, raw
