"""Reads single options by the option table: text to value, with an error that says where it is and what is allowed."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from shard_executor.airflow.option_table import Option, option

_TRUE = frozenset({"t", "true", "1"})  # as Airflow reads them
_FALSE = frozenset({"f", "false", "0"})
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class OptionError(ValueError):
    """An option cannot work.

    Args:
        section, key: where it is.
        value: its text.
        allowed: what would do.
    """

    def __init__(self, section: str, key: str, value: str, allowed: str) -> None:
        super().__init__(section, key, value, allowed)
        self.section = section
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        variable = f"AIRFLOW__{self.section.upper()}__{self.key.upper()}"
        return f"[{self.section}] {self.key} ({variable}): {self.value!r} is not allowed; it must be {self.allowed}"


class Reader:
    """Reads a configuration; every method raises OptionError. `notes` collects what was set without effect."""

    def __init__(self, conf: Any) -> None:
        self._conf = conf
        self.notes: list[str] = []

    def text(self, section: str, key: str) -> str:
        """The option's text without spaces around it, its default where it is not set."""
        entry = option(section, key)
        given = self._conf.get(section, key, fallback=entry.default)
        value = "" if given is None else str(given).strip()
        if entry.stance == "no effect" and value and value.lower() != entry.default.lower():
            self.notes.append(f"[{section}] {key} = {value} has no effect: {entry.words}")
        if entry.choices and value not in entry.choices:
            raise OptionError(section, key, value, entry.allowed)
        return value

    def boolean(self, section: str, key: str) -> bool:
        """True or False, in the spellings that Airflow takes."""
        value = self.text(section, key)
        word = value.lower().split("#", 1)[0].strip()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise OptionError(section, key, value, option(section, key).allowed)

    def integer(self, section: str, key: str) -> int:
        """A whole number within the table's limits."""
        entry = option(section, key)
        value = self.text(section, key)
        try:
            number = int(value)
        except ValueError:
            raise OptionError(section, key, value, entry.allowed) from None
        _check_limits(section, entry, value, number)
        return number

    def number(self, section: str, key: str) -> float:
        """A finite number within the table's limits."""
        entry = option(section, key)
        value = self.text(section, key)
        try:
            number = float(value)
        except ValueError:
            raise OptionError(section, key, value, entry.allowed) from None
        if not math.isfinite(number):
            raise OptionError(section, key, value, entry.allowed)
        _check_limits(section, entry, value, number)
        return number

    def listed(self, section: str, key: str) -> tuple[str, ...]:
        """The parts between commas, each once, without empty ones."""
        parts = (part.strip() for part in self.text(section, key).split(","))
        return tuple(dict.fromkeys(part for part in parts if part))

    def namespace(self, section: str, key: str) -> str:
        """The name of a namespace, or ""."""
        value = self.text(section, key)
        _check_namespace(section, key, value, value)
        return value

    def namespaces(self, section: str, key: str) -> tuple[str, ...]:
        """The names of namespaces."""
        names = self.listed(section, key)
        for name in names:
            _check_namespace(section, key, name, self.text(section, key))
        return names

    def mapping(self, section: str, key: str) -> dict[str, Any]:
        """A JSON object; nothing is an empty one."""
        value = self.text(section, key)
        if not value:
            return {}
        allowed = option(section, key).allowed
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise OptionError(section, key, value, f"{allowed} ({error})") from None
        if not isinstance(parsed, dict):
            raise OptionError(section, key, value, allowed)
        return parsed


def is_namespace(name: str) -> bool:
    """Whether a namespace can have this name (an RFC 1123 label)."""
    return _NAMESPACE.fullmatch(name) is not None


def _check_limits(section: str, entry: Option, value: str, number: float) -> None:
    too_small = entry.least is not None and number < entry.least
    too_big = entry.most is not None and number > entry.most
    if too_small or too_big:
        raise OptionError(section, entry.key, value, entry.allowed)


def _check_namespace(section: str, key: str, name: str, value: str) -> None:
    if name and not is_namespace(name):
        words = f"made of names of namespaces (lower case letters, digits and '-', at most 63 characters), not {name!r}"
        raise OptionError(section, key, value, words)
