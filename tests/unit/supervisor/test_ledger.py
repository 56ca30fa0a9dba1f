"""The parent's ledger: room, exactly one terminal report, and what a restarted shard is told."""

from __future__ import annotations

from typing import Any

import pytest

from shard_executor.supervisor import messages as msg
from shard_executor.supervisor.config import Submission
from shard_executor.supervisor.ledger import Ledger, bins_of


def submission(name: str, number: int = 0, priority: int = 0) -> Submission:
    return Submission(name, number, "ns", name, f"s-{name}", "{}", priority)


def known(name: str, uid: str | None, attempt: int = 0, began: bool = False) -> Submission:
    """A submission of which an earlier process knew this much."""
    return Submission(name, 0, "ns", name, f"s-{name}", "{}", attempt=attempt, uid=uid, began=began)


def report(name: str, state: str, terminal: bool = False, **fields: Any) -> dict[str, Any]:
    base = {
        "ticket": name,
        "state": state,
        "terminal": terminal,
        "pod": f"{name}-pod",
        "uid": "u",
        "attempt": 0,
        "failure_class": None,
        "reason": None,
        "exit_code": None,
        "message": None,
        "log_tail": None,
        "container": None,
        "began": False,
        "started_at": None,
        "finished_at": None,
        "at": 50.0,
    }
    return {**base, **fields}


def ledger(parallelism: int | None = None, shards: int = 1) -> Ledger:
    return Ledger(shards, parallelism, keep_succeeded=False, keep_failed=True)


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 256])
def test_the_bins_are_shared_out_without_gap_or_overlap(shards: int) -> None:
    bins = [number for shard in range(shards) for number in range(*bins_of(shard, shards))]
    assert bins == list(range(256))


def test_tickets_wait_for_room_and_go_by_priority() -> None:
    book = ledger(parallelism=2)
    for name, priority in (("a", 0), ("b", 5), ("c", 9)):
        book.accept(submission(name, priority=priority), 1.0)
    assert [message[1] for _, message in book.dispatch()] == ["c", "b"]
    assert not list(book.dispatch())
    assert book.reported(report("c", "running")) is not None
    assert not list(book.dispatch())
    book.reported(report("c", "succeeded", True))
    assert [message[1] for _, message in book.dispatch()] == ["a"]


def test_a_ticket_goes_to_the_shard_of_its_bin() -> None:
    book = ledger(shards=4)
    for number in (0, 63, 64, 255):
        book.accept(submission(str(number), number), 1.0)
    assert [(shard, message[1]) for shard, message in book.dispatch()] == [(0, "0"), (0, "63"), (1, "64"), (3, "255")]


def test_a_second_terminal_report_is_dropped() -> None:
    book = ledger()
    book.accept(submission("a"), 1.0)
    list(book.dispatch())
    first = book.reported(report("a", "succeeded", True, started_at=20.0, finished_at=30.0))
    assert first is not None
    assert first.times == {"submitted": 1.0, "started": 20.0, "finished": 30.0, "reported": 50.0}
    assert book.reported(report("a", "failed", True)) is None
    assert book.reported(report("a", "running")) is None
    assert book.under_way == 0


def test_an_acknowledgement_keeps_or_removes_by_the_result() -> None:
    book = ledger()
    for name in "ab":
        book.accept(submission(name), 1.0)
    list(book.dispatch())
    book.reported(report("a", "succeeded", True))
    book.reported(report("b", "failed", True))
    assert book.acknowledge("a") == (0, [msg.ACK, "a", False])
    assert book.acknowledge("b") == (0, [msg.ACK, "b", True])
    assert book.acknowledge("b") is None
    book.shard_closed("a", None)
    book.shard_closed("b", "Forbidden: no")
    assert (book.closed, book.tickets, book.pods_left) == (2, {}, [("ns/b-pod", "Forbidden: no")])


def test_acknowledging_before_the_end_is_an_error() -> None:
    book = ledger()
    book.accept(submission("a"), 1.0)
    with pytest.raises(KeyError, match="before its terminal report"):
        book.acknowledge("a")


