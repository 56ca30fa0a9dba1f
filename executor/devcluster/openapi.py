"""OpenAPI v3 documents, as far as kubectl reads them: which calls take fieldValidation, and the fields of kinds."""

from __future__ import annotations

from functools import lru_cache

from shard_executor.devcluster.resources import RESOURCES, Resource
from shard_executor.devcluster.schema import MESSAGES, SCALARS, Field, Message
from shard_executor.devcluster.versions import Obj

_PREFIX = "io.k8s.api.core.v1."
_SCALARS: dict[str, Obj] = {
    "s": {"type": "string"},
    "i": {"type": "integer", "format": "int64"},
    "b": {"type": "boolean"},
    "t": {"type": "string", "format": "date-time"},
    "u": {"type": "string", "format": "date-time"},
    "q": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "x": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "y": {"type": "string", "format": "byte"},
    "r": {"type": "object"},
}


def index() -> Obj:
    """The paths of the documents."""
    return {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=1"}}}


@lru_cache(maxsize=1)
def core_v1() -> Obj:
    """The document of the core group."""
    paths: Obj = {}
    for resource in RESOURCES.values():
        base = "/api/v1/namespaces/{namespace}/" if resource.namespaced else "/api/v1/"
        paths[base + resource.name] = {"post": _operation(resource, "post")}
        paths[f"{base}{resource.name}/{{name}}"] = {
            "get": _operation(resource, "get"),
            "put": _operation(resource, "put"),
            "patch": _operation(resource, "patch"),
            "delete": _operation(resource, "delete"),
        }
    kinds = {resource.kind: resource for resource in RESOURCES.values()}
    schemas = {_PREFIX + name: _schema(message, kinds.get(name)) for name, message in MESSAGES.items()}
    for kind, resource in kinds.items():
        schemas.setdefault(_PREFIX + kind, {"type": "object", **_gvk(resource)})
    return {
        "openapi": "3.0.0",
        "info": {"title": "shard-executor development cluster", "version": "v1.36.2"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _gvk(resource: Resource) -> Obj:
    return {"x-kubernetes-group-version-kind": [{"group": "", "kind": resource.kind, "version": "v1"}]}


def _operation(resource: Resource, action: str) -> Obj:
    names = ["dryRun"] if action == "delete" else ["dryRun", "fieldManager", "fieldValidation"]
    if action == "get":
        names = []
    reference = {"$ref": f"#/components/schemas/{_PREFIX}{resource.kind}"}
    return {
        "operationId": f"{action}CoreV1{resource.kind}",
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": "", "kind": resource.kind, "version": "v1"},
    }


def _schema(message: Message, resource: Resource | None) -> Obj:
    properties = {name: _property(known) for name, known in message.by_name.items()}
    schema: Obj = {"type": "object", "properties": properties}
    if resource is not None:
        properties |= {"kind": {"type": "string"}, "apiVersion": {"type": "string"}}
        schema |= _gvk(resource)
    return schema


def _property(known: Field) -> Obj:
    if known.type in SCALARS:
        single = _SCALARS[known.type]
    else:
        single = {"allOf": [{"$ref": f"#/components/schemas/{_PREFIX}{known.type}"}], "default": {}}
    if known.mapped:
        return {"type": "object", "additionalProperties": single}
    if not known.many:
        return single
    listed: Obj = {"type": "array", "items": single}
    if known.merge_key:
        listed |= {"x-kubernetes-patch-merge-key": known.merge_key, "x-kubernetes-patch-strategy": "merge"}
    return listed
