"""The checks of a task's fields: each takes a field's name and value and gives the value as the task keeps it.

A fault is a `TaskError` without the task's id, which a check does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shard_executor.pods.task_fields import FIELDS
from shard_executor.pods.task_words import TaskError, describe, in_quotes, suggestion

MAX_ID = 500  # characters; it travels in an annotation and in every message about the task
MOST = 2**31 - 1  # Kubernetes validates activeDeadlineSeconds as a number of 32 bits
_LONGEST = 2**63 - 1  # tolerationSeconds has 64 bits

# Labels and annotations that this project writes itself. A task that set them could leave its own watch's selector.
RESERVED_PREFIX = "shard-executor/"
RESERVED_KEYS = frozenset({"airflow-worker", "airflow_executor_done"})

_RESOURCE_KEYS = ("requests", "limits", "claims")
_ENV_KEYS = ("name", "value", "valueFrom")
_TOLERATION_KEYS = ("key", "operator", "value", "effect", "tolerationSeconds")
# Lt and Gt are of KEP-5471; a server that does not know them refuses the pod with its own words.
_OPERATORS = ("Exists", "Equal", "Lt", "Gt")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)  # RFC 1123 label
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # RFC 1123 subdomain
_DURATION = re.compile(r"([0-9]{1,9})\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def wrong(name: str, problem: str) -> TaskError:
    return TaskError(None, name, f"field {name!r} {problem}")


def is_reserved(key: str) -> bool:
    """Whether a label or annotation is one that this project writes itself."""
    return key.startswith(RESERVED_PREFIX) or key in RESERVED_KEYS


def check_id(value: object) -> None:
    if not isinstance(value, str):
        raise wrong("id", f"must be text, not {describe(value)}{in_quotes(value)}")
    if not value or len(value) > MAX_ID:
        shown = repr(value[:40] + "...") if value else "empty text"
        raise wrong("id", f"must have 1 to {MAX_ID} characters, not {len(value)} ({shown})")
    _unicode("id", value)


def check_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(value)}")
    _unicode(name, value)
    return value


def check_strings(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise wrong(name, f"must be {FIELDS[name]}; not {describe(value)}")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise wrong(f"{name}[{index}]", f"must be text, not {describe(item)}{in_quotes(item)}")
        _unicode(f"{name}[{index}]", item)
    return tuple(value)


def check_number(name: str, value: object, least: int, most: int = MOST) -> int:
    """A whole number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(value)}{_as_number(name, value)}")
    if not least <= value <= most:
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(value).removeprefix('the number ')}")
    return int(value)


