"""YAML as Kubernetes reads it: dates stay text, a key given twice is an error, and a fault names its line."""

from __future__ import annotations

from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


class StrictLoader(yaml.CSafeLoader):
    """PyYAML's safe loader on libyaml, without dates and with unique keys."""

    def flatten_mapping(self, node: Any) -> None:
        """Checks a mapping's own keys before `<<` brings in those of others, which it may override."""
        if not getattr(node, "keys_checked", False):
            node.keys_checked = True
            seen: set[tuple[str, str]] = set()
            for key, _value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given a second time", key.start_mark
                    )
                seen.add((key.tag, key.value))
        super().flatten_mapping(node)


StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != _TIMESTAMP]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class YamlFault(ValueError):
    """The text is not valid YAML; the message says where."""


def load_documents(text: str | bytes) -> list[Any]:
    """Every document of a YAML text that is not empty.

    Raises:
        YamlFault: names line and column.
    """
    try:
        return [d for d in yaml.load_all(text, Loader=StrictLoader) if d is not None]
    except yaml.YAMLError as fault:
        raise YamlFault(problem_of(fault)) from fault
    except (ValueError, RecursionError) as fault:  # a scalar such as !!int x; nesting without end
        raise YamlFault(str(fault)) from fault


def problem_of(fault: yaml.YAMLError) -> str:
    """A fault in one line: `line 3, column 5: mapping values are not allowed here`."""
    mark = getattr(fault, "problem_mark", None) or getattr(fault, "context_mark", None)
    problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or str(fault).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else str(problem)
