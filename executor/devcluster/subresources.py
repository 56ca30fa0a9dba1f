"""The calls below a pod: binding, eviction and log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from shard_executor.devcluster import bodies, errors, options
from shard_executor.devcluster.admission import Admission
from shard_executor.devcluster.calls import Call
from shard_executor.devcluster.kubelet import Kubelet, choose_container
from shard_executor.devcluster.pods import bind_pod, evict_pod
from shard_executor.devcluster.store import Store


@dataclass(slots=True)
class PodCalls:
    """Answers calls on pods' own subresources."""

    store: Store
    admission: Admission
    kubelet: Kubelet

    async def handle(self, call: Call) -> web.StreamResponse:
        """Answers a call on binding, eviction or log."""
        if call.target.subresource == "binding":
            return await self._bind(call)
        if call.target.subresource == "eviction":
            return await self._evict(call)
        return await self._log(call)

    async def _bind(self, call: Call) -> web.Response:
        body = await bodies.read_object(call.request, "Binding")
        binding, _ = self.admission.read(call.target.resource, body, "Ignore", kind="Binding")
        node = binding.get("target", {}).get("name", "")
        if not node:
            raise errors.invalid("Binding", call.target.name, [errors.required("target.name")])
        tried = options.dry_run(call.request.query, "CreateOptions")
        namespace, name = call.target.namespace or "", call.target.name
        self.store.get("pods", namespace, name)
        if not tried:
            bind_pod(self.store, namespace, name, node, uid=binding["metadata"].get("uid"))
        return call.answer_status(errors.success(201))

    async def _evict(self, call: Call) -> web.Response:
        body = await bodies.read_optional(call.request, "Eviction")
        asked = options.parse_delete({}, None)
        if body is not None:
            eviction, _ = self.admission.read(call.target.resource, body, "Ignore", kind="Eviction")
            if eviction["metadata"].get("name", call.target.name) != call.target.name:
                raise errors.bad_request(f"name in URL does not match name in Eviction object: {call.target.name}")
            asked = options.parse_delete({}, eviction.get("deleteOptions"))
        evict_pod(
            self.store,
            call.target.namespace or "",
            call.target.name,
            grace=asked.grace,
            uid=asked.uid,
            version=asked.version,
            dry_run=asked.dry_run or options.dry_run(call.request.query, "CreateOptions"),
        )
        return call.answer_status(errors.success(201))

    async def _log(self, call: Call) -> web.StreamResponse:
        query, namespace, name = call.request.query, call.target.namespace or "", call.target.name
        pod = self.store.get("pods", namespace, name)
        tail = options.integer(query, "tailLines")
        limit = options.integer(query, "limitBytes", 1)
        since = options.integer(query, "sinceSeconds", 1)
        previous = options.boolean(query, "previous") or False
        follow = options.boolean(query, "follow") or False
        timestamps = options.boolean(query, "timestamps") or False
        container = choose_container(pod, query.get("container"))
        if not pod["spec"].get("nodeName"):
            return web.Response(status=204)
        pieces = await self.kubelet.logs(
            namespace,
            name,
            container=container,
            tail_lines=tail,
            limit_bytes=limit,
            since_seconds=since,
            previous=previous,
            follow=follow,
            timestamps=timestamps,
        )
        return await _stream(call.request, pieces) if follow else await _whole(pieces)


async def _whole(pieces: AsyncIterator[bytes]) -> web.Response:
    data = b"".join([piece async for piece in pieces])
    return web.Response(body=data, content_type="text/plain")


async def _stream(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "text/plain"
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response
