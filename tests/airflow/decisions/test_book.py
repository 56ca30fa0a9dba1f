"""The book of open jobs."""

from __future__ import annotations

import pytest

from shard_executor.airflow.book import MAX_SEEN, Book, Job


def job(ticket: str, key: str = "k") -> Job:
    return Job(ticket, key, ("d", "t", "r", 4, 2), "id", ticket, 0, "default")


def test_a_key_keeps_its_slot_until_its_last_job_is_closed():
    book = Book()
    book.add(job("a"))
    book.add(job("b"))
    book.add(job("c", "other"))
    assert book.slots() == {"k", "other"}
    assert [each.ticket for each in book.of_key("k")] == ["a", "b"]
    book.close("a")
    assert book.slots() == {"k", "other"}
    book.close("b")
    assert book.slots() == {"other"}
    assert book.close("b") is None
    assert len(book) == 1


def test_revoked_and_disowned_jobs_hold_no_slot():
    book = Book()
    first, second = job("a"), job("b")
    book.add(first)
    book.add(second)
    first.revoked = True
    assert book.slots() == {"k"}
    second.disowned = True
    assert book.slots() == set()


def test_only_the_last_hand_over_of_a_key_is_current():
    book = Book()
    first, second = job("a"), job("b")
    book.add(first)
    assert not book.superseded(first)
    book.add(second)
    assert book.superseded(first)
    assert not book.superseded(second)


def test_a_ticket_is_opened_once():
    book = Book()
    book.add(job("a"))
    with pytest.raises(KeyError):
        book.add(job("a"))


def test_a_submission_id_is_new_once():
    book = Book()
    assert book.first_time("s")
    assert not book.first_time("s")
    book.remember(["pod"])
    assert not book.first_time("pod")
    book.remember(f"s{number}" for number in range(MAX_SEEN))
    assert book.first_time("s")


def test_a_job_in_words():
    assert job("a").words == "d.t[4] run r try 2"
