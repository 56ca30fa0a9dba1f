"""Protobuf's corners: wire types, lengths, varints, repeated messages, envelopes."""

import pytest

from oracle import wire
from oracle.encode import envelope, field, message, protobuf_event, protobuf_list, varint
from pods_as_text import pod
from shard_executor._fast import (
    FORMAT_PROTOBUF,
    Bookmark,
    DecodeError,
    ListMeta,
    PodTable,
    StreamStatus,
    Undecodable,
)

# Built by hand from Kubernetes' .proto files: a bookmark that ends a streaming list, and an expired version.
BOOKMARK = bytes.fromhex(
    "0000007b0a08424f4f4b4d41524b126f0a6d6b3873000a270a0e6d6574612e6b38732e696f2f763112155061727469616c4f626a6563744d65"
    "746164617461123a0a380a0012001a0022002a00320531323734363800420062210a196b38732e696f2f696e697469616c2d6576656e74732d65"
    "6e641204747275651a002200"
)
EXPIRED = bytes.fromhex(
    "000000610a054552524f5212580a566b3873000a0c0a0276311206537461747573123e0a060a0012001a0012074661696c7572651a1f746f6f20"
    "6f6c64207265736f757263652076657273696f6e3a203120283229220745787069726564309a031a002200"
)
GOOD = message(pod(), wire.POD)


def open_table(**options):
    table = PodTable(**options)
    table.open_stream(FORMAT_PROTOBUF)
    return table


def event(raw, kind="ADDED"):
    return protobuf_event(kind, "Pod", raw)


def frame(body):
    return len(body).to_bytes(4, "big") + body


def test_known_vectors():
    assert open_table().feed(BOOKMARK + EXPIRED) == [
        Bookmark(12746, True),
        StreamStatus(410, "Expired", "too old resource version: 1 (2)", None, ()),
    ]


def test_an_error_with_details():
    status = {"code": 504, "reason": "Timeout", "message": "ü",
              "details": {"retryAfterSeconds": 1, "causes": [{"reason": "A"}, {}]}}  # fmt: skip
    assert open_table().feed(protobuf_event("ERROR", "Status", message(status, wire.ANSWER))) == [
        StreamStatus(504, "Timeout", "ü", 1, ("A", ""))
    ]


METADATA = message(pod()["metadata"], wire.METADATA)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        GOOD + b"\x0b",                                       # group start
        GOOD + b"\x0c",                                       # group end
        GOOD + b"\x0e",                                       # wire type 6
        GOOD + b"\x00\x00",                                   # field 0
        GOOD + b"\xff" * 10,                                  # tag over 64 bits
        GOOD + varint(2**32 + 2),                             # tag over 32 bits
        GOOD + b"\x52\x05abcd",                               # length beyond the end
        GOOD + b"\x52" + varint(2**63) + b"x",
        GOOD + b"\x52",
        GOOD + b"\x59\0\0\0",                                 # fixed64 cut off
        GOOD + b"\x5d\0\0\0",                                 # fixed32 cut off
        GOOD + field(1, METADATA),                            # metadata twice
        GOOD + field(3, b"") + field(3, b""),
        field(1, 5),                                          # metadata as a number
        field(1, METADATA + field(1, 7)),                     # name as a number
        field(1, METADATA + field(6, b"x")),
        field(1, METADATA + field(11, b"\x0a\x7fkey")),       # label entry cut off
        field(1, METADATA + field(11, field(1, 3))),
        field(1, METADATA) + field(3, field(1, 1)),           # phase as a number
        field(1, METADATA) + field(3, field(2, b"\x0a")),     # condition cut off
        field(1, METADATA) + field(3, field(8, field(5, b"x"))),
        field(1, METADATA) + field(3, field(8, field(2, field(3, field(1, b"x"))))),
        field(1, METADATA) + field(3, field(8, field(2, field(3, b"\x08" + b"\xff" * 9 + b"\x02")))),
        field(1, METADATA) + field(3, field(8, field(2, field(3, b"\x08" + b"\x80" * 10)))),
        field(1, METADATA[:-1]),
    ],
)  # fmt: skip
def test_a_bad_object_is_told_and_the_stream_goes_on(raw):
    table = open_table()
    good, damaged = event(GOOD), event(raw)
    first, bad, after = table.feed(
        good + damaged + event(message(pod(version=2, phase="Failed"), wire.POD), "MODIFIED")
    )
    assert isinstance(bad, Undecodable)
    assert len(good) <= bad.offset <= len(good) + len(damaged)
    assert (first.phase, after.phase) == (1, 4)


