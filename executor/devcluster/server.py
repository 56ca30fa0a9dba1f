"""The HTTP side: one handler that authenticates, finds the verb and the resource, and answers or refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from yarl import URL

from shard_executor.devcluster import bodies, calls, discovery, encode, errors, openapi, protobuf
from shard_executor.devcluster.access import Access, User
from shard_executor.devcluster.calls import Call
from shard_executor.devcluster.encode import JSON, Form
from shard_executor.devcluster.faults import Faults
from shard_executor.devcluster.objects import Objects
from shard_executor.devcluster.subresources import PodCalls
from shard_executor.devcluster.versions import Obj

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_POD_CALLS = ("binding", "eviction", "log")


Control = Callable[[str, Obj], Awaitable[Obj]]


@dataclass(slots=True)
class Server:
    """The API over HTTP.

    Args:
        control: answers ``/devcluster/...``: gets ``METHOD path`` and the body, returns an object.
        faults: what goes wrong on demand.
    """

    access: Access
    objects: Objects
    pods: PodCalls
    control: Control
    faults: Faults
    requests: Counter[str] = field(default_factory=Counter)

    def application(self) -> web.Application:
        """The aiohttp application; it starts nothing."""
        app = web.Application(client_max_size=bodies.BODY_LIMIT + 1)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        prefix = self.access.prefix
        prefixed = bool(prefix) and request.raw_path.startswith(prefix + "/")
        if prefixed:
            request = request.clone(rel_url=URL(request.raw_path[len(prefix) :], encoded=True))
        try:
            response = await self._hooked(request, prefixed)
        except errors.ApiError as error:
            response = _refusal(request, error)
        except web.HTTPRequestEntityTooLarge:
            response = _refusal(request, errors.too_large(f"limit is {bodies.BODY_LIMIT}"))
        return response

    async def _hooked(self, request: web.Request, prefixed: bool) -> web.StreamResponse:
        response = await self.faults.before(request)
        if response is not None:
            return response
        try:
            response = await self._answer(request, prefixed)
        except errors.ApiError as error:
            response = _refusal(request, error)
        return await self.faults.after(request, response)

    async def _answer(self, request: web.Request, prefixed: bool) -> web.StreamResponse:
        user = self.access.identify(request, prefixed=prefixed)
        target = calls.parse_target(request.path)
        if target is None:
            return await self._other(request, user)
        watch = request.query.get("watch", "") in ("1", "true", "True") and request.method == "GET"
        verb = calls.verb_of(request.method, target, watch=watch)
        self.access.check(user, verb, target.resource.name, target.subresource, target.namespace or "", target.name)
        self.requests[f"{verb} {target.resource.name}{'/' if target.subresource else ''}{target.subresource}"] += 1
        if target.subresource == "log":
            form = encode.PLAIN  # a log is text, whatever is accepted
        else:
            form = encode.negotiate(request.headers.get("Accept", ""), request.query.get("includeObject", ""))
        call = Call(request, user, target, verb, form)
        if target.subresource in _POD_CALLS:
            return await self.pods.handle(call)
        return await self.objects.handle(call)

    async def _other(self, request: web.Request, user: User) -> web.StreamResponse:
        """Paths that are no resources: health, discovery, OpenAPI, reviews, the cluster's own controls."""
        path, method = request.path.rstrip("/") or "/", request.method
        self.access.check_path(user, path, method.lower())
        if path.startswith("/devcluster/"):
            data = await bodies.read(request)
            return _json(await self.control(f"{method} {path}", _control_body(data)))
        if path in (_REVIEWS, _WHO_AM_I):
            if method != "POST":
                raise errors.method_not_allowed()
            return await self._review(request, user, path)
        if method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if path.startswith(discovery.HEALTH):
            return web.Response(text="ok")
        if path == "/openapi/v3":
            return _json(openapi.index())
        if path == "/openapi/v3/api/v1":
            return _json(openapi.core_v1())
        document = discovery.document(path, request.host)
        if document is None:
            raise errors.no_such_path()
        return _json(document)

    async def _review(self, request: web.Request, user: User, path: str) -> web.Response:
        kind = "SelfSubjectAccessReview" if path == _REVIEWS else "SelfSubjectReview"
        body = await bodies.read_object(request, kind)
        if path == _WHO_AM_I:
            info = {"username": user.name, "groups": list(user.groups)}
            review = {**body, "metadata": {}, "status": {"userInfo": info}}
        else:
            review = self.access.review(user, body)
        form = encode.error_form(request.headers.get("Accept", ""))
        if form.media_type == JSON:
            return _json(review, 201)
        data = protobuf.envelope(review["apiVersion"], kind, protobuf.encode(kind, review))
        return web.Response(status=201, body=data, headers={"Content-Type": form.content_type})


def _control_body(data: bytes) -> Obj:
    try:
        body = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise errors.bad_request("the body is no JSON object")
    return body


def _json(value: Obj, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode.dump(value) + b"\n", headers={"Content-Type": JSON})


def _refusal(request: web.Request, error: errors.ApiError) -> web.Response:
    form: Form = encode.error_form(request.headers.get("Accept", ""))
    headers = {"Content-Type": form.content_type, "Cache-Control": "no-cache, private"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.Response(status=error.status, body=encode.status_body(form, error.to_status()), headers=headers)
