"""Damaged bytes end as a row, an Undecodable or a DecodeError with its place; never as a crash or anything else."""

import os
import random

import pytest

from corpus_data import recorded
from oracle import encode, wire
from oracle.model import protobuf_frames, told
from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, DecodeError, PodChange, PodTable, Undecodable

ROUNDS = int(os.environ.get("SHARD_EXECUTOR_MUTATIONS", "4000"))
FORMATS = pytest.mark.parametrize("form", [FORMAT_JSON, FORMAT_PROTOBUF], ids=["json", "protobuf"])


def small_frames(form):
    """Recorded frames without their spec, so that most mutations hit what is read; and the synthetic ones."""
    if form == FORMAT_JSON:
        lines = recorded("watchlist.json.watch").splitlines(keepends=True)
        return [*sorted(lines, key=len)[:12], lines[43]]
    frames = [len(f).to_bytes(4, "big") + f for f in protobuf_frames(recorded("watchlist.pb.watch"))]
    return [*sorted(frames, key=len)[:12], frames[43]]


def hot_range(frame, form):
    """Where metadata begins and status ends: the first 1,500 and the last 3,000 bytes hold them."""
    return [i for i in range(len(frame)) if i < 1500 or i >= len(frame) - 3000]


def mutated(frame, rng, form):
    out = bytearray(frame)
    places = hot_range(frame, form)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = min(rng.choice(places), len(out) - 1)
        kind = rng.randrange(5)
        if kind == 0:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[place] = rng.choice(b'"\\{}[],:u0\x00\x7f\x80\xff\x0a')
        elif kind == 2:
            del out[place : place + rng.choice((1, 2, 8, 100))]
        elif kind == 3:
            out[place:place] = rng.choice((b'"', b"\\", b"{", b"]", b"\xff" * 10, b"\\ud800", b"\0"))
        else:
            del out[place:]
        if not out:
            out = bytearray(b"\0")
    return bytes(out)


def look(items, size):
    for item in items:
        if isinstance(item, Undecodable):
            assert 0 <= item.offset <= size
            assert item.reason
        else:
            told(item)
            if isinstance(item, PodChange):
                repr(item)


def refusal(call, *arguments):
    """The DecodeError of a call, None if it went well; anything else gets through."""
    try:
        call(*arguments)
    except DecodeError as error:
        return error
    return None


def survive(table, stream, form, pieces):
    def feed():
        for at in range(0, len(stream), pieces):
            look(table.feed(stream[at : at + pieces]), len(stream))
        table.end_stream()

    table.open_stream(form)
    error = refusal(feed)
    if error is not None:
        assert 0 <= error.offset <= len(stream)
        assert error.reason
        with pytest.raises((DecodeError, RuntimeError)):
            table.feed(b"")
    table.validate()


@FORMATS
def test_mutated_frames(form):
    rng = random.Random(form)
    frames = small_frames(form)
    for _ in range(ROUNDS):
        table = PodTable()
        before, after = rng.choice(frames), rng.choice(frames)
        stream = before + mutated(rng.choice(frames), rng, form) + after
        survive(table, stream, form, rng.choice((len(stream), len(stream), 1000, 77)))


@FORMATS
def test_frames_whose_length_fits_their_damaged_body(form):
    """Protobuf damage mostly shifts the framing; here only the body is damaged."""
    rng = random.Random(10 + form)
    frames = small_frames(form)
    for _ in range(ROUNDS):
        table = PodTable()
        if form == FORMAT_JSON:
            stream = mutated(rng.choice(frames)[:-1], rng, form).replace(b"\n", b" ") + b"\n"
        else:
            body = mutated(rng.choice(frames)[4:], rng, form)
            stream = len(body).to_bytes(4, "big") + body
        survive(table, stream + rng.choice(frames), form, len(stream) * 2)


@FORMATS
def test_every_truncation_of_one_frame(form):
    frame = min(small_frames(form)[6:], key=len)
    for size in range(0, len(frame), max(1, len(frame) // 3000)):
        body = frame[:size] + b"\n"
        if form == FORMAT_PROTOBUF:
            body = max(0, size - 4).to_bytes(4, "big") + frame[4 : max(4, size)]
        survive(PodTable(), body, form, len(body) or 1)


@FORMATS
def test_mutated_lists(form):
    rng = random.Random(20 + form)
    bodies = {
        FORMAT_JSON: b'{"kind":"PodList","metadata":{"resourceVersion":"9","continue":"x","remainingItemCount":3},'
        b'"items":[{"metadata":{"uid":"a","resourceVersion":"5"}},'
        b'{"metadata":{"uid":"b","resourceVersion":"6"},"status":{}}]}',
        FORMAT_PROTOBUF: encode.protobuf_list(
            [
                encode.message(
                    {"metadata": {"uid": uid, "resourceVersion": "5"}, "status": {"phase": "Failed"}}, wire.POD
                )
                for uid in "ab"
            ],
            9,
        ),
    }
    for _ in range(ROUNDS):
        table = PodTable()
        body = mutated(bodies[form], rng, form)
        error = refusal(lambda: look(table.apply_list(body, form)[1], len(body)))  # noqa: B023 called at once
        if error is not None:
            assert 0 <= error.offset <= len(body)
            assert len(table) == 0
        table.validate()


@FORMATS
def test_pure_noise(form):
    rng = random.Random(30 + form)
    for _ in range(ROUNDS):
        survive(PodTable(), rng.randbytes(rng.randrange(1, 200)), form, 64)


def test_mutated_error_events():
    rng = random.Random(4)
    raw = encode.message(
        {"code": 410, "reason": "Expired", "details": {"causes": [{"reason": "X"}], "retryAfterSeconds": 3}},
        wire.ANSWER,
    )
    for _ in range(ROUNDS):
        damaged = mutated(raw, rng, FORMAT_PROTOBUF)
        survive(PodTable(), encode.protobuf_event("ERROR", "Status", damaged), FORMAT_PROTOBUF, 10_000)
        line = b'{"type":"ERROR","object":{"code":410,"details":{"causes":[{"reason":"X"}],"retryAfterSeconds":3}}}\n'
        survive(PodTable(), mutated(line, rng, FORMAT_JSON), FORMAT_JSON, 10_000)
