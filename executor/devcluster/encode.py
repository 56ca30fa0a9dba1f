"""The forms an answer can take: content negotiation, and bodies and watch events in each form.

Each stored version is serialised once per form; the bytes stay with the object (`store.Stored.encoded`) and are
shared by all lists and watchers. The bytes of a spec are shared by all versions of an object that keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from shard_executor.devcluster import errors, protobuf
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.schema import MESSAGES
from shard_executor.devcluster.store import Stored
from shard_executor.devcluster.table import table_of
from shard_executor.devcluster.versions import Obj

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
SERVED = (JSON, PROTOBUF)
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_PARTIAL = ("PartialObjectMetadata", "PartialObjectMetadataList")
_META_VERSION = "meta.k8s.io/v1"
# encoding/json escapes these for HTML; in JSON text they can stand nowhere but inside strings.
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
_STATUS_ORDER = {name: place for place, name in enumerate(MESSAGES["PodStatus"].by_name)}


@dataclass(frozen=True, slots=True)
class Form:
    """How to write objects: as JSON or protobuf, and whole, as metadata only or as a table.

    `view` is ``""``, ``partial`` or ``table``; `include` says which object goes into a table's rows: Metadata,
    Object or None.
    """

    media_type: str
    view: str = ""
    include: str = "Metadata"

    @property
    def content_type(self) -> str:
        """The Content-Type of objects and lists."""
        return self.media_type

    @property
    def watch_content_type(self) -> str:
        """The Content-Type of a watch."""
        return f"{PROTOBUF};stream=watch" if self.media_type == PROTOBUF else JSON


PLAIN = Form(JSON)


def negotiate(accept: str, include: str = "Metadata") -> Form:
    """The first form of an Accept header that can be served.

    Args:
        accept: the header, empty for none.
        include: the query parameter includeObject, for tables.

    Raises:
        ApiError: 406 if there is none.
    """
    if accept in ("", "*/*", JSON):
        return PLAIN
    clauses: list[tuple[float, bool, str, dict[str, str]]] = []
    for clause in accept.split(","):
        media_type, *words = [word.strip() for word in clause.split(";")]
        parameters = dict(word.split("=", 1) for word in words if "=" in word)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        clauses.append((-quality, "*" in media_type, media_type, parameters))
    clauses.sort(key=lambda clause: clause[:2])
    for _, _, media_type, parameters in clauses:
        if media_type in ("*/*", "application/*"):
            media_type = JSON
        view = parameters.get("as", "")
        if media_type not in SERVED or (view == "Table" and media_type != JSON):
            continue
        if view == "Table":
            return Form(media_type, "table", include or "Metadata")
        if view in _PARTIAL:
            return Form(media_type, "partial")
        if not view:
            return Form(media_type)
    raise errors.not_acceptable(SERVED)


def error_form(accept: str) -> Form:
    """The form of a refusal: protobuf only where a clause without ``as`` asks for it."""
    try:
        form = negotiate(accept)
    except errors.ApiError:
        return PLAIN
    return form if not form.view else PLAIN


def dump(value: Any) -> bytes:
    """JSON as Go's encoder writes it, HTML characters escaped, without the final newline."""
    data = orjson.dumps(value)
    for raw, escaped in _ESCAPES:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def status_body(form: Form, status: Obj) -> bytes:
    """A Status object."""
    if form.media_type == PROTOBUF:
        return protobuf.envelope("v1", "Status", protobuf.encode("Status", status))
    return dump(status) + b"\n"


def object_body(form: Form, resource: Resource, obj: Obj) -> bytes:
    """One object."""
    if form.view == "table":
        return dump(table_of(resource, [obj], form.include, obj["metadata"].get("resourceVersion", ""))) + b"\n"
    return _object(form, resource, obj) + b"\n" if form.media_type == JSON else _object(form, resource, obj)


def list_body(form: Form, resource: Resource, items: list[Obj], metadata: Obj) -> bytes:
    """A list of objects; `metadata` is its ListMeta."""
    if form.view == "table":
        table = table_of(resource, items, form.include, metadata["resourceVersion"])
        table["metadata"] = metadata
        return dump(table) + b"\n"
    partial = form.view == "partial"
    kind = "PartialObjectMetadataList" if partial else f"{resource.kind}List"
    version = _META_VERSION if partial else resource.api_version
    if form.media_type == PROTOBUF:
        raws = [_raw(form, resource, item) for item in items]
        return protobuf.envelope(version, kind, protobuf.list_body(metadata, raws))
    head = dump({"kind": kind, "apiVersion": version, "metadata": metadata})[:-1]
    # Items of a list carry no kind, except PartialObjectMetadata.
    cores = [_json(form, resource, item) if partial else b"{" + _core(item) for item in items]
    return head + b',"items":[' + b",".join(cores) + b"]}\n"


