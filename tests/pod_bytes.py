"""Pods and watch events as an API server would put them on the wire, small and made by hand, in both formats."""

import json
import uuid

PHASES = ("Unknown", "Pending", "Running", "Succeeded", "Failed")


def uid_of(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def pod(name, version, phase="Pending", *, bin=0, deleting=False, uid=None):
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": uid or uid_of(name),
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"shard-executor/bin": str(bin)},
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"containers": []},
        "status": {"phase": phase},
    }


def bookmark(version, end=False):
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    if end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}


def status(code, reason, message, **details):
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message, "reason": reason, "code": code}
    return body | ({"details": details} if details else {})


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


# ---- JSON


def event(kind, obj):
    return compact({"type": kind, "object": obj}) + b"\n"


def end_of_list(version):
    return event("BOOKMARK", bookmark(version, end=True))


def expired():
    return event("ERROR", status(410, "Expired", "too old resource version: 1 (4437)"))


def pod_list(version, *pods, token=None):
    metadata = {"resourceVersion": str(version)} | ({"continue": token} if token else {})
    items = [{key: pod[key] for key in ("metadata", "spec", "status")} for pod in pods]
    return compact({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}) + b"\n"


# ---- protobuf; field numbers from k8s.io/api and k8s.io/apimachinery, generated.proto


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """A varint for an int, else a length-delimited field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def proto_map(number, values):
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in sorted(values.items()))


def proto_meta(metadata):
    out = field(1, metadata.get("name", "")) + field(3, metadata.get("namespace", ""))
    out += field(5, metadata.get("uid", "")) + field(6, metadata["resourceVersion"]) + field(8, b"")
    if "deletionTimestamp" in metadata:
        out += field(9, field(1, 1767225660))
    return out + proto_map(11, metadata.get("labels", {})) + proto_map(12, metadata.get("annotations", {}))


def proto_pod(obj):
    return field(1, proto_meta(obj["metadata"])) + field(2, b"") + field(3, field(1, obj["status"].get("phase", "")))


def envelope(kind, raw, version="v1"):
    return b"k8s\x00" + field(1, field(1, version) + field(2, kind)) + field(2, raw) + field(3, b"") + field(4, b"")


def proto_event(kind, obj):
    if obj["kind"] == "Status":
        raw = field(1, b"") + field(2, "Failure") + field(3, obj["message"]) + field(4, obj["reason"])
        raw += field(6, obj["code"])
    else:
        raw = proto_pod(obj)
    body = field(1, kind) + field(2, field(1, envelope(obj["kind"], raw)))
    return len(body).to_bytes(4, "big") + body


def proto_list(version, *pods):
    return envelope("PodList", field(1, field(2, str(version))) + b"".join(field(2, proto_pod(pod)) for pod in pods))
