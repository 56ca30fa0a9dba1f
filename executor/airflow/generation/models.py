"""Overrides as bytes: what a V1Pod says, exactly, without the None fields and the client configuration in each model.

The bytes are the key under which a compiled pod is kept, and what the builder gets in place of the object. So two
overrides share a key only if the builder could not tell them apart. Marshal's version 2 is used for its speed and
because it writes equal values as equal bytes, whatever else refers to them; both ends run the same interpreter.

The walk needs neither airflow nor kubernetes: a model of the kubernetes package is known by its `openapi_types`.
"""

from __future__ import annotations

import importlib
import marshal
import pickle
from typing import Any

from shard_executor.airflow.generation.request import BuildError

_PLAIN = frozenset({str, int, bool, float, type(None)})
_MODEL, _DICT, _LIST, _TUPLE, _PICKLED = range(5)
_VERSION = 2
_CONFIGURATION = "local_vars_configuration"
_MODULES = "kubernetes.client.models."

_names: dict[type, str | None] = {}  # of classes: None for one that is no model
_classes: dict[str, tuple[type, dict[str, Any]]] = {}  # by name: the class and its fields, all None


def encode_model(value: Any) -> bytes:
    """A model, or anything that it may hold, as bytes.

    Raises:
        BuildError: InvalidOverride: something in it can neither be walked nor pickled.
    """
    try:
        return marshal.dumps(_flat(value), _VERSION)
    except RecursionError:
        raise BuildError("InvalidOverride", "pod_override: it contains itself, or is nested too deeply") from None
    except ValueError as error:
        raise BuildError("InvalidOverride", f"pod_override: cannot be written down: {error}") from error


def decode_model(data: bytes, configuration: Any) -> Any:
    """The value that `encode_model` was given; every model in it refers to this client configuration."""
    return _built(marshal.loads(data), configuration)


def _flat(value: Any) -> Any:
    cls = value.__class__
    if cls in _PLAIN:
        return value
    if cls is dict:
        items: list[Any] = []
        for key, item in value.items():
            items.append(key if key.__class__ in _PLAIN else _flat(key))
            items.append(item if item.__class__ in _PLAIN else _flat(item))
        return (_DICT, items)
    if cls is list:
        return (_LIST, [item if item.__class__ in _PLAIN else _flat(item) for item in value])
    if cls is tuple:
        return (_TUPLE, [item if item.__class__ in _PLAIN else _flat(item) for item in value])
    try:
        name = _names[cls]
    except KeyError:
        name = _names[cls] = _model_name(cls)
    if name is None:
        return (_PICKLED, _pickled(value))
    fields: list[Any] = [name]
    for key, item in value.__dict__.items():
        if item is None:
            continue
        if item.__class__ in _PLAIN:
            fields.append(key)
            fields.append(item)
        elif key != _CONFIGURATION:
            fields.append(key)
            fields.append(_flat(item))
    return (_MODEL, fields)


def _model_name(cls: type) -> str | None:
    """The name of a class that the builder can import too and whose instances are no more than their fields."""
    module = cls.__module__
    return f"{module}:{cls.__name__}" if module.startswith(_MODULES) and hasattr(cls, "openapi_types") else None


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:  # whatever the value's own class raises
        what = f"{type(value).__module__}.{type(value).__qualname__}"
        raise BuildError(
            "InvalidOverride",
            f"pod_override: a value of type {what} cannot be sent to the builder process ({error}): "
            "use text, numbers, lists, dicts and models of kubernetes.client",
        ) from error


def _built(value: Any, configuration: Any) -> Any:
    if value.__class__ is not tuple:
        return value
    tag, parts = value
    if tag == _MODEL:
        name = parts[0]
        try:
            cls, fields = _classes[name]
        except KeyError:
            cls, fields = _classes[name] = _class_of(name)
        model: Any = object.__new__(cls)
        attributes = model.__dict__
        attributes.update(fields)
        attributes[_CONFIGURATION] = configuration
        for at in range(1, len(parts), 2):
            attributes[parts[at]] = _built(parts[at + 1], configuration)
        return model
    if tag == _DICT:
        return {
            _built(parts[at], configuration): _built(parts[at + 1], configuration) for at in range(0, len(parts), 2)
        }
    if tag == _LIST:
        return [_built(part, configuration) for part in parts]
    if tag == _TUPLE:
        return tuple([_built(part, configuration) for part in parts])
    return pickle.loads(parts)


def _class_of(name: str) -> tuple[type, dict[str, Any]]:
    """The class, and the attributes of an instance that says nothing.

    An object pickled by another release of the client lacks the fields that are new since: they are None here.
    """
    from kubernetes.client import Configuration

    unchecked = Configuration()
    unchecked.client_side_validation = False  # else required fields could not be left out
    module, _, cls_name = name.partition(":")
    cls = getattr(importlib.import_module(module), cls_name)
    return cls, dict(cls(local_vars_configuration=unchecked).__dict__)
