"""Frames between parent and shard survive any cut, and garbage is refused."""

from __future__ import annotations

import random

import pytest

from shard_executor.supervisor import messages as msg

MESSAGES = [[msg.SUBMIT, f"t{n}", "x" * (n % 50), None, {"a": [1, 2.5, "é\x00"]}] for n in range(1200)]


@pytest.mark.parametrize("seed", range(5))
def test_any_cut_gives_the_same_messages(seed: int) -> None:
    rng = random.Random(seed)
    data = msg.encode(MESSAGES)
    reader = msg.FrameReader()
    found: list[msg.Message] = []
    at = 0
    while at < len(data):
        step = rng.choice([1, 2, 3, 7, 4096, 100_000])
        found += reader.feed(data[at : at + step])
        at += step
    assert found == MESSAGES


def test_no_messages_are_no_bytes() -> None:
    assert msg.encode([]) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x03{]x",
        b"\x00\x00\x00\x015",
        b'\x00\x00\x00\x07{"a":1}',
        b"\x00\x00\x00\x04[[]]",
        b"\x00\x00\x00\x05[[1]]",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(msg.FrameError):
        msg.FrameReader().feed(data)
