"""Patches of JSON objects: merge (RFC 7386), JSON patch (RFC 6902) and Kubernetes' strategic merge."""

from __future__ import annotations

from typing import Any

from shard_executor.devcluster import errors
from shard_executor.devcluster.pods import copy_json
from shard_executor.devcluster.schema import MESSAGES, SCALARS, Field, Message
from shard_executor.devcluster.versions import Obj

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
CONTENT_TYPES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


def merge(target: Any, patch: Any) -> Any:
    """A merge patch: objects merge, null removes, everything else replaces. Returns a new value."""
    if not isinstance(patch, dict):
        return copy_json(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Obj, patch: Obj, kind: str) -> Obj:
    """A strategic merge patch: as a merge, but lists with a merge key merge by it. Returns a new object.

    Args:
        kind: the object's kind, a name in `schema.MESSAGES`; objects of other kinds get a plain merge.
    """
    message = MESSAGES.get(kind)
    merged: Obj = _strategic(target, patch, message) if message else merge(target, patch)
    return merged


def _strategic(target: Any, patch: Obj, message: Message | None) -> Obj:
    if patch.get("$patch") == "replace":
        return {key: copy_json(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name, []) if item not in value]
        elif key.startswith(("$setElementOrder/", "$retainKeys", "$patch")):
            continue  # order and retention of keys are refinements the server may ignore for the fields kept here
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _strategic_value(result.get(key), value, message.by_name.get(key) if message else None)
    return result


def _strategic_value(target: Any, value: Any, field: Field | None) -> Any:
    nested = MESSAGES.get(field.type) if field is not None and field.type not in SCALARS else None
    if isinstance(value, dict):
        return _strategic(target, value, nested)
    if not isinstance(value, list) or field is None or field.merge_key is None:
        return copy_json(value)
    if nested is None or not field.merge_key:
        before = list(target) if isinstance(target, list) else []
        return before + [item for item in value if item not in before]
    return _merge_by_key(target if isinstance(target, list) else [], value, field.merge_key, nested)


def _merge_by_key(target: list[Obj], patch: list[Obj], key: str, message: Message) -> list[Obj]:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy_json(item) for item in patch if item.get("$patch") != "replace"]
    result = list(target)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise errors.bad_request(f"map: {item} does not contain declared merge key: {key}")
        index = next((place for place, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if index is not None:
                del result[index]
        elif index is None:
            result.append(_strategic({}, item, message))
        else:
            result[index] = _strategic(result[index], item, message)
    return result


def apply_json_patch(target: Obj, operations: Any, kind: str, name: str) -> Obj:
    """A JSON patch; all operations or none.

    Args:
        kind, name: of the object, for the words of a refusal.

    Returns: a new object.
    Raises:
        ApiError: 400 if `operations` is no list of operations, 422 if one of them fails.
    """
    if not isinstance(operations, list) or not all(isinstance(entry, dict) for entry in operations):
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        )
    document = copy_json(target)
    for entry in operations:
        try:
            document = _operate(document, entry)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            words = f"the server rejected our request due to an error in our request: {error}"
            details = {"name": name, "kind": kind}
            raise errors.ApiError(422, "Invalid", words, details) from error
    if not isinstance(document, dict):
        raise errors.bad_request("the patched document is not an object")
    return document


def _operate(document: Any, entry: Obj) -> Any:
    operation, path = entry.get("op"), entry.get("path")
    if not isinstance(path, str):
        raise ValueError("missing path")
    if operation == "test":
        if _look_up(document, path) != entry.get("value"):
            raise ValueError(f"testing value {path} failed")
        return document
    if operation in ("move", "copy"):
        value = copy_json(_look_up(document, str(entry["from"])))
        if operation == "move":
            document = _change(document, str(entry["from"]), "remove", None)
        return _change(document, path, "add", value)
    if operation in ("add", "replace", "remove"):
        return _change(document, path, operation, copy_json(entry.get("value")))
    raise ValueError(f"unexpected kind: {operation}")


def _parts(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise ValueError(f"bad path {path}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _step(value: Any, part: str) -> Any:
    return value[int(part)] if isinstance(value, list) else value[part]


def _look_up(document: Any, path: str) -> Any:
    for part in _parts(path):
        document = _step(document, part)
    return document


def _change(document: Any, path: str, operation: str, value: Any) -> Any:
    parts = _parts(path)
    if not parts:
        return value
    parent = document
    for part in parts[:-1]:
        parent = _step(parent, part)
    last = parts[-1]
    if isinstance(parent, list):
        if operation == "add":
            parent.insert(len(parent) if last == "-" else int(last), value)
        elif operation == "replace":
            parent[int(last)] = value
        else:
            del parent[int(last)]
    elif operation == "remove":
        del parent[last]
    else:
        if operation == "replace" and last not in parent:
            raise KeyError(path)
        parent[last] = value
    return document
