"""What a journal says after what it was told, on disk and in memory."""

from __future__ import annotations

import threading

import pytest

from shard_executor.runs.journal import Again, Journal, JournalOfAnotherRun, Launched, RunHeader, TaskEntry

HEADER = RunHeader("r1", "jobs", "https://10.0.0.1:6443", "0d1f", 1700000000.5, "/data/out.jsonl")


def record(task, state="succeeded", **more):
    return {"id": task, "state": state, **more}


@pytest.fixture(params=["file", "memory"])
def place(request, tmp_path):
    return tmp_path / "r1.sqlite" if request.param == "file" else None


@pytest.fixture
def journal(place):
    with Journal(place, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "da"), ("b", "db"), ("c", "dc")])
        yield journal


def test_constructing_touches_nothing(tmp_path):
    Journal(tmp_path / "runs" / "r1.sqlite", run_id="r1").end()
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_has_no_header_and_no_tasks(place):
    with Journal(place, run_id="r1") as journal:
        assert journal.header is None
        assert not journal.finished
        assert journal.entries() == {}
        assert list(journal.results()) == []
        assert journal.durable == (place is not None)


def test_begin_keeps_the_header_and_the_order_of_the_list(journal):
    assert journal.header == HEADER
    assert list(journal.entries().values()) == [TaskEntry("a", "da"), TaskEntry("b", "db"), TaskEntry("c", "dc")]


def test_a_second_begin_adds_tasks_and_changes_only_the_path_of_the_results(journal):
    journal.begin(RunHeader("r1", "other", "https://other", None, 1.0, None), [("d", "dd")])
    assert journal.header == RunHeader("r1", "jobs", "https://10.0.0.1:6443", "0d1f", 1700000000.5, None)
    assert list(journal.entries()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("new", [[("d", "dd"), ("a", "da")], [("d", "dd"), ("d", "dd")]])
def test_begin_takes_all_tasks_or_none(journal, new):
    with pytest.raises(ValueError, match=r"UNIQUE constraint failed: task\.id"):
        journal.begin(RunHeader("r1", "jobs", "https://10.0.0.1:6443", "0d1f", 1700000000.5, None), new)
    assert list(journal.entries()) == ["a", "b", "c"]
    assert journal.header == HEADER


def test_begin_passes_on_what_its_source_of_tasks_raises_and_takes_none(journal):
    def tasks():
        yield "d", "dd"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.begin(HEADER, tasks())
    assert list(journal.entries()) == ["a", "b", "c"]


def test_progress_replaces_what_was_known_of_the_tries_pod(journal):
    journal.commit(launched=[Launched("a", 0, 0, None, False), Launched("b", 0, 0, "u1", True)])
    journal.commit(launched=[Launched("b", 0, 1, None, False)])
    entries = journal.entries()
    assert entries["a"] == TaskEntry("a", "da")
    assert entries["b"] == TaskEntry("b", "db", attempt=1)


def test_a_further_try_starts_without_a_pod_and_keeps_the_last_ones_record(journal):
    journal.commit(launched=[Launched("a", 0, 2, "u1", True)])
    journal.commit(again=[Again("a", 1, 1, 0, 1700000009.25, record("a", "failed"))])
    assert journal.entries()["a"] == TaskEntry("a", "da", try_number=1, failures=1, due=1700000009.25)
    assert list(journal.results()) == []


def test_one_commit_may_tell_two_tries_of_one_task_in_any_order(journal):
    journal.commit(
        launched=[Launched("a", 0, 0, "u0", True), Launched("a", 1, 0, "u1", False)],
        again=[Again("a", 1, 1, 0, 0.0, record("a", "failed"))],
        ended=[("b", record("b"))],
    )
    assert journal.entries()["a"] == TaskEntry("a", "da", try_number=1, uid="u1", failures=1)


def test_results_come_in_the_order_in_which_tasks_ended(journal):
    journal.commit(ended=[("c", record("c")), ("a", record("a", "failed", message="é \x00 \U0001f600"))])
    journal.commit(ended=[("b", record("b"))])
    assert [each["id"] for each in journal.results()] == ["c", "a", "b"]
    assert journal.entries()["a"].result == record("a", "failed", message="é \x00 \U0001f600")
    assert journal.entries()["a"].ended


def test_results_can_be_read_while_more_are_committed(journal):
    journal.begin(HEADER, [(f"t{n}", "d") for n in range(1200)])
    journal.commit(ended=[(f"t{n}", record(f"t{n}")) for n in range(1100)])
    seen = []
    for each in journal.results():
        seen.append(each["id"])
        if len(seen) == 600:
            journal.commit(ended=[("a", record("a"))])
    assert seen == [*(f"t{n}" for n in range(1100)), "a"]


def test_a_commit_with_a_mistake_changes_nothing(journal):
    before = journal.entries()
    good = {"launched": [Launched("a", 0, 0, "u", True)], "ended": [("b", record("b"))]}
    for mistake in (
        {**good, "launched": [Launched("x", 0, 0, None, False)]},
        {**good, "launched": [Launched("a", 1, 0, None, False)]},
        {**good, "again": [Again("a", 2, 0, 0, 0.0, {})]},
        {**good, "again": [Again("a", 0, 0, 0, 0.0, {})]},
        {**good, "again": [Again("x", 1, 0, 0, 0.0, {})]},
        {**good, "again": [Again("c", 1, 0, 0, 0.0, {"record": object()})]},
        {**good, "ended": [("b", record("b")), ("x", record("x"))]},
        {**good, "ended": [("b", record("b")), ("b", record("b"))]},
        {**good, "ended": [("b", {"state": object()})]},
    ):
        with pytest.raises(ValueError, match=r"task|record|UNIQUE"):
            journal.commit(**mistake)
        assert journal.entries() == before


def test_what_comes_late_about_an_ended_task_is_passed_over(journal):
    journal.commit(launched=[Launched("a", 0, 0, "u", True)], ended=[("a", record("a"))])
    journal.commit(launched=[Launched("a", 0, 7, "other", False)])
    assert journal.entries()["a"].uid == "u"
    with pytest.raises(ValueError, match="does not follow"):
        journal.commit(again=[Again("a", 1, 0, 0, 0.0, {})])


def test_an_interrupted_try_is_marked_until_the_next_one_or_until_it_goes_on(journal):
    journal.interrupt(["a", "b", "c"])
    journal.commit(launched=[Launched("a", 0, 0, "u", True)], again=[Again("b", 1, 0, 0, 0.0, record("b", "revoked"))])
    journal.carry_on(["c"])
    assert {entry.id: entry.interrupted for entry in journal.entries().values()} == {"a": True, "b": False, "c": False}
    with pytest.raises(ValueError, match="'x' is not known"):
        journal.interrupt(["a", "x"])


def test_reopened_tasks_begin_a_further_try_with_nothing_used_up(journal):
    journal.commit(again=[Again("a", 1, 1, 3, 0.0, record("a", "failed"))])
    journal.commit(
        launched=[Launched("a", 1, 1, "u", True)],
        ended=[("a", record("a", "failed")), ("b", record("b")), ("c", record("c"))],
    )
    journal.finish(1700000100.0)
    journal.reopen(["a"])
    assert not journal.finished
    assert journal.entries()["a"] == TaskEntry("a", "da", try_number=2)
    assert [each["id"] for each in journal.results()] == ["b", "c"]
    journal.commit(ended=[("a", record("a"))])
    assert [each["id"] for each in journal.results()] == ["b", "c", "a"]


def test_only_ended_tasks_can_be_reopened_and_all_or_none(journal):
    journal.commit(ended=[("a", record("a"))])
    for wrong in (["a", "b"], ["a", "a"], ["a", "x"]):
        with pytest.raises(ValueError, match="has not ended"):
            journal.reopen(wrong)
        assert journal.entries()["a"].ended
    journal.reopen([])


def test_a_run_is_finished_when_all_its_tasks_have_ended(journal):
    with pytest.raises(ValueError, match="3 tasks have not ended"):
        journal.finish(1.0)
    journal.commit(ended=[(task, record(task)) for task in "abc"])
    assert not journal.finished
    journal.finish(1.0)
    assert journal.finished
    journal.begin(HEADER, [])
    assert journal.finished
    journal.begin(HEADER, [("d", "dd")])
    assert not journal.finished


def test_all_of_it_is_there_when_the_journal_is_opened_again(tmp_path):
    path = tmp_path / "r1.sqlite"
    with Journal(path, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "da"), ("b", "db"), ("c", "dc")])
        journal.commit(
            launched=[Launched("a", 0, 1, "u1", True)],
            again=[Again("b", 1, 1, 2, 12.5, record("b", "failed"))],
            ended=[("c", record("c"))],
        )
        journal.interrupt(["a"])
        entries = journal.entries()
    with Journal(path, run_id="r1") as journal:
        assert journal.header == HEADER
        assert journal.entries() == entries
        assert list(journal.results()) == [record("c")]
        assert not journal.finished
        journal.commit(ended=[("a", record("a")), ("b", record("b"))])
        journal.finish(3.0)
    with Journal(path, run_id="r1") as journal:
        assert journal.finished


