"""Label and field selectors: parsing as the server does, and matching."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from shard_executor.devcluster import errors
from shard_executor.devcluster.names import is_label_value, is_qualified_name
from shard_executor.devcluster.versions import Obj

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `operator` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...]

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether the labels satisfy it; notin also holds for an absent label."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if value is None or not value.lstrip("-").isdigit():
            return False
        wanted = int(self.values[0])
        return int(value) > wanted if self.operator == "gt" else int(value) < wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels and fields an object must have; an empty one matches everything."""

    labels: tuple[Requirement, ...]
    fields: tuple[tuple[str, bool, str], ...]
    read: Callable[[Obj, str], str]

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return not self.labels and not self.fields

    def matches(self, obj: Obj) -> bool:
        """Whether the object is selected."""
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            for requirement in self.labels:
                if not requirement.matches(labels):
                    return False
        return all((self.read(obj, name) == value) is equal for name, equal, value in self.fields)


def parse(label_selector: str, field_selector: str, fields: frozenset[str]) -> Selector:
    """A selector from the two query parameters.

    Args:
        label_selector, field_selector: the parameters, empty for none.
        fields: the field labels the resource supports.

    Raises:
        ApiError: 400 for one that does not parse or names an unsupported field.
    """
    return Selector(tuple(_parse_labels(label_selector)), tuple(_parse_fields(field_selector, fields)), _read_field)


def _parse_labels(text: str) -> list[Requirement]:
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    position = 0

    def refuse(found: str, expected: str) -> errors.ApiError:
        return errors.bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")

    def take(expected: str) -> str:
        nonlocal position
        if position >= len(tokens):
            raise refuse("", expected)
        position += 1
        return tokens[position - 1]

    while position < len(tokens):
        token = take("!, identifier")
        if token == "!":
            requirements.append(Requirement(_key(take("identifier")), "absent", ()))
        elif position >= len(tokens) or tokens[position] == ",":
            requirements.append(Requirement(_key(token), "exists", ()))
        else:
            key = _key(token)
            operator = take("in, notin, =, ==, !=, gt, lt")
            if operator in ("in", "notin"):
                requirements.append(Requirement(key, operator, _value_set(take)))
            elif operator in ("=", "==", "!=", ">", "<"):
                value = "" if position >= len(tokens) or tokens[position] == "," else take("identifier")
                if operator in "><" and not value.lstrip("-").isdigit():
                    raise refuse(value, "an integer")
                name = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}[operator]
                requirements.append(Requirement(key, name, (_value(value),)))
            else:
                raise refuse(operator, "in, notin, =, ==, !=, gt, lt")
        if position < len(tokens):
            separator = take("','")
            if separator != "," or position >= len(tokens):
                raise refuse(separator, "',' or 'end of string'")
    return requirements


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise errors.bad_request(f"unable to parse requirement: {text!r}")
        tokens.append(match[1])
        position = match.end()
    return tokens


def _value_set(take: Callable[[str], str]) -> tuple[str, ...]:
    if (token := take("'('")) != "(":
        raise errors.bad_request(f"unable to parse requirement: found '{token}' expected: '('")
    values: list[str] = []
    expect_value = True
    while True:
        token = take("',', or ')'")
        if token in (",", ")"):
            if expect_value:
                values.append("")
            if token == ")":
                return tuple(values)
            expect_value = True
        elif expect_value:
            values.append(_value(token))
            expect_value = False
        else:
            raise errors.bad_request(f"unable to parse requirement: found '{token}', expected: ',' or ')'")


def _key(text: str) -> str:
    if not is_qualified_name(text):
        raise errors.bad_request(f'unable to parse requirement: key: Invalid value: "{text}": name part is not valid')
    return text


def _value(text: str) -> str:
    if not is_label_value(text):
        raise errors.bad_request(f'unable to parse requirement: values[0][]: Invalid value: "{text}": a valid label')
    return text


def _parse_fields(text: str, supported: frozenset[str]) -> list[tuple[str, bool, str]]:
    terms: list[tuple[str, bool, str]] = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"(.*?)(!=|==|=)(.*)$", term)
        if match is None:
            raise errors.bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        name, operator, value = match.groups()
        if name not in supported:
            raise errors.bad_request(f"field label not supported: {name}")
        terms.append((name, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    return terms


def _read_field(obj: Obj, path: str) -> str:
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        # Booleans left out of an object are false; every other field that may be selected by is a string.
        return "false" if path in ("spec.hostNetwork", "spec.unschedulable") else ""
    return str(value)
