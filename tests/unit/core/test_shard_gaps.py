"""Pods that a list lacks after a gap of the watch: handed over, there after all, or gone."""

from __future__ import annotations

import pytest

from shard_bench import PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import DISAPPEARED, GONE_UNWATCHED, SHORT_GAP, Verdict
from shard_executor.core.faults import Fault, FaultInfo

AWAY = FaultInfo(Fault.TIMEOUT, 0, "", "no answer")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def missing(bench: Bench, heard: float | None = None) -> None:
    """A list lacks the pod of ticket t; its namespace's watch had news `heard` seconds before, None if never."""
    since = float("-inf") if heard is None else bench.now - heard
    bench(ev.PodEnded("ns", "t-s-0", "u", None, since))
    assert bench.one(act.ReadPod).matches(ticket="t", name="t-s-0")
    bench.none(act.Report)
    bench(ev.Relisted(bench.now, "ns"))
    bench.none(act.ReadPod, act.Report)


@pytest.mark.parametrize("verdict", [PENDING, RUNNING], ids=["pending", "running"])
def test_a_pod_whose_labels_were_changed_in_the_gap_is_handed_over(bench: Bench, verdict: Verdict) -> None:
    bench.submit()
    bench.created()
    bench.seen(verdict)
    missing(bench)
    bench(ev.PodRead("t", "u", True, False, verdict, selected=False))
    assert bench.one(act.Report).matches(state="lost", failure_class="handed-over", terminal=True)
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_a_pod_that_is_there_after_all_goes_on_and_is_looked_after(bench: Bench) -> None:
    bench.running()
    missing(bench)
    bench(ev.PodRead("t", "u", True, False, RUNNING))
    bench.none(act.Report)
    bench(ev.Tick(), after=31.0)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", True, False, SUCCEEDED))
    assert bench.one(act.Report).matches(state="succeeded")


def test_a_pod_that_the_watch_shows_again_is_not_read_any_more(bench: Bench) -> None:
    bench.running()
    missing(bench)
    bench(ev.ReadFailed("t", AWAY))
    bench.seen(RUNNING)
    bench(ev.Tick(), after=60.0)
    bench.none(act.ReadPod, act.Report)


def test_a_read_that_fails_is_repeated_and_the_gap_is_not_longer_for_it(bench: Bench) -> None:
    bench.running()
    missing(bench, heard=1.0)
    bench(ev.ReadFailed("t", AWAY))
    reads = 0
    for _ in range(40):
        if any(isinstance(action, act.ReadPod) for action in bench.last):
            reads += 1
            bench(ev.ReadFailed("t", AWAY))
        bench.none(act.Report)
        bench(ev.Tick(), after=10.0)
    assert 5 <= reads <= 40
    while not any(isinstance(action, act.ReadPod) for action in bench.last):
        bench(ev.Tick(), after=5.0)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", reason=DISAPPEARED)


@pytest.mark.parametrize(
    ("quiet", "heard", "reason"),
    [
        (1.0, None, DISAPPEARED),
        (SHORT_GAP, None, DISAPPEARED),
        (SHORT_GAP + 1.0, None, GONE_UNWATCHED),
        (5000.0, 1.0, DISAPPEARED),
        (5000.0, SHORT_GAP, DISAPPEARED),
        (5000.0, SHORT_GAP + 1.0, GONE_UNWATCHED),
    ],
)
def test_a_pod_that_went_in_a_gap_has_the_reason_of_the_gaps_length(
    bench: Bench, quiet: float, heard: float | None, reason: str
) -> None:
    bench.running()
    bench(ev.Tick(), after=quiet)
    missing(bench, heard)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", failure_class="deleted", reason=reason, began=True)


@pytest.mark.parametrize(("wait", "reason"), [(10.0, DISAPPEARED), (600.0, GONE_UNWATCHED)])
def test_the_gap_of_a_restarted_shard_ends_with_its_first_list(bench: Bench, wait: float, reason: str) -> None:
    bench.submit(uid="u", began=True, has_body=False)
    bench(ev.Relisted(bench.now + wait, "ns"), after=wait)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", reason=reason)


def test_a_pod_that_went_before_it_began_is_lost_as_well(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench.seen(PENDING)
    missing(bench)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", failure_class="deleted", began=False)


def test_a_ticket_that_is_revoked_while_its_pod_is_asked_for_ends_as_revoked(bench: Bench) -> None:
    bench.running()
    missing(bench)
    bench(ev.Revoked("t"))
    bench.one(act.RemovePod)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="revoked")


def test_the_list_alone_says_that_the_pod_of_an_ended_ticket_is_gone(bench: Bench) -> None:
    bench.running()
    bench.seen(SUCCEEDED)
    bench.ended(None)
    bench.none(act.ReadPod)
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)
