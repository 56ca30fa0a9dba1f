"""Reads what an API server says in the body of a refused request: a Status as JSON or protobuf, or plain words.

Error answers are rare and small, so this is plain Python; it never raises, because a truncated or foreign body must
still end in a named fault. Field numbers: k8s.io/apimachinery pkg/apis/meta/v1/generated.proto (Status,
StatusDetails, StatusCause) and pkg/runtime/generated.proto (Unknown).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

PROTOBUF_MAGIC = b"k8s\x00"
TEXT_LIMIT = 8192

_STATUS_TEXT = {2: "status", 3: "message", 4: "reason"}
_DETAILS_TEXT = {1: "name", 2: "group", 3: "kind", 6: "uid"}
_CAUSE_TEXT = {1: "reason", 2: "message", 3: "field"}


class _Malformed(ValueError):
    """The bytes are not the protobuf message they were taken for."""


def read_status(body: bytes, content_type: str) -> tuple[dict[str, Any] | None, str]:
    """The Status object in an answer's body, by its JSON names, and the body as text for want of one.

    The bytes decide before content_type does: proxies relabel bodies. Returns (None, text) for anything that is no
    whole Status; text is at most 8,192 bytes long and empty for a protobuf body.
    """
    if body.startswith(PROTOBUF_MAGIC):
        return _protobuf_status(body), ""
    text = body[:TEXT_LIMIT].decode("utf-8", "replace")
    if "protobuf" in content_type and body[:1] not in (b"{", b"<"):
        return None, "" if b"\x00" in body[:TEXT_LIMIT] else text
    if body[:1] == b"{" or "json" in content_type:
        try:
            value = orjson.loads(body)
        except ValueError:
            return None, text
        if isinstance(value, dict) and ("reason" in value or "message" in value or value.get("kind") == "Status"):
            return value, text
    return None, text


def _protobuf_status(body: bytes) -> dict[str, Any] | None:
    try:
        raw = b""
        for number, value in _fields(body[len(PROTOBUF_MAGIC) :]):
            if number == 2 and isinstance(value, bytes):
                raw = value
        return _status(raw) if raw else None
    except _Malformed:
        return None


def _status(raw: bytes) -> dict[str, Any]:
    status: dict[str, Any] = {}
    for number, value in _fields(raw):
        if isinstance(value, bytes):
            if number in _STATUS_TEXT:
                status[_STATUS_TEXT[number]] = value.decode("utf-8", "replace")
            elif number == 5:
                status["details"] = _details(value)
        elif number == 6:
            status["code"] = value
    return status


def _details(raw: bytes) -> dict[str, Any]:
    details: dict[str, Any] = {}
    causes: list[dict[str, str]] = []
    for number, value in _fields(raw):
        if isinstance(value, bytes):
            if number in _DETAILS_TEXT:
                details[_DETAILS_TEXT[number]] = value.decode("utf-8", "replace")
            elif number == 4:
                causes.append(
                    {
                        _CAUSE_TEXT[n]: v.decode("utf-8", "replace")
                        for n, v in _fields(value)
                        if n in _CAUSE_TEXT and isinstance(v, bytes)
                    }
                )
        elif number == 5:
            details["retryAfterSeconds"] = value
    if causes:
        details["causes"] = causes
    return details


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Each field of one message: (field number, bytes or varint). Raises _Malformed where the wire rules break."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(data, position)
        elif wire_type == 1:
            length = 8
        elif wire_type == 5:
            length = 4
        else:
            raise _Malformed
        if length > len(data) - position:
            raise _Malformed
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _Malformed
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Malformed
