"""Keeps certificates and keys as private files for the shards.

Every certificate, key and CA bundle is copied into one folder (mode 0700, files 0600) under a name made of its
content. So base64 data and files look alike to a shard, a certificate and its key are taken at one moment, and a file
that is rotated in place gets a new name, which is how a shard learns of it. The folder is removed at the end of the
process that made it; a forked child leaves it alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


class Material:
    """A private folder of PEM files. Constructing makes nothing; the first `keep` makes the folder."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._finalizer: weakref.finalize[[str, int], Material] | None = None

    @property
    def folder(self) -> str | None:
        """The folder, or None while nothing is kept."""
        return self._folder

    def keep(self, content: bytes) -> str:
        """Write `content` to a file of its own and return the file's path; the same content gives the same path.

        A file that exists only gets a new time stamp, so that a cleaner of temporary files leaves it alone; one that
        such a cleaner took is written again. Raises OSError when the folder cannot be written.
        """
        if self._folder is None or not os.path.isdir(self._folder):
            self._drop()
            self._folder = tempfile.mkdtemp(prefix="shard-executor-")
            self._finalizer = weakref.finalize(self, _remove, self._folder, os.getpid())
        path = Path(self._folder, hashlib.sha256(content).hexdigest()[:32] + ".pem")
        if path.exists():
            os.utime(path)
            return str(path)
        handle, scratch = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(scratch, path)
        return str(path)

    def close(self) -> None:
        """Remove the folder and what is in it. Safe to call again."""
        self._drop()

    def _drop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._finalizer = None
        self._folder = None
