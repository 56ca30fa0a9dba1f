"""News that cross each other: answers that come late, timers that are out of date, reads that others overtook."""

from __future__ import annotations

import pytest

from shard_bench import FAILED, PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.lifecycle import TaskState
from shard_executor.core.shard_base import ShardPolicy
from shard_executor.core.window import CreateWindow

LOST = Verdict(Stage.FAILED, False, FailureClass.PREEMPTED, "PreemptionByScheduler", None, "words")
FORBIDDEN = FaultInfo(Fault.FORBIDDEN, 403, "Forbidden", "may not get pods")
BUSY = FaultInfo(Fault.THROTTLED, 429, "", "slow down")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def creates(bench: Bench) -> list[act.CreatePod]:
    return [action for action in bench.last if isinstance(action, act.CreatePod)]


def parked(bench: Bench) -> act.CreatePod:
    """Two tickets in a namespace that is full; the create that probes it."""
    bench.submit("a")
    bench.submit("b")
    bench.create_failed(Fault.QUOTA, "a")
    bench.create_failed(Fault.QUOTA, "b")
    bench(ev.Tick(), after=5.0)
    return bench.one(act.CreatePod)


# ---- the clock


def test_a_tick_that_comes_a_hair_too_early_is_followed_by_another(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.THROTTLED, retry_after=5.0)
    wake = bench.one(act.WakeAt)
    bench(ev.Tick(), after=wake.at - bench.now - 1e-6)
    assert bench.one(act.WakeAt) == wake


# ---- quota


@pytest.mark.parametrize("late", ["timeout", "created"])
def test_a_probe_whose_answer_comes_after_its_pod_has_ended_opens_the_namespace(bench: Bench, late: str) -> None:
    probe = parked(bench)
    bench.seen(SUCCEEDED, probe.ticket)
    bench(ev.Acknowledged(probe.ticket))
    bench.ended(SUCCEEDED, probe.ticket)
    if late == "timeout":
        bench.create_failed(Fault.TIMEOUT, probe.ticket)
    else:
        bench.created(probe.ticket)
    bench(ev.Tick(), after=60.0)
    assert bench.state.tasks.keys() == {"a", "b"} - {probe.ticket}
    assert bench.state.counts[TaskState.CREATING] == 1


def test_a_probe_that_was_relaunched_before_its_answer_came_does_not_close_the_namespace(bench: Bench) -> None:
    probe = parked(bench)
    bench.seen(LOST, probe.ticket)
    bench.create_failed(Fault.TIMEOUT, probe.ticket)
    bench(ev.Tick(), after=60.0)
    assert bench.state.counts[TaskState.CREATING] >= 1


def test_a_pod_that_is_gone_by_the_answer_to_its_delete_makes_room(bench: Bench) -> None:
    bench.running("a")
    bench.submit("b")
    bench.create_failed(Fault.QUOTA, "b")
    bench.seen(SUCCEEDED, "a")
    bench.create_failed(Fault.QUOTA, "b")
    bench(ev.Acknowledged("a"))
    bench.none(act.CreatePod)
    bench(ev.Removed("a", True))
    assert bench.one(act.CreatePod).matches(ticket="b")


def test_a_full_namespace_holds_no_other_one_up_however_long_its_queue() -> None:
    bench = Bench(window=CreateWindow(1, 1, 1))
    for number in range(600):
        bench(ev.Submitted(f"full{number}", "full", f"full{number}", "s", 1))
    bench(ev.Submitted("other", "free", "other", "s"))
    bench.create_failed(Fault.QUOTA, "full0")
    assert bench.one(act.CreatePod).matches(ticket="other")


def test_a_gate_that_nobody_waits_at_wakes_nobody(bench: Bench) -> None:
    """One namespace is full and probed for its tickets, the tickets of another full one have been revoked."""
    bench(ev.Submitted("x", "other", "x", "s"))
    bench.create_failed(Fault.QUOTA, "x")
    bench(ev.Revoked("x"))
    bench(ev.PodRead("x", None))
    parked(bench)
    for _ in range(10):
        assert not [action for action in bench.last if isinstance(action, act.WakeAt) and action.at <= bench.now]
        bench(ev.Tick(), after=1.0)


def test_the_tickets_behind_a_full_namespace_keep_their_order() -> None:
    bench = Bench(window=CreateWindow(4, 1, 4))
    for number in range(2000):
        bench.submit(f"t{number}")
    for number in range(4):
        bench.create_failed(Fault.QUOTA, f"t{number}")
    bench(ev.Tick(), after=60.0)
    assert bench.one(act.CreatePod).matches(ticket="t4")
    bench.created("t4")
    assert [action.ticket for action in creates(bench)] == ["t5", "t6", "t7", "t8"]