def event(form: Form, resource: Resource, event_type: str, obj: Obj) -> bytes:
    """A watch event with an object."""
    if form.view == "table":
        return _json_event(event_type, dump(table_of(resource, [obj], form.include, "")))
    key = f"{event_type}|{form.media_type}|{form.view}"
    cached = obj.encoded.get(key) if isinstance(obj, Stored) else None
    if cached is not None:
        return cached
    body = _object(form, resource, obj)
    result = protobuf.watch_frame(event_type, body) if form.media_type == PROTOBUF else _json_event(event_type, body)
    if isinstance(obj, Stored):
        obj.encoded[key] = result
    return result


def gone_event(form: Form, resource: Resource, new: Obj, previous: Obj) -> bytes:
    """The DELETED event of an object that left a selector: its previous state at the version of the change."""
    key = f"gone|{form.media_type}|{form.view}"
    cached = new.encoded.get(key) if isinstance(new, Stored) and form.view != "table" else None
    if cached is not None:
        return cached
    version = new["metadata"]["resourceVersion"]
    left = Stored({**previous, "metadata": {**previous["metadata"], "resourceVersion": version}})
    result = event(form, resource, "DELETED", left)
    if isinstance(new, Stored) and form.view != "table":
        new.encoded[key] = result
    return result


def bookmark(form: Form, resource: Resource, version: int, *, initial_events_end: bool) -> bytes:
    """A BOOKMARK: an empty object with nothing but a resourceVersion, and the mark that ends a streaming list."""
    metadata: Obj = {"resourceVersion": str(version)}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    empty: Obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if resource.kind == "Pod":
        empty |= {"spec": {"containers": None}, "status": {}}
    return event(form, resource, "BOOKMARK", empty)


def error_event(form: Form, status: Obj) -> bytes:
    """An ERROR event; its Status keeps its shape in every view."""
    if form.media_type == PROTOBUF:
        return protobuf.watch_frame("ERROR", status_body(form, status))
    return _json_event("ERROR", dump(status))


def _json_event(event_type: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), body)


def _object(form: Form, resource: Resource, obj: Obj) -> bytes:
    if form.media_type == JSON:
        return _json(form, resource, obj)
    if form.view == "partial":
        return protobuf.envelope(_META_VERSION, "PartialObjectMetadata", _raw(form, resource, obj))
    return protobuf.envelope(obj["apiVersion"], obj["kind"], _raw(form, resource, obj))


def _raw(form: Form, resource: Resource, obj: Obj) -> bytes:
    if form.view == "partial":
        return protobuf.encode("PartialObjectMetadata", {"metadata": obj["metadata"]})
    if obj["kind"] not in MESSAGES:
        raise errors.not_acceptable((JSON,))
    return protobuf.encode(obj["kind"], obj)


def _json(form: Form, resource: Resource, obj: Obj) -> bytes:
    if form.view == "partial":
        return dump({"kind": "PartialObjectMetadata", "apiVersion": _META_VERSION, "metadata": obj["metadata"]})
    head = b'{"kind":"%b","apiVersion":"%b",' % (obj["kind"].encode(), obj["apiVersion"].encode())
    return head + _core(obj)


def _core(obj: Obj) -> bytes:
    """The JSON of an object from its metadata on, without the opening brace, kind and apiVersion."""
    if not isinstance(obj, Stored):
        return dump({name: value for name, value in obj.items() if name not in ("kind", "apiVersion")})[1:]
    cached = obj.encoded.get("json")
    if cached is not None:
        return cached
    parts = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
    spec = parts.get("spec")
    if isinstance(spec, Stored):
        if "json" not in spec.encoded:
            spec.encoded["json"] = dump(spec)
        parts["spec"] = orjson.Fragment(spec.encoded["json"])
    if obj["kind"] == "Pod":
        ranked = sorted(parts["status"].items(), key=lambda item: _STATUS_ORDER.get(item[0], 99))
        parts["status"] = dict(ranked)
    result = dump(parts)[1:]
    obj.encoded["json"] = result
    return result
