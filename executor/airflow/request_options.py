"""Two options in the Python client's spelling, turned into what the requests need."""

from __future__ import annotations

import json
from typing import Any

from shard_executor.airflow.option_reader import OptionError, Reader
from shard_executor.airflow.option_table import STOCK

DEFAULT_REQUEST_TIMEOUT = 30.0  # seconds, the provider's own limit
_POLICIES = ("Orphan", "Background", "Foreground")
# V1DeleteOptions of the Python client: attribute, name in the API, type.
_DELETE_FIELDS: dict[str, tuple[str, type]] = {
    "grace_period_seconds": ("gracePeriodSeconds", int),
    "ignore_store_read_error_with_cluster_breaking_potential": (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        bool,
    ),
    "orphan_dependents": ("orphanDependents", bool),
    "propagation_policy": ("propagationPolicy", str),
}
_GIVEN_ANYWAY = frozenset({"api_version", "kind"})


def request_timeout(read: Reader) -> float:
    """Seconds that one request may take, from `kube_client_request_args`.

    Raises:
        OptionError: naming the argument.
    """
    key = "kube_client_request_args"
    arguments = read.mapping(STOCK, key)
    if arguments.get("dry_run"):
        raise OptionError(STOCK, key, json.dumps(arguments), "without 'dry_run': no pod would ever be created")
    others = sorted(arguments.keys() - {"_request_timeout", "dry_run"})
    if others:
        read.notes.append(
            f"[{STOCK}] {key}: {', '.join(others)} without effect: they are arguments of the Python client's methods, "
            "which are not called for pods"
        )
    value = arguments.get("_request_timeout")
    if value is None:
        return DEFAULT_REQUEST_TIMEOUT
    parts = value if isinstance(value, list) else [value]
    numbers = [part for part in parts if isinstance(part, int | float) and not isinstance(part, bool) and part > 0]
    if len(numbers) != len(parts) or len(parts) not in (1, 2):
        words = "with a '_request_timeout' of a positive number of seconds, or two of them in a list (connect, read)"
        raise OptionError(STOCK, key, json.dumps(arguments), words)
    return float(sum(numbers))


def delete_options(read: Reader) -> dict[str, Any]:
    """DeleteOptions as the API spells them, from `delete_option_kwargs`.

    Raises:
        OptionError: naming the field.
    """
    key = "delete_option_kwargs"
    given = read.mapping(STOCK, key)
    shown = json.dumps(given)
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in _GIVEN_ANYWAY or value is None:
            continue
        if name == "preconditions":
            raise OptionError(STOCK, key, shown, "without 'preconditions': a pod's uid is always the precondition")
        if name == "dry_run":
            raise OptionError(STOCK, key, shown, "without 'dry_run': finished pods would never go")
        if name not in _DELETE_FIELDS:
            raise OptionError(STOCK, key, shown, f"made of {', '.join(_DELETE_FIELDS)}; {name!r} is none of them")
        field, kind = _DELETE_FIELDS[name]
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            nouns = {int: "a whole number of at least 0", bool: "true or false", str: "a text"}
            raise OptionError(STOCK, key, shown, f"with {name!r} being {nouns[kind]}")
        if name == "propagation_policy" and value not in _POLICIES:
            raise OptionError(STOCK, key, shown, f"with {name!r} being {', '.join(_POLICIES)}")
        options[field] = value
    return options
