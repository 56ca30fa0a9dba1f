"""Writes pods as JSON and as protobuf, as hostile as both formats allow; all noise comes from a given generator."""

import json
import random
from datetime import datetime
from typing import Any

from oracle import wire

Json = Any


def varint(value: int, rng: random.Random | None = None) -> bytes:
    """With a generator, sometimes padded to ten bytes, which is legal."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if rng is not None and len(out) < 10 and rng.random() < 0.1:
        out[-1] |= 0x80
        out += b"\x80" * (9 - len(out)) + b"\0"
    return bytes(out)


def field(number: int, value: int | bytes, rng: random.Random | None = None) -> bytes:
    if isinstance(value, int):
        return varint(number << 3, rng) + varint(value, rng)
    return varint(number << 3 | 2, rng) + varint(len(value), rng) + value


def unknown(rng: random.Random) -> bytes:
    """A field of a number Kubernetes has not given out, of any legal wire type."""
    number = rng.choice((60, 1000, 18999, 2**29 - 1))
    wire_type = rng.choice((0, 1, 2, 5))
    tag = varint(number << 3 | wire_type, rng)
    if wire_type == 0:
        return tag + varint(rng.getrandbits(64), rng)
    if wire_type == 2:
        body = rng.randbytes(rng.randrange(40))
        return tag + varint(len(body), rng) + body
    return tag + rng.randbytes(8 if wire_type == 1 else 4)


def _parts(obj: Json, shape: dict[int, Any], rng: random.Random | None) -> list[bytes]:
    parts: list[bytes] = []
    for number, (name, kind, *inner) in shape.items():
        value = obj.get(name)
        if value is None:
            continue
        if kind == wire.TEXT:
            parts.append(field(number, value.encode(), rng))
        elif kind in (wire.NUMBER, wire.FLAG):
            parts.append(field(number, int(value), rng))
        elif kind == wire.TIME:
            seconds = int(datetime.fromisoformat(value).timestamp())
            parts.append(field(number, field(1, seconds, rng) + field(2, 0), rng))
        elif kind == wire.MESSAGE:
            parts.append(field(number, message(value, inner[0], rng), rng))
        elif kind == wire.LIST:  # one part: the order of the items matters
            parts.append(b"".join(field(number, message(item, inner[0], rng), rng) for item in value))
        else:
            parts += [field(number, field(1, k.encode()) + field(2, v.encode()), rng) for k, v in value.items()]
    return parts


def message(obj: Json, shape: dict[int, Any], rng: random.Random | None = None) -> bytes:
    parts = _parts(obj, shape, rng)
    if shape is wire.POD:
        parts.insert(1, field(2, b"\x0a\x05spec!" + bytes(64)))
    if rng is not None:
        parts += [unknown(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
        rng.shuffle(parts)
    return b"".join(parts)


def envelope(kind: str, raw: bytes) -> bytes:
    meta = field(1, b"v1") + field(2, kind.encode())
    return b"k8s\0" + field(1, meta) + field(2, raw) + field(3, b"") + field(4, b"")


def protobuf_event(event_type: str, kind: str, raw: bytes, rng: random.Random | None = None) -> bytes:
    """A whole frame."""
    parts = [field(1, event_type.encode(), rng), field(2, field(1, envelope(kind, raw), rng), rng)]
    if rng is not None:
        rng.shuffle(parts)
    body = b"".join(parts)
    return len(body).to_bytes(4, "big") + body


def protobuf_list(pods: list[bytes], version: int) -> bytes:
    head = field(1, field(2, str(version).encode()) + field(3, b""))
    return envelope("PodList", head + b"".join(field(2, pod) for pod in pods))


def _shuffled(value: Json, rng: random.Random, depth: int = 0) -> Json:
    if isinstance(value, list):
        return [_shuffled(item, rng, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    items = [(key, _shuffled(item, rng, depth + 1)) for key, item in value.items()]
    if rng.random() < 0.3:
        items.append(("xUnknown", rng.choice((None, True, -1.5e3, 10**40, ["]}", {"\\": '"'}], {"a": [{}, []]}))))
    rng.shuffle(items)
    return dict(items)


def json_pod(pod: Json, rng: random.Random | None = None) -> Json:
    """The pod with what servers send besides; with a generator, members in any order and unknown ones among them.

    Maps of texts stay as they are.
    """
    pod = {"kind": "Pod", "apiVersion": "v1", **pod, "spec": {"containers": [{"args": ['{"status":{', "}]\\"]}]}}
    metadata = dict(pod["metadata"], creationTimestamp=None, managedFields=[{"f:k": {'k:{"name":"base"}': {}}}])
    if rng is None:
        return {**pod, "metadata": metadata}
    maps = {key: metadata.pop(key) for key in ("labels", "annotations") if key in metadata}
    result = _shuffled({**pod, "metadata": metadata}, rng)
    result["metadata"] = dict(sorted((result["metadata"] | maps).items(), key=lambda _: rng.random()))
    return result


def json_text(value: Json, rng: random.Random | None = None) -> bytes:
    """With a generator: escapes or raw UTF-8, with or without white space."""
    if rng is None:
        return json.dumps(value, separators=(",", ":")).encode()
    text = json.dumps(
        value,
        ensure_ascii=rng.random() < 0.5,
        separators=rng.choice(((",", ":"), (" , ", "\t: "))),
    )
    return text.encode("utf-8", "surrogatepass")


def json_event(event_type: str, obj: Json, rng: random.Random | None = None) -> bytes:
    """A whole line."""
    items = [("type", event_type), ("object", obj)]
    if rng is not None:
        rng.shuffle(items)
    return json_text(dict(items), rng) + b"\n"
