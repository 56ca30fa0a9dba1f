"""Pod names: deterministic, so that a repeated create can never make a twin."""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 63  # a label's limit (RFC 1123): a pod's name is also its hostname
_HASH_CHARS = 16
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_NOT_ALLOWED = re.compile(r"[^a-z0-9]+")


def slug(text: str, limit: int = MAX_NAME - _HASH_CHARS - 1) -> str:
    """Lower-case letters, digits and single dashes of `text`, at most `limit` characters; `task` if nothing is left."""
    return _NOT_ALLOWED.sub("-", text.lower())[:limit].strip("-") or "task"


def pod_name(stem: str, submission_id: str, attempt: int) -> str:
    """The pod's name for one launch attempt of one submission.

    Args:
        stem: what a reader should recognise, e.g. the slug of dag and task.
        submission_id: names one hand-over of the task to the executor.
        attempt: launch attempt, from 0.

    Returns:
        `<slug>-<80 bits of a hash of submission id and attempt>`, at most 63 characters, an RFC 1123 label.
    """
    digest = hashlib.blake2b(f"{submission_id}\x1f{attempt}".encode("utf-8", "surrogatepass"), digest_size=10).digest()
    number = int.from_bytes(digest, "big")
    code = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -1, -5))
    return f"{slug(stem)}-{code}"
