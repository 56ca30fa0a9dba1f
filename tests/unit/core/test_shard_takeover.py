"""Tickets whose pods were there before them: left by an earlier process, and found, finished, replaced or gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shard_bench import FAILED, PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault
from shard_executor.core.lifecycle import TaskState
from shard_executor.core.shard_base import ShardPolicy

EVICTED = Verdict(Stage.FAILED, False, FailureClass.EVICTED, "Evicted")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(ShardPolicy(sweep=False))
    yield made
    made.state.validate()


def reports(bench: Bench) -> list[str]:
    return [action.state for action in bench.last if isinstance(action, act.Report)]


def clean_up(bench: Bench, uid: str = "u") -> None:
    """Acknowledges ticket t, whose pod is then removed, and nothing is left."""
    bench(ev.Acknowledged("t"))
    assert bench.one(act.RemovePod).matches(uid=uid, keep=False)
    bench(ev.Removed("t", True))
    bench.one(act.Closed)
    assert not bench.state.tasks


# ---- finished pods without a ticket


@pytest.mark.parametrize("verdict", [SUCCEEDED, FAILED], ids=["succeeded", "failed"])
def test_a_finished_pod_that_nobody_asks_for_is_left_alone(bench: Bench, verdict: Verdict) -> None:
    bench.seen(verdict)
    bench(ev.Relisted(bench.now, "ns"))
    bench(ev.Tick(), after=1000.0)
    bench.none(act.RemovePod)
    bench.ended(None)
    bench.submit()
    bench.one(act.CreatePod)


def test_a_pod_that_finished_before_its_ticket_came_is_taken_over_and_reported_once(bench: Bench) -> None:
    bench.seen(SUCCEEDED)
    bench(ev.Relisted(bench.now, "ns"))
    bench.submit()
    bench.none(act.CreatePod, act.ReadPod)
    assert reports(bench) == ["pending", "succeeded"]
    bench.seen(SUCCEEDED)
    assert reports(bench) == []
    clean_up(bench)


def test_a_pod_that_runs_before_its_ticket_comes_is_taken_over(bench: Bench) -> None:
    bench.seen(RUNNING)
    bench.submit()
    bench.none(act.CreatePod)
    assert reports(bench) == ["pending", "running"]
    bench.seen(SUCCEEDED)
    assert reports(bench) == ["succeeded"]
    clean_up(bench)


@pytest.mark.parametrize(
    ("verdict", "states"),
    [(SUCCEEDED, ["pending", "succeeded"]), (RUNNING, ["pending", "running"]), (PENDING, ["pending"])],
    ids=["finished", "running", "pending"],
)
def test_a_pod_that_no_list_has_shown_is_found_by_the_refused_create(
    bench: Bench, verdict: Verdict, states: list[str]
) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", True, False, verdict))
    bench.none(act.CreatePod)
    assert reports(bench) == states


def test_a_pod_of_a_ticket_that_is_known_is_still_removed_if_its_create_was_given_up(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.INVALID)
    bench.seen(SUCCEEDED, uid="late")
    assert bench.one(act.RemovePod).matches(key="uid:late")


def test_a_pod_on_its_way_out_is_not_taken_over_unread(bench: Bench) -> None:
    bench.seen(RUNNING, deleting=True)
    bench.submit()
    bench.one(act.CreatePod)


def test_pods_that_left_or_ended_are_not_remembered(bench: Bench) -> None:
    bench.seen(RUNNING, "a")
    bench.seen(RUNNING, "b")
    bench.seen(RUNNING, "c", uid="first")
    bench.seen(RUNNING, "c", uid="second")
    bench.ended(SUCCEEDED, "a")
    bench(ev.PodLeft("ns", "b-s-0", "u"))
    bench.ended(SUCCEEDED, "c", uid="first")
    for ticket in "abc":
        bench.submit(ticket)
        assert bool([a for a in bench.last if isinstance(a, act.CreatePod)]) is (ticket != "c")
    assert bench.state.tasks["c"].uid == "second"


# ---- tickets whose pod is known by its uid


def test_a_pod_known_by_its_uid_that_finished_meanwhile_is_reported(bench: Bench) -> None:
    bench.submit(uid="u", began=True, fresh=True, has_body=False)
    bench.none(act.CreatePod, act.ReadPod)
    bench.seen(SUCCEEDED)
    assert reports(bench) == ["succeeded"]
    bench(ev.Relisted(bench.now, "ns"))
    bench.none(act.ReadPod)
    clean_up(bench)


@pytest.mark.parametrize("first", ["pod", "ticket"])
def test_a_pod_known_by_its_uid_that_runs_is_told_to_run_once(bench: Bench, first: str) -> None:
    if first == "pod":
        bench.seen(RUNNING)
        bench(ev.Relisted(bench.now, "ns"))
    bench.submit(uid="u", began=True, fresh=True, has_body=False)
    if first == "ticket":
        bench.seen(RUNNING)
    assert reports(bench) == ["running"]
    bench(ev.Relisted(bench.now, "ns"))
    bench.seen(RUNNING)
    bench.none(act.Report, act.ReadPod)
    assert bench.state.tasks["t"].state is TaskState.RUNNING


def test_the_next_shard_of_the_same_parent_does_not_tell_again_that_a_pod_runs(bench: Bench) -> None:
    bench.submit(uid="u", began=True, has_body=False)
    bench.seen(RUNNING)
    bench.none(act.Report)


@pytest.mark.parametrize("first", ["list", "ticket"])
@pytest.mark.parametrize("uid", [None, "another"], ids=["vanished", "name-taken"])
def test_a_pod_known_by_its_uid_that_is_gone_is_lost(bench: Bench, uid: str | None, first: str) -> None:
    if first == "list":
        bench(ev.Relisted(bench.now, "ns"))
    bench.submit(uid="u", began=True, fresh=True, has_body=False)
    if first == "ticket":
        bench.none(act.ReadPod)
        bench(ev.Relisted(bench.now, "ns"))
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", uid, False, False, RUNNING if uid else None))
    assert bench.one(act.Report).matches(
        state="lost", failure_class="deleted", reason="PodGoneUnwatched", pod="t-s-0", uid="u", began=True
    )
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


@pytest.mark.parametrize("first", ["pod", "ticket"])
@pytest.mark.parametrize("verdict", [RUNNING, SUCCEEDED], ids=["running", "finished"])
@pytest.mark.parametrize("same", [True, False], ids=["made-again", "anothers"])
def test_another_pod_of_its_name_is_not_taken_over_and_removed_only_if_it_is_the_same_attempts(
    bench: Bench, verdict: Verdict, first: str, same: bool
) -> None:
    if first == "pod":
        bench.seen(verdict, uid="another")
        bench(ev.Relisted(bench.now, "ns"))
    bench.submit(uid="u", has_body=False)
    if first == "ticket":
        bench.seen(verdict, uid="another")
        bench(ev.Relisted(bench.now, "ns"))
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "another", same, False, verdict))
    if same:
        assert bench.one(act.RemovePod) == act.RemovePod("uid:another", "ns", "t-s-0", "another", False)
    else:
        bench.none(act.RemovePod)
    assert bench.one(act.Report).matches(state="lost", uid="u")
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_a_pod_that_was_created_and_had_not_begun_is_launched_again_with_a_body_that_is_asked_for(bench: Bench) -> None:
    bench.submit(uid="u", attempt=1, has_body=False)
    bench.seen(EVICTED, attempt=1)
    assert bench.one(act.NeedBody) == act.NeedBody("t", 2)
    bench.none(act.CreatePod)
    bench(ev.BodyArrived("t"))
    assert bench.one(act.CreatePod).matches(name="t-s-2", attempt=2)


def test_a_revoked_ticket_of_an_earlier_process_has_its_pod_removed(bench: Bench) -> None:
    bench.submit(uid="u", began=True, fresh=True, has_body=False)
    bench(ev.Revoked("t"))
    assert bench.one(act.RemovePod).matches(uid="u")


# ---- earlier attempts


@pytest.mark.parametrize("first", ["pod", "ticket"])
def test_pods_of_earlier_attempts_are_removed_when_they_have_finished(bench: Bench, first: str) -> None:
    if first == "ticket":
        bench.submit(attempt=2)
    bench.seen(EVICTED, uid="v", attempt=1)
    if first == "pod":
        bench.none(act.RemovePod)
        bench.submit(attempt=2)
    assert bench.one(act.RemovePod).matches(key="uid:v", name="t-s-1")
    bench.created(attempt=2)
    bench.seen(SUCCEEDED, attempt=2)
    clean_up(bench)
    bench.seen(EVICTED, uid="w", attempt=0)
    bench.none(act.RemovePod)


def test_the_pod_of_an_attempt_after_the_known_one_is_found_by_its_name(bench: Bench) -> None:
    """The earlier process ended before it could write down that it had launched another attempt."""
    bench.seen(RUNNING, uid="v", attempt=1)
    bench.seen(EVICTED, uid="u", attempt=0)
    bench.submit(uid="u", has_body=True)
    bench.none(act.RemovePod)
    assert bench.one(act.CreatePod).matches(attempt=1)
    bench.create_failed(Fault.ALREADY_EXISTS, attempt=1)
    bench(ev.PodRead("t", "v", True, False, RUNNING, attempt=1))
    assert bench.one(act.RemovePod).matches(key="uid:u")
    assert reports(bench) == ["pending", "running"]
