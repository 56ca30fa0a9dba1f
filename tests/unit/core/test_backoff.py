"""core.backoff: bounds, growth, Retry-After, reset after calm."""

import random

import pytest

from shard_executor.core.backoff import Backoff


class Low(random.Random):
    def random(self) -> float:
        return 0.0


class High(random.Random):
    def random(self) -> float:
        return 0.999999


def delays(backoff, count, now=0.0):
    out = []
    for _ in range(count):
        delay = backoff.next(now)
        out.append(delay)
        now += delay
    return out


def test_delays_double_from_800_ms_and_stay_below_the_ceiling():
    assert delays(Backoff(Low()), 8) == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 20, 20, 20])
    assert delays(Backoff(High()), 8) == pytest.approx([1.2, 2.4, 4.8, 9.6, 19.2, 30, 30, 30], rel=1e-4)


def test_every_delay_lies_between_initial_and_ceiling():
    backoff = Backoff(random.Random(7))
    assert all(0.8 <= delay <= 30 for delay in delays(backoff, 500))


def test_two_clients_that_failed_together_do_not_come_back_together():
    assert delays(Backoff(random.Random(1)), 5) != delays(Backoff(random.Random(2)), 5)


def test_retry_after_wins_only_when_it_is_longer():
    backoff = Backoff(Low())
    assert backoff.next(0.0, 5.0) == 5.0
    assert backoff.next(5.0, 0.5) == pytest.approx(1.6)


def test_calm_is_counted_from_the_end_of_the_last_delay():
    backoff = Backoff(Low())
    backoff.next(0.0)
    backoff.next(0.8)  # waits 1.6 s, until 2.4
    assert backoff.next(2.4 + 119.0) == pytest.approx(3.2)
    assert backoff.next(2.4 + 119.0 + 3.2 + 120.0) == pytest.approx(0.8)
    assert backoff.attempts == 1


def test_reset_starts_again():
    backoff = Backoff(Low())
    delays(backoff, 4)
    backoff.reset()
    assert backoff.next(30.0) == pytest.approx(0.8)


def test_ten_thousand_failures_do_not_overflow():
    assert max(delays(Backoff(Low()), 10_000)) == pytest.approx(20.0)


@pytest.mark.parametrize("wrong", [{"initial": 0.0}, {"factor": 0.5}, {"ceiling": 0.9}, {"jitter": -1.0}])
def test_parameters_without_growth_are_refused(wrong):
    with pytest.raises(ValueError, match="cannot grow"):
        Backoff(Low(), **wrong)
