"""The protobuf encoding against pods recorded from a real API server, byte for byte."""

from __future__ import annotations

import json

import pytest

from corpus_data import recorded
from shard_executor.devcluster import errors, protobuf, schema
from shard_executor.devcluster.store import Stored
from shard_executor.devcluster.versions import Obj

MANAGED_FIELDS = 17  # not kept by the development cluster


def real_pods() -> list[tuple[Obj, bytes]]:
    """Recorded pods as JSON and as their protobuf messages, both without managedFields."""
    items = json.loads(recorded("list.json"))["items"]
    body = recorded("list.pb")
    raw_list = dict(protobuf.fields(body[len(protobuf.MAGIC) :]))[2]
    raws = [_without_managed_fields(raw) for number, raw in protobuf.fields(raw_list) if number == 2]
    for item in items:
        item["metadata"].pop("managedFields", None)
    return list(zip(items, raws, strict=True))


def _without_managed_fields(pod: bytes) -> bytes:
    parts = []
    for number, value in protobuf.fields(pod):
        if number == 1:
            kept = [(field, raw) for field, raw in protobuf.fields(value) if field != MANAGED_FIELDS]
            value = b"".join(_field(field, raw) for field, raw in kept)
        parts.append(_field(number, value))
    return b"".join(parts)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return protobuf.varint(number << 3) + protobuf.varint(value)
    return protobuf.varint(number << 3 | 2) + protobuf.varint(len(value)) + value


def test_recorded_pods_are_encoded_byte_for_byte() -> None:
    pods = real_pods()
    assert len(pods) > 10
    for pod, raw in pods:
        assert protobuf.encode("Pod", pod) == raw, pod["metadata"]["name"]


def test_recorded_pods_are_decoded_and_encoded_again() -> None:
    for _, raw in real_pods():
        decoded = protobuf.decode_envelope(protobuf.envelope("v1", "Pod", raw))
        assert protobuf.encode("Pod", decoded) == raw


def test_recorded_pods_have_no_unknown_fields() -> None:
    for pod, _ in real_pods():
        cleaned, unknown = schema.clean("Pod", "v1", pod)
        assert unknown == []
        assert cleaned["spec"] == pod["spec"]


def test_a_stored_spec_is_encoded_once() -> None:
    spec = Stored({"nodeName": "node-1"})
    first = protobuf.encode("PodSpec", spec)
    assert protobuf.encode("PodSpec", spec) is first


@pytest.mark.parametrize("body", [b"", b"{}", b"k8s\x00\xff", protobuf.envelope("v1", "Unheard", b"")])
def test_unreadable_bodies_are_bad_requests(body: bytes) -> None:
    with pytest.raises(errors.ApiError) as caught:
        protobuf.decode_envelope(body)
    assert caught.value.status == 400
