"""Who may hold a journal: one process on this host by the lock, one on another host by its signs of life."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sqlite3

import pytest

from shard_executor.runs.holder import Holder, Machine, Owner, alive_elsewhere, this_machine
from shard_executor.runs.journal import Journal, JournalHeld, JournalUnwritable, RunHeader

NOW = 1_700_000_000.0
HEADER = RunHeader("r1", "jobs", "https://10.0.0.1:6443", None, 1.0, None)
BOOT = this_machine(NOW).boot


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "r1.sqlite"
    with Journal(path, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "d")])
    return path


@pytest.fixture
def lock(path):
    return path.with_name("r1.sqlite.lock")


def at(path, now):
    return Journal(path, run_id="r1", clock=lambda: now)


def owner(**changes):
    values = {"host": "far", "boot": "b", "pid": 4242, "since": NOW - 500, "beat": NOW, "token": "t"}
    return {**values, **changes}


def write_row(path, **changes):
    """Leaves a holder's row in the journal as a process without a goodbye does."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT OR REPLACE INTO holder (one, host, boot, pid, since, beat, token) "
            "VALUES (1, :host, :boot, :pid, :since, :beat, :token)",
            owner(**changes),
        )
    connection.close()


# ---- one host


def test_a_second_one_is_refused_and_told_who_has_it(path):
    with at(path, NOW):
        with pytest.raises(JournalHeld) as caught:
            at(path, NOW).start()
        assert (caught.value.host, caught.value.pid, caught.value.since) == (socket.gethostname(), os.getpid(), NOW)
        for words in (str(path), f"process {os.getpid()}", "2023-11-14 22:13:20 UTC", "wait until it ends"):
            assert words in str(caught.value)
    with at(path, NOW) as journal:
        assert journal.header == HEADER


def test_two_names_of_one_file_are_one_journal(path, tmp_path):
    (tmp_path / "link.sqlite").symlink_to(path)
    with at(path, NOW), pytest.raises(JournalHeld):
        at(tmp_path / "link.sqlite", NOW).start()


