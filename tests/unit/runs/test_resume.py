"""How a run goes on: each pairing of what the journal knows and what the cluster shows."""

from __future__ import annotations

import pytest

from shard_executor.runs.journal import TaskEntry
from shard_executor.runs.resume import FoundPod, Known, Plan, adopt_succeeded, plan, task_and_try


def pod(task: str, number: int = 0, attempt: int = 0, uid: str = "u", **state: bool) -> FoundPod:
    return FoundPod("jobs", f"{task}-{number}-{attempt}", uid, f"run/{task}/{number}", attempt, **state)


def laid(entry: TaskEntry, *pods: FoundPod) -> Plan:
    return plan({entry.id: entry}, pods, "run")


def ended(**fields: object) -> TaskEntry:
    return TaskEntry("a", "d", stored=b'{"id":"a","state":"succeeded"}', **fields)  # type: ignore[arg-type]


def test_a_task_that_nobody_has_begun_is_not_mentioned():
    assert laid(TaskEntry("a", "d")) == Plan()


@pytest.mark.parametrize("state", [{}, {"began": True}, {"finished": True, "began": True}, {"deleting": True}])
def test_a_pod_that_the_journal_has_not_heard_of_is_adopted(state):
    assert laid(TaskEntry("a", "d"), pod("a", **state)).known == {"a": Known(0, "u", state.get("began", False))}


def test_a_pod_that_both_know_keeps_what_the_journal_saw():
    found = laid(TaskEntry("a", "d", uid="u", began=True), pod("a"))
    assert found == Plan(known={"a": Known(0, "u", True)})


def test_a_pod_that_has_gone_is_still_the_tasks_own():
    found = laid(TaskEntry("a", "d", attempt=1, uid="u", began=True))
    assert found == Plan(known={"a": Known(1, "u", True)})


def test_a_launch_attempt_beyond_the_journals_is_adopted_and_the_one_before_it_goes():
    first, second = pod("a", attempt=0, uid="u0", finished=True), pod("a", attempt=1, uid="u1", began=True)
    found = laid(TaskEntry("a", "d", uid="u0"), second, first)
    assert found.known == {"a": Known(1, "u1", True)}
    assert found.remove == [first]


def test_a_launch_attempt_before_the_journals_is_no_more_the_tasks():
    old = pod("a", attempt=0, uid="u0", finished=True)
    found = laid(TaskEntry("a", "d", attempt=1), old)
    assert found.known == {"a": Known(1, None, False)}
    assert found.remove == [old]


@pytest.mark.parametrize("state", [{}, {"began": True}, {"began": True, "finished": True}])
def test_another_pod_of_the_known_name_and_try_is_followed(state):
    found = laid(TaskEntry("a", "d", uid="u0", began=True), pod("a", uid="u1", **state))
    assert found == Plan(known={"a": Known(0, "u1", state.get("began", False))})


def test_an_interrupted_task_without_a_pod_begins_anew():
    found = laid(TaskEntry("a", "d", uid="u", began=True, interrupted=True))
    assert found == Plan(restarted=["a"])


def test_an_interrupted_task_that_never_had_a_pod_begins_the_try_that_it_was_to_make():
    assert laid(TaskEntry("a", "d", interrupted=True)) == Plan()


def test_an_interrupted_task_whose_create_may_be_under_way_keeps_its_try():
    found = laid(TaskEntry("a", "d", attempt=1, interrupted=True))
    assert found == Plan(known={"a": Known(1, None, False)})


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_remnant_of_an_earlier_launch_attempt_is_never_the_tasks_pod(interrupted, finished):
    old = pod("a", attempt=0, uid="u0", finished=finished, deleting=True)
    found = laid(TaskEntry("a", "d", attempt=1, uid="u1", interrupted=interrupted), old)
    assert (found.remove, found.awaited) == (([old], []) if finished else ([], [old]))
    assert found.restarted == (["a"] if interrupted else [])
    assert found.known == ({} if interrupted else {"a": Known(1, "u1", False)})
    newer = pod("a", attempt=1, uid="u1")
    found = laid(TaskEntry("a", "d", attempt=1, uid="u1", interrupted=interrupted), old, newer)
    assert found == Plan(known={"a": Known(1, "u1", False)}, remove=[old])


