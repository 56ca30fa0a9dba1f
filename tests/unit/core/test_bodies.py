"""Bodies built just in time: how many are asked for ahead, in which order, and that each serves one create."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shard_bench import RUNNING, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.launch_faults import LAUNCH_POLICIES, UNSURE, LaunchPolicy
from shard_executor.core.shard_base import ShardPolicy
from shard_executor.core.window import CreateWindow

FRESH: dict[str, Any] = {"has_body": False}


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(ShardPolicy(fresh_bodies=True), CreateWindow(2, 1, 2))
    yield made
    made.state.validate()


def asked(actions: list[act.Action]) -> list[str]:
    return [action.ticket for action in actions if isinstance(action, act.NeedBody)]


def created(actions: list[act.Action]) -> list[str]:
    return [action.ticket for action in actions if isinstance(action, act.CreatePod)]


def submit(bench: Bench, *tickets: str, **fields: Any) -> list[str]:
    """Submits tickets without bodies; those that are asked for."""
    return [found for ticket in tickets for found in asked(bench.submit(ticket, **FRESH, **fields))]


def test_two_windows_of_bodies_are_asked_for_and_not_a_whole_queue(bench: Bench) -> None:
    names = [f"t{number:04}" for number in range(5000)]
    assert submit(bench, *names) == names[:4]
    assert created(bench(ev.BodyArrived("t0000"))) == ["t0000"]
    assert asked(bench.last) == ["t0004"], "what is being created makes room"
    assert created(bench(ev.BodyArrived("t0001"))) == ["t0001"]
    for ticket in ("t0002", "t0003", "t0004", "t0005"):
        assert created(bench(ev.BodyArrived(ticket))) == []
        assert asked(bench.last) == [], "the window is full, and two windows of bodies have come"
    assert created(bench.created("t0000")) == ["t0002"]
    assert asked(bench.last) == ["t0006"]


def test_the_highest_priority_is_asked_for_first(bench: Bench) -> None:
    assert submit(bench, "a", "b", "c", "d") == ["a", "b", "c", "d"]
    assert submit(bench, "low", priority=1) == []
    assert submit(bench, "high", priority=9) == []
    assert submit(bench, "later", priority=8) == []
    assert asked(bench(ev.BodyArrived("a"))) == ["high"]
    assert asked(bench(ev.BodyArrived("b"))) == ["later"]
    for ticket in ("later", "c", "high", "d"):
        bench(ev.BodyArrived(ticket))
    assert created(bench.created("b")) == ["high"], "the order of the answers says nothing"
    assert asked(bench.last) == ["low"]


def test_a_body_serves_one_create(bench: Bench) -> None:
    submit(bench, "t")
    bench(ev.BodyArrived("t"))
    assert [type(action) for action in bench.last if not isinstance(action, act.WakeAt)] == [
        act.CreatePod,
        act.DropBody,
    ]
    bench.created()
    bench.none(act.DropBody, act.NeedBody)


@pytest.mark.parametrize("fault", [f for f, p in LAUNCH_POLICIES.items() if p.value.startswith("retry")])
def test_a_repeated_create_asks_again_and_reads_first_if_the_pod_may_be_there(bench: Bench, fault: Fault) -> None:
    submit(bench, "t")
    bench(ev.BodyArrived("t"))
    bench.create_failed(fault)
    bench.none(act.NeedBody, act.CreatePod)
    bench(ev.Tick(), after=1.0)
    bench.none(act.CreatePod)
    if fault in UNSURE:
        bench.none(act.NeedBody)
        bench.one(act.ReadPod)
        bench(ev.PodRead("t", None))
    assert bench.one(act.NeedBody) == act.NeedBody("t", 0)
    assert created(bench(ev.BodyArrived("t"))) == ["t"]


def test_a_create_that_was_answered_by_nothing_and_had_succeeded_asks_for_no_other_body(bench: Bench) -> None:
    submit(bench, "t")
    bench(ev.BodyArrived("t"))
    bench.create_failed(Fault.TIMEOUT)
    bench(ev.Tick(), after=1.0)
    bench(ev.PodRead("t", "u", True, False, RUNNING))
    bench.none(act.NeedBody, act.CreatePod)
    assert [action.state for action in bench.last if isinstance(action, act.Report)] == ["pending", "running"]


def test_every_fault_that_leaves_a_doubt_is_one_that_is_retried() -> None:
    assert {LAUNCH_POLICIES[fault] for fault in UNSURE} == {LaunchPolicy.RETRY_SLOWER}


def test_quota_is_probed_with_a_body_of_its_own_and_holds_up_no_other_namespace(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e")
    bench(ev.BodyArrived("a"))
    bench(ev.BodyArrived("b"))
    bench(ev.CreateFailed("a", 0, FaultInfo(Fault.QUOTA, 403, "Forbidden", "words"), 0.01))
    assert asked(bench.last) == [], "nothing can be created there now"
    for ticket in ("c", "d", "e"):
        assert created(bench(ev.BodyArrived(ticket))) == []
    bench(ev.CreateFailed("b", 0, FaultInfo(Fault.QUOTA, 403, "Forbidden", "words"), 0.01))
    assert asked(bench(ev.Submitted("o", "other", "o", "s", has_body=False))) == ["o"]
    assert created(bench(ev.BodyArrived("o"))) == ["o"]
    assert created(bench(ev.Tick(), after=30.0)) == ["c"]
    bench.create_failed(Fault.QUOTA, "c")
    bench(ev.Tick(), after=70.0)
    assert created(bench.last) == [], "the other bodies are too old by now"
    assert asked(bench.last) != []


def test_a_body_that_has_waited_too_long_is_asked_for_again(bench: Bench) -> None:
    submit(bench, "a", "b", "c")
    for ticket in ("a", "b", "c"):
        bench(ev.BodyArrived(ticket))
    bench.now += 61.0
    bench.created("a")
    assert (created(bench.last), asked(bench.last)) == ([], ["c"])
    bench.one(act.DropBody)
    assert created(bench(ev.BodyArrived("c"))) == ["c"]


def test_a_revoked_ticket_frees_its_place(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e")
    bench(ev.Revoked("b"))
    assert bench.one(act.Report).matches(ticket="b", state="revoked", terminal=True)
    assert asked(bench.last) == ["e"]
    bench(ev.BodyArrived("b"))
    bench.one(act.DropBody)
    bench.none(act.CreatePod)


def test_a_ticket_is_revoked_while_its_repeated_create_waits_for_a_body(bench: Bench) -> None:
    submit(bench, "t")
    bench(ev.BodyArrived("t"))
    bench.create_failed(Fault.THROTTLED)
    assert asked(bench(ev.Tick(), after=1.0)) == ["t"]
    bench(ev.Revoked("t"))
    bench.one(act.ReadPod)
    bench(ev.BodyRefused("t", "stale"))
    bench.none(act.Report)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="revoked", terminal=True)


def test_a_refused_body_fails_its_ticket_alone_with_the_reason(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e")
    bench(ev.BodyRefused("b", "line 3: no such key", "InvalidTemplate"))
    report = bench.one(act.Report)
    assert report.matches(ticket="b", state="failed", failure_class="create-refused", reason="InvalidTemplate")
    assert report.message == "line 3: no such key"
    assert asked(bench.last) == ["e"]
    bench(ev.Acknowledged("b"))
    bench.one(act.Closed)


def test_an_unanswered_request_ends_by_its_timeout_and_wedges_nobody(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e")
    bench.now += 10.0
    bench(ev.BodyArrived("a"))
    bench.now += 289.0
    bench(ev.Tick())
    bench.none(act.Report)
    bench(ev.Tick(), after=1.5)
    reports = [action for action in bench.last if isinstance(action, act.Report)]
    assert [(r.ticket, r.state, r.reason) for r in reports] == [(t, "failed", "BodyTimeout") for t in "bcd"]
    bench(ev.BodyArrived("c"))
    bench.one(act.DropBody)
    assert created(bench(ev.BodyArrived("e"))) == ["e"]


def test_a_body_that_is_answered_twice_counts_once(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d")
    for ticket in ("a", "b", "c", "c"):
        bench(ev.BodyArrived(ticket))
    assert created(bench.created("a")) == ["c"]
    assert created(bench.created("b")) == []
    bench.created("c")
    bench(ev.BodyArrived("c"))
    bench.one(act.DropBody)


def test_a_body_for_a_predecessor_is_used_by_the_shard_that_is_there(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e", "f")
    bench(ev.BodyArrived("f"))
    assert created(bench.last) == ["f"]
    for ticket in ("a", "b", "c", "d"):
        bench(ev.BodyArrived(ticket))
    assert "f" not in asked(bench.created("f", uid="u-f"))


def test_a_pod_that_is_found_meanwhile_needs_no_body(bench: Bench) -> None:
    submit(bench, "a", "b", "c", "d", "e")
    bench.seen(RUNNING, "b")
    assert asked(bench.last) == ["e"]
    bench(ev.BodyArrived("b"))
    bench.one(act.DropBody)


def test_bodies_are_asked_for_only_when_the_namespace_is_listed() -> None:
    bench = Bench(ShardPolicy(fresh_bodies=True))
    bench.state.hold_until = bench.now + 10.0
    assert submit(bench, "t") == []
    assert bench.one(act.WakeAt).at == bench.now + 10.0
    assert asked(bench(ev.Relisted(bench.now, "ns"))) == ["t"]


def test_the_first_body_may_come_along(bench: Bench) -> None:
    assert created(bench.submit("t")) == ["t"]
    bench.create_failed(Fault.THROTTLED)
    assert asked(bench(ev.Tick(), after=1.0)) == ["t"]


def test_without_just_in_time_a_body_is_kept_for_every_create_and_asked_for_in_its_turn() -> None:
    bench = Bench(window=CreateWindow(1, 1, 1))
    bench.submit("t")
    bench.none(act.DropBody)
    bench.create_failed(Fault.TIMEOUT)
    bench(ev.Tick(), after=1.0)
    bench.none(act.NeedBody, act.ReadPod)
    bench.one(act.CreatePod)
