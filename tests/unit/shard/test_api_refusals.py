"""shard.api.fault_of: Status in JSON and protobuf, plain words, pages of proxies, nothing, and halves of each."""

import pytest

from fake_api import JSON, PROTOBUF
from shard_executor.core.faults import Fault
from shard_executor.shard.api import Answer, fault_of


def protobuf_status(code=409, reason=b"AlreadyExists", message=b'pods "a" already exists', details=b""):
    def text(number, value):
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    status = text(1, b"") + text(2, b"Failure") + text(3, message) + text(4, reason)
    status += text(5, details) if details else b""
    status += bytes([6 << 3]) + varint(code)
    return b"k8s\x00" + text(1, text(1, b"v1") + text(2, b"Status")) + text(2, status) + text(3, b"") + text(4, b"")


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def refusal(status, body, content_type):
    return fault_of(Answer(status, {}, body, content_type))


def test_a_protobuf_status_is_read():
    info = refusal(409, protobuf_status(), PROTOBUF)
    assert (info.fault, info.message) == (Fault.ALREADY_EXISTS, 'pods "a" already exists')


def test_a_protobuf_status_with_details_is_read():
    cause = b"\x0a\x17ResourceVersionTooLarge\x12\x04text\x1a\x05field"
    details = b"\x22" + varint(len(cause)) + cause + b"\x28\x07"
    info = refusal(504, protobuf_status(504, b"Timeout", b"Timeout", details), PROTOBUF)
    assert info.fault is Fault.TOO_LARGE_VERSION
    assert info.retry_after == 7
    assert info.causes == ("ResourceVersionTooLarge: text (field)",)


def test_a_recorded_protobuf_status_is_read():
    # ERROR event 410 of a kube-apiserver: the object inside its frame.
    body = bytes.fromhex(
        "6b3873000a0c0a0276311206537461747573123e0a060a0012001a0012074661696c7572651a1f746f6f206f6c64207265736f75726365"
        "2076657273696f6e3a203120283229220745787069726564309a031a002200"
    )
    info = refusal(410, body, PROTOBUF)
    assert (info.fault, info.message) == (Fault.EXPIRED, "too old resource version: 1 (2)")


def test_every_truncation_of_a_status_still_has_a_name():
    for body, kind in (
        (protobuf_status(403, b"Forbidden", b"no"), PROTOBUF),
        (b'{"reason":"Expired"}', JSON),
    ):
        for size in range(len(body)):
            info = refusal(403, body[:size], kind)
            assert info.fault is Fault.FORBIDDEN
            assert info.message


@pytest.mark.parametrize(
    ("status", "body", "content_type", "fault", "words"),
    [
        (429, b"Too many requests, please try again later.\n", "text/plain", Fault.THROTTLED, "Too many requests"),
        (503, b"", "", Fault.UNAVAILABLE, "HTTP 503 without a body"),
        (502, b"<html><title>Bad gateway</title></html>", "text/html", Fault.UNAVAILABLE, "Bad gateway"),
        (500, b"\xff\xfe\x00 broken", "text/plain", Fault.SERVER_ERROR, "broken"),
        (403, b'["list"]', JSON, Fault.FORBIDDEN, "list"),
        (403, b'{"message":"plain","code":403}', "text/plain", Fault.FORBIDDEN, "plain"),
        (401, b"\x00\x01\x02", PROTOBUF, Fault.UNAUTHORIZED, "HTTP 401 without a body"),
    ],
)
def test_other_bodies(status, body, content_type, fault, words):
    info = refusal(status, body, content_type)
    assert info.fault is fault
    assert words in info.message
