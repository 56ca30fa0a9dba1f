"""Pods that turn up under a name whose ticket is closed: made once more by a create that landed late."""

from __future__ import annotations

import pytest

from shard_bench import FAILED, PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.closed_names import ClosedNames
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.shard_base import ShardPolicy

LOST = Verdict(Stage.FAILED, False, FailureClass.PREEMPTED, "PreemptionByScheduler", None, "words")
LATE = act.RemovePod("uid:late", "ns", "t-s-0", "late", False)


@pytest.fixture(params=[True, False], ids=["sweep", "no-sweep"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(ShardPolicy(create_timeout=60.0, sweep=request.param))


def give_up(bench: Bench) -> None:
    """Creates without a certain answer, until the shard gives up; a read that is asked for has none either."""
    for _ in range(100):
        asked = {type(action) for action in bench.last}
        if any(isinstance(action, act.Report) and action.terminal for action in bench.last):
            return
        if act.CreatePod in asked:
            bench.create_failed(Fault.TIMEOUT)
        elif act.ReadPod in asked:
            bench(ev.ReadFailed("t", FaultInfo(Fault.TIMEOUT, 0, "", "away")))
        else:
            bench(ev.Tick(), after=5.0)
    raise AssertionError("it is never given up")


def close(bench: Bench) -> None:
    """A ticket whose pod succeeded and was removed."""
    bench.running()
    bench.seen(SUCCEEDED)
    bench(ev.Acknowledged("t"))
    bench(ev.Removed("t", True))
    bench.one(act.Closed)


@pytest.mark.parametrize("verdict", [PENDING, RUNNING, SUCCEEDED, FAILED], ids=lambda verdict: verdict.stage.name)
def test_the_pod_of_a_create_that_was_given_up_is_removed_though_its_ticket_is_closed(
    bench: Bench, verdict: Verdict
) -> None:
    bench.submit()
    give_up(bench)
    assert bench.one(act.Report).matches(reason="CreateTimeout")
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.seen(verdict, uid="late")
    assert bench.one(act.RemovePod) == LATE
    bench.seen(verdict, uid="late")
    bench.none(act.RemovePod)
    bench(ev.Removed("uid:late", False))
    bench.seen(verdict, uid="late", deleting=True)
    bench.none(act.RemovePod)
    bench.ended(verdict, uid="late")
    bench.seen(RUNNING, uid="later")
    assert bench.one(act.RemovePod).matches(uid="later")


def test_the_pod_of_a_revoked_ticket_whose_create_had_no_answer_is_removed(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.TIMEOUT)
    bench(ev.Revoked("t"))
    give_up(bench)
    assert bench.one(act.Report).matches(state="revoked")
    bench(ev.Acknowledged("t"))
    bench.seen(RUNNING, uid="late")
    assert bench.one(act.RemovePod) == LATE


def test_a_pod_that_is_made_again_after_its_ticket_was_closed_is_removed(bench: Bench) -> None:
    close(bench)
    bench.seen(RUNNING, deleting=True)
    bench.none(act.RemovePod)
    bench.seen(RUNNING, uid="late")
    assert bench.one(act.RemovePod) == LATE


def test_a_pod_that_is_made_again_while_its_ticket_has_ended_and_is_not_closed_is_removed(bench: Bench) -> None:
    bench.running()
    bench.ended(FAILED)
    bench.seen(RUNNING, uid="late")
    assert bench.one(act.RemovePod) == LATE
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)


def test_an_attempt_that_is_made_again_while_the_next_one_runs_is_removed(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench.ended(LOST)
    bench(ev.BodyArrived("t"))
    bench.created(uid="v", attempt=1)
    bench.seen(RUNNING, uid="late")
    assert bench.one(act.RemovePod) == LATE


@pytest.mark.parametrize("why", ["kept", "handed-over", "could-not-be-removed"])
def test_the_pod_itself_is_left_alone(bench: Bench, why: str) -> None:
    bench.running()
    if why == "handed-over":
        bench(ev.PodLeft("ns", "t-s-0", "u"))
    else:
        bench.seen(SUCCEEDED)
    bench(ev.Acknowledged("t", keep=why == "kept"))
    if why == "kept":
        bench(ev.PodLeft("ns", "t-s-0", "u"))
    elif why == "could-not-be-removed":
        bench(ev.RemoveFailed("t", FaultInfo(Fault.FORBIDDEN, 403, "Forbidden", "no")), after=2000.0)
    bench.one(act.Closed)
    bench.seen(RUNNING)
    bench.none(act.RemovePod)


def test_a_ticket_that_asks_for_a_closed_name_again_has_its_pod(bench: Bench) -> None:
    close(bench)
    bench.submit()
    bench.seen(RUNNING, uid="v")
    bench.none(act.RemovePod)
    bench.created(uid="v")
    bench.none(act.RemovePod)


def test_a_pod_of_a_name_that_was_never_here_is_left_alone(bench: Bench) -> None:
    close(bench)
    bench.seen(RUNNING, "other")
    bench.none(act.RemovePod)


def test_the_memory_is_bounded_and_forgets_the_oldest_name_first() -> None:
    names = ClosedNames(limit=3)
    for name in ("a", "b", "c", "a", "d"):
        names.add("ns", name, "u")
    assert len(names) == 3
    assert [name for name in "abcd" if names.again("ns", name, "v")] == ["a", "c", "d"]
    assert not names.again("other", "a", "v")
