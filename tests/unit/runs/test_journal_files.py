"""What may stand at a journal's path: each gets its words, and nothing is created or overwritten."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest

from shard_executor.runs import journal_file
from shard_executor.runs.journal import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalUnwritable,
    RunHeader,
)

HEADER = RunHeader("r1", "jobs", "https://10.0.0.1:6443", None, 1.0, None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r1.sqlite"


@pytest.fixture
def written(path):
    """A journal of 300 tasks, half of them ended."""
    with Journal(path, run_id="r1") as journal:
        journal.begin(HEADER, [(f"t{n}", "d" * 32) for n in range(300)])
        journal.commit(ended=[(f"t{n}", {"id": f"t{n}", "log_tail": "x" * 100}) for n in range(150)])
    return path


def snapshot(folder):
    """Names and contents, without the locks of journals that were closed before, which are empty."""
    return {
        each.name: each.read_bytes() if each.is_file() else None
        for each in folder.iterdir()
        if not (each.suffix == ".lock" and not each.stat().st_size)
    }


def refuse(path, kind, words, **arguments):
    """The journal is refused with these words and its name, and the folder stays as it is."""
    before = snapshot(path.parent)
    with pytest.raises(kind, match=words) as caught:
        Journal(path, run_id="r1", **arguments).start()
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, JournalError)
    assert snapshot(path.parent) == before
    return str(caught.value)


def edit(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


# ---- no journal


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,image\n1,tools\n", "is no SQLite database"),
        (os.urandom(8192), "is no SQLite database"),
        (b"\0" * 8192, "is no SQLite database"),
        (b"x", "is no SQLite database"),
        (b"SQLite format 3\0", "cut off after 16 bytes"),
    ],
)
def test_another_file_is_refused(path, content, words):
    path.write_bytes(content)
    message = refuse(path, JournalDamaged, words)
    assert "move it away" in message
    assert "all tasks run again, also those that have ended" in message
    assert os.listdir(path.parent) == ["r1.sqlite"]


def test_a_folder_in_its_place_is_refused(path):
    path.mkdir()
    refuse(path, JournalDamaged, "is a folder")


def test_a_pipe_in_its_place_is_refused(path):
    os.mkfifo(path)
    refuse(path, JournalDamaged, "no regular file")


def test_another_programs_database_is_refused(path):
    edit(path, "PRAGMA journal_mode = WAL", "CREATE TABLE run (id)", "INSERT INTO run VALUES (1)")
    refuse(path, JournalDamaged, "not a journal of shard-executor")
    assert os.listdir(path.parent) == ["r1.sqlite"]


def test_a_link_to_nowhere_is_followed(path, tmp_path):
    target = tmp_path / "elsewhere" / "real.sqlite"
    path.symlink_to(target)
    with Journal(path, run_id="r1"):
        assert target.is_file()
    assert path.is_symlink()


# ---- a journal, but broken


@pytest.mark.parametrize("left", [100, 512, 4095, 4096, 8192, 20000])
def test_a_truncated_journal_is_refused(written, left):
    os.truncate(written, left)
    refuse(written, JournalDamaged, r"damaged|cut off|cannot be read as a journal")


def test_overwritten_pages_are_found(written):
    with written.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(3 * 4096))
    refuse(written, JournalDamaged, "is damaged")


def test_a_newer_format_asks_for_the_newer_program(written):
    edit(written, "PRAGMA user_version = 2")
    refuse(written, JournalDamaged, r"newer shard-executor \(format 2, this one reads 1\)")


def test_an_unknown_older_format_is_refused(written):
    edit(written, "PRAGMA user_version = 0")
    refuse(written, JournalDamaged, "unknown format 0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP TABLE result", "lacks result.position, result.task"),
        ("ALTER TABLE task RENAME COLUMN due TO later", r"lacks task\.due"),
    ],
)
def test_missing_tables_and_columns_are_named(written, change, words):
    edit(written, change)
    refuse(written, JournalDamaged, words)


@pytest.mark.parametrize("text", ["'{\"id\": '", "'[]'", "CAST(x'7B22FF227D' AS TEXT)"])
def test_a_record_that_is_no_json_object_is_named_when_it_is_read(written, text):
    edit(written, f"UPDATE result SET record = {text} WHERE task = 't7'")
    with Journal(written, run_id="r1") as journal:
        with pytest.raises(JournalDamaged, match=str(written)):
            journal.entries()
        with pytest.raises(JournalDamaged, match=str(written)):
            list(journal.results())


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_journal_that_was_moved_without_its_log_is_not_begun_anew(path, suffix):
    (path.parent / (path.name + suffix)).write_bytes(b"commits")
    refuse(path, JournalDamaged, f"a part of it is still there, .*{suffix}")
    path.touch()
    refuse(path, JournalDamaged, "is missing or empty")


# ---- a new one


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_an_empty_file_counts_as_a_new_journal(path, mode):
    path.touch(mode=mode)
    with Journal(path, run_id="r1") as journal:
        assert journal.header is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_broken_off_creation_left_is_no_obstacle(path):
    for suffix in (".new", ".new-journal", ".new-wal", "-shm"):
        (path.parent / (path.name + suffix)).write_bytes(b"\xff" * 5000)
    (path.parent / (path.name + "-wal")).touch()
    with Journal(path, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "d")])
    assert sorted(os.listdir(path.parent)) == ["r1.sqlite", "r1.sqlite.lock"]


def test_files_and_folders_are_for_their_owner_only(tmp_path):
    path = tmp_path / "state" / "runs" / "r1.sqlite"
    before = os.umask(0)
    try:
        with Journal(path, run_id="r1") as journal:
            journal.begin(HEADER, [("a", "d")])
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["r1.sqlite", "r1.sqlite-wal", "r1.sqlite-shm", "r1.sqlite.lock"], 0o600)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_a_missing_folder_is_made_only_on_request(tmp_path):
    path = tmp_path / "typo" / "r1.sqlite"
    with pytest.raises(JournalUnwritable, match=r"the folder .*typo does not exist"):
        Journal(path, run_id="r1", make_folder=False).start()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "runs").touch()
    for path in (tmp_path / "runs" / "r1.sqlite", tmp_path / "runs" / "deeper" / "r1.sqlite"):
        with pytest.raises(JournalUnwritable, match=r"r1\.sqlite: .*Not a directory|File exists"):
            Journal(path, run_id="r1").start()


@pytest.mark.parametrize("name", ["a b", "q?mode=ro#x", "100%", "é", "%41", "semi;colon&x=y", os.fsdecode(b"\xff")])
def test_any_file_name_will_do(tmp_path, name):
    with Journal(tmp_path / name, run_id="r1") as journal:
        journal.begin(HEADER, [("a", "d")])
    assert sorted(os.listdir(tmp_path)) == sorted([name, name + ".lock"])


# ---- the log


def test_it_keeps_a_write_ahead_log_where_sqlite_can(written):
    with Journal(written, run_id="r1"):
        assert (written.parent / "r1.sqlite-wal").exists()
    assert written.read_bytes()[18:20] == b"\x02\x02"


def test_where_sqlite_cannot_it_is_told_by_sqlites_answer(tmp_path):
    # This way of locking has no shared memory, as some network file systems.
    connection = sqlite3.connect(f"{(tmp_path / 'x').as_uri()}?vfs=unix-dotfile", uri=True, isolation_level=None)
    connection.execute("CREATE TABLE run (id)")
    assert not journal_file.takes_wal(connection)
    connection.close()
    connection = sqlite3.connect(tmp_path / "x", isolation_level=None)
    assert journal_file.takes_wal(connection)
    connection.close()


def test_without_a_write_ahead_log_all_works_as_with_one(path, monkeypatch):
    monkeypatch.setattr(journal_file, "takes_wal", lambda connection: False)
    for start in (0, 10):
        with Journal(path, run_id="r1") as journal:
            journal.begin(HEADER, [(f"t{n}", "d") for n in range(start, start + 10)])
            journal.commit(ended=[(f"t{start}", {"id": f"t{start}"})])
            assert not (path.parent / "r1.sqlite-wal").exists()
    with Journal(path, run_id="r1") as journal:
        assert [each["id"] for each in journal.results()] == ["t0", "t10"]
        assert len(journal.entries()) == 20
    assert path.read_bytes()[18:20] == b"\x01\x01"


def test_others_can_read_it_while_it_is_held(written):
    with Journal(written, run_id="r1") as journal:
        reader = sqlite3.connect(f"{written.as_uri()}?mode=ro", uri=True, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM result").fetchone() == (150,)
        journal.commit(ended=[("t200", {"id": "t200"})])
        assert reader.execute("SELECT count(*) FROM result").fetchone() == (150,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM result").fetchone() == (151,)
        reader.close()


def test_another_program_that_writes_is_waited_for_and_then_named(written, monkeypatch):
    monkeypatch.setattr(journal_file, "BUSY_LIMIT", 0.05)
    with Journal(written, run_id="r1") as journal:
        other = sqlite3.connect(written, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnwritable, match=r"another program keeps it locked .*sqlite3 shell"):
            journal.commit(ended=[("t200", {"id": "t200"})])
        other.execute("ROLLBACK")
        journal.commit(ended=[("t200", {"id": "t200"})])
        other.close()
