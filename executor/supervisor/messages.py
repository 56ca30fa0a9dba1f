"""Frames between the parent and a shard: a 4-byte big-endian length, then a JSON list of messages.

A message is a list `[kind, ...]`; the kinds and their fields are the constants below. Many messages share a frame,
because a frame costs a system call on each side and a message does not.

Parent to shard:
    CONFIG    settings: object                            once, first
    SUBMIT    ticket, namespace, stem, submission id, priority, attempt, uid, began, fresh, reported state, revoked,
              body, pod's name or null, [labels, annotations] to adopt it by or null
                                                          see Submitted in core/events.py
    BEGIN                                                 all tickets of a predecessor have been sent
    BODY      ticket, body                                answers NEED_BODY
    NO_BODY   ticket, reason, message                     answers NEED_BODY
    ACK       ticket, keep                                the terminal report is safe
    REVOKE    ticket
    CREDENTIALS  record: object
    STOP      seconds                                     finish what is in flight, within that time
Shard to parent:
    READY     pid
    REPORT    fields: object                              see Report in core/actions.py
    CLOSED    ticket, pod left or null
    NEED_BODY ticket, launch attempt
    ADOPTED   ticket                                      its pod has our labels
    NEED_CREDENTIALS
    BEAT      figures: object
    LOG       level, text
    STOPPED
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

CONFIG, SUBMIT, BEGIN, BODY, NO_BODY, ACK, REVOKE, CREDENTIALS, STOP = (
    "config",
    "submit",
    "begin",
    "body",
    "no-body",
    "ack",
    "revoke",
    "credentials",
    "stop",
)
READY, REPORT, CLOSED, NEED_BODY, ADOPTED, NEED_CREDENTIALS, BEAT, LOG, STOPPED = (
    "ready",
    "report",
    "closed",
    "need-body",
    "adopted",
    "need-credentials",
    "beat",
    "log",
    "stopped",
)

MAX_FRAME = 256 * 1024 * 1024  # a length beyond this is garbage, not a frame
MAX_MESSAGES = 512  # per frame: bounds what one decode holds at once

Message = list[Any]
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The bytes on the channel are no frames; the peer is not what it should be."""


def encode(messages: list[Message]) -> bytes:
    """Frames for a list of messages, at most MAX_MESSAGES in each."""
    parts: list[bytes] = []
    for start in range(0, len(messages), MAX_MESSAGES):
        body = orjson.dumps(messages[start : start + MAX_MESSAGES])
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


class FrameReader:
    """Cuts a byte stream into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`.

        Raises:
            FrameError: an impossible length or a body that is no JSON list.
        """
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= 4:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes")
            if len(buffer) - at - 4 < length:
                break
            try:
                found = orjson.loads(memoryview(buffer)[at + 4 : at + 4 + length])
            except ValueError as error:
                raise FrameError(f"a frame that is no JSON: {error}") from error
            if not isinstance(found, list) or not all(isinstance(m, list) and m and type(m[0]) is str for m in found):
                raise FrameError("a frame that is no list of messages")
            messages += found
            at += 4 + length
        if at:
            del buffer[:at]
        return messages
