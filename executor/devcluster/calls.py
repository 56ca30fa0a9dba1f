"""One request as the API understands it: verb, resource, namespace, name, and how to answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from shard_executor.devcluster import encode, errors
from shard_executor.devcluster.access import User
from shard_executor.devcluster.encode import Form
from shard_executor.devcluster.resources import RESOURCES, Resource
from shard_executor.devcluster.versions import Obj

_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names.

    `namespace` is None for all namespaces and for kinds without; `name` is empty for a collection.
    """

    resource: Resource
    namespace: str | None
    name: str
    subresource: str


@dataclass(slots=True)
class Call:
    """A request for a resource."""

    request: web.Request
    user: User
    target: Target
    verb: str
    form: Form
    warnings: list[str] = field(default_factory=list)

    def answer(self, obj: Obj, status: int = 200) -> web.Response:
        """An object as the response."""
        body = encode.object_body(self.form, self.target.resource, obj)
        return self.respond(body, self.form.content_type, status)

    def answer_status(self, status: Obj) -> web.Response:
        """A Status object as the response."""
        form = Form(self.form.media_type)
        return self.respond(encode.status_body(form, status), form.content_type, status["code"])

    def respond(self, body: bytes, content_type: str, status: int = 200) -> web.Response:
        """A body as the response, with the warnings collected so far."""
        response = web.Response(status=status, body=body)
        response.headers["Content-Type"] = content_type
        response.headers["Cache-Control"] = "no-cache, private"
        for warning in self.warnings:
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{quoted}"')
        return response


def parse_target(path: str) -> Target | None:
    """What a path below /api/v1 names.

    Returns: None for paths elsewhere.
    Raises:
        ApiError: 404 for a resource or subresource that is not served.
    """
    if not path.startswith("/api/v1/"):
        return None
    parts = path[len("/api/v1/") :].strip("/").split("/")
    namespace: str | None = None
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in RESOURCES["namespaces"].subresources:
        namespace, parts = parts[1], parts[2:]
    resource = RESOURCES.get(parts[0])
    name, subresource = [*parts, "", ""][1:3]
    if resource is None or len(parts) > 3 or (namespace is not None and not resource.namespaced):
        raise errors.no_such_path()
    if subresource and subresource not in resource.subresources:
        raise errors.no_such_path()
    if name and resource.namespaced and namespace is None:
        raise errors.no_such_path()
    return Target(resource, namespace, name, subresource)


def verb_of(method: str, target: Target, *, watch: bool) -> str:
    """The API verb of a method on a target.

    Raises:
        ApiError: 405 if it does not take the method.
    """
    resource = target.resource
    if target.subresource:
        verb = "create" if method == "POST" else _VERBS.get(method, "")
        verbs: tuple[str, ...] = resource.subresources[target.subresource].verbs
    elif target.name:
        verb, verbs = _VERBS.get(method, ""), resource.verbs
    else:
        verb, verbs = _COLLECTION_VERBS.get(method, ""), resource.verbs
        everywhere = resource.namespaced and target.namespace is None
        if everywhere and verb in ("create", "deletecollection"):
            verb = ""
    if verb not in verbs:
        raise errors.method_not_allowed()
    return "watch" if watch and verb in ("list", "get") and not target.subresource else verb
