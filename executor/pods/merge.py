"""How a task's values go into a template's, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def merge_env(base: Sequence[Mapping[str, Any]], names: Sequence[str], value: Callable[[], Any]) -> list[Any]:
    """The template's entries in their order, those of the task in place of equal names, then the task's others.

    Args:
        base: the template's entries.
        names: of the task's entries, without repetitions.
        value: gives the task's entries one by one, in the order of `names`.
    """
    own = {name: value() for name in names}
    merged = [own.pop(entry["name"], entry) for entry in base]
    return [*merged, *own.values()]


def merge_resources(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Requests and limits key by key; the task's amounts win. Claims are replaced as a whole."""
    merged = dict(base)
    for key, amounts in own.items():
        merged[key] = {**(merged.get(key) or {}), **amounts} if isinstance(amounts, Mapping) else amounts
    return merged


def merge_tolerations(base: Sequence[Any], own: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The template's as they are, then those of the task that are not there yet."""
    merged = list(base)
    for entry in own:
        if entry not in merged:
            merged.append(entry)
    return merged