def test_the_lock_names_its_holder_and_is_empty_afterwards(path, lock):
    with at(path, NOW):
        said = json.loads(lock.read_bytes())
        assert {**said, "token": "", "boot": ""} == {
            "host": socket.gethostname(),
            "boot": "",
            "pid": os.getpid(),
            "since": NOW,
            "beat": NOW,
            "token": "",
        }
    assert lock.read_bytes() == b""


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(owner(host=socket.gethostname(), boot=BOOT)).encode(),
        b'{"host":"far","boot":"b","pid":42',
        b"\0" * 150,
        b"",
        b'{"host":1,"boot":null,"pid":"x","since":[],"beat":{},"token":0}',
        b'{"host":"far","boot":"b","pid":0,"since":1e300,"beat":-1,"token":""}',
    ],
)
def test_the_lock_of_a_dead_process_is_taken_over(path, lock, content):
    lock.write_bytes(content)
    with at(path, NOW):
        assert json.loads(lock.read_bytes())["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"[[package]]\nname = 'x'\n", b"[]", b'{"name": 1}'])
def test_another_programs_lock_file_is_not_overwritten(path, lock, content):
    lock.write_bytes(content)
    with pytest.raises(JournalUnwritable, match=r"its lock would be .*r1\.sqlite\.lock.*something else"):
        at(path, NOW).start()
    assert lock.read_bytes() == content


def test_a_link_in_the_locks_place_is_not_followed(path, lock, tmp_path):
    (tmp_path / "precious").touch()
    lock.unlink()
    lock.symlink_to(tmp_path / "precious")
    with pytest.raises(JournalUnwritable, match=r"its lock .*r1\.sqlite\.lock cannot be opened"):
        at(path, NOW).start()
    assert (tmp_path / "precious").read_bytes() == b""


def test_a_lock_that_vanished_is_made_anew(path, lock):
    lock.unlink()
    with at(path, NOW):
        assert lock.exists()


def test_a_lock_that_is_removed_between_opening_and_locking_it_is_not_taken(path, monkeypatch):
    first, second = Holder(path), Holder(path)
    first.take()
    flock = fcntl.flock

    def others_are_quicker(descriptor, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.release(remove=True)
        second.take()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", others_are_quicker)
    with pytest.raises(JournalHeld):
        Holder(path).take()
    second.release()


# ---- other hosts


def test_another_hosts_young_sign_of_life_in_the_lock_refuses(path, lock):
    lock.write_bytes(json.dumps(owner(beat=NOW - 12)).encode())
    before = path.stat().st_mtime_ns, lock.read_bytes()
    with pytest.raises(
        JournalHeld, match="seen 12 s ago on host far, pid 4242; if it is dead, try again in 48 s"
    ) as caught:
        at(path, NOW).start()
    assert (caught.value.host, caught.value.pid, caught.value.since) == ("far", 4242, NOW - 500)
    assert (path.stat().st_mtime_ns, lock.read_bytes()) == before


def test_another_hosts_young_sign_of_life_in_the_journal_refuses(path, lock):
    write_row(path, beat=NOW - 12)
    lock.unlink()
    with pytest.raises(JournalHeld, match="seen 12 s ago on host far, pid 4242; if it is dead, try again in 48 s"):
        at(path, NOW).start()
    assert not lock.exists()


@pytest.mark.parametrize("beat", [NOW - 60, NOW - 1e6, NOW + 3600])
def test_another_hosts_old_sign_of_life_does_not(path, lock, beat):
    write_row(path, beat=beat)
    lock.write_bytes(json.dumps(owner(beat=beat)).encode())
    with at(path, NOW) as journal:
        assert journal.header == HEADER


@pytest.mark.parametrize("damage", [{"pid": "x"}, {"since": "yesterday"}, {"beat": b"1"}, {"pid": -1}])
def test_a_row_that_no_holder_writes_does_not_either(path, damage):
    write_row(path, **damage)
    with at(path, NOW) as journal:
        assert journal.header == HEADER


def test_a_dead_process_of_this_host_is_taken_over_at_once(path, lock):
    here = {"host": socket.gethostname(), "boot": BOOT, "beat": NOW - 1}
    write_row(path, **here)
    lock.write_bytes(json.dumps(owner(**here)).encode())
    with at(path, NOW) as journal:
        assert journal.header == HEADER


@pytest.mark.parametrize(
    ("host", "boot", "beat", "alive"),
    [
        ("here", "b1", NOW - 1, False),  # this boot of this host: the lock decides
        ("here", "b0", NOW - 50, False),  # before it was booted anew, 40 s ago
        ("here", "b0", NOW - 30, True),  # a host of the same name, as ours was up by then
        ("here", "b0", NOW - 70, False),
        ("far", "b0", NOW - 50, True),
        ("far", "b1", NOW - 59, True),
        ("far", "b0", NOW - 60, False),
        ("far", "b0", NOW + 59, True),  # its clock is ahead
        ("far", "b0", NOW + 60, False),
    ],
)
def test_whom_to_take_for_alive_on_another_host(host, boot, beat, alive):
    machine = Machine("here", "b1", NOW - 40)
    assert alive_elsewhere(Owner(host, boot, 7, NOW - 500, beat, "t"), machine, NOW) == alive


def test_signs_of_life_are_written_once_in_ten_seconds(path, lock):
    def signs():
        connection = sqlite3.connect(path)
        row = connection.execute("SELECT beat FROM holder").fetchone()
        connection.close()
        return row[0], json.loads(lock.read_bytes())["beat"]

    with at(path, NOW) as journal:
        for later, seen in [(0, 0), (9.9, 0), (10, 10), (19.9, 10), (20, 20), (-3600, -3600), (-3595, -3600)]:
            journal.beat(NOW + later)
            assert signs() == (NOW + seen, NOW + seen)


def test_who_was_taken_for_dead_writes_nothing_more(path, caplog):
    with at(path, NOW) as journal, caplog.at_level(logging.WARNING):
        write_row(path, beat=NOW + 100)
        changes = (
            lambda: journal.commit(ended=[("a", {})]),
            lambda: journal.begin(HEADER, [("b", "d")]),
            lambda: journal.reopen([]),
            lambda: journal.interrupt(["a"]),
            lambda: journal.finish(NOW),
            lambda: journal.beat(NOW + 100),
        )
        for change in changes:
            with pytest.raises(JournalHeld, match="process 4242 on host far has taken it") as caught:
                change()
            assert (caught.value.host, caught.value.pid) == ("far", 4242)
        assert list(journal.results()) == []
        journal.end()
    assert "could not be signed off" in caplog.text
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT host FROM holder").fetchall() == [("far",)]
    connection.close()


def test_nor_when_the_other_one_has_ended_already(path):
    with at(path, NOW) as journal:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("DELETE FROM holder")
        connection.close()
        with pytest.raises(JournalHeld, match="another process, which has ended since, has taken it"):
            journal.commit(ended=[("a", {})])
