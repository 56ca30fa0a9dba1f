"""A journal in processes that die: nothing that was committed is lost, and the next one goes on at once."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shard_executor.runs.journal import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalHeld,
    JournalOfAnotherRun,
    RunHeader,
)

LIMIT = 60.0  # seconds; far beyond what any of these tests needs
HEADER = RunHeader("r1", "jobs", "https://10.0.0.1:6443", None, 1.0, None)
PREAMBLE = """
import os, resource, signal, subprocess, sys, time
from pathlib import Path
from shard_executor.runs.journal import *
path = Path(sys.argv[1])
header = RunHeader("r1", "jobs", "https://10.0.0.1:6443", None, 1.0, None)
journal = Journal(path, run_id="r1")
def say(*words):
    print(*words, flush=True)
def attempt(what):
    try:
        what()
        say("done")
    except JournalError as fault:
        say(type(fault).__name__, str(fault))
"""


@contextlib.contextmanager
def child(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the code after the preamble; killed at the end."""
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait(LIMIT)


def kill_9(process):
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT)


def answers(code: str, path: Path) -> list[str]:
    """What a child says that runs to its end."""
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


# ---- one parent


HOLD = """
journal.start()
journal.begin(header, [("a", "d")])
journal.commit(launched=[Launched("a", 0, 0, "u", True)])
say("held")
sys.stdin.read()
"""


def test_a_second_parent_is_refused_until_the_first_is_killed_and_then_goes_on_at_once(tmp_path):
    path = tmp_path / "runs" / "r1.sqlite"
    with child(HOLD, path) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(JournalHeld) as caught:
            Journal(path, run_id="r1").start()
        assert caught.value.pid == first.pid
        assert f"process {first.pid} on host" in str(caught.value)
        kill_9(first)
        with Journal(path, run_id="r1") as journal:
            assert journal.header == HEADER
            assert journal.entries()["a"].uid == "u"


def test_children_do_not_keep_a_dead_parents_lock(tmp_path):
    path = tmp_path / "r1.sqlite"
    code = """
journal.start()
shard = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=0, close_fds=False)
say(shard.pid)
sys.stdin.read()
"""
    with child(code, path) as first:
        shard = int(first.stdout.readline())
        kill_9(first)
        with Journal(path, run_id="r1"):
            os.kill(shard, 0)
        # It leaves when its standard input, which it shares with its parent, is closed.


def test_of_many_that_start_at_once_one_has_it(tmp_path):
    path = tmp_path / "r1.sqlite"
    code = """
sys.stdin.readline()
attempt(journal.start)
sys.stdin.read()
"""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(child(code, path)) for _ in range(6)]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in processes]
        assert sorted(line.split()[0] for line in said) == ["JournalHeld"] * 5 + ["done"]
        winner = processes[said.index("done\n")].pid
        assert all(f"process {winner} on host" in line for line in said if line != "done\n")


# ---- kill -9


STREAM = """
journal.start()
entries = journal.entries()
done = sum(entry.ended for entry in entries.values())
say("went on after", done)
if not entries:
    journal.begin(header, [(f"t{n}", "d") for n in range(100_000)])
say("begun")
for n in range(done, 100_000 - 2):
    journal.commit(
        launched=[Launched(f"t{n + 2}", 0, 0, f"uid-{n}", True)],
        again=[Again(f"t{n + 1}", 1, 1, 0, float(n), {"state": "failed", "n": n})],
        ended=[(f"t{n}", {"id": f"t{n}", "state": "succeeded", "n": n, "log_tail": "x" * (n % 700)})],
    )
    say(n)
"""


def check_whole(path: Path, said: int) -> int:
    """All commits up to the one that was said last are there, at most one more is, and each is whole."""
    with Journal(path, run_id="r1") as journal:
        entries = list(journal.entries().values())
        results = list(journal.results())
    done = len(results)
    assert said + 1 <= done <= said + 2
    assert [record["n"] for record in results] == list(range(done))
    assert [entry.ended for entry in entries] == [True] * done + [False] * (len(entries) - done)
    assert [entry.try_number for entry in entries[: done + 2]] == [0] + [1] * done + [0]
    assert [entry.due for entry in entries[1 : done + 1]] == [float(n) for n in range(done)]
    assert entries[done + 1].uid == f"uid-{done - 1}"
    assert all(entry.uid is None for entry in entries[done + 2 :])
    return done


