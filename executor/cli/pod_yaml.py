"""Writes pods as YAML that Kubernetes reads back as the same values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

# Words that some YAML reader takes for something else than text: YAML 1.1 as Kubernetes' own reader has it knows more
# booleans and numbers (y, 1e3, 0o7) than PyYAML does. Text is left bare only where none could.
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class _Dumper(yaml.SafeDumper):
    """Quotes text unless it is plainly text; repeats values instead of naming them by anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _BARE.fullmatch(value) is not None and value.lower() not in _NOT_TEXT
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if bare else '"')


_Dumper.add_representer(str, _text)


def pod_yaml(pod: Mapping[str, Any]) -> str:
    """One pod as a YAML document, keys in the order given."""
    text: str = yaml.dump(dict(pod), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return text
