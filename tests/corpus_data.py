"""Reads the recorded traffic in tests/corpus."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parent / "corpus"
STREAMS = ("churn", "shard1", "watchlist")


@cache
def recorded(name: str) -> bytes:
    """A recorded body by its name without .gz, such as `churn.json.watch`."""
    return gzip.decompress((CORPUS / f"{name}.gz").read_bytes())


def expected_kinds() -> dict[str, str]:
    """Pod name to what was done to the pod."""
    kinds: dict[str, str] = json.loads((CORPUS / "expected-kinds.json").read_text())
    return kinds


def error_answers() -> dict[str, Any]:
    """What the server answers when asked wrongly, by status."""
    answers: dict[str, Any] = json.loads((CORPUS / "errors.json").read_text())
    return answers