def test_an_interrupted_tasks_pod_is_waited_for_while_it_goes():
    dying = pod("a", deleting=True, began=True)
    assert laid(TaskEntry("a", "d", interrupted=True), dying) == Plan(restarted=["a"], awaited=[dying])


@pytest.mark.parametrize("state", [{}, {"finished": True}, {"finished": True, "deleting": True, "succeeded": True}])
def test_an_interrupted_tasks_pod_that_lives_or_finished_is_followed(state):
    found = laid(TaskEntry("a", "d", uid="u", interrupted=True), pod("a", **state))
    assert found == Plan(known={"a": Known(0, "u", False)})


def test_an_interrupted_tasks_pod_that_its_deletion_has_ended_is_no_end_of_the_task():
    held = pod("a", deleting=True, finished=True, began=True)
    assert laid(TaskEntry("a", "d", uid="u", interrupted=True), held) == Plan(restarted=["a"], remove=[held])
    entry = TaskEntry("a", "d", uid="u")
    assert laid(entry, held).known == {"a": Known(0, "u", True)}  # nobody stopped it: its end is its own


def test_an_awaited_pod_that_succeeds_after_all_is_taken_up():
    entries = {name: TaskEntry(name, "d", uid=name, interrupted=True) for name in "abc"}
    pods = [pod(name, uid=name, deleting=True) for name in "abc"]
    found = plan(entries, pods, "run")
    assert found.restarted == ["a", "b", "c"]
    well = pod("a", uid="a", deleting=True, finished=True, succeeded=True)
    badly = pod("b", uid="b", deleting=True, finished=True)
    adopt_succeeded(found, [well, badly], entries, "run")
    assert (found.restarted, found.known) == (["b", "c"], {"a": Known(0, "a", True)})


def test_an_earlier_try_that_succeeds_while_it_is_awaited_is_not_taken_up():
    entries = {"a": TaskEntry("a", "d", try_number=1, uid="v", interrupted=True)}
    found = plan(entries, [pod("a", 0)], "run")
    adopt_succeeded(found, [pod("a", 0, finished=True, succeeded=True)], entries, "run")
    assert (found.restarted, found.known) == (["a"], {})


def test_an_earlier_try_that_still_lives_holds_up_the_next():
    earlier, over = pod("a", 0, began=True), pod("a", 1, finished=True)
    found = laid(TaskEntry("a", "d", try_number=2), earlier, over)
    assert found == Plan(awaited=[earlier], remove=[over])


def test_pods_of_ended_tasks_go_unless_they_are_kept():
    left, kept = pod("a", finished=True), pod("a", uid="k", finished=True, kept=True)
    assert laid(ended(), left, kept) == Plan(remove=[left])
    alive = pod("a")
    assert laid(ended(), alive).remove == [alive]


def test_pods_that_were_handed_over_are_left_alone():
    gone = TaskEntry("a", "d", stored=b'{"id":"a","state":"failed","class":"handed-over"}')
    assert laid(gone, pod("a"), pod("a", finished=True)) == Plan()


@pytest.mark.parametrize("submission", ["", "run/b/0", "other/a/0", "run/a", "run/a/x", "run/a/-1", "run/a/²"])
def test_pods_that_no_task_explains_are_foreign(submission):
    stranger = FoundPod("jobs", "p", "u", submission, 0)
    found = plan({"a": TaskEntry("a", "d")}, [stranger], "run")
    assert found == Plan(foreign=[stranger])


def test_ids_with_slashes_are_told_apart_by_the_last_one():
    assert task_and_try("run/a/1", "run") == ("a", 1)
    assert task_and_try("run/a/1/0", "run") == ("a/1", 0)
    assert task_and_try("run//0", "run") == ("", 0)
