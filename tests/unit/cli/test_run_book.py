"""The end of a run: no pod is removed under a journal that is another's, nothing private stays after a fault."""

from __future__ import annotations

import logging
import sqlite3

import pytest

from shard_executor.cli.run_book import RunBook
from shard_executor.cli.run_settings import RunSettings
from shard_executor.cli.session import Session
from shard_executor.runs.journal import JournalError, JournalHeld, JournalUnwritable, RunHeader


@pytest.fixture
def book(tmp_path):
    book = RunBook(tmp_path / "j", "r", "i", "never", named=True)
    book.start()
    book.journal.begin(RunHeader("r", "jobs", "https://c", None, 1.0, None), [("a", "d")])
    yield book
    book.end()


def credentials():
    raise AssertionError("the cluster must not be asked")


def test_pods_are_left_alone_where_a_task_has_not_ended(book):
    with pytest.raises(JournalError, match="1 tasks have not ended there"):
        book.close_run(credentials, ["jobs"])


def test_pods_are_left_alone_where_another_process_has_the_journal(book, tmp_path):
    book.journal.commit(ended=[("a", {"id": "a", "state": "succeeded"})])
    connection = sqlite3.connect(tmp_path / "j")
    with connection:
        connection.execute("UPDATE holder SET token = 'another', host = 'other', pid = 7")
    connection.close()
    with pytest.raises(JournalHeld, match="process 7 on host other has taken it"):
        book.close_run(credentials, ["jobs"])


def test_a_journal_that_cannot_be_closed_hides_no_other_fault(book, monkeypatch, caplog):
    def fails():
        raise JournalUnwritable("journal j: the disk is gone")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "shard_executor"):
        patched.setattr(book.journal, "end", fails)
        book.end()
    assert "could not be closed: journal j: the disk is gone" in caplog.text


def test_credentials_are_removed_whatever_the_journal_says():
    class Broken:
        def end(self):
            raise OSError("gone")

    class Source:
        closed = False

        def close(self):
            self.closed = True

    session, source = Session(RunSettings()), Source()
    session.book, session._source = Broken(), source
    with pytest.raises(OSError, match="gone"):
        session.close()
    assert source.closed
    session.close()


def test_the_pods_that_are_left_are_looked_for_in_every_namespace(monkeypatch):
    class Source:
        def current(self):
            return "credentials"

        def close(self):
            pass

    asked = []

    def pods_of(credentials, namespace, instance):
        asked.append((credentials, namespace))
        return [f"pod-in-{namespace}"]

    monkeypatch.setattr("shard_executor.cli.local_cluster.pods_of", pods_of)
    session = Session(RunSettings())
    session._source, session.namespaces = Source(), ["one", "two"]
    assert session.pods_left() == ["pod-in-one", "pod-in-two"]
    assert asked == [("credentials", "one"), ("credentials", "two")]
