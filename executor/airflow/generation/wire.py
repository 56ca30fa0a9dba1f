"""Frames between the factory and its builder process: a 4-byte big-endian length, then marshalled plain values.

Both ends run the same interpreter over a socket pair that nobody else has. Factory to builder: first the settings,
then lists of jobs `(kind, subject)`. Builder to factory: first READY or FAILED, then an answer for each job, in order,
as soon as it is there.

    READY    hook in use, its sources
    FAILED   words
    PLAN     texts, slots, namespace, signature of the template that was read
    POD      body, namespace
    LOGIC    body, namespace                   this pod, and: its shape cannot be compiled
    ERROR    reason, message, of the shape     the last: whether every task of that shape has it
"""

from __future__ import annotations

import marshal
import socket
import struct
from typing import Any

READY, FAILED, PLAN, POD, LOGIC, ERROR = range(6)
COMPILE, BUILD = range(2)  # kinds of jobs

_LENGTH = struct.Struct(">I")
_MAX_FRAME = 1 << 30


class ChannelEnded(Exception):
    """The other end is gone, or is not what it should be."""


def send(sock: socket.socket, message: Any) -> None:
    """Raises OSError (TimeoutError among it), or ValueError for a message of more than 1 GiB."""
    body = marshal.dumps(message)
    if len(body) > _MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes")
    sock.sendall(_LENGTH.pack(len(body)) + body)


class Frames:
    """Reads whole frames off a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", buffering=1 << 18)

    def read(self) -> Any:
        """The next message.

        Raises:
            ChannelEnded: the channel's end, or no frame.
            OSError: as the socket; after TimeoutError nothing more can be read.
        """
        head = self._file.read(4)
        if len(head) < 4:
            raise ChannelEnded("the channel has ended")
        (length,) = _LENGTH.unpack(head)
        if length > _MAX_FRAME:
            raise ChannelEnded(f"a frame of {length} bytes")
        body = self._file.read(length)
        if len(body) < length:
            raise ChannelEnded("the channel has ended within a frame")
        return marshal.loads(body)

    def close(self) -> None:
        self._file.close()
