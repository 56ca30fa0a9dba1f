"""The histogram of seconds: percentiles right to a bucket's width, merging, the empty one."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest

from shard_executor.shard.latency import BOUNDS, Latency


def of(*values: float) -> Latency:
    latency = Latency()
    for value in values:
        latency.add(value)
    return latency


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_lie_in_the_bucket_of_the_true_ones(seed: int) -> None:
    rng = random.Random(seed)
    values = [rng.lognormvariate(-2, 1.5) for _ in range(5000)]
    latency = of(*values)
    true = statistics.quantiles(values, n=100, method="inclusive")
    edges = [0.0, *BOUNDS, float("inf")]
    for share in (0.5, 0.95, 0.99):
        exact = true[round(share * 100) - 1]
        low, high = next((low, high) for low, high in pairwise(edges) if low < exact <= high)
        assert low <= latency.percentile(share) <= high
    assert latency.summary()["mean"] == pytest.approx(statistics.fmean(values))


def test_nothing_is_said_beyond_the_highest_value() -> None:
    assert of(0.3).summary() == {"count": 1, "mean": 0.3, "p50": 0.275, "p95": pytest.approx(0.2975), "p99": 0.2995}
    assert of(400.0, 500.0).percentile(1.0) == 500.0
    assert of(0.0, 0.0).summary() == {"count": 2, "mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0}


def test_without_values_all_is_zero() -> None:
    assert set(of().summary().values()) == {0}


def test_merged_histograms_are_one_of_all_values() -> None:
    both = of(0.001, 0.2, 3.0)
    both.merge(of(0.02, 1000.0))
    whole = of(0.001, 0.2, 3.0, 0.02, 1000.0)
    assert both.buckets == whole.buckets
    assert both.summary() == whole.summary()
