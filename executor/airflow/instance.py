"""The label value that keeps the executors of all Airflows, teams and aliases in one namespace apart."""

from __future__ import annotations

import hashlib
import re

ALONE = "default"
_PART = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_SLUG_LENGTH = 46
_DIGEST_SIZE = 8  # bytes


def instance_label(deployment: str, team_name: str | None, alias: str | None) -> str:
    """`<deployment>.<alias or default>`, with a team `<deployment>.<team>.<alias or default>`.

    Two different inputs never have the same label: where a part is no label text, holds a dot, is the word for "none",
    or the whole is too long, a digest of all parts takes the place of what was lost.
    """
    parts = [deployment, *([team_name] if team_name else []), alias or ALONE]
    value = ".".join(parts)
    plain = all(_PART.fullmatch(part) for part in parts) and _VALUE.fullmatch(value) and alias != ALONE
    if plain:
        return value
    digest = hashlib.blake2b(
        "\x1f".join((deployment, team_name or "", alias or "")).encode("utf-8", "surrogatepass"),
        digest_size=_DIGEST_SIZE,
    ).hexdigest()
    slug = _UNSAFE.sub("-", value)[:_SLUG_LENGTH].strip("-_")
    return f"{slug}.{digest}" if slug else digest
