"""Whether a file is still the one that was read: by its stat, looked at once a second at most."""

from __future__ import annotations

import os

Signature = tuple[int, int, int, int, int]

LOOK_INTERVAL = 1.0  # seconds
_MAX_FILES = 4096


def signature_of(path: str | int) -> Signature | None:
    """Device, inode, size, and times of change of a file or descriptor; None where there is no file to be seen."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class Signatures:
    """Signatures of the files that templates are read from. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, Signature | None]] = {}

    def get(self, path: str, now: float) -> Signature | None:
        """The file's signature, at most `LOOK_INTERVAL` old; `now` in monotonic seconds."""
        seen = self._seen.get(path)
        if seen is not None and now - seen[0] < LOOK_INTERVAL:
            return seen[1]
        if len(self._seen) >= _MAX_FILES:
            self._seen.clear()
        signature = signature_of(path) if path else None
        self._seen[path] = (now, signature)
        return signature

    def forget(self, path: str) -> None:
        self._seen.pop(path, None)
