"""Pods that change hands: adopted from somebody else, and handed over to somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shard_bench import FAILED, PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.lifecycle import TaskState
from shard_executor.core.shard_base import ShardPolicy

MARKS = ({"owner": "me"}, {"note": "x"})
EVICTED = Verdict(Stage.FAILED, False, FailureClass.EVICTED, "Evicted")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(ShardPolicy(hand_over=True))
    yield made
    made.state.validate()


def adopt(bench: Bench, **fields: Any) -> list[act.Action]:
    known = {"uid": "u", "fresh": True, "has_body": False, "pod": "theirs", "marks": MARKS}
    return bench.submit(**{**known, **fields})


def adopted(bench: Bench, verdict: Verdict = RUNNING, deleting: bool = False) -> list[act.Action]:
    return bench(ev.Adopted("t", deleting, verdict))


def refused(bench: Bench, fault: Fault, gone: bool = False) -> list[act.Action]:
    return bench(ev.AdoptFailed("t", FaultInfo(fault, 0, fault.value, "words"), gone))


def seen(bench: Bench, verdict: Verdict, uid: str = "u") -> list[act.Action]:
    return bench(ev.PodSeen("ns", "theirs", uid, False, verdict))


def left(bench: Bench) -> list[act.Action]:
    return bench(ev.PodLeft("ns", "t-s-0", "u"))


def states(bench: Bench) -> list[str]:
    return [action.state for action in bench.last if isinstance(action, act.Report)]


# ---- adoption


def test_a_pod_of_another_name_is_labelled_and_followed_to_its_end(bench: Bench) -> None:
    adopt(bench)
    assert bench.one(act.AdoptPod) == act.AdoptPod("t", "ns", "theirs", "u", MARKS, 0)
    bench.none(act.CreatePod, act.NeedBody, act.ReadPod)
    adopted(bench)
    assert bench.one(act.TellAdopted) == act.TellAdopted("t")
    assert bench.one(act.Report).matches(state="running", pod="theirs", uid="u", waited=None)
    seen(bench, RUNNING)
    bench.none(act.AdoptPod, act.Report)
    seen(bench, SUCCEEDED)
    assert states(bench) == ["succeeded"]
    bench(ev.Acknowledged("t"))
    assert bench.one(act.RemovePod) == act.RemovePod("t", "ns", "theirs", "u", False)
    bench(ev.Removed("t", True))
    bench.one(act.Closed)


@pytest.mark.parametrize(("verdict", "state"), [(SUCCEEDED, "succeeded"), (FAILED, "failed")])
def test_a_pod_that_finished_meanwhile_is_reported_as_any_other(bench: Bench, verdict: Verdict, state: str) -> None:
    adopt(bench)
    adopted(bench, verdict)
    if state == "failed":
        assert bench.one(act.TailLog).name == "theirs"
        bench(ev.LogRead("t", "words"))
    assert states(bench) == [state]


def test_a_pod_that_lists_do_not_show_is_not_lost_while_its_labels_are_being_written(bench: Bench) -> None:
    bench(ev.Relisted(bench.now, "ns"))
    adopt(bench)
    for _ in range(3):
        bench(ev.Relisted(bench.now, "ns"), after=20.0)
        bench.none(act.ReadPod, act.Report)
    bench(ev.PodRead("t", "u", False, False, RUNNING, selected=False))
    assert states(bench) == ["running"]
    adopted(bench)
    assert states(bench) == []
    assert bench.state.tasks["t"].state is TaskState.RUNNING


def test_a_list_that_was_asked_for_before_the_labels_were_there_says_nothing(bench: Bench) -> None:
    adopt(bench)
    asked_for = bench.now
    bench.now += 1.0
    adopted(bench)
    bench(ev.Relisted(asked_for, "ns"), after=0.5)
    bench.none(act.ReadPod)
    bench(ev.Tick(), after=6.0)
    bench.one(act.ReadPod)  # no watch has shown it yet
    bench(ev.PodRead("t", "u", False, False, RUNNING))
    bench.none(act.Report)


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.CONFLICT, Fault.FORBIDDEN])
def test_a_refused_patch_is_repeated_and_the_pod_is_followed_by_reads_meanwhile(bench: Bench, fault: Fault) -> None:
    adopt(bench)
    refused(bench, fault)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", False, False, PENDING, selected=False))
    bench.none(act.Report)
    bench(ev.Tick(), after=1.0)
    assert bench.one(act.AdoptPod).matches(name="theirs", uid="u")
    refused(bench, fault)
    bench.none(act.ReadPod)
    bench(ev.Tick(), after=30.0)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", False, False, SUCCEEDED, selected=False))
    assert states(bench) == ["succeeded"]
    adopted(bench, SUCCEEDED)
    bench.none(act.Report, act.TellAdopted)
    bench(ev.Tick(), after=60.0)
    bench.none(act.AdoptPod)


def test_refused_credentials_are_asked_for_anew(bench: Bench) -> None:
    adopt(bench)
    refused(bench, Fault.UNAUTHORIZED)
    bench.one(act.NeedCredentials)


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.INVALID])
def test_a_pod_that_is_gone_is_lost(bench: Bench, fault: Fault) -> None:
    adopt(bench)
    refused(bench, fault, gone=True)
    assert bench.one(act.Report).matches(state="lost", failure_class="deleted", reason="PodGoneUnwatched")
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)


def test_a_pod_that_an_earlier_try_has_labelled_is_taken_from_the_list(bench: Bench) -> None:
    seen(bench, RUNNING)
    adopt(bench)
    assert states(bench) == ["running"]
    bench.one(act.AdoptPod)
    adopted(bench)
    bench.one(act.TellAdopted)
    bench.none(act.Report)


def test_a_pod_that_an_earlier_try_has_labelled_and_that_has_finished_needs_no_patch() -> None:
    bench = Bench(ShardPolicy(sweep=False))
    seen(bench, SUCCEEDED)
    adopt(bench)
    assert states(bench) == ["succeeded"]
    bench.none(act.AdoptPod)


def test_a_restarted_shard_goes_on_with_the_adoption(bench: Bench) -> None:
    adopt(bench, began=True, fresh=False)
    bench.one(act.AdoptPod)
    adopted(bench)
    bench.none(act.Report)
    seen(bench, SUCCEEDED)
    assert states(bench) == ["succeeded"]


def test_an_adopted_pod_is_not_labelled_again_by_a_restarted_shard(bench: Bench) -> None:
    adopt(bench, marks=None)
    bench.none(act.AdoptPod)
    seen(bench, SUCCEEDED)
    assert states(bench) == ["succeeded"]


def test_a_revoked_ticket_removes_the_pod_whether_it_is_labelled_or_not(bench: Bench) -> None:
    adopt(bench)
    bench(ev.Revoked("t"))
    assert bench.one(act.RemovePod).matches(name="theirs", uid="u")
    adopted(bench)
    bench.none(act.TellAdopted)
    bench(ev.Removed("t", True))
    assert states(bench) == ["revoked"]


def test_an_adopted_pod_that_is_lost_before_it_began_is_launched_anew_under_our_name(bench: Bench) -> None:
    adopt(bench)
    adopted(bench, EVICTED)
    assert states(bench) == ["waiting"]
    assert bench.one(act.NeedBody) == act.NeedBody("t", 1)
    bench(ev.BodyArrived("t"))
    assert bench.one(act.CreatePod) == act.CreatePod("t", "ns", "t-s-1", 1)
    bench.created(uid="v", attempt=1)
    assert bench.one(act.RemovePod).matches(name="theirs", uid="u")


def test_an_answer_to_the_patch_of_an_attempt_before_says_nothing(bench: Bench) -> None:
    adopt(bench)
    seen(bench, EVICTED)
    adopted(bench)
    bench.none(act.TellAdopted, act.Report)


def test_a_pod_may_be_adopted_anew_while_its_former_ticket_still_closes(bench: Bench) -> None:
    bench.running()
    left(bench)
    bench(ev.PodRead("t", "u", True, False, RUNNING, selected=False))
    bench(ev.Submitted("again", "ns", "t", "s", uid="u", fresh=True, has_body=False, pod="t-s-0", marks=MARKS))
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.none(act.RemovePod)
    bench(ev.Adopted("again", False, RUNNING))
    bench.seen(SUCCEEDED)
    assert bench.one(act.Report).matches(ticket="again", state="succeeded")


# ---- hand-over


def test_a_pod_that_another_owner_has_labelled_is_handed_over_and_left_alone(bench: Bench) -> None:
    bench.running()
    left(bench)
    bench.none(act.Report)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", True, False, RUNNING, selected=False))
    report = bench.one(act.Report)
    assert report.matches(state="handed-over", terminal=True, failure_class="handed-over", reason="LabelsChanged")
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.none(act.RemovePod)


def test_a_pod_that_has_its_labels_back_is_followed_on(bench: Bench) -> None:
    bench.running()
    left(bench)
    bench(ev.PodRead("t", "u", True, False, RUNNING))
    bench.none(act.Report)
    bench.seen(SUCCEEDED)
    assert states(bench) == ["succeeded"]


def test_a_pod_that_left_and_finished_with_its_labels_back_is_reported(bench: Bench) -> None:
    bench.running()
    left(bench)
    bench(ev.PodRead("t", "u", True, False, SUCCEEDED))
    assert states(bench) == ["succeeded"]


@pytest.mark.parametrize("uid", [None, "another"])
def test_a_pod_that_left_and_is_gone_is_lost(bench: Bench, uid: str | None) -> None:
    bench.running()
    left(bench)
    bench(ev.PodRead("t", uid))
    assert bench.one(act.Report).matches(state="lost", failure_class="deleted")


def test_a_pod_that_left_and_cannot_be_read_is_asked_for_again(bench: Bench) -> None:
    bench.running()
    left(bench)
    bench(ev.ReadFailed("t", FaultInfo(Fault.TIMEOUT, 0, "", "words")))
    bench.none(act.Report)
    bench(ev.Tick(), after=1.0)
    bench.one(act.ReadPod)


def test_a_finished_pod_that_another_owner_takes_is_left_to_it(bench: Bench) -> None:
    bench.running()
    bench.seen(SUCCEEDED)
    left(bench)
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.none(act.RemovePod)


def test_a_created_pod_that_another_owner_took_before_the_answer_came_is_not_made_twice(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.PodRead("t", "u", True, False, RUNNING, selected=False))
    bench.none(act.CreatePod)
    assert states(bench) == ["handed-over"]
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.none(act.RemovePod)


def test_a_restarted_shard_leaves_a_pod_alone_that_was_handed_over_before(bench: Bench) -> None:
    bench.submit(uid="u", reported="handed-over", has_body=False)
    bench.seen(RUNNING)
    bench(ev.Acknowledged("t"))
    bench.one(act.Closed)
    bench.none(act.RemovePod)


def test_without_hand_over_a_relabelled_pod_is_lost_at_once() -> None:
    bench = Bench()
    bench.running()
    left(bench)
    bench.none(act.ReadPod)
    assert bench.one(act.Report).matches(state="lost", failure_class="handed-over")


def test_few_patches_are_in_flight_at_once_and_every_answer_makes_room() -> None:
    bench = Bench(ShardPolicy(adoptions_in_flight=2))
    for name in "abcde":
        bench.submit(name, uid=f"u-{name}", fresh=True, has_body=False, pod=name, marks=MARKS)
    assert bench.state.adopting == 5
    bench(ev.Revoked("c"))
    bench(ev.PodEnded("ns", "a", "u-a", SUCCEEDED))
    bench(ev.Adopted("a", False, SUCCEEDED))
    assert bench.one(act.AdoptPod).matches(ticket="d", name="d")
    bench(ev.AdoptFailed("b", FaultInfo(Fault.TIMEOUT, 0, "", "words")))
    assert bench.one(act.AdoptPod).ticket == "e"
    for ticket in "de":
        bench(ev.Adopted(ticket, False, RUNNING))
    bench(ev.Tick(), after=1.0)
    assert bench.one(act.AdoptPod).ticket == "b"
