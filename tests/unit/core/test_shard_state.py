"""The life of a ticket in a shard: each event, the actions it must cause, and the order they come in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shard_bench import FAILED, PENDING, RUNNING, SUCCEEDED, Bench
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.failures import FailureClass, Stage, Verdict
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.launch_faults import LAUNCH_POLICIES, LaunchPolicy
from shard_executor.core.lifecycle import ALLOWED, InvalidTransition, TaskState
from shard_executor.core.shard_base import ShardPolicy
from shard_executor.core.window import CreateWindow


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.state.validate()


def test_a_task_that_succeeds_is_created_reported_and_removed_only_after_the_acknowledgement(bench: Bench) -> None:
    bench.submit()
    assert bench.one(act.CreatePod) == act.CreatePod("t", "ns", "t-s-0", 0)
    bench.created()
    assert bench.one(act.Report).matches(state="pending", terminal=False, uid="u")
    bench.one(act.DropBody)
    bench.seen(RUNNING)
    assert bench.one(act.Report).matches(state="running", terminal=False, started_at=100.0)
    bench.seen(SUCCEEDED)
    assert bench.one(act.Report).matches(state="succeeded", terminal=True, exit_code=0, failure_class=None)
    bench.none(act.RemovePod)
    bench(ev.Acknowledged("t"))
    assert bench.one(act.RemovePod) == act.RemovePod("t", "ns", "t-s-0", "u", False)
    bench(ev.Removed("t", True))
    assert bench.one(act.Closed) == act.Closed("t", None)
    assert not bench.state.tasks


def test_a_failed_task_has_its_log_read_before_its_report(bench: Bench) -> None:
    bench.running()
    bench.seen(FAILED)
    bench.none(act.Report)
    assert bench.one(act.TailLog) == act.TailLog("t", "ns", "t-s-0", "base")
    bench(ev.LogRead("t", "the last words"))
    report = bench.one(act.Report)
    assert report.matches(state="failed", terminal=True, failure_class="container-error", exit_code=3)
    assert report.log_tail == "the last words"


def test_a_pod_is_reported_once_however_often_its_end_is_seen(bench: Bench) -> None:
    bench.running()
    bench.seen(SUCCEEDED)
    for _ in range(3):
        bench.seen(SUCCEEDED)
        bench.none(act.Report, act.RemovePod)
    bench.ended(SUCCEEDED)
    bench.none(act.Report)
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_watch_events_may_overtake_the_answer_to_the_create(bench: Bench) -> None:
    bench.submit()
    bench.seen(RUNNING)
    assert [a.state for a in bench.last if isinstance(a, act.Report)] == ["pending", "running"]
    bench.created()
    bench.none(act.Report)
    assert bench.state.tasks["t"].state is TaskState.RUNNING


def test_the_wait_from_the_create_to_the_running_pod_is_told(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench.now += 2.5
    bench.seen(RUNNING)
    assert bench.one(act.Report).matches(state="running", waited=2.5)
    bench.submit("overtaken")
    bench.seen(PENDING, "overtaken")
    bench.now += 1.5
    bench.seen(RUNNING, "overtaken")
    assert bench.one(act.Report).matches(state="running", waited=1.5)


def test_no_wait_is_told_of_a_pod_that_was_there_before(bench: Bench) -> None:
    said: list[act.Action] = []
    bench.seen(RUNNING, "found")
    said += bench.submit("found")
    bench.submit("known", uid="u", has_body=False)
    said += bench.seen(RUNNING, "known")
    bench.submit("read")
    bench.create_failed(Fault.ALREADY_EXISTS, "read")
    said += bench(ev.PodRead("read", "u", True, False, RUNNING))
    running = [action for action in said if isinstance(action, act.Report) and action.state == "running"]
    assert [(report.ticket, report.waited) for report in running] == [("found", None), ("known", None), ("read", None)]


def test_a_lost_answer_is_settled_by_the_name(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.DISCONNECTED)
    bench(ev.Tick(), after=1.0)
    assert bench.one(act.CreatePod).matches(name="t-s-0", attempt=0)
    bench.create_failed(Fault.ALREADY_EXISTS)
    assert bench.one(act.ReadPod) == act.ReadPod("t", "ns", "t-s-0")
    bench(ev.PodRead("t", "u", True, False, RUNNING))
    assert bench.state.tasks["t"].state is TaskState.RUNNING
    assert bench.state.tasks["t"].attempt == 0


@pytest.mark.parametrize(
    ("same", "deleting", "verdict"), [(False, False, RUNNING), (True, True, PENDING)], ids=["foreign", "deleted"]
)
def test_a_name_taken_by_another_pod_bumps_the_attempt(
    bench: Bench, same: bool, deleting: bool, verdict: Verdict
) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.PodRead("t", "other", same, deleting, verdict))
    assert bench.one(act.CreatePod) == act.CreatePod("t", "ns", "t-s-1", 1)


def test_a_pod_whose_task_began_is_not_repeated_because_somebody_deletes_it(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.PodRead("t", "u", True, True, RUNNING))
    bench.none(act.CreatePod)
    bench.ended(Verdict(Stage.FAILED, True, FailureClass.DELETED, "Error"))
    assert bench.one(act.Report).matches(state="lost", terminal=True, attempt=0)


def test_a_name_that_was_taken_and_is_free_again_is_created_again(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.ALREADY_EXISTS)
    bench(ev.PodRead("t", None))
    assert bench.one(act.CreatePod).matches(attempt=0)


RETRIED = [f for f, p in LAUNCH_POLICIES.items() if p in (LaunchPolicy.RETRY, LaunchPolicy.RETRY_SLOWER)]


@pytest.mark.parametrize("fault", RETRIED, ids=str)
def test_transient_create_faults_are_repeated_after_a_backoff_and_given_up_in_the_end(fault: Fault) -> None:
    bench = Bench(ShardPolicy(create_timeout=60.0))
    bench.submit()
    delays = []
    for _ in range(100):
        bench.create_failed(fault)
        if any(isinstance(a, act.Report) and a.terminal for a in bench.last):
            break
        bench.none(act.CreatePod)
        before = bench.now
        while not any(isinstance(a, act.CreatePod) for a in bench.last):
            bench(ev.Tick(), after=0.25)
        delays.append(bench.now - before)
    assert bench.one(act.Report).matches(state="failed", failure_class="create-refused", reason="CreateTimeout")
    assert delays == sorted(delays[:3]) + delays[3:]
    assert max(delays) <= 30.5
    assert 60.0 <= bench.now - 1000.0 <= 95.0


REFUSED = [f for f, p in LAUNCH_POLICIES.items() if p is LaunchPolicy.REFUSE]


@pytest.mark.parametrize("fault", REFUSED, ids=str)
def test_a_refused_create_fails_its_task_alone_with_the_servers_words(bench: Bench, fault: Fault) -> None:
    bench.submit("a")
    bench.submit("b")
    bench.create_failed(fault, "a")
    assert bench.one(act.Report).matches(
        ticket="a", terminal=True, failure_class="create-refused", reason=fault.value, message="words"
    )
    bench(ev.Acknowledged("a"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)
    bench.created("b")
    assert bench.state.tasks["b"].state is TaskState.PENDING


def test_a_401_asks_for_credentials_and_repeats(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.UNAUTHORIZED)
    bench.one(act.NeedCredentials)
    bench(ev.Tick(), after=1.0)
    bench.one(act.CreatePod)


def test_throttling_halves_the_window_once_a_burst_and_holds_for_retry_after() -> None:
    bench = Bench(window=CreateWindow(8, 1, 64))
    for number in range(20):
        bench.submit(f"t{number}")
    assert bench.state.window.in_flight == 8
    for number in range(8):
        bench.create_failed(Fault.THROTTLED, f"t{number}", retry_after=5.0)
        bench.none(act.CreatePod)
    assert int(bench.state.window.size) == 4
    bench(ev.Tick(), after=4.9)
    bench.none(act.CreatePod)
    bench(ev.Tick(), after=0.2)
    assert len([a for a in bench.last if isinstance(a, act.CreatePod)]) == 4


def test_an_exceeded_quota_parks_the_namespace_behind_one_probe(bench: Bench) -> None:
    for number in range(6):
        bench.submit(f"t{number}")
    for number in range(6):
        bench.create_failed(Fault.QUOTA, f"t{number}")
    assert bench.one(act.Report).matches(state="waiting", terminal=False)
    bench.none(act.CreatePod)
    probes = 0
    for _ in range(200):
        bench(ev.Tick(), after=0.5)
        if found := [a for a in bench.last if isinstance(a, act.CreatePod)]:
            assert len(found) == 1
            probes += 1
            bench.create_failed(Fault.QUOTA, found[0].ticket)
    assert 3 <= probes <= 12
    bench(ev.Tick(), after=40.0)
    probe = bench.one(act.CreatePod)
    bench.created(probe.ticket)
    assert len([a for a in bench.last if isinstance(a, act.CreatePod)]) == 5


def test_a_pod_that_ends_lets_the_next_quota_probe_go_at_once(bench: Bench) -> None:
    bench.running("a")
    bench.submit("b")
    bench.create_failed(Fault.QUOTA, "b")
    bench.none(act.CreatePod)
    bench.seen(SUCCEEDED, "a")
    assert bench.one(act.CreatePod).matches(ticket="b")
    bench.ended(SUCCEEDED, "a")
    bench.create_failed(Fault.QUOTA, "b")
    assert bench.one(act.CreatePod).matches(ticket="b")


def test_higher_priority_is_created_first() -> None:
    bench = Bench(window=CreateWindow(1, 1, 1))
    bench.submit("first")
    bench.submit("low", priority=1)
    bench.submit("high", priority=9)
    bench.created("first")
    assert bench.one(act.CreatePod).matches(ticket="high")


def test_a_fatal_waiting_reason_fails_the_task_at_once(bench: Bench) -> None:
    bench.submit()
    bench.created()
    bench.seen(Verdict(Stage.PENDING, reason="InvalidImageName", message="bad", waiting="InvalidImageName"))
    assert bench.one(act.Report).matches(failure_class="image-error", reason="InvalidImageName", message="bad")
    bench(ev.Acknowledged("t"))
    bench.one(act.RemovePod)


def test_a_waiting_reason_with_a_grace_fails_after_it_and_not_if_it_clears(bench: Bench) -> None:
    pull = Verdict(Stage.PENDING, reason="ErrImagePull", message="no such image", waiting="ErrImagePull")
    backoff = Verdict(Stage.PENDING, reason="ImagePullBackOff", message="back-off", waiting="ImagePullBackOff")
    for ticket in ("a", "b"):
        bench.submit(ticket)
        bench.created(ticket)
        bench.seen(pull, ticket)
    bench(ev.Tick(), after=20.0)
    bench.seen(PENDING, "b")
    bench.seen(backoff, "a")
    bench(ev.Tick(), after=9.0)
    bench.none(act.Report)
    bench(ev.Tick(), after=2.0)
    assert bench.one(act.Report).matches(ticket="a", failure_class="image-error", reason="ImagePullBackOff")


def test_a_pod_that_stays_pending_ends_by_the_pending_timeout() -> None:
    bench = Bench(ShardPolicy(pending_timeout=120.0))
    bench.submit()
    bench.created()
    bench.seen(Verdict(Stage.PENDING, reason="Unschedulable", message="0/3 nodes are available"))
    bench(ev.Tick(), after=119.0)
    bench.none(act.Report)
    bench(ev.Tick(), after=2.0)
    assert bench.one(act.Report).matches(failure_class="pending-timeout", message="0/3 nodes are available")


@pytest.mark.parametrize(
    ("reason", "message", "failure"),
    [
        ("ErrImagePull", "manifest unknown", "image-error"),
        ("RunContainerError", "no such file", "start-error"),
        ("SomethingElse", "words", "start-error"),
        ("ErrImagePull", "pull QPS exceeded", None),
        ("InvalidImageName", "fatal by our own rules", None),
        ("ImagePullBackOff", "a grace by our own rules", None),
        ("ContainerCreating", "", None),
    ],
)
def test_listed_waiting_reasons_are_fatal_at_once_and_no_other_ever(
    reason: str, message: str, failure: str | None
) -> None:
    bench = Bench(ShardPolicy(fatal_reasons=["ErrImagePull", "RunContainerError", "SomethingElse"]))
    bench.submit()
    bench.created()
    bench.seen(Verdict(Stage.PENDING, reason=reason, message=message, waiting=reason, container="base"))
    if failure is not None:
        said = bench.one(act.Report)
        assert said.matches(failure_class=failure, reason=reason, message=message, container="base")
    else:
        bench.none(act.Report)
        bench(ev.Tick(), after=10_000.0)
        bench.none(act.Report)


@pytest.mark.parametrize("known", [False, True], ids=["created here", "known to the parent"])
def test_a_pod_that_does_not_run_in_time_fails_and_says_what_it_waited_for(known: bool) -> None:
    bench = Bench(ShardPolicy(start_timeout=60.0))
    bench.submit(uid="u" if known else None, has_body=not known)
    if not known:
        bench.created()
    bench.seen(Verdict(Stage.PENDING, reason="Unschedulable", message="0/3 nodes"))
    bench(ev.Tick(), after=59.0)
    bench.none(act.Report)
    bench(ev.Tick(), after=2.0)
    report = bench.one(act.Report)
    assert report.matches(state="failed", failure_class="pending-timeout", reason="StartTimeout")
    assert report.message == "the pod did not start within 60 s; Unschedulable: 0/3 nodes"
    bench(ev.Acknowledged("t"))
    bench.one(act.RemovePod)


def test_the_limit_of_the_start_is_each_attempts_own_and_ends_when_the_pod_runs() -> None:
    bench = Bench(ShardPolicy(start_timeout=60.0))
    bench.submit()
    bench.created()
    bench.now += 50.0
    bench.seen(LOST)
    bench(ev.BodyArrived("t"))
    bench.created(uid="v", attempt=1)
    bench(ev.Tick(), after=50.0)
    bench.none(act.Report)
    bench.seen(RUNNING, uid="v", attempt=1)
    bench(ev.Tick(), after=50.0)
    bench.none(act.Report)


def test_a_pod_that_the_cluster_loses_before_it_began_is_launched_anew_without_a_report_of_failure() -> None:
    bench = Bench(ShardPolicy(launch_failure_retries=1))
    lost = Verdict(Stage.FAILED, False, FailureClass.PREEMPTED, "PreemptionByScheduler", None, "words")
    bench.submit()
    bench.created()
    bench.seen(lost)
    bench.none(act.RemovePod)
    assert bench.one(act.Report).matches(state="waiting", terminal=False, attempt=1)
    bench.one(act.NeedBody)
    bench(ev.BodyArrived("t"))
    assert bench.one(act.CreatePod) == act.CreatePod("t", "ns", "t-s-1", 1)
    bench.created(uid="v", attempt=1)
    assert bench.one(act.RemovePod).matches(key="uid:u", uid="u")
    bench(ev.Removed("uid:u", False))
    bench.ended(lost)
    bench.none(act.Report)
    bench.seen(lost, uid="v", attempt=1)
    assert bench.one(act.Report).matches(state="failed", terminal=True, failure_class="preempted", attempt=1)


def test_a_running_pod_that_vanishes_is_lost_and_nothing_is_removed(bench: Bench) -> None:
    bench.running()
    bench.ended(None)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", terminal=True, failure_class="deleted")
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_a_success_that_is_only_seen_in_the_deletion_counts(bench: Bench) -> None:
    bench.running()
    bench.ended(SUCCEEDED)
    assert bench.one(act.Report).matches(state="succeeded", terminal=True)


def test_a_pod_whose_labels_were_changed_is_left_alone(bench: Bench) -> None:
    bench.running()
    bench(ev.PodLeft("ns", "t-s-0", "u"))
    assert bench.one(act.Report).matches(state="lost", failure_class="handed-over")
    bench(ev.Acknowledged("t"))
    bench.none(act.RemovePod)


def test_a_refused_delete_backs_off_and_blocks_nobody() -> None:
    bench = Bench(ShardPolicy(removals_in_flight=2, remove_timeout=100.0))
    for ticket in ("a", "b", "c"):
        bench.running(ticket)
        bench.seen(SUCCEEDED, ticket)
        bench(ev.Acknowledged(ticket))
    bench.none(act.RemovePod)
    bench(ev.RemoveFailed("a", FaultInfo(Fault.THROTTLED, 429, "", "slow down")))
    assert bench.one(act.RemovePod).matches(key="c")
    bench(ev.Removed("b", True))
    bench(ev.Removed("c", True))
    requests = 0
    for _ in range(400):
        bench(ev.Tick(), after=0.5)
        if any(isinstance(a, act.RemovePod) for a in bench.last):
            requests += 1
            bench(ev.RemoveFailed("a", FaultInfo(Fault.FORBIDDEN, 403, "Forbidden", "no")))
            if any(isinstance(a, act.Closed) for a in bench.last):
                break
    assert bench.one(act.Closed) == act.Closed("a", "Forbidden: no")
    assert 5 <= requests <= 15


def test_kept_pods_are_marked_as_done_instead_of_deleted(bench: Bench) -> None:
    bench.running()
    bench.seen(SUCCEEDED)
    bench(ev.Acknowledged("t", keep=True))
    assert bench.one(act.RemovePod).matches(keep=True)
    bench(ev.PodLeft("ns", "t-s-0", "u"))
    bench.one(act.Closed)
    bench(ev.Removed("t", False))
    bench.none(act.Closed, act.RemovePod)


# ---- revoking


def test_a_queued_ticket_is_revoked_without_a_request() -> None:
    bench = Bench(window=CreateWindow(1, 1, 1))
    bench.submit("a")
    bench.submit("b")
    bench(ev.Revoked("b"))
    assert bench.one(act.Report).matches(ticket="b", state="revoked", terminal=True)
    bench(ev.Acknowledged("b"))
    bench.none(act.RemovePod)
    bench.one(act.Closed)


def test_a_running_ticket_is_revoked_when_its_delete_is_accepted_and_closed_when_the_pod_is_gone(bench: Bench) -> None:
    bench.running()
    bench(ev.Revoked("t"))
    bench.one(act.RemovePod)
    bench.none(act.Report)
    bench(ev.Removed("t", False))
    assert bench.one(act.Report).matches(state="revoked", terminal=True)
    bench(ev.Acknowledged("t"))
    bench.none(act.Closed)
    bench.ended(FAILED)
    bench.one(act.Closed)


def test_a_revoked_pod_that_never_goes_is_closed_at_the_limit(bench: Bench) -> None:
    bench.running()
    bench(ev.Revoked("t"))
    bench(ev.Removed("t", False))
    bench(ev.Acknowledged("t"))
    bench(ev.Tick(), after=5.0)
    for _ in range(20):
        bench.one(act.ReadPod)
        bench(ev.PodRead("t", "u", True, True, RUNNING))
        while not bench.last or isinstance(bench.last[0], act.WakeAt):
            bench(ev.Tick(), after=1.0)
        if any(isinstance(a, act.Closed) for a in bench.last):
            break
    assert bench.now - 1000.0 == pytest.approx(90.0, abs=1.1)
    assert bench.one(act.Closed).pod_left == "its deletion was accepted but it is still there"


def test_a_pod_that_went_unseen_after_its_delete_was_accepted_is_asked_for(bench: Bench) -> None:
    bench.submit(uid="u", reported="failed", has_body=False)
    bench(ev.Acknowledged("t"))
    bench(ev.Removed("t", False))
    bench(ev.Tick(), after=5.0)
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Closed) == act.Closed("t", None)


def test_revoking_while_the_create_is_under_way_waits_for_its_answer(bench: Bench) -> None:
    bench.submit()
    bench(ev.Revoked("t"))
    bench.none(act.Report, act.RemovePod)
    bench.created()
    bench.one(act.RemovePod)
    bench(ev.Removed("t", False))
    assert bench.one(act.Report).matches(state="revoked")


def test_revoking_after_a_create_without_a_certain_answer_asks_whether_the_pod_exists(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.TIMEOUT)
    bench(ev.Revoked("t"))
    bench.one(act.ReadPod)
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="revoked")


def test_a_result_that_came_before_the_revocation_stands(bench: Bench) -> None:
    bench.running()
    bench.seen(SUCCEEDED)
    bench(ev.Revoked("t"))
    bench.none(act.Report, act.RemovePod)


# ---- restarts of the shard and gaps of the watch


def test_a_restarted_shard_waits_for_the_list_before_it_creates() -> None:
    bench = Bench()
    bench.state.hold_until = bench.now + 10.0
    bench.submit("there")
    bench.submit("not-there")
    bench.none(act.CreatePod)
    bench.seen(RUNNING, "there")
    bench(ev.Relisted(bench.now, "ns"))
    assert bench.one(act.CreatePod).matches(ticket="not-there")


def test_creates_are_not_held_for_ever_by_a_list_that_does_not_come() -> None:
    bench = Bench()
    bench.state.hold_until = bench.now + 10.0
    bench.submit()
    assert bench.one(act.WakeAt).at == bench.now + 10.0
    bench(ev.Tick(), after=10.0)
    bench.one(act.CreatePod)


def test_a_pod_that_the_parent_knows_and_no_list_shows_is_read_before_it_is_given_up(bench: Bench) -> None:
    bench.submit(uid="u", began=True, has_body=False)
    bench.none(act.CreatePod)
    bench(ev.Relisted(bench.now, "ns"))
    assert bench.one(act.ReadPod).matches(name="t-s-0")
    bench(ev.PodRead("t", None))
    assert bench.one(act.Report).matches(state="lost", terminal=True, failure_class="deleted")


def test_a_reported_ticket_is_only_cleaned_up_by_the_next_shard(bench: Bench) -> None:
    bench.submit(uid="u", reported="succeeded", has_body=False)
    bench.none(act.Report, act.CreatePod)
    bench.seen(SUCCEEDED)
    bench.none(act.Report, act.RemovePod)
    bench(ev.Acknowledged("t"))
    bench.one(act.RemovePod)


def test_an_ownerless_finished_pod_is_removed_and_a_running_one_is_not(bench: Bench) -> None:
    bench(ev.PodSeen("ns", "left-over", "x", False, RUNNING))
    bench.none(act.RemovePod)
    bench(ev.PodSeen("ns", "left-over", "x", False, SUCCEEDED))
    assert bench.one(act.RemovePod) == act.RemovePod("uid:x", "ns", "left-over", "x", False)


def test_a_pod_of_a_create_that_was_given_up_is_removed_when_it_turns_up(bench: Bench) -> None:
    bench.submit()
    bench.create_failed(Fault.INVALID)
    bench.seen(RUNNING, uid="late")
    assert bench.one(act.RemovePod).matches(key="uid:late")


def test_the_same_ticket_handed_over_twice_counts_once(bench: Bench) -> None:
    bench.submit()
    bench.submit()
    bench.none(act.CreatePod)


def test_events_of_another_pod_of_the_same_name_are_not_the_tickets(bench: Bench) -> None:
    bench.running()
    bench.ended(FAILED, uid="other")
    bench.none(act.Report)


# ---- the tables themselves


def test_an_event_that_no_table_knows_prints_the_story(bench: Bench) -> None:
    bench.running()
    with pytest.raises(InvalidTransition, match=r"(?s)Acknowledged in running.*-> pending \(created"):
        bench(ev.Acknowledged("t"))


def test_every_state_is_in_the_diagram_and_every_fault_has_a_policy() -> None:
    assert set(ALLOWED) == set(TaskState)
    assert set(LAUNCH_POLICIES) == set(Fault)


LOST = Verdict(Stage.FAILED, False, FailureClass.PREEMPTED, "PreemptionByScheduler", None, "words")


def _known(ticket: str, rng: random.Random) -> dict[str, Any]:
    uid = rng.choice([None, None, "u"])
    attempt = rng.randrange(2)
    adopting = uid is not None and rng.random() < 0.5
    return {
        "attempt": attempt,
        "uid": uid,
        "began": rng.random() < 0.3,
        "fresh": rng.random() < 0.3,
        "has_body": rng.random() < 0.5,
        "pod": f"{ticket}-s-{attempt}" if adopting else None,
        "marks": ({"owner": "me"}, {}) if adopting else None,
    }


_RANDOM_EVENTS: list[Callable[[Bench, str, random.Random], Any]] = [
    lambda b, t, r: b.submit(t, **_known(t, r)),
    lambda b, t, r: b(ev.Tick(), after=r.uniform(0, 40)),
    lambda b, t, r: b.seen(r.choice([PENDING, RUNNING, SUCCEEDED, FAILED, LOST]), t, r.choice("uv"), r.randrange(2)),
    lambda b, t, r: b.ended(r.choice([None, SUCCEEDED, FAILED]), t, r.choice("uv"), r.randrange(2)),
    lambda b, t, r: b(ev.PodLeft("ns", f"{t}-s-0", "u")),
    lambda b, t, r: b(ev.Relisted(b.now, "ns")),
    lambda b, t, r: b(ev.Revoked(t)),
]


@pytest.mark.parametrize("seed", range(120))
def test_any_order_of_news_closes_every_ticket_exactly_once(seed: int) -> None:
    """Random news and random answers; then calm, in which everything must come to its end."""
    rng = random.Random(seed)
    policy = ShardPolicy(
        create_timeout=50.0,
        sweep=seed % 2 == 0,
        fresh_bodies=seed % 3 == 0,
        hand_over=seed % 4 < 2,
        start_timeout=100.0 * (seed % 5),
    )
    bench = Bench(policy, CreateWindow(2, 1, 4))
    open_requests: list[act.Action] = []
    terminal: dict[str, int] = {}
    closed: dict[str, int] = {}
    submitted: set[str] = set()

    def take(actions: list[act.Action]) -> None:
        for action in actions:
            if isinstance(action, act.Report):
                if action.terminal:
                    terminal[action.ticket] = terminal.get(action.ticket, 0) + 1
                    open_requests.append(action)
            elif isinstance(action, act.Closed):
                closed[action.ticket] = closed.get(action.ticket, 0) + 1
            elif not isinstance(action, act.DropBody | act.TellAdopted | act.WakeAt | act.NeedCredentials):
                open_requests.append(action)

    def answer(action: act.Action, calm: bool) -> None:
        fault = FaultInfo(rng.choice(list(Fault)), 0, "r", "m")
        good = calm or rng.random() < 0.6
        match action:
            case act.Report():
                take(bench(ev.Acknowledged(action.ticket)))
            case act.CreatePod():
                event = ev.Created(action.ticket, action.attempt, rng.choice("uv"), 0.1)
                take(bench(event if good else ev.CreateFailed(action.ticket, action.attempt, fault, 0.1)))
            case act.ReadPod():
                if calm:
                    take(bench(ev.PodRead(action.ticket, None, attempt=action.attempt)))
                else:
                    uid = rng.choice([None, "u", "v"])
                    same, deleting = rng.random() < 0.5, rng.random() < 0.3
                    read = ev.PodRead(action.ticket, uid, same, deleting, RUNNING, action.attempt, rng.random() < 0.8)
                    take(bench(read if good else ev.ReadFailed(action.ticket, fault, action.attempt)))
            case act.RemovePod():
                removed = ev.Removed(action.key, calm or rng.random() < 0.5)
                take(bench(removed if good else ev.RemoveFailed(action.key, fault)))
            case act.TailLog():
                take(bench(ev.LogRead(action.ticket, "log")))
            case act.NeedBody() if calm or rng.random() < 0.8:
                take(bench(ev.BodyArrived(action.ticket)))
            case act.NeedBody() if rng.random() < 0.5:
                take(bench(ev.BodyRefused(action.ticket, "words", "Reason")))
            case act.AdoptPod():
                done = ev.Adopted(action.ticket, False, RUNNING, action.attempt)
                gone = rng.random() < 0.3
                take(bench(done if good else ev.AdoptFailed(action.ticket, fault, gone, action.attempt)))

    tickets = [f"t{number}" for number in range(6)]
    for _ in range(300):
        if open_requests and rng.random() < 0.6:
            answer(open_requests.pop(rng.randrange(len(open_requests))), False)
            continue
        ticket = rng.choice(tickets)
        pick = rng.choice(_RANDOM_EVENTS)
        if pick is _RANDOM_EVENTS[0]:
            if ticket in submitted:
                continue
            submitted.add(ticket)
        take(pick(bench, ticket, rng))
    for _ in range(2000):
        if not bench.state.tasks:
            break
        if open_requests:
            answer(open_requests.pop(0), True)
            continue
        for ticket, task in list(bench.state.tasks.items()):
            if task.uid is not None and ticket in bench.state.tasks:
                take(bench.ended(SUCCEEDED, ticket, task.uid, task.attempt))
        take(bench(ev.Tick(), after=30.0))
    assert dict.fromkeys(submitted, 1) == terminal == closed
