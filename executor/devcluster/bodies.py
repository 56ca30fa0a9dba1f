"""Request bodies: size, content type, and JSON, YAML or protobuf into an object."""

from __future__ import annotations

from typing import Any

import orjson
import yaml
from aiohttp import web

from shard_executor.devcluster import errors, patch, protobuf
from shard_executor.devcluster.encode import JSON, PROTOBUF
from shard_executor.devcluster.versions import Obj

BODY_LIMIT = 3 * 1024 * 1024  # bytes; apiserver's MaxRequestBodyBytes
_YAML = "application/yaml"
ACCEPTED = (JSON, _YAML, PROTOBUF)


async def read(request: web.Request) -> bytes:
    """The raw body.

    Raises:
        ApiError: 413 if it is too large.
    """
    data = await request.read() if request.body_exists else b""
    if len(data) > BODY_LIMIT:
        raise errors.too_large(f"limit is {BODY_LIMIT}")
    return data


async def read_object(request: web.Request, kind: str) -> Obj:
    """The object in a body.

    Args:
        kind: the expected kind, for the words of a refusal.

    Raises:
        ApiError: 400, 413, 415.
    """
    data = await read(request)
    media_type = _media_type(request)
    if media_type == PROTOBUF:
        return protobuf.decode_envelope(data)
    if media_type == _YAML:
        return _as_object(_from_yaml(data), kind)
    if media_type != JSON:
        raise errors.unsupported_media_type(ACCEPTED)
    return _as_object(_from_json(data, kind), kind)


async def read_patch(request: web.Request) -> tuple[str, Any]:
    """The content type and the value of a patch.

    Raises:
        ApiError: 400, 413, 415.
    """
    media_type = _media_type(request)
    if media_type not in patch.CONTENT_TYPES:
        raise errors.unsupported_media_type(patch.CONTENT_TYPES)
    data = await read(request)
    if media_type == patch.APPLY:
        return media_type, _as_object(_from_yaml(data), "patch")
    value = _from_json(data, "patch")
    return media_type, value if media_type == patch.JSON_PATCH else _as_object(value, "patch")


async def read_optional(request: web.Request, kind: str) -> Obj | None:
    """The object in a body that may be missing, as that of a delete.

    Raises:
        ApiError: 400, 413, 415.
    """
    return await read_object(request, kind) if await read(request) else None


def _media_type(request: web.Request) -> str:
    return request.headers.get("Content-Type", JSON).partition(";")[0].strip() or JSON


def _from_json(data: bytes, kind: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        why = f"couldn't get version/kind; json parse error: {error}"
        raise errors.bad_request(_unrecognized(kind, why)) from error


def _from_yaml(data: bytes) -> Any:
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise errors.bad_request(f"error converting YAML to JSON: {error}") from error


def _as_object(value: Any, kind: str) -> Obj:
    if not isinstance(value, dict):
        raise errors.bad_request(_unrecognized(kind, "json: cannot unmarshal it into an object"))
    return value


def _unrecognized(kind: str, why: str) -> str:
    return f"the object provided is unrecognized (must be of type {kind}): {why}"