def test_a_ticket_that_waits_is_revoked_here_and_any_other_by_its_shard() -> None:
    book = ledger(parallelism=1)
    for name in "ab":
        book.accept(submission(name), 1.0)
    list(book.dispatch())
    said, _, message = book.revoke("b", 2.0)
    assert said is not None
    assert (said.state, said.terminal, message) == ("revoked", True, None)
    assert book.revoke("a", 2.0) == (None, 0, [msg.REVOKE, "a"])
    assert book.acknowledge("b") is None
    assert book.closed == 1
    book.reported(report("a", "revoked", True))
    assert not list(book.dispatch())


def test_a_restarted_shard_is_told_everything_its_predecessor_knew() -> None:
    book = ledger()
    for name in ("new", "created", "running", "ended", "acknowledged", "revoked"):
        book.accept(submission(name), 1.0)
    list(book.dispatch())
    book.reported(report("created", "pending"))
    book.reported(report("running", "running", began=True, attempt=2))
    book.reported(report("ended", "failed", True))
    book.reported(report("acknowledged", "succeeded", True))
    book.acknowledge("acknowledged")
    book.revoke("revoked", 2.0)
    sent = list(book.resend(0))
    fields = {m[1]: m[6:] for m in sent if m[0] == msg.SUBMIT}
    # attempt, uid, began, fresh, reported, revoked, body, pod, marks
    assert fields == {
        "new": [0, None, False, False, None, False, "{}", None, None],
        "created": [0, "u", False, False, None, False, None, "created-pod", None],
        "running": [2, "u", True, False, None, False, None, "running-pod", None],
        "ended": [0, "u", False, False, "failed", False, None, "ended-pod", None],
        "acknowledged": [0, "u", False, False, "succeeded", False, None, "acknowledged-pod", None],
        "revoked": [0, None, False, False, None, True, "{}", None, None],
    }
    assert [m for m in sent if m[0] != msg.SUBMIT] == [[msg.ACK, "acknowledged", False]]


def test_a_body_is_kept_until_the_terminal_report() -> None:
    book = ledger()
    book.accept(submission("a"), 1.0)
    list(book.dispatch())
    book.reported(report("a", "pending"))
    assert book.body("a") == (0, [msg.BODY, "a", "{}"])
    book.reported(report("a", "failed", True))
    answer = book.body("a")
    assert answer is not None
    assert answer[1][0] == msg.NO_BODY


def test_a_name_that_is_open_already_is_not_taken_twice() -> None:
    book = ledger()
    assert book.accept(submission("a"), 1.0)
    list(book.dispatch())
    assert not book.accept(submission("a"), 2.0)
    assert not list(book.dispatch())
    assert (book.accepted, book.closed) == (1, 1)
    book.reported(report("a", "succeeded", True))
    book.acknowledge("a")
    book.shard_closed("a", None)
    assert book.accept(submission("a"), 3.0)


# ---- submissions that an earlier process had begun


def test_a_shard_is_told_what_an_earlier_process_knew_and_gets_the_body_when_it_asks() -> None:
    book = ledger()
    book.accept(known("a", "u", attempt=2, began=True), 1.0)
    book.accept(known("b", None, attempt=1), 1.0)
    fields = {message[1]: message[6:] for _, message in book.dispatch()}
    # attempt, uid, began, fresh, reported, revoked, body, pod, marks
    assert fields == {
        "a": [2, "u", True, True, None, False, None, None, None],
        "b": [1, None, False, False, None, False, "{}", None, None],
    }
    assert book.body("a") == (0, [msg.BODY, "a", "{}"])


def test_a_restarted_shard_learns_whether_a_pod_of_an_earlier_process_was_told_to_run() -> None:
    book = ledger()
    book.accept(known("a", "u", began=True), 1.0)
    list(book.dispatch())
    assert [message[9] for message in book.resend(0)] == [True]
    book.reported(report("a", "running", began=True))
    assert [message[9] for message in book.resend(0)] == [False]


