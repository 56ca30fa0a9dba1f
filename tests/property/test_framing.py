"""A stream tells the same wherever it is cut, and says what is left of an unfinished frame."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_data import recorded
from oracle.model import protobuf_frames, told
from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, DecodeError, PodTable

HEAD = {
    FORMAT_JSON: b"".join(recorded("watchlist.json.watch").splitlines(keepends=True)[38:50]),
    FORMAT_PROTOBUF: b"".join(
        len(frame).to_bytes(4, "big") + frame
        for index, frame in enumerate(protobuf_frames(recorded("watchlist.pb.watch")))
        if 38 <= index < 50
    ),
}
FORMATS = pytest.mark.parametrize("form", [FORMAT_JSON, FORMAT_PROTOBUF], ids=["json", "protobuf"])


def fed(pieces, form):
    """What the pieces tell, read only after later feeds: records must not depend on the table's buffers."""
    table = PodTable()
    table.open_stream(form)
    items = [item for piece in pieces for item in table.feed(piece)]
    left = table.end_stream()
    return [told(item) for item in items], left


def cut(stream, places):
    places = sorted({0, len(stream), *places})
    return [stream[a:b] for a, b in pairwise(places)]


@FORMATS
def test_byte_by_byte_tells_what_the_whole_tells(form):
    whole = fed([HEAD[form]], form)
    assert len(whole[0]) > 8
    assert whole[1] == 0
    assert fed([HEAD[form][i : i + 1] for i in range(len(HEAD[form]))], form) == whole


@FORMATS
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cuts_tell_what_the_whole_tells(form, data):
    places = data.draw(st.lists(st.integers(0, len(HEAD[form])), max_size=30))
    assert fed(cut(HEAD[form], places), form) == fed([HEAD[form]], form)


@FORMATS
def test_every_cut_near_a_frame_boundary(form):
    stream = HEAD[form]
    ends, at = [], 0
    while at < len(stream):
        at = stream.index(b"\n", at) + 1 if form == FORMAT_JSON else at + 4 + int.from_bytes(stream[at : at + 4], "big")
        ends.append(at)
    whole = fed([stream], form)
    for end in ends[:3]:
        for place in range(max(0, end - 6), min(len(stream), end + 7)):
            assert fed(cut(stream, [place]), form) == whole


@FORMATS
def test_trailing_bytes_are_reported_as_left(form):
    stream = HEAD[form]
    assert fed([stream, stream[:100]], form)[1] == 100
    assert fed([stream, stream[:3]], form)[1] == 3
    assert fed([stream[:-1]], form)[1] > 0


@FORMATS
def test_a_new_stream_starts_clean(form):
    table = PodTable()
    table.open_stream(form)
    table.feed(HEAD[form][:1000])
    table.open_stream(form)
    assert [told(item) for item in table.feed(HEAD[form])] == fed([HEAD[form]], form)[0]


def test_frames_over_64_mib_are_refused_before_they_are_read():
    table = PodTable()
    table.open_stream(FORMAT_PROTOBUF)
    with pytest.raises(DecodeError, match="64 MiB") as caught:
        table.feed(b"\x04\x00\x00\x01")
    assert caught.value.offset == 0
    table.open_stream(FORMAT_JSON)
    piece = b" " * (1 << 23)
    for _ in range(8):
        assert table.feed(piece) == []
    with pytest.raises(DecodeError, match="64 MiB"):
        table.feed(piece)


def test_a_frame_of_several_megabytes_in_small_pieces():
    line = HEAD[FORMAT_JSON].splitlines()[0]
    big = line.replace(b'"spec":{', b'"spec":{"filling":"' + b"x" * (3 << 20) + b'",', 1) + b"\n"
    pieces = [big[i : i + 65536] for i in range(0, len(big), 65536)]
    assert fed(pieces, FORMAT_JSON) == fed([line + b"\n"], FORMAT_JSON)


def test_white_space_between_lines_is_nothing():
    line = HEAD[FORMAT_JSON].splitlines(keepends=True)[0]
    assert fed([b"\n \r\n" + line + b"\n\t\n"], FORMAT_JSON) == fed([line], FORMAT_JSON)
