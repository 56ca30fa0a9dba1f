"""Kubernetes' protobuf encoding of objects, both ways, driven by the field tables of `schema`.

Wire rules as gogo-protobuf generates them: fields ascend by number, map entries are sorted by key, fields that are no
Go pointers are written even when zero, times are seconds with nanos 0. Fields missing from the tables are left out.
"""

from __future__ import annotations

import base64
import calendar
import time
from functools import cache, lru_cache
from typing import Any

from shard_executor.devcluster import errors
from shard_executor.devcluster.schema import MESSAGES, SCALARS, Field, Message
from shard_executor.devcluster.store import Stored, timestamp
from shard_executor.devcluster.versions import Obj

MAGIC = b"k8s\x00"
_TRAILER = b"\x1a\x00\x22\x00"  # empty contentEncoding and contentType of runtime.Unknown
_MASK = (1 << 64) - 1
_SHORT = tuple(bytes((value,)) for value in range(0x80))


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """An encoded object behind the magic, in runtime.Unknown with its type."""
    type_meta = _chunk(0x0A, api_version.encode()) + _chunk(0x12, kind.encode())
    return b"".join((MAGIC, _chunk(0x0A, type_meta), _chunk(0x12, raw), _TRAILER))


def watch_frame(event_type: str, enveloped: bytes) -> bytes:
    """A frame of a watch: its length, then a WatchEvent with the enveloped object."""
    event = _chunk(0x0A, event_type.encode()) + _chunk(0x12, _chunk(0x0A, enveloped))
    return len(event).to_bytes(4, "big") + event


def list_body(metadata: Obj, items: list[bytes]) -> bytes:
    """A list message: ListMeta, then the encoded items."""
    parts = [_chunk(0x0A, encode("ListMeta", metadata))]
    for item in items:
        parts.append(b"\x12" + varint(len(item)))
        parts.append(item)
    return b"".join(parts)


def encode(kind: str, obj: Obj) -> bytes:
    """The bare message of an object.

    Args:
        kind: a name in `schema.MESSAGES`.
    """
    return _encode(MESSAGES[kind], obj)


def varint(value: int) -> bytes:
    """A base-128 varint; negative numbers take ten bytes."""
    if 0 <= value < 0x80:
        return _SHORT[value]
    value &= _MASK
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _chunk(tag: int, data: bytes) -> bytes:
    return _SHORT[tag] + varint(len(data)) + data


def _encode(message: Message, obj: Obj) -> bytes:
    cached = obj.encoded.get("protobuf") if isinstance(obj, Stored) else None
    if cached is not None:
        return cached
    parts: list[bytes] = []
    for field in message.fields:
        if field.inline:
            data = _encode(MESSAGES[field.type], obj)
            parts.append(_key(field) + varint(len(data)) + data)
            continue
        value = obj.get(field.name)
        if value is None:
            if not (field.pointer or field.many or field.mapped):
                parts.append(_zero(field))
        elif field.many:
            parts.extend(_single(field, item) for item in value)
        elif field.mapped:
            parts.extend(_entry(field, key, value[key]) for key in sorted(value))
        else:
            parts.append(_single(field, value))
    result = b"".join(parts)
    if isinstance(obj, Stored):
        obj.encoded["protobuf"] = result
    return result


@cache
def _key(field: Field) -> bytes:
    """The field's number and wire type as they stand before each value."""
    return varint(field.number << 3 | (0 if field.type in ("i", "b") else 2))


@cache
def _zero(field: Field) -> bytes:
    if field.type in ("i", "b"):
        return _key(field) + b"\x00"
    data = b"" if field.type in SCALARS else _encode(MESSAGES[field.type], {})
    if field.type == "q":
        data = b"\x0a\x00"
    elif field.type == "x":
        data = b"\x08\x00\x10\x00\x1a\x00"
    return _key(field) + varint(len(data)) + data