def test_what_a_killed_process_has_committed_is_there_and_nothing_is_half_written(tmp_path):
    path = tmp_path / "r1.sqlite"
    rng = random.Random(7)
    done = 0
    for _ in range(6):
        with child(STREAM, path) as process:
            assert process.stdout.readline() == f"went on after {done}\n"
            assert process.stdout.readline() == "begun\n"
            for _ in range(rng.randrange(50, 600)):
                last = process.stdout.readline()
            kill_9(process)
            # What it had said before it was killed is still in the pipe.
            lines = [last, *process.stdout]
            said = int([line for line in lines if line.endswith("\n")][-1])
        done = check_whole(path, said)
    assert sorted(os.listdir(tmp_path)) == ["r1.sqlite", "r1.sqlite.lock"]


def test_a_process_killed_while_it_makes_the_journal_leaves_none_or_a_whole_one(tmp_path):
    code = """
import threading
delay = float(sys.stdin.readline())
threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
journal.start()
journal.begin(header, [(f"t{n}", "d") for n in range(2000)])
say("begun")
sys.stdin.read()
"""
    seen = set()
    for round_ in range(24):
        path = tmp_path / f"{round_}" / "r1.sqlite"
        with child(code, path) as process:
            process.stdin.write(f"{round_ / 1000}\n")
            process.stdin.flush()
            begun = process.stdout.readline() == "begun\n"
            process.wait(LIMIT)
        with Journal(path, run_id="r1") as journal:
            count = len(journal.entries())
            assert count in ((2000,) if begun else (0, 2000))
            assert (journal.header is None) == (count == 0)
            journal.begin(HEADER, [("more", "d")])
        seen.add(begun)
        assert sorted(os.listdir(path.parent)) == ["r1.sqlite", "r1.sqlite.lock"]
    assert False in seen


def test_a_copy_of_the_file_and_its_log_holds_what_was_committed(tmp_path):
    path = tmp_path / "r1.sqlite"
    with child(HOLD, path) as first:
        assert first.stdout.readline() == "held\n"
        (tmp_path / "copy").mkdir()
        for name in ("r1.sqlite", "r1.sqlite-wal"):
            shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    with Journal(tmp_path / "copy" / "r1.sqlite", run_id="r1") as journal:
        assert journal.entries()["a"].uid == "u"


@pytest.mark.parametrize("damage", ["cut off", "overwritten", "another run"])
def test_a_killed_process_journal_that_is_refused_keeps_its_log(tmp_path, damage):
    path = tmp_path / "r1.sqlite"
    with child(HOLD.replace('[("a", "d")]', '[("a", "d"), *((f"t{n}", "d" * 99) for n in range(999))]'), path) as first:
        assert first.stdout.readline() == "held\n"
        kill_9(first)
    # Closed once, so that the file has all tasks, and killed once more, so that there is a log too.
    with Journal(path, run_id="r1"):
        pass
    with child("journal.start()\njournal.interrupt(['a'])\nsay('held')\nsys.stdin.read()\n", path) as second:
        assert second.stdout.readline() == "held\n"
        kill_9(second)
    if damage == "cut off":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "overwritten":
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(os.urandom(20_000))
    files = [path, tmp_path / "r1.sqlite-wal"]
    before = [each.read_bytes() for each in files]
    assert all(before)
    with pytest.raises(JournalError) as caught:
        Journal(path, run_id="r2" if damage == "another run" else "r1").start()
    assert type(caught.value) is (JournalOfAnotherRun if damage == "another run" else JournalDamaged)
    assert [each.read_bytes() for each in files] == before
    if damage == "another run":
        with Journal(path, run_id="r1") as journal:
            assert journal.entries()["a"].interrupted


# ---- no room, no permission