def _as_number(name: str, value: object) -> str:
    """How to write the number that was probably meant, as the end of a message."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST:
        return f": write {int(value)}"
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or (found[2] and name != "timeout"):
        return ""
    return f": write {int(found[1]) * _SECONDS[found[2]]} without quotes"


def check_namespace(name: str, value: object) -> str:
    text = check_text(name, value)
    if len(text) > 63 or not _NAMESPACE.fullmatch(text):
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(text)}")
    return text


def check_service_account(name: str, value: object) -> str:
    text = check_text(name, value)
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(text)}")
    return text


def check_texts(name: str, value: object) -> dict[str, str]:
    """A mapping of text to text."""
    if not isinstance(value, Mapping):
        raise wrong(name, f"must be {FIELDS[name]}, not {describe(value)}")
    for key, text in value.items():
        if not isinstance(key, str) or not key:
            raise wrong(name, f"has a key that is no text: {describe(key)}{in_quotes(key)}")
        if not isinstance(text, str):
            raise wrong(f"{name}.{key}", f"must be text, not {describe(text)}{in_quotes(text)}")
        _unicode(f"{name}.{key}", key)
        _unicode(f"{name}.{key}", text)
    return {str.__str__(key): text for key, text in value.items()}  # a key of a class such as StrEnum is no JSON key


def check_metadata(name: str, value: object) -> dict[str, str]:
    """Labels or annotations."""
    texts = check_texts(name, value)
    for key in texts:
        if is_reserved(key):
            raise wrong(name, f"may not set {key!r}: shard-executor writes that one itself")
    return texts


def check_env(value: object) -> tuple[dict[str, Any], ...]:
    """A mapping or a list of Kubernetes env entries, as the latter."""
    if isinstance(value, Mapping):
        return tuple({"name": _env_name(key), "value": _env_value(key, v)} for key, v in value.items())
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise wrong("env", f"must be {FIELDS['env']}; not {describe(value)}")
    entries: dict[str, dict[str, Any]] = {}
    for index, entry in enumerate(value):
        where = f"env[{index}]"
        if not isinstance(entry, Mapping) or "name" not in entry or not entry.keys() <= set(_ENV_KEYS):
            raise wrong(where, f"must be a mapping with {', '.join(_ENV_KEYS)}, like {{name: A, value: b}}")
        name = _env_name(entry["name"])
        if name in entries:
            raise wrong(where, f"sets {name!r} a second time")
        if "valueFrom" in entry:
            if "value" in entry or not isinstance(entry["valueFrom"], Mapping):
                raise wrong(where, "must have either value or valueFrom, and valueFrom is a mapping")
            _json(where, entry["valueFrom"])
            entries[name] = {"name": name, "valueFrom": entry["valueFrom"]}
        else:
            entries[name] = {"name": name, "value": _env_value(name, entry.get("value", ""))}
    return tuple(entries.values())


def _env_name(name: object) -> str:
    if not isinstance(name, str) or not name or "=" in name:
        raise wrong("env", f"has a name that is no text without '=': {describe(name)}")
    _unicode("env", name)
    return name


def _env_value(name: str, value: object) -> str:
    if isinstance(value, str):
        _unicode(f"env.{name}", value)
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise wrong(f"env.{name}", f"must be text, a number or true/false, not {describe(value)}")


def check_resources(value: object) -> None:
    if not isinstance(value, Mapping):
        raise wrong("resources", f"must be {FIELDS['resources']}; not {describe(value)}")
    _json("resources", value)
    for key, amounts in value.items():
        if key not in _RESOURCE_KEYS:
            near = suggestion(str(key), _RESOURCE_KEYS)
            raise wrong("resources", f"has the unknown key {key!r}{near} (allowed: requests, limits, claims)")
        if key == "claims":
            continue
        if not isinstance(amounts, Mapping):
            raise wrong(f"resources.{key}", f"must be a mapping like {{cpu: 100m}}, not {describe(amounts)}")
        for name, amount in amounts.items():
            if isinstance(amount, bool) or not isinstance(amount, (str, int, float)) or not isinstance(name, str):
                shown = describe(amount)
                raise wrong(f"resources.{key}.{name}", f"must be a quantity like 100m or 1Gi, not {shown}")


def check_tolerations(value: object) -> tuple[dict[str, Any], ...]:
    """Kubernetes' tolerations, each with its keys in Kubernetes' order; a key that is null counts as left out."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        hint = ": put it into a list" if isinstance(value, Mapping) else ""
        raise wrong("tolerations", f"must be {FIELDS['tolerations']}; not {describe(value)}{hint}")
    return tuple([_toleration(f"tolerations[{index}]", entry) for index, entry in enumerate(value)])


def _toleration(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(where, f"must be a mapping like {{key: gpu, operator: Exists}}, not {describe(value)}")
    allowed = ", ".join(_TOLERATION_KEYS)
    for key in value:
        if key not in _TOLERATION_KEYS:
            near = suggestion(str(key), _TOLERATION_KEYS)
            raise wrong(where, f"has the unknown key {key!r}{near} (allowed: {allowed})")
    entry = {key: value[key] for key in _TOLERATION_KEYS if value.get(key) is not None}
    for key, text in entry.items():
        at = f"{where}.{key}"
        if key == "tolerationSeconds":
            if isinstance(text, bool) or not isinstance(text, int) or abs(text) > _LONGEST:
                raise wrong(at, f"must be whole seconds, not {describe(text)}{_as_number('timeout', text)}")
            continue
        if not isinstance(text, str):
            raise wrong(at, f"must be text, not {describe(text)}{in_quotes(text)}")
        _unicode(at, text)
        words = {"operator": _OPERATORS, "effect": _EFFECTS}.get(key)
        if words and text and text not in words:
            raise wrong(at, f"must be {' or '.join(words)}, not {describe(text)}{suggestion(text, words)}")
    _check_rules(where, entry)
    return entry


def _check_rules(where: str, entry: Mapping[str, Any]) -> None:
    """What Kubernetes says of a toleration's keys together (core/validation, ValidateTolerations)."""
    operator = entry.get("operator") or "Equal"
    if not entry.get("key") and operator != "Exists":
        raise wrong(where, "must have a key, or the operator Exists, which without a key tolerates every taint")
    if entry.get("value") and operator == "Exists":
        raise wrong(where, "may have no value with the operator Exists: leave it out, or use the operator Equal")
    if "tolerationSeconds" in entry and entry.get("effect") != "NoExecute":
        raise wrong(where, "may have tolerationSeconds only with the effect NoExecute")


def _unicode(name: str, value: str) -> None:
    """Half a surrogate pair (an escape such as \\ud800 alone) is no text that UTF-8 could carry."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as fault:
            raise wrong(name, "holds half a surrogate pair, which is no text") from fault


def _json(name: str, value: object) -> None:
    try:
        orjson.dumps(value)
    except (TypeError, ValueError) as fault:
        raise wrong(name, f"cannot be written as JSON: {fault}") from fault