@pytest.mark.parametrize(
    "body",
    [
        field(1, b"ADDED"),
        field(1, b"ADDED") + field(2, b""),
        field(1, b"ADDED") + field(2, field(1, b"k8s")),
        field(1, b"ADDED") + field(2, field(1, b"k8s\0" + field(1, 5))),
        field(1, b"ADDED") + field(2, field(1, 5)),
        field(1, b"ADDED") + field(2, field(1, envelope("Status", GOOD))),
        field(1, b"OTHER") + field(2, field(1, envelope("Pod", GOOD))),
        field(2, field(1, envelope("Pod", GOOD))),
        field(1, b"BOOKMARK") + field(2, field(1, envelope("Pod", b""))),
        field(1, b"ERROR") + field(2, field(1, envelope("Status", field(6, b"x")))),
        b"",
    ],
)
def test_a_bad_envelope_is_a_bad_object(body):
    (bad,) = open_table().feed(frame(body))
    assert isinstance(bad, Undecodable)


@pytest.mark.parametrize(
    "body", [field(1, 5), field(2, 5), b"\x0a\x05AD", b"\x0b", b"\x00", b"\xff" * 11, field(1, b"ADDED") + b"\x3f"]
)
def test_a_bad_watch_event_ends_the_stream(body):
    table = open_table()
    with pytest.raises(DecodeError) as caught:
        table.feed(frame(body))
    assert 4 <= caught.value.offset <= 4 + len(body)
    with pytest.raises(DecodeError):
        table.feed(event(GOOD))
    assert len(table) == 0


def test_numbers_of_ten_bytes_and_messages_in_pieces():
    terminated = field(1, -1) + field(2, 2**64 - 1) + field(3, b"OOMKilled")
    state = field(3, terminated) + field(3, field(4, b"more")) + field(1, field(1, b"waits"))
    status = field(8, field(1, b"base") + field(2, state) + field(5, 2**40 + 3) + b"\x20" + b"\xff" * 9 + b"\x01")
    (change,) = open_table().feed(event(field(1, METADATA) + field(3, status)))
    (container,) = change.status().containers
    assert (container.state, container.exit_code, container.signal) == ("terminated", -1, -1)
    assert (container.reason, container.message, container.restart_count) == ("OOMKilled", "more", 3)
    assert container.ready is True


def test_labels_scattered_duplicated_and_empty():
    entries = [
        field(11, field(2, b"v") + field(1, b"late")),
        field(11, b""),
        field(11, field(1, b"a") + field(2, b"1")),
    ]
    raw = field(1, entries[0] + METADATA + entries[1] + entries[2] + field(11, field(1, b"a") + field(2, b"\xff")))
    (change,) = open_table().feed(event(raw))
    assert change.labels() == {"late": "v", "": "", "a": "\ufffd"}


def test_an_empty_deletion_time_is_none():
    (change,) = open_table().feed(event(field(1, METADATA + field(9, b""))))
    assert change.deleting is False
    (change,) = open_table().feed(event(field(1, METADATA + field(9, field(1, 5)))))
    assert change.deleting is True


def test_a_time_that_cannot_be_read_is_none():
    status = field(7, b"\x08") + field(8, field(2, field(2, field(1, b"\x0b"))))
    (change,) = open_table().feed(event(field(1, METADATA) + field(3, status)))
    assert change.status().start_time is None
    assert change.status().containers[0].started_at is None


def test_lists():
    table = PodTable()
    meta, changes = table.apply_list(protobuf_list([GOOD, b"\x0b"], 12), FORMAT_PROTOBUF)
    assert meta == ListMeta(12, "", None)
    assert [isinstance(change, Undecodable) for change in changes] == [False, True]
    head = field(1, field(3, b"token") + field(4, 17))
    assert table.apply_list(envelope("PodList", head), FORMAT_PROTOBUF) == (ListMeta(0, "token", 17), [])


@pytest.mark.parametrize(
    "broken",
    [b"", b"k8s", protobuf_list([GOOD], 12)[:60], envelope("Status", b""), envelope("PodList", field(2, 5)),
     envelope("PodList", field(2, GOOD) + field(1, field(2, b"x"))), envelope("PodList", field(2, GOOD) + b"\x12\x7f")],
)  # fmt: skip
def test_a_bad_list_changes_nothing(broken):
    table = PodTable()
    with pytest.raises(DecodeError):
        table.apply_list(broken, FORMAT_PROTOBUF)
    assert len(table) == 0