def test_pods_that_are_there_already_take_room_but_do_not_wait_for_it() -> None:
    book = ledger(parallelism=2)
    book.accept(submission("new", priority=9), 1.0)
    for name in "abc":
        book.accept(known(name, f"u-{name}"), 1.0)
    assert [message[1] for _, message in book.dispatch()] == ["a", "b", "c"]
    for name in "ab":
        book.reported(report(name, "succeeded", True))
    assert [message[1] for _, message in book.dispatch()] == ["new"]


def test_a_ticket_whose_pod_is_there_is_revoked_by_its_shard_even_before_it_was_sent() -> None:
    book = ledger()
    book.accept(known("a", "u"), 1.0)
    assert book.revoke("a", 2.0) == (None, 0, None)
    ((_, message),) = book.dispatch()
    assert message[6:] == [0, "u", False, True, None, True, None, None, None]


# ---- bodies just in time


def just_in_time() -> Ledger:
    return Ledger(1, None, False, False, just_in_time=True)


def test_a_body_that_is_built_goes_to_the_shard_and_is_not_kept() -> None:
    book = just_in_time()
    book.accept(Submission("a", 0, "ns", "a", "s-a"), 1.0)
    assert not book.waits_for_body("a")
    assert book.built("a", "{}") is None, "nobody has asked yet"
    ((_, message),) = book.dispatch()
    assert message[12] is None
    assert book.waits_for_body("a")
    assert book.built("a", "{}") == (0, [msg.BODY, "a", "{}"])
    assert book.not_built("a", "Reason", "words") == (0, [msg.NO_BODY, "a", "Reason", "words"])
    assert [m[12] for m in book.resend(0)] == [None], "a restarted shard asks again"


def test_a_body_that_came_along_is_sent_once() -> None:
    book = just_in_time()
    book.accept(submission("a"), 1.0)
    assert [m[12] for _, m in book.dispatch()] == ["{}"]
    assert [m[12] for m in book.resend(0)] == [None]


@pytest.mark.parametrize("over", ["revoked", "reported", "unknown"])
def test_a_body_for_a_ticket_that_does_not_wait_is_dropped(over: str) -> None:
    book = just_in_time()
    if over != "unknown":
        book.accept(submission("a"), 1.0)
        list(book.dispatch())
    if over == "revoked":
        book.revoke("a", 2.0)
    elif over == "reported":
        book.reported(report("a", "failed", True))
    assert not book.waits_for_body("a")
    assert book.built("a", "{}") is None
    assert book.not_built("a", "Reason", "words") is None


# ---- pods that change hands


def test_a_pod_is_adopted_with_the_labels_of_the_selector_until_a_shard_has_done_it() -> None:
    book = Ledger(1, None, False, False, {"airflow-worker": "17"})
    theirs = {"airflow-worker": "16", "own": "x"}
    book.accept(
        Submission("a", 9, "ns", "a", "s", "{}", uid="u", pod="p", adopt_labels=theirs, adopt_annotations={"n": "y"}),
        1.0,
    )
    marks = ({"airflow-worker": "17", "own": "x", "shard-executor/bin": "9"}, {"n": "y"})
    assert [m[13:] for _, m in book.dispatch()] == [["p", marks]]
    assert [m[13:] for m in book.resend(0)] == [["p", marks]]
    book.adopted("a")
    assert [m[13:] for m in book.resend(0)] == [["p", None]]
    book.adopted("unknown")


def test_a_successor_is_told_the_name_of_the_pod_that_there_is_now() -> None:
    book = ledger()
    book.accept(Submission("a", 9, "ns", "a", "s", "{}", uid="u", pod="p"), 1.0)
    list(book.dispatch())
    book.reported(report("a", "waiting", pod="a-1", uid=None, attempt=1))
    ((*_, body, pod, _),) = book.resend(0)
    assert (body, pod) == ("{}", "a-1")


@pytest.mark.parametrize("state", ["handed-over", "lost"])
def test_a_successor_learns_that_a_pod_is_somebody_elses(state: str) -> None:
    book = ledger()
    book.accept(submission("a"), 1.0)
    list(book.dispatch())
    found = book.reported(report("a", state, True, failure_class="handed-over", container="base"))
    assert found is not None
    assert (found.state, found.container) == (state, "base")
    assert [m[10] for m in book.resend(0)] == ["handed-over"]
