"""What must not be lost between two threads: marks on a job that is relaunched, a result that raises an error."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from shard_executor.airflow.book import Book, Job
from shard_executor.airflow.clerk import Clerk, Ended
from shard_executor.airflow.results import Policy, Row
from shard_executor.supervisor.config import Report


def job(ticket: str) -> Job:
    return Job(ticket, "key", ("d", "t", "r", -1, 1), "id", ticket, 0, "default")


def test_a_relaunch_takes_its_predecessors_place_and_marks() -> None:
    book = Book()
    first, later = job("first"), job("later")
    book.add(first)
    book.add(later)
    assert book.mark("key", revoked=True) == [first, later]
    relaunch = job("relaunch")
    assert book.follow(first, relaunch)
    assert (relaunch.revoked, relaunch.disowned) == (True, False)
    assert book.of_key("key") == [relaunch, later]
    assert book.superseded(relaunch)
    assert not book.superseded(later)


def test_nothing_follows_a_job_that_is_closed() -> None:
    book = Book()
    first = job("first")
    book.add(first)
    book.close("first")
    assert not book.follow(first, job("relaunch"))
    assert len(book) == 0


class Reports:
    """A supervisor with one report."""

    def __init__(self, report: Report) -> None:
        self.reports = [report]

    def wait(self, timeout: float) -> bool:
        return bool(self.reports)

    def drain(self) -> list[Report]:
        reports, self.reports = self.reports, []
        return reports

    def acknowledge(self, ticket: str) -> None:
        raise AssertionError(f"{ticket} is acknowledged by the scheduler's thread")

    submit = acknowledge


def test_a_result_whose_words_raise_an_error_stays_to_be_told() -> None:
    book, news = Book(), deque[Any]()
    failed = job("failed")
    book.add(failed)
    broken = [True]

    def words(report: Report) -> tuple[str, str]:
        if broken:
            raise UnicodeError("a log that nobody expected")
        return "why", "in many lines"

    row = Row("id", "running", 1, 7, None)
    clerk = Clerk(
        book,
        Policy(1, frozenset(), False, 7),
        lambda keys: {key[:4]: row for key in keys},
        lambda *_: None,
        words,
        news,
    )
    clerk._supervisor = Reports(Report("failed", "failed", True, "container-error", "Error", 1))
    with pytest.raises(UnicodeError):
        clerk.turn()
    assert not news
    broken.clear()
    clerk.turn()
    (told,) = news
    assert isinstance(told, Ended)
    assert (told.job, told.state, told.info) == (failed, "failed", "why")
