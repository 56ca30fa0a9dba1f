"""Where journals live, and which of them are removed."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from shard_executor.runs.journal import Journal, JournalHeld, JournalUnwritable, RunHeader
from shard_executor.runs.state_folder import discard_unbegun, journal_path, prune, runs_folder

DAY = 86_400.0


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SHARD_EXECUTOR_STATE_DIR": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s/runs"),
        ({"SHARD_EXECUTOR_STATE_DIR": "", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/shard-executor/runs"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/shard-executor/runs"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/shard-executor/runs"),
    ],
)
def test_the_folder_comes_from_the_environment(environ, folder):
    assert runs_folder(environ) == Path(folder)
    assert journal_path("r-1", environ=environ) == Path(folder) / "r-1.sqlite"
    assert journal_path("r-1", "/given/j", environ=environ) == Path("/given/j")


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert journal_path("r", "j.sqlite") == tmp_path / "j.sqlite"
    assert runs_folder({"SHARD_EXECUTOR_STATE_DIR": "state"}) == tmp_path / "state" / "runs"
    assert not (tmp_path / "state").exists()


def test_without_a_home_the_user_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(JournalUnwritable, match=r"\$SHARD_EXECUTOR_STATE_DIR.*--journal"):
        runs_folder({})


@pytest.mark.parametrize("run_id", ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b"])
def test_a_run_id_that_is_no_file_name_is_refused(run_id):
    with pytest.raises(ValueError, match="cannot be a file's name"):
        journal_path(run_id, environ={"HOME": "/h"})


# ---- prune


def write(folder, name, *, finished, days):
    path = folder / f"{name}.sqlite"
    with Journal(path, run_id=name) as journal:
        journal.begin(RunHeader(name, "jobs", "s", None, 1.0, None), [("a", "d")])
        if finished:
            journal.commit(ended=[("a", {"id": "a"})])
            journal.finish(2.0)
    age(path, days)
    return path


def age(path, days):
    os.utime(path, (NOW - days * DAY,) * 2)


NOW = 2_000_000_000.0


def test_only_old_journals_of_finished_runs_go(tmp_path):
    for name, finished, days in [("old", True, 31), ("young", True, 29), ("open", False, 31), ("older", True, 400)]:
        write(tmp_path, name, finished=finished, days=days)
    (tmp_path / "notes.txt").touch()
    age(tmp_path / "notes.txt", 400)
    done = prune(tmp_path, NOW)
    assert done.removed == ["old.sqlite", "older.sqlite"]
    assert done.unreadable == {}
    assert sorted(os.listdir(tmp_path)) == [
        "notes.txt",
        "open.sqlite",
        "open.sqlite.lock",
        "young.sqlite",
        "young.sqlite.lock",
    ]
    assert prune(tmp_path, NOW, keep_days=28).removed == ["young.sqlite"]


def test_looking_does_not_make_a_journal_younger(tmp_path):
    path = write(tmp_path, "open", finished=False, days=31)
    (tmp_path / "open.sqlite.lock").unlink()
    before = path.stat().st_mtime_ns
    prune(tmp_path, NOW)
    assert path.stat().st_mtime_ns == before
    assert os.listdir(tmp_path) == ["open.sqlite"]


def test_one_that_is_held_stays(tmp_path):
    path = write(tmp_path, "old", finished=True, days=0)
    with Journal(path, run_id="old") as journal:
        for each in tmp_path.iterdir():
            age(each, 31)
        done = prune(tmp_path, NOW)
        assert (done.removed, done.unreadable) == ([], {})
        journal.reopen(["a"])
    assert path.exists()


def test_a_log_beside_it_that_is_young_keeps_it(tmp_path):
    write(tmp_path, "old", finished=True, days=31)
    (tmp_path / "old.sqlite-wal").touch()
    os.utime(tmp_path / "old.sqlite-wal", (NOW, NOW))
    assert prune(tmp_path, NOW).removed == []


def test_what_cannot_be_read_is_reported_and_left(tmp_path):
    (tmp_path / "garbage.sqlite").write_bytes(b"garbage" * 100)
    (tmp_path / "folder.sqlite").mkdir()
    (tmp_path / "gone.sqlite").symlink_to(tmp_path / "nowhere")
    write(tmp_path, "cut", finished=True, days=0)
    os.truncate(tmp_path / "cut.sqlite", 5000)
    for name in ("garbage", "folder", "cut"):
        age(tmp_path / f"{name}.sqlite", 31)
    write(tmp_path, "old", finished=True, days=31)
    before = sorted(os.listdir(tmp_path))
    done = prune(tmp_path, NOW)
    assert done.removed == ["old.sqlite"]
    assert set(done.unreadable) == {"garbage.sqlite", "folder.sqlite", "gone.sqlite", "cut.sqlite"}
    assert "is no SQLite database" in done.unreadable["garbage.sqlite"]
    assert sorted(os.listdir(tmp_path)) == [name for name in before if not name.startswith("old.")]


def test_a_folder_that_is_not_there_has_no_journals(tmp_path):
    done = prune(tmp_path / "none", NOW)
    assert (done.removed, done.unreadable) == ([], {})
    (tmp_path / "file").touch()
    assert list(prune(tmp_path / "file", NOW).unreadable) == [str(tmp_path / "file")]


def test_a_pruned_runs_id_can_be_used_again(tmp_path):
    path = write(tmp_path, "old", finished=True, days=31)
    prune(tmp_path, NOW)
    with Journal(path, run_id="old") as journal:
        assert journal.header is None


def test_a_journal_in_which_no_run_has_begun_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    Journal(path, run_id="r").end()
    assert not discard_unbegun(path)
    with Journal(path, run_id="r"), pytest.raises(JournalHeld):
        discard_unbegun(path)
    assert discard_unbegun(path)
    assert os.listdir(tmp_path) == []
    with Journal(path, run_id="r") as journal:
        journal.begin(RunHeader("r", "jobs", "https://cluster", None, 0.0, None), [])
    assert not discard_unbegun(path)
    assert path.exists()