# ---- reads


def test_a_read_that_the_watch_overtook_says_nothing_about_the_next_attempt(bench: Bench) -> None:
    bench.submit(uid="u", has_body=True)
    bench(ev.Tick(), after=1.0)
    bench(ev.Relisted(bench.now, "ns"))
    bench.one(act.ReadPod)
    bench.seen(LOST)
    bench(ev.BodyArrived("t"))
    bench(ev.PodRead("t", "u", True, False, PENDING))
    task = bench.state.tasks["t"]
    assert task.uid is None
    assert task.state is TaskState.CREATING
    bench.created(uid="v", attempt=1)
    assert task.state is TaskState.PENDING


def test_an_overtaken_read_that_fails_does_not_ask_again(bench: Bench) -> None:
    bench.submit(uid="u", has_body=True)
    bench(ev.Relisted(bench.now, "ns"))
    bench.one(act.ReadPod)
    bench.seen(LOST)
    bench(ev.ReadFailed("t", BUSY))
    bench(ev.BodyArrived("t"))
    bench.created(uid="v", attempt=1)
    bench(ev.Tick(), after=60.0)
    bench.none(act.ReadPod, act.CreatePod)


def test_a_timer_for_an_unseen_pod_does_not_read_while_the_next_attempt_is_created(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench(ev.Relisted(bench.now - 1.0, "ns"))
    bench.seen(LOST)
    bench(ev.BodyArrived("t"))
    bench.one(act.CreatePod)
    bench(ev.Tick(), after=6.0)
    bench.none(act.ReadPod)


def test_a_name_that_can_never_be_read_ends_its_ticket_at_the_create_limit() -> None:
    bench = Bench(ShardPolicy(create_timeout=120.0))
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    for _ in range(40):
        if any(isinstance(action, act.ReadPod) for action in bench.last):
            bench(ev.ReadFailed("t", FORBIDDEN))
        if any(isinstance(action, act.Report) and action.terminal for action in bench.last):
            break
        bench(ev.Tick(), after=10.0)
    report = bench.one(act.Report)
    assert report.matches(state="failed", failure_class="create-refused", reason="CreateTimeout")
    assert report.message is not None
    assert "may not get pods" in report.message
    assert bench.now - 1000.0 < 200.0


def test_a_read_that_is_answered_by_401_asks_for_credentials(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.ReadFailed("t", FaultInfo(Fault.UNAUTHORIZED, 401, "Unauthorized", "Unauthorized")))
    bench.one(act.NeedCredentials)


def test_a_living_pod_that_no_list_shows_is_read_until_its_end(bench: Bench) -> None:
    bench.submit(uid="u", began=True, has_body=False)
    bench(ev.Relisted(bench.now, "ns"))
    reads = 0
    for _ in range(100):
        if any(isinstance(action, act.ReadPod) for action in bench.last):
            reads += 1
            bench(ev.PodRead("t", "u", True, False, RUNNING if reads < 5 else SUCCEEDED))
        if any(isinstance(action, act.Report) for action in bench.last):
            break
        bench(ev.Tick(), after=5.0)
    assert bench.one(act.Report).matches(state="succeeded", terminal=True)


def test_a_pod_that_lost_its_labels_while_nobody_watched_is_handed_over(bench: Bench) -> None:
    bench.submit(uid="u", began=True, has_body=False)
    bench(ev.Relisted(bench.now, "ns"))
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", True, False, RUNNING, selected=False))
    assert bench.one(act.Report).matches(state="lost", failure_class="handed-over")
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_a_pod_of_this_name_that_is_marked_as_done_is_not_taken_for_this_attempts(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.PodRead("t", "kept", True, False, SUCCEEDED, selected=False))
    assert bench.one(act.CreatePod).matches(attempt=1)


# ---- revoking


def test_a_ticket_that_is_revoked_before_the_first_list_is_looked_for(bench: Bench) -> None:
    bench.state.hold_until = bench.now + 10.0
    bench.submit()
    bench(ev.Revoked("t"))
    bench.none(act.Report)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", "u", True, False, RUNNING))
    assert bench.one(act.RemovePod).matches(uid="u")
    bench(ev.Removed("t", False))
    assert bench.one(act.Report).matches(state="revoked", uid="u")


def test_a_revoked_ticket_is_not_created_while_a_read_is_repeated(bench: Bench) -> None:
    parked(bench)
    waiting = next(t for t in bench.state.tasks.values() if t.state is TaskState.QUEUED)
    bench(ev.Revoked(waiting.ticket))
    bench(ev.ReadFailed(waiting.ticket, FaultInfo(Fault.THROTTLED, 429, "", "slow down", 200.0)))
    for ticket in bench.state.tasks:
        if ticket != waiting.ticket:
            bench.created(ticket)
    bench.none(act.CreatePod)
    bench(ev.Tick(), after=201.0)
    bench.one(act.ReadPod)


def test_a_revoked_pod_that_stays_is_closed_even_if_the_acknowledgement_comes_late(bench: Bench) -> None:
    bench.running()
    bench(ev.Revoked("t"))
    bench(ev.Removed("t", False))
    for _ in range(40):
        bench(ev.Tick(), after=5.0)
        if any(isinstance(action, act.ReadPod) for action in bench.last):
            bench(ev.PodRead("t", "u", True, True, RUNNING))
    bench(ev.Acknowledged("t"))
    assert bench.one(act.Closed).pod_left == "its deletion was accepted but it is still there"


# ---- removing


def test_news_of_a_finished_pod_without_a_ticket_do_not_cut_its_backoff_short(bench: Bench) -> None:
    bench(ev.PodSeen("ns", "left", "x", False, SUCCEEDED))
    bench.one(act.RemovePod)
    bench(ev.RemoveFailed("uid:x", FaultInfo(Fault.THROTTLED, 429, "", "slow down", 30.0)))
    bench(ev.PodSeen("ns", "left", "x", False, FAILED))
    bench.none(act.RemovePod)
    bench(ev.Tick(), after=31.0)
    bench.one(act.RemovePod)


# ---- the log and the relaunch


def test_the_log_of_a_failed_init_container_is_fetched(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench.seen(Verdict(Stage.FAILED, False, FailureClass.INIT_CONTAINER, "Error", 1, "exit 1", container="clone"))
    assert bench.one(act.TailLog).container == "clone"


@pytest.mark.parametrize("reason", ["OutOfcpu", "OutOfpods", "UnexpectedAdmissionError"])
def test_a_pod_that_its_node_would_not_admit_is_launched_again(bench: Bench, reason: str) -> None:
    bench.submit()
    bench.created()
    bench.seen(Verdict(Stage.FAILED, False, FailureClass.START_ERROR, reason, None, "no room"))
    assert bench.one(act.Report).matches(state="waiting", attempt=1)


# ---- creates that come to the server after their pod has gone


def seen_while_repeated(bench: Bench, verdict: Verdict) -> None:
    """The answer to the first create was lost; the watch shows its pod while the second create is under way."""
    bench.submit()
    bench.create_failed(Fault.TIMEOUT)
    bench(ev.Tick(), after=1.0)
    bench.one(act.CreatePod)
    bench.seen(verdict)


def test_a_pod_is_not_deleted_while_a_create_of_its_name_is_under_way(bench: Bench) -> None:
    seen_while_repeated(bench, SUCCEEDED)
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.create_failed(Fault.ALREADY_EXISTS)
    assert bench.one(act.RemovePod).matches(key="t", uid="u")
    bench(ev.Removed("t", True))
    bench.one(act.Closed)


def test_a_lost_pod_is_not_deleted_for_the_next_attempt_before_its_repeated_create_is_answered(bench: Bench) -> None:
    seen_while_repeated(bench, LOST)
    bench.one(act.NeedBody)
    bench.none(act.RemovePod)
    bench(ev.BodyArrived("t"))
    bench.created(uid="v", attempt=1)
    bench.none(act.RemovePod)
    bench.create_failed(Fault.TIMEOUT)
    assert bench.one(act.RemovePod).matches(key="uid:u", name="t-s-0")


@pytest.mark.parametrize("closed", [True, False])
def test_a_pod_that_a_repeated_create_made_after_the_first_was_gone_is_removed(bench: Bench, closed: bool) -> None:
    seen_while_repeated(bench, RUNNING)
    bench.ended(SUCCEEDED)
    if closed:
        bench(ev.Acknowledged("t"))
        bench.one(act.Closed)
    bench.created(uid="twin")
    assert bench.one(act.RemovePod) == act.RemovePod("uid:twin", "ns", "t-s-0", "twin", False)


def test_a_late_answer_about_a_pod_that_was_handed_over_leaves_it_alone(bench: Bench) -> None:
    seen_while_repeated(bench, RUNNING)
    bench(ev.PodLeft("ns", "t-s-0", "u"))
    bench(ev.Acknowledged("t"))
    bench.created()
    bench.none(act.RemovePod)


def test_a_pod_whose_deletion_never_ends_is_given_up_at_the_limit() -> None:
    bench = Bench(ShardPolicy(terminating_timeout=100.0))
    bench.running()
    bench.seen(RUNNING, deleting=True)
    bench(ev.Tick(), after=99.0)
    bench.none(act.Report)
    bench(ev.Tick(), after=2.0)
    assert bench.one(act.Report).matches(
        state="lost", terminal=True, failure_class="node-lost", reason="TerminatingTimeout"
    )
    bench(ev.Acknowledged("t"))
    bench.one(act.RemovePod)


DENIED = FaultInfo(Fault.NOT_PERMITTED, 403, "Forbidden", 'User "x" cannot create resource "pods"')


def test_a_denial_of_the_authorizer_is_repeated_for_a_short_time_only(bench: Bench) -> None:
    """An API server that has just started denies what its authorizer has not loaded yet."""
    bench.submit("a")
    bench.submit("b")
    bench(ev.CreateFailed("a", 0, DENIED, 0.01))
    bench(ev.CreateFailed("b", 0, DENIED, 0.01))
    bench(ev.Tick(), after=1.0)
    assert {action.ticket for action in bench.last if isinstance(action, act.CreatePod)} == {"a", "b"}
    bench.created("a")
    bench(ev.CreateFailed("b", 0, DENIED, 0.01), after=15.0)
    assert bench.one(act.Report).matches(ticket="b", failure_class="create-refused", message=DENIED.message)


# ---- several namespaces


def submit_in(bench: Bench, ticket: str, namespace: str) -> list[act.Action]:
    return bench(ev.Submitted(ticket, namespace, ticket, "s"))


def test_creates_wait_for_the_first_list_of_their_own_namespace() -> None:
    bench = Bench()
    bench.state.hold_until = bench.now + 10.0
    for ticket, namespace in (("a", "one"), ("b", "two"), ("c", "one")):
        submit_in(bench, ticket, namespace)
        bench.none(act.CreatePod)
    bench(ev.Relisted(bench.now, "two"))
    assert bench.one(act.CreatePod).matches(ticket="b")
    bench(ev.PodSeen("one", "a-s-0", "u", False, RUNNING))
    bench(ev.Relisted(bench.now, "one"))
    assert bench.one(act.CreatePod).matches(ticket="c")
    assert bench.state.tasks["a"].state is TaskState.RUNNING


def test_a_namespace_that_is_never_listed_holds_its_creates_to_the_limit_and_wakes_for_it() -> None:
    bench = Bench()
    bench.state.hold_until = bench.now + 10.0
    bench(ev.Relisted(bench.now, "two"))
    submit_in(bench, "a", "one")
    assert bench.one(act.WakeAt).at == bench.now + 10.0
    submit_in(bench, "b", "two")
    assert bench.one(act.CreatePod).matches(ticket="b")
    bench(ev.Tick(), after=10.0)
    assert bench.one(act.CreatePod).matches(ticket="a")


def test_a_list_says_nothing_about_the_pods_of_another_namespace(bench: Bench) -> None:
    for ticket, namespace in (("a", "one"), ("b", "two")):
        bench(ev.Submitted(ticket, namespace, ticket, "s", uid=ticket, has_body=False))
    bench(ev.Relisted(bench.now, "two"))
    assert bench.one(act.ReadPod).matches(ticket="b", namespace="two")
    bench(ev.Relisted(bench.now, "one"))
    assert bench.one(act.ReadPod).matches(ticket="a", namespace="one")


def test_a_revoked_ticket_is_looked_for_while_its_own_namespace_is_not_listed() -> None:
    bench = Bench()
    bench.state.hold_until = bench.now + 10.0
    bench(ev.Relisted(bench.now, "two"))
    submit_in(bench, "a", "one")
    bench(ev.Revoked("a"))
    bench.one(act.ReadPod)
    bench.none(act.Report)
    bench.state.window.held_until = bench.now + 5.0
    submit_in(bench, "b", "two")
    bench(ev.Revoked("b"))
    bench.none(act.ReadPod)
    assert bench.one(act.Report).matches(ticket="b", state="revoked")
