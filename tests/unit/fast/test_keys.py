"""Bins of task keys."""

import pytest

from shard_executor._fast.keys import BINS, bin_of, fnv1a64


def reference(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


# Published test vectors of FNV-1a, 64 bits.
@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_published_vectors(data, value):
    assert fnv1a64(data) == value


@pytest.mark.parametrize("data", [b"\0", b"\xff" * 100, "ünïcödé\x1fx".encode()])
def test_against_plain_python(data):
    assert fnv1a64(data) == reference(data)


def test_bins_are_the_hash_of_the_joined_fields():
    assert BINS == 256
    assert bin_of("dag", "task", "run", "-1") == reference(b"dag\x1ftask\x1frun\x1f-1") % 256
    assert bin_of("ü\ud800") == reference("ü\ud800".encode("utf-8", "surrogatepass")) % 256
    assert bin_of("a", "b") != bin_of("ab")


def test_bins_spread():
    counts = [0] * BINS
    for i in range(25_600):
        counts[bin_of("dag", f"task_{i}", "run")] += 1
    assert min(counts) > 50
    assert max(counts) < 160


def test_wrong_arguments():
    with pytest.raises(TypeError):
        bin_of()
    with pytest.raises(TypeError):
        bin_of("a", 1)
    with pytest.raises(TypeError):
        fnv1a64("text")
