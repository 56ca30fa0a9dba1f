"""Sockets lie in a folder of the test's own, with a path that is short enough for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for sockets, which does not exist yet; afterwards it must be gone or empty."""
    with tempfile.TemporaryDirectory(prefix="se-") as base:
        folder = Path(base, "sockets")
        monkeypatch.setenv("SHARD_EXECUTOR_RUNTIME_DIR", str(folder))
        yield folder
        assert not folder.exists() or not list(folder.iterdir())
