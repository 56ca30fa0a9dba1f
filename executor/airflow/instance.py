"""The label value that keeps the executors of all Airflows, teams and aliases in one namespace apart."""

from __future__ import annotations

import hashlib
import re

ALONE = "default"
MAX_DEPLOYMENT = 32
_PART = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DEPLOYMENT = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9_-]{{0,{MAX_DEPLOYMENT - 2}}}[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_SLUG_LENGTH = 12
_DIGEST_SIZE = 8  # bytes


def is_deployment(name: str) -> bool:
    """Whether a name can begin a label value: letters, digits, "_" and "-", at most MAX_DEPLOYMENT characters."""
    return _DEPLOYMENT.fullmatch(name) is not None


def instance_label(deployment: str, team_name: str | None, alias: str | None) -> str:
    """`<deployment>.<alias or default>`, with a team `<deployment>.<team>.<alias or default>`.

    Different inputs have different labels: where a team or alias is no label text, or is the word for "none", or the
    whole is too long, a digest of all parts takes the place of what was lost.

    Args:
        deployment: as `is_deployment` wants it.
    """
    parts = [deployment, *([team_name] if team_name else []), alias or ALONE]
    value = ".".join(parts)
    if alias != ALONE and all(map(_PART.fullmatch, parts)) and _VALUE.fullmatch(value):
        return value
    named = "\x1f".join((deployment, team_name or "", alias or "")).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(named, digest_size=_DIGEST_SIZE).hexdigest()
    slug = _UNSAFE.sub("-", "-".join(parts[1:]))[:_SLUG_LENGTH]
    return f"{deployment}.{slug}.{digest}"


def is_foreign(instance: str | None, deployment: str) -> bool:
    """Whether a pod with this instance label, None for none, is another deployment's."""
    return instance is not None and not instance.startswith(f"{deployment}.")
