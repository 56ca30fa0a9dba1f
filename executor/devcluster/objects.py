"""The verbs on objects and collections: get, list, watch, create, update, patch, delete."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from aiohttp import web

from shard_executor.devcluster import bodies, encode, errors, namespaces, options, patch
from shard_executor.devcluster.admission import Admission, check_uid
from shard_executor.devcluster.calls import Call
from shard_executor.devcluster.faults import Faults
from shard_executor.devcluster.options import INCONSISTENT, DeleteOptions, ListOptions
from shard_executor.devcluster.pods import check_preconditions, delete_pod
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj
from shard_executor.devcluster.watching import QUEUE_LIMIT, Watch

_CATCH_UP = 3.0  # seconds a list waits for its version


@dataclass(slots=True)
class Objects:
    """Answers the calls on the objects of a store.

    Args:
        faults: which watches are open, and what goes wrong with them.
        watch_list: whether lists can be streamed by a watch.
        queue_limit: unsent events after which a watch is closed.
    """

    store: Store
    admission: Admission
    faults: Faults
    watch_list: bool = True
    queue_limit: int = QUEUE_LIMIT

    async def handle(self, call: Call) -> web.StreamResponse:
        """Answers a call on an object or a collection, or on its status or finalize subresource."""
        if call.verb == "watch":
            return await self._watch(call)
        if call.verb == "list":
            return await self._list(call)
        if call.verb == "create":
            return await self._create(call)
        if call.verb == "deletecollection":
            return await self._delete_collection(call)
        if call.verb == "get":
            return call.answer(self._current(call))
        if call.verb == "update":
            return await self._update(call)
        if call.verb == "patch":
            return await self._patch(call)
        return await self._delete(call)

    def _current(self, call: Call) -> Obj:
        target = call.target
        return self.store.get(target.resource.name, target.namespace or "", target.name)

    def _options(self, call: Call, *, watch: bool) -> ListOptions:
        query = dict(call.request.query)
        if call.target.name:
            query["fieldSelector"] = f"metadata.name={call.target.name}"
        return options.parse_list(query, call.target.resource, watch=watch, watch_list=self.watch_list)

    async def _watch(self, call: Call) -> web.StreamResponse:
        target, asked = call.target, self._options(call, watch=True)
        watch = Watch(self.store, target.resource, target.namespace, asked.selector, call.form, self.queue_limit)
        with self.faults.watching(call.request, watch) as response:
            response.headers["Cache-Control"] = "no-cache, private"
            try:
                await watch.serve(call.request, response, asked, self.watch_list)
            except ConnectionResetError:
                watch.end()  # the client has gone, or a fault cut the connection: nobody is left to tell
        return response

    async def _list(self, call: Call) -> web.Response:
        asked = self._options(call, watch=False)
        body = await self._list_body(call, asked)
        return call.respond(body, call.form.content_type)

    async def _list_body(self, call: Call, asked: ListOptions) -> bytes:
        resource, namespace = call.target.resource, call.target.namespace
        if asked.number > self.store.version:
            await self._reach(asked.number)
        limit = 0 if asked.version == "0" else asked.limit
        version = self.store.version
        items = self._items(resource, namespace, asked, limit)
        if asked.pinned is not None and asked.pinned != INCONSISTENT:
            version = asked.pinned
        elif asked.number and (asked.match == "Exact" or (limit and asked.match != "NotOlderThan")):
            version = asked.number
        items = [item for item in items if asked.selector.matches(item)]
        if asked.start:
            items = [item for item in items if _page_key(item, namespace) > asked.start]
        metadata: Obj = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            rest = len(items) - limit
            items = items[:limit]
            metadata["continue"] = options.make_token(version, _page_key(items[-1], namespace))
            if asked.selector.empty:
                metadata["remainingItemCount"] = rest
        return encode.list_body(call.form, resource, items, metadata)

    def _items(self, resource: Resource, namespace: str | None, asked: ListOptions, limit: int) -> list[Obj]:
        """The objects at the version asked for, not yet selected."""
        if asked.pinned is not None and asked.pinned != INCONSISTENT:
            try:
                return self.store.list_at(resource.name, namespace, asked.pinned)
            except errors.ApiError as error:
                raise errors.expired_continue(options.make_token(INCONSISTENT, asked.start)) from error
        if asked.number and (asked.match == "Exact" or (limit and asked.match != "NotOlderThan")):
            return self.store.list_at(resource.name, namespace, asked.number)
        return self.store.list(resource.name, namespace)

    async def _reach(self, version: int) -> None:
        limit = asyncio.get_running_loop().time() + _CATCH_UP
        while self.store.version < version:
            if asyncio.get_running_loop().time() > limit:
                raise errors.future_version(version, self.store.version)
            await asyncio.sleep(0.05)

    async def _create(self, call: Call) -> web.Response:
        resource = call.target.resource
        body = await bodies.read_object(call.request, resource.kind)
        tried = options.dry_run(call.request.query, "CreateOptions")
        obj, warnings = self.admission.read(resource, body, call.request.query.get("fieldValidation", ""))
        call.warnings += warnings
        return call.answer(self.admission.create(resource, obj, call.target.namespace, dry_run=tried), 201)

    async def _update(self, call: Call) -> web.Response:
        resource = call.target.resource
        body = await bodies.read_object(call.request, resource.kind)
        tried = options.dry_run(call.request.query, "UpdateOptions")
        obj, warnings = self.admission.read(resource, body, call.request.query.get("fieldValidation", ""))
        call.warnings += warnings
        current = self._current(call)
        given = obj["metadata"].get("name")
        if given is None:
            raise errors.bad_request("name must be provided")
        if given != call.target.name:
            words = f"the name of the object ({given}) does not match the name on the URL ({call.target.name})"
            raise errors.bad_request(words)
        check_uid(resource, obj, current)
        if call.target.subresource == "finalize":
            return call.answer(namespaces.finalize(self.store, obj))
        status = call.target.subresource == "status"
        return call.answer(self.admission.update(resource, current, obj, status=status, dry_run=tried))

    async def _patch(self, call: Call) -> web.Response:
        resource, target = call.target.resource, call.target
        media_type, value = await bodies.read_patch(call.request)
        tried = options.dry_run(call.request.query, "PatchOptions")
        strictness = call.request.query.get("fieldValidation", "")
        current = self.store.find(resource.name, target.namespace or "", target.name)
        if current is None:
            if media_type != patch.APPLY or target.subresource:
                raise errors.not_found(resource.name, target.name)
            obj, warnings = self.admission.read(resource, value, strictness)
            call.warnings += warnings
            return call.answer(self.admission.create(resource, obj, target.namespace, dry_run=tried), 201)
        if media_type == patch.JSON_PATCH:
            patched = patch.apply_json_patch(current, value, resource.name, target.name)
        elif media_type == patch.MERGE:
            patched = patch.merge(current, value)
        else:
            patched = patch.strategic(current, value, resource.kind)
        obj, warnings = self.admission.read(resource, patched, strictness)
        call.warnings += warnings
        status = target.subresource == "status"
        return call.answer(self.admission.update(resource, current, obj, status=status, dry_run=tried))

    async def _delete(self, call: Call) -> web.Response:
        body = await bodies.read_optional(call.request, "DeleteOptions")
        asked = options.parse_delete(call.request.query, body)
        current = self._current(call)
        result = self._delete_one(call.target.resource, current, asked)
        if call.target.resource.answers_delete_with_object:
            return call.answer(result)
        metadata = current["metadata"]
        details = {"name": metadata["name"], "kind": call.target.resource.name, "uid": metadata["uid"]}
        return call.answer_status(errors.success(200, details))

    async def _delete_collection(self, call: Call) -> web.Response:
        body = await bodies.read_optional(call.request, "DeleteOptions")
        asked = options.parse_delete(call.request.query, body)
        resource = call.target.resource
        selected = self._options(call, watch=False)
        answer = await self._list_body(call, selected)
        found = [
            item for item in self.store.list(resource.name, call.target.namespace) if selected.selector.matches(item)
        ]
        each = replace(asked, uid=None, version=None)
        for item in found[: selected.limit or None]:
            self._delete_one(resource, item, each)
        return call.respond(answer, call.form.content_type)

    def _delete_one(self, resource: Resource, obj: Obj, asked: DeleteOptions) -> Obj:
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if resource.kind == "Pod":
            return delete_pod(
                self.store,
                namespace,
                name,
                grace=asked.grace,
                uid=asked.uid,
                version=asked.version,
                dry_run=asked.dry_run,
            )
        check_preconditions(resource.name, obj, asked.uid, asked.version)
        if asked.dry_run:
            return obj
        if resource.kind == "Namespace":
            return namespaces.mark_deleted(self.store, name)
        if metadata.get("finalizers"):
            marks = {"deletionTimestamp": timestamp(self.store.clock()), "deletionGracePeriodSeconds": 0}
            return self.store.replace(resource.name, {**obj, "metadata": {**marks, **metadata}})
        return self.store.remove(resource.name, namespace, name)


def _page_key(item: Obj, namespace: str | None) -> str:
    """The part of the storage key that continue tokens hold: relative to what is listed."""
    metadata = item["metadata"]
    name: str = metadata["name"]
    return name if namespace is not None or not metadata.get("namespace") else f"{metadata['namespace']}/{name}"
