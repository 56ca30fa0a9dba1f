"""Container logs on disk: writing with rotation, reading with tail, since and limits.

The format is the one container runtimes write for a kubelet (CRI logging): each line as
``<RFC 3339 time> stdout F <text>``, or ``P`` for a piece of a line that goes on. Standard error is merged into
standard output, which keeps the order of the two.
"""

from __future__ import annotations

import calendar
import os
import time
from dataclasses import dataclass
from typing import BinaryIO

DEFAULT_LIMIT = 10 * 1024 * 1024  # bytes; kubelet's containerLogMaxSize
MAX_LINE = 16 * 1024  # bytes; containerd's max_container_log_line_size
_BLOCK = 1 << 16


def rotated(path: str) -> str:
    """Where the older half of a log goes."""
    return f"{path}.1"


def _stamp(now: float) -> bytes:
    seconds = int(now)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{int((now - seconds) * 1e9):09d}Z stdout ".encode()


class LogWriter:
    """Appends one container's output to a file.

    The file is created with the first output. Beyond `limit` bytes it becomes the older half, and the older half
    before that is dropped, so a log takes at most twice the limit. Output that cannot be written (its folder has been
    removed with the pod, the disk is full) is dropped, as everything after it: the other containers' goes on.
    """

    def __init__(self, path: str, *, limit: int = DEFAULT_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._file: BinaryIO | None = None
        self._size = 0
        self._rest = b""  # the beginning of a line whose end has not come yet
        self._last = 0.0
        self._lost = False

    def write(self, data: bytes, now: float) -> None:
        """Adds output received at `now` (unix seconds)."""
        self._last = now
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        stamp = _stamp(now)
        full, partial = stamp + b"F ", stamp + b"P "
        out: list[bytes] = []
        for line in lines:
            if len(line) > MAX_LINE:
                cuts = range(0, len(line) - MAX_LINE, MAX_LINE)
                out += [partial + line[at : at + MAX_LINE] + b"\n" for at in cuts]
                line = line[len(cuts) * MAX_LINE :]
            out.append(full + line + b"\n")
        while len(self._rest) >= MAX_LINE:
            out.append(partial + self._rest[:MAX_LINE] + b"\n")
            self._rest = self._rest[MAX_LINE:]
        self._append(b"".join(out))

    def close(self) -> None:
        """Writes out a last line without an end, as a piece, and closes the file."""
        if self._rest:
            self._append(_stamp(self._last) + b"P " + self._rest + b"\n")
            self._rest = b""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, data: bytes) -> None:
        if not data or self._lost:
            return
        try:
            self._write_out(data)
        except OSError:
            self._lost = True

    def _write_out(self, data: bytes) -> None:
        if self._file is not None and self._size + len(data) > self._limit:
            self._file.close()
            os.replace(self._path, rotated(self._path))
            self._file = None
        if self._file is None:
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115 - lives as long as the container
            self._size = 0
        self._file.write(data)
        self._size += len(data)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What of a log is wanted.

    `tail_lines`: the last so many lines; `limit_bytes`: at most so many bytes; `since_seconds`: only what came in
    the last so many seconds; `timestamps`: each line begins with its time; `follow`: goes on until the container
    ends; `previous`: the log of the run before the last restart.
    """

    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_seconds: int | None = None
    timestamps: bool = False
    follow: bool = False
    previous: bool = False


class LogReader:
    """Reads a log file piece by piece, and goes on where it stopped when there is more.

    Args:
        path: the file; it need not exist yet.
        query: what is wanted.
        now: unix seconds, for `since_seconds`.
    """

    def __init__(self, path: str, query: LogQuery, now: float) -> None:
        self._path = path
        self._query = query
        self._since = None if query.since_seconds is None else now - query.since_seconds
        self._left = query.limit_bytes
        self._file: BinaryIO | None = None
        self._rest = b""
        self._fresh_line = True

    @property
    def exhausted(self) -> bool:
        """Whether the byte limit has been reached."""
        return self._left is not None and self._left <= 0

    def read(self) -> bytes:
        """The next piece, empty if there is nothing more at present."""
        while not self.exhausted:
            data = self._next_block()
            if not data:
                break
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            piece = b"".join(map(self._render, lines))
            if self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            if piece:
                return piece
        return b""

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next_block(self) -> bytes:
        if self._file is None:
            opened = self._open()
            if opened is None:
                return b""
            self._file = opened
        data = self._file.read(_BLOCK)
        if not data and self._superseded(self._file):
            # Something may have come between the read and the rotation.
            data = self._file.read(_BLOCK)
            if not data:
                self._file.close()
                self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
                data = self._file.read(_BLOCK)
        return data

    def _superseded(self, file: BinaryIO) -> bool:
        """Whether the file in hand has been rotated away and a new one stands in its place."""
        try:
            return os.stat(self._path).st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _open(self) -> BinaryIO | None:
        older, newer = _open_if_there(rotated(self._path)), _open_if_there(self._path)
        tail = self._query.tail_lines
        if tail is not None and newer is not None:
            missing = _seek_tail(newer, tail)
            if missing == 0:
                if older is not None:
                    older.close()
                return newer
            tail = missing
        if older is None:
            return newer
        if newer is not None:
            newer.close()
        if tail is not None:
            _seek_tail(older, tail)
        return older

    def _render(self, line: bytes) -> bytes:
        stamp, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        begins, self._fresh_line = self._fresh_line, tag == b"F"
        if self._since is not None and _seconds(stamp) < self._since:
            return b""
        if tag == b"F":
            text += b"\n"
        return stamp + b" " + text if self._query.timestamps and begins else text


def last_output(path: str, *, lines: int, limit: int) -> str:
    """The end of a log as text: at most `lines` lines and `limit` bytes, for a termination message."""
    reader = LogReader(path, LogQuery(tail_lines=lines), 0.0)
    pieces = []
    while piece := reader.read():
        pieces.append(piece)
    reader.close()
    return b"".join(pieces)[-limit:].decode(errors="replace")


def _seconds(stamp: bytes) -> float:
    moment = calendar.timegm(time.strptime(stamp[:19].decode(), "%Y-%m-%dT%H:%M:%S"))
    return moment + float(b"0" + stamp[19:-1])


def _open_if_there(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        return None


def _seek_tail(file: BinaryIO, lines: int) -> int:
    """Moves to the beginning of the last `lines` lines; returns how many lines the file lacks (then at its start)."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return 0
    wanted = lines + 1  # the line end before the first wanted line; the file itself ends with one
    position = end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        count = block.count(b"\n")
        if count >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rfind(b"\n", 0, at)
            file.seek(start + at + 1)
            return 0
        wanted -= count
        position = start
    file.seek(0)
    return max(0, wanted - 1)