def test_a_journal_of_another_run_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "some.sqlite"
    with Journal(path, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "da")])
    before = path.read_bytes()
    with pytest.raises(JournalOfAnotherRun, match=r"some\.sqlite: holds run 'r1', not 'r2'"):
        Journal(path, run_id="r2").start()
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="of run 'r1', not 'r2'"), Journal(path, run_id="r1") as journal:
        journal.begin(RunHeader("r2", "jobs", "s", None, 1.0, None), [])


def test_it_is_open_between_start_and_end_only(tmp_path):
    journal = Journal(tmp_path / "r1.sqlite", run_id="r1")
    with pytest.raises(ValueError, match=r"start\(\) comes first"):
        journal.entries()
    journal.start()
    with pytest.raises(ValueError, match="started already"):
        journal.start()
    with pytest.raises(ValueError, match=r"begin\(\) comes first"):
        journal.finish(1.0)
    journal.end()
    journal.end()
    with pytest.raises(ValueError, match=r"start\(\) comes first"):
        journal.commit(ended=[("a", {})])
    journal.start()
    journal.end()


def test_use_from_another_thread_is_called_a_mistake_and_not_damage(journal):
    caught = []

    def use():
        try:
            journal.entries()
        except Exception as fault:  # noqa: BLE001  # looked at below
            caught.append(fault)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert [type(fault).__name__ for fault in caught] == ["ProgrammingError"]


@pytest.mark.parametrize(
    "id_",
    ["x" * 500, "\U0001f600" * 500, "a\x00b", "' OR 1=1 --", "\u00e9", "e\u0301", "\x01\x02", "/%s?", " ", "\ufeff"],
)
def test_ids_are_any_text(place, id_):
    with Journal(place, run_id="r1") as journal:
        journal.begin(HEADER, [(id_, "d"), (id_ + "2", "d")])
        journal.commit(again=[Again(id_, 1, 1, 0, 0.0, record(id_))], ended=[(id_ + "2", record(id_ + "2"))])
        assert list(journal.entries()) == [id_, id_ + "2"]
        assert journal.entries()[id_].try_number == 1
        journal.reopen([id_ + "2"])
        assert journal.entries()[id_ + "2"].try_number == 1
