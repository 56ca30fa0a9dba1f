"""The pod of a lost launch attempt stays until the next attempt's is there, so that one of the two can be found."""

from __future__ import annotations

import pytest

from shard_bench import PENDING, RUNNING, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault
from shard_executor.core.shard_base import ShardPolicy

LOST = Verdict(Stage.FAILED, False, FailureClass.PREEMPTED, "PreemptionByScheduler", None, "words")
REMOVAL = act.RemovePod("uid:u", "ns", "t-s-0", "u", False)


@pytest.fixture(params=[True, False], ids=["sweep", "no-sweep"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """A ticket whose first attempt was lost, and whose second is being created."""
    made = Bench(ShardPolicy(sweep=request.param, create_timeout=60.0))
    made.submit()
    made.created()
    made.seen(PENDING)
    made.seen(LOST)
    made.none(act.RemovePod)
    made(ev.BodyArrived("t"))
    made.one(act.CreatePod)
    return made


def test_it_is_removed_when_the_next_one_is_created(bench: Bench) -> None:
    bench.seen(LOST)
    bench(ev.Relisted(bench.now, "ns"))
    bench.none(act.RemovePod)
    bench.create_failed(Fault.TIMEOUT, attempt=1)
    bench(ev.Tick(), after=5.0)
    bench.none(act.RemovePod)
    bench.created(uid="v", attempt=1)
    assert bench.one(act.RemovePod) == REMOVAL
    bench.seen(LOST)
    bench.none(act.RemovePod)


def test_it_is_removed_when_the_watch_shows_the_next_one(bench: Bench) -> None:
    bench.seen(RUNNING, uid="v", attempt=1)
    assert bench.one(act.RemovePod) == REMOVAL
    bench.created(uid="v", attempt=1)
    bench.none(act.RemovePod)


@pytest.mark.parametrize("end", ["refused", "revoked"])
def test_it_is_removed_when_the_parent_has_the_end_of_its_ticket(bench: Bench, end: str) -> None:
    if end == "revoked":
        bench(ev.Revoked("t"))
    bench.create_failed(Fault.INVALID, attempt=1)
    assert bench.one(act.Report).matches(terminal=True)
    bench.none(act.RemovePod)
    bench(ev.Acknowledged("t"))
    assert bench.one(act.RemovePod) == act.RemovePod("t", "ns", "t-s-0", "u", False)
    bench.none(act.Closed)
    bench.seen(LOST, deleting=True)
    bench.ended(LOST)
    bench.one(act.Closed)
    bench.seen(RUNNING, uid="late", attempt=1)
    assert bench.one(act.RemovePod).matches(uid="late")


def test_it_is_removed_with_the_next_one_if_its_ticket_is_revoked(bench: Bench) -> None:
    bench(ev.Revoked("t"))
    bench.created(uid="v", attempt=1)
    assert {action.uid for action in bench.last if isinstance(action, act.RemovePod)} == {"u", "v"}


def test_it_makes_room_if_there_is_no_quota_for_the_next_one(bench: Bench) -> None:
    bench.create_failed(Fault.QUOTA, attempt=1)
    assert bench.one(act.RemovePod) == REMOVAL
    bench(ev.Tick(), after=60.0)
    bench.created(uid="v", attempt=1)
    bench.none(act.RemovePod)


@pytest.mark.parametrize("how", ["ended", "left"])
def test_it_is_forgotten_when_it_goes_by_itself(bench: Bench, how: str) -> None:
    bench(ev.PodLeft("ns", "t-s-0", "u") if how == "left" else ev.PodEnded("ns", "t-s-0", "u", LOST))
    bench.created(uid="v", attempt=1)
    bench.none(act.RemovePod)


def test_it_stays_while_the_name_of_the_next_one_is_taken(bench: Bench) -> None:
    bench.create_failed(Fault.ALREADY_EXISTS, attempt=1)
    bench(ev.PodRead("t", "another", False, False, RUNNING, attempt=1))
    bench.none(act.RemovePod)
    bench.created(uid="w", attempt=2)
    assert bench.one(act.RemovePod) == REMOVAL


def test_each_attempt_that_is_lost_is_removed_in_its_turn(bench: Bench) -> None:
    bench.created(uid="v", attempt=1)
    bench.seen(LOST, uid="v", attempt=1)
    bench.none(act.RemovePod)
    bench(ev.BodyArrived("t"))
    bench.created(uid="w", attempt=2)
    assert bench.one(act.RemovePod).matches(uid="v", name="t-s-1")


def test_another_process_that_goes_on_before_the_next_one_is_there_finds_it() -> None:
    successor = Bench(ShardPolicy(sweep=False))
    successor.seen(LOST)
    successor(ev.Relisted(successor.now, "ns"))
    successor.submit(uid="u", fresh=True)
    assert successor.one(act.CreatePod).matches(attempt=1)
    successor.none(act.RemovePod)
    successor.created(uid="v", attempt=1)
    assert successor.one(act.RemovePod) == REMOVAL
