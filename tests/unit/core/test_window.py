"""The create window grows while it is the bottleneck, halves on refusals, and holds for Retry-After."""

from __future__ import annotations

import pytest

from shard_executor.core.window import CreateWindow


def fill(window: CreateWindow, now: float) -> int:
    started = window.free(now)
    for _ in range(started):
        window.started()
    return started


def test_it_grows_to_its_maximum_while_every_place_is_used() -> None:
    window = CreateWindow(4, 1, 32)
    for _ in range(1000):
        fill(window, 0.0)
        window.answered(0.05)
    assert int(window.size) == 32


def round_trip(window: CreateWindow, latency: float, now: float = 0.0) -> None:
    """Everything in flight is answered, and each answer's place is taken at once."""
    fill(window, now)
    for _ in range(window.in_flight):
        window.answered(latency)
        fill(window, now)


def test_it_doubles_with_every_round_trip_until_the_server_says_that_it_is_enough() -> None:
    window = CreateWindow(4, 1, 128)
    sizes = []
    for _ in range(3):
        round_trip(window, 0.5)
        sizes.append(int(window.size))
    assert sizes == [8, 16, 32]
    window.refused(1.0, None)
    assert int(window.size) == 16
    round_trip(window, 0.5, 2.0)
    assert int(window.size) < 32
    slow = CreateWindow(4, 1, 128)
    round_trip(slow, 0.1)
    fill(slow, 0.0)
    slow.answered(2.0)
    before = int(slow.size)
    round_trip(slow, 0.1)
    assert int(slow.size) < 2 * before


def test_it_does_not_grow_while_there_is_nothing_to_do() -> None:
    window = CreateWindow(4, 1, 32)
    for _ in range(200):
        window.started()
        window.answered(0.05)
    assert int(window.size) == 4


@pytest.mark.parametrize(("latency", "grows"), [(0.5, True), (3.0, False)])
def test_steady_latency_is_no_reason_to_stop_growing_and_a_rising_one_is(latency: float, grows: bool) -> None:
    window = CreateWindow(4, 1, 32)
    window.started()
    window.answered(0.5)
    for _ in range(50):
        fill(window, 0.0)
        window.answered(latency)
    assert (int(window.size) > 4) is grows


def test_a_burst_of_refusals_halves_it_once_and_a_later_one_again_down_to_the_minimum() -> None:
    window = CreateWindow(16, 2, 32)
    fill(window, 10.0)
    for _ in range(16):
        window.refused(10.0, None)
    assert int(window.size) == 8
    for second in range(12, 40, 2):
        window.started()
        window.refused(float(second), None)
    assert int(window.size) == 2
    assert window.in_flight == 0


def test_retry_after_holds_everything() -> None:
    window = CreateWindow(4, 1, 32)
    window.started()
    window.refused(10.0, 7.0)
    assert window.free(16.9) == 0
    assert window.free(17.0) == 2


@pytest.mark.parametrize("how", ["refused", "abandoned"])
def test_failures_in_a_row_hold_everything_for_longer_and_longer_until_one_create_is_answered(how: str) -> None:
    window = CreateWindow(4, 1, 32)
    now, requests = 100.0, 0
    while now < 160.0:  # a server that fails each create after a millisecond
        now += 0.001
        if window.free(now):
            window.started()
            requests += 1
            window.refused(now, None) if how == "refused" else window.abandoned(now)
    assert 15 <= requests <= 40
    assert window.held_until - now <= 5.0
    window.started()
    window.answered(0.01)
    now = window.held_until
    for _ in range(8):
        window.started()
        window.abandoned(now)
    assert window.free(now) > 0


@pytest.mark.parametrize("limits", [(0, 1, 4), (8, 1, 4), (1, 0, 4)])
def test_impossible_limits_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="minimum <= initial <= maximum"):
        CreateWindow(*limits)