def _entry(field: Field, key: str, value: Any) -> bytes:
    raw_key = key.encode()
    entry = _chunk(0x0A, raw_key) + _chunk(0x12, _scalar(field.type, value))
    return _key(field) + varint(len(entry)) + entry


def _single(field: Field, value: Any) -> bytes:
    kind = field.type
    if kind in ("i", "b"):
        return _key(field) + varint(int(value))
    data = _scalar(kind, value) if kind in SCALARS else _encode(MESSAGES[kind], value)
    return _key(field) + varint(len(data)) + data


def _scalar(kind: str, value: Any) -> bytes:
    if kind == "s":
        return str(value).encode("utf-8", "surrogatepass")
    if kind in ("t", "u"):
        return b"\x08" + varint(_seconds(value)) + b"\x10\x00" if value else b""
    if kind == "q":
        return _chunk(0x0A, str(value).encode())
    if kind == "x":
        if isinstance(value, int):
            return b"\x08\x00\x10" + varint(value) + b"\x1a\x00"
        return b"\x08\x01\x10\x00" + _chunk(0x1A, value.encode())
    if kind == "y":
        return base64.b64decode(value)
    return b""  # r: managedFields and the like, which this server does not keep


@lru_cache(4096)  # the same second stands in many conditions and pods; strptime costs 8 microseconds
def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def decode_envelope(data: bytes) -> Obj:
    """The object in an enveloped body, with kind and apiVersion.

    Raises:
        ApiError: 400 for bytes that are no such envelope or of an unknown kind.
    """
    if not data.startswith(MAGIC):
        raise errors.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        parts = dict(fields(data[4:]))
        type_meta = dict(fields(parts[1]))
        api_version, kind = type_meta[1].decode(), type_meta[2].decode()
        message = MESSAGES.get(kind)
        if message is None:
            raise errors.bad_request(f'no kind "{kind}" is registered for version "{api_version}"')
        return {"kind": kind, "apiVersion": api_version, **_decode(message, parts.get(2, b""))}
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise errors.bad_request(f"the protobuf body cannot be read: {error}") from error


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a message in order, by number: integers for varints, bytes for the rest.

    Raises:
        ValueError, IndexError: for bytes that are no message.
    """
    result: list[tuple[int, Any]] = []
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        tag = number()
        if tag & 7 == 0:
            result.append((tag >> 3, number()))
            continue
        if tag & 7 not in (1, 2, 5):
            raise ValueError(f"wire type {tag & 7}")
        length = number() if tag & 7 == 2 else 8 if tag & 7 == 1 else 4
        if position + length > len(data):
            raise ValueError("a field is longer than its message")
        result.append((tag >> 3, data[position : position + length]))
        position += length
    return result


def _decode(message: Message, data: bytes) -> Obj:
    known = {field.number: field for field in message.fields}
    result: Obj = {}
    for number, raw in fields(data):
        field = known.get(number)
        if field is None or field.type == "r":
            continue
        if field.inline:
            result.update(_decode(MESSAGES[field.type], raw))
            continue
        if field.mapped:
            entry = dict(fields(raw))
            result.setdefault(field.name, {})[entry.get(1, b"").decode()] = _read(field.type, entry.get(2, b""))
        elif field.many:
            result.setdefault(field.name, []).append(_read(field.type, raw))
        else:
            value = _read(field.type, raw)
            # Fields that are no pointers are written even when unset: a zero value means unset.
            if field.pointer or (value not in ("", 0, False, None) and value != {}):
                result[field.name] = value
    return result


def _read(kind: str, raw: Any) -> Any:
    if kind == "s":
        return raw.decode()
    if kind == "i":
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == "b":
        return bool(raw)
    if kind in ("t", "u"):
        seconds = dict(fields(raw)).get(1)
        return None if seconds is None else timestamp(seconds)
    if kind == "q":
        return dict(fields(raw)).get(1, b"").decode()
    if kind == "x":
        parts = dict(fields(raw))
        return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    if kind == "y":
        return base64.b64encode(raw).decode()
    return _decode(MESSAGES[kind], raw)