def test_without_room_a_commit_fails_whole_and_can_be_made_again_later(tmp_path):
    path = tmp_path / "r1.sqlite"
    code = """
journal.start()
journal.begin(header, [(f"t{n}", "d") for n in range(100)])
limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
many = [(f"t{n}", {"id": f"t{n}", "log_tail": "x" * 4000}) for n in range(1, 100)]
limit(path.with_name("r1.sqlite-wal").stat().st_size + 50_000)
attempt(lambda: journal.commit(ended=[("t0", {"id": "t0"})]))
attempt(lambda: journal.commit(ended=many))
say([record["id"] for record in journal.results()])
limit(resource.RLIM_INFINITY)
attempt(lambda: journal.commit(ended=many[:5]))
say(len(list(journal.results())))
journal.end()
"""
    said = answers(code, path)
    assert said[0] == "done"
    assert said[1].startswith(f"JournalUnwritable journal {path}: cannot be written: ")
    assert said[2:] == ["['t0']", "done", "6"]
    with Journal(path, run_id="r1") as journal:
        assert [record["id"] for record in journal.results()] == [f"t{n}" for n in range(6)]


@pytest.mark.parametrize("room", [0, 100, 3000, 5000, 20_000, 40_000])
def test_without_room_for_a_journal_none_is_made(tmp_path, room):
    path = tmp_path / "runs" / "r1.sqlite"
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
attempt(journal.start)
"""
    (said,) = answers(code, path)
    assert said.startswith(f"JournalUnwritable journal {path}: ")
    assert os.listdir(tmp_path / "runs") == []


@pytest.fixture
def open_folder():
    """A folder that any user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="journal-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


# Permissions do not bind root; a user without any rights meets them.
AS_NOBODY = """
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
attempt(journal.start)
"""


FOLDER, FILE, LOCK = ".", "r1.sqlite", "r1.sqlite.lock"


@pytest.mark.parametrize(
    ("exists", "name", "mode", "words"),
    [
        (False, FOLDER, 0o555, "cannot be written to"),
        (False, FOLDER, 0o000, "cannot be written to"),
        (True, FOLDER, 0o555, "cannot be written to"),
        (True, FILE, 0o444, "r1.sqlite: cannot be opened for writing: Permission denied"),
        (True, FILE, 0o000, "r1.sqlite: cannot be opened for writing: Permission denied"),
        (True, LOCK, 0o444, "r1.sqlite.lock cannot be opened for writing: Permission denied"),
    ],
)
def test_what_may_not_be_written_is_named_and_stays(open_folder, exists, name, mode, words):
    folder = open_folder / "runs"
    folder.mkdir()
    path = folder / FILE
    if exists:
        with Journal(path, run_id="r1") as journal:
            journal.begin(HEADER, [("a", "d")])
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    for each in (folder, *folder.iterdir()):
        each.chmod(0o777)
    (folder / name).chmod(mode)
    (said,) = answers(AS_NOBODY, path)
    (folder / name).chmod(0o755)
    assert said.startswith(f"JournalUnwritable journal {path}: ")
    assert words in said
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_state_folder_that_cannot_be_made_is_named(open_folder):
    path = open_folder / "state" / "runs" / FILE
    open_folder.chmod(0o555)
    (said,) = answers(AS_NOBODY, path)
    open_folder.chmod(0o755)
    assert f"the folder {path.parent} cannot be made: Permission denied" in said


# ---- size


def test_a_hundred_thousand_tasks_stay_small_in_memory(tmp_path):
    code = """
import resource, tracemalloc
journal.start()
journal.begin(header, ((f"t{n}", "d" * 32) for n in range(100_000)))
record = {"state": "failed", "message": "x" * 200, "pod": "p" * 60, "uid": "u" * 36, "times": {"a": "b" * 24}}
for n in range(0, 100_000, 1000):
    journal.commit(ended=[(f"t{k}", {"id": f"t{k}", **record}) for k in range(n, n + 1000)])
tracemalloc.start()
entries = journal.entries()
say(len(entries), tracemalloc.get_traced_memory()[1] // len(entries))
journal.end()
"""
    (said,) = answers(code, tmp_path / "r1.sqlite")
    count, each = map(int, said.split())
    assert count == 100_000
    assert each < 900  # bytes a task, half of them its record; decoded, that alone would take 1,100
