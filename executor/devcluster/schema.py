"""Field tables turned into message descriptions, and objects from JSON bodies checked against them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from shard_executor.devcluster import errors
from shard_executor.devcluster.fields_other import OTHER_FIELDS
from shard_executor.devcluster.fields_pod import POD_FIELDS
from shard_executor.devcluster.versions import Obj

_FIELD = re.compile(r"(\+?)([^=]+)=(\d+)(?::(\w+))?(\[\]|\{\})?(\?)?(@\w*)?$")
_GO_TYPES = {"s": "string", "i": "int64", "b": "bool", "t": "Time", "u": "MicroTime", "q": "Quantity", "y": "uint8"}
SCALARS = frozenset("sibtuqxyr")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name, protobuf number, type letter or message name, and how it repeats and merges."""

    name: str
    number: int
    type: str
    inline: bool
    many: bool
    mapped: bool
    pointer: bool
    merge_key: str | None


@dataclass(slots=True)
class Message:
    """A message: its own fields by protobuf number, and all of its JSON fields, inlined ones included, by name.

    `ranks` is each JSON field's place in the encoding.
    """

    name: str
    fields: list[Field] = field(default_factory=list)
    by_name: dict[str, Field] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)


def _parse(tables: str) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    declared: dict[str, list[Field]] = {}
    for line in tables.replace("\n    ", " ").split("\n"):
        if not line:
            continue
        name, *words = line.split()
        declared[name] = [_field(word) for word in words]
    for name, fields in declared.items():
        messages[name] = Message(name, sorted(fields, key=lambda entry: entry.number))
    for name, fields in declared.items():
        for entry in fields:
            for shown in messages[entry.type].fields if entry.inline else [entry]:
                messages[name].by_name[shown.name] = shown
        messages[name].ranks = {known: place for place, known in enumerate(messages[name].by_name)}
    return messages


def _field(word: str) -> Field:
    match = _FIELD.match(word)
    if match is None:
        raise ValueError(f"bad field in a table: {word}")
    inline, name, number, kind, repeat, pointer, merge = match.groups()
    return Field(
        name=name,
        number=int(number),
        type=kind or "s",
        inline=bool(inline),
        many=repeat == "[]",
        mapped=repeat == "{}",
        pointer=bool(pointer),
        merge_key=None if merge is None else merge[1:],
    )


MESSAGES = _parse(POD_FIELDS + OTHER_FIELDS)
_WHOLE = re.compile(r"-?\d+$")
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$")


class _WrongType(Exception):
    """A value of a type its field cannot take."""


def clean(kind: str, api_version: str, obj: Obj) -> tuple[Obj, list[str]]:
    """Checks the types in an object and drops what its kind does not have.

    Args:
        kind: a name in `MESSAGES`; objects of other kinds pass as they are.
        api_version: for the words of a refusal.

    Returns: a deep copy without unknown fields and nulls, and the paths of the unknown fields.
    Raises:
        ApiError: 400 for a value of the wrong type.
    """
    message = MESSAGES.get(kind)
    if message is None:
        return obj, []
    unknown: list[str] = []
    body = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
    try:
        cleaned = _message(message, body, "", unknown)
    except _WrongType as error:
        version = api_version.rpartition("/")[2]
        words = f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal {error}'
        raise errors.bad_request(words) from error
    return {"kind": kind, "apiVersion": api_version, **cleaned}, unknown


def _message(message: Message, value: Any, path: str, unknown: list[str]) -> Obj:
    if not isinstance(value, dict):
        raise _WrongType(f"{_json_type(value)} into Go value of type v1.{message.name}")
    result: Obj = {}
    by_name = message.by_name
    for name, item in value.items():
        known = by_name.get(name)
        if known is None:
            unknown.append(path + name)
        elif item is not None:
            result[name] = _value(known, item, message, path + name, unknown)
    return result


def _value(known: Field, value: Any, owner: Message, path: str, unknown: list[str]) -> Any:
    if known.many:
        if not isinstance(value, list):
            raise _wrong(value, owner, path, "[]" + _go_type(known))
        return [
            _single(known, item, owner, f"{path}[{index}]", unknown)
            for index, item in enumerate(value)
            if item is not None
        ]
    if known.mapped:
        if not isinstance(value, dict):
            raise _wrong(value, owner, path, "map[string]" + _go_type(known))
        return {key: _single(known, item, owner, path, unknown) for key, item in value.items() if item is not None}
    return _single(known, value, owner, path, unknown)


def _single(known: Field, value: Any, owner: Message, path: str, unknown: list[str]) -> Any:
    kind = known.type
    if kind in ("s", "t", "u", "y"):
        if isinstance(value, str):
            return value
    elif kind == "i":
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind == "b":
        if isinstance(value, bool):
            return value
    elif kind == "q":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and _QUANTITY.match(value):
            return value
        if isinstance(value, str):
            raise errors.bad_request(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
    elif kind == "x":
        if isinstance(value, str | int) and not isinstance(value, bool):
            return value
    elif kind == "r":
        return value
    else:
        return _message(MESSAGES[kind], value, path + ".", unknown)
    raise _wrong(value, owner, path, _go_type(known))


def _go_type(known: Field) -> str:
    return _GO_TYPES.get(known.type, f"v1.{known.type}")


def _wrong(value: Any, owner: Message, path: str, go_type: str) -> _WrongType:
    return _WrongType(f"{_json_type(value)} into Go struct field {owner.name}.{path} of type {go_type}")


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "null"


def in_order(obj: Obj) -> Obj:
    """The object with the spec's fields in the order of the JSON encoding, at every depth."""
    message = MESSAGES.get(obj["kind"])
    if message is None or "spec" not in obj:
        return obj
    return {**obj, "spec": _ordered(MESSAGES[message.by_name["spec"].type], obj["spec"])}


def _ordered(message: Message, value: Obj) -> Obj:
    result: Obj = {}
    ranks = message.ranks
    for name, item in sorted(value.items(), key=lambda pair: ranks.get(pair[0], len(ranks))):
        known = message.by_name[name]
        if known.type in SCALARS:
            result[name] = dict(sorted(item.items())) if known.mapped else item
        elif known.many:
            result[name] = [_ordered(MESSAGES[known.type], entry) for entry in item]
        else:
            result[name] = _ordered(MESSAGES[known.type], item)
    return result
