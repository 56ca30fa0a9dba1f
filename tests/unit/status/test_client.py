"""Who is found: executors that answer, those that do not, and the sockets that killed ones have left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shard_executor.status.client import Answers, Silent, ask_all
from shard_executor.status.folder import candidates, places
from shard_executor.status.server import StatusServer

SERVER = """
import os, signal, sys
from shard_executor.status.server import StatusServer
with StatusServer(lambda: {"text": "x" * int(sys.argv[2])}, kind="run", name=sys.argv[1]):
    if len(sys.argv) > 3 and os.fork() == 0:
        print(os.getpid(), flush=True)
        signal.pause()
    print("up", flush=True)
    signal.pause()
"""


@contextmanager
def executor(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a status socket; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, name, *(arguments or ["0"])], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2 if len(arguments) > 1 else 1)]
        assert "up\n" in lines
        process.pids = [int(line) for line in lines if line != "up\n"]  # type: ignore[attr-defined]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def look(timeout: float = 20.0) -> Answers:
    return ask_all(places(), timeout=timeout)


@contextmanager
def listening(path: Path, answer: bytes | None) -> Iterator[None]:
    """Something of ours that listens at a path and says just this to the first that asks, None: nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()

        def reply() -> None:
            connection, _ = sock.accept()
            with connection:
                connection.sendall(answer or b"")

        thread = threading.Thread(target=reply)
        if answer is not None:
            thread.start()
        try:
            yield
        finally:
            if answer is not None:
                thread.join(20)
            path.unlink(missing_ok=True)


@pytest.fixture
def folder(runtime: Path) -> Path:
    runtime.mkdir(mode=0o700)
    return runtime


def test_nothing_runs_and_no_folder_is_there(runtime: Path) -> None:
    assert look() == Answers([], [], [])
    assert not runtime.exists()


def test_all_are_asked_the_oldest_first(runtime: Path) -> None:
    with executor("first", "3000000"), executor("second") as second, StatusServer(dict, kind="run", name="third") as us:
        found = look()
        assert [each["name"] for each in found.executors] == ["first", "second", "third"]
        assert [each["pid"] for each in found.executors][1:] == [second.pid, os.getpid()]
        assert found.executors[2]["socket"] == str(us.path)
        assert len(found.executors[0]["text"]) == 3_000_000
        assert (found.silent, found.complaints) == ([], [])
    look()  # takes away what the killed ones have left


def test_the_socket_of_a_killed_executor_is_removed(runtime: Path) -> None:
    with executor("killed") as process, executor("lives"):
        process.kill()
        process.wait()
        assert len(list(runtime.iterdir())) == 2
        found = look()
        assert [each["name"] for each in found.executors] == ["lives"]
        assert found.silent == []
        assert len(list(runtime.iterdir())) == 1
    look()


def test_one_that_is_dead_but_not_reaped_is_dead(runtime: Path) -> None:
    with executor("killed") as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert look() == Answers([], [], [])
        assert list(runtime.iterdir()) == []


def test_one_that_does_not_answer_is_named_and_left_alone(runtime: Path) -> None:
    with executor("stopped") as process, executor("lives"):
        process.send_signal(signal.SIGSTOP)
        found = look(timeout=0.3)
        assert [(each.pid, each.why) for each in found.silent] == [(process.pid, "it does not answer within 0.3 s")]
        assert Path(found.silent[0].socket).exists()
        assert [each["name"] for each in found.executors] == ["lives"]
        process.send_signal(signal.SIGCONT)
        assert sorted(each["name"] for each in look().executors) == ["lives", "stopped"]
    look()


def test_a_full_queue_of_one_that_does_not_answer(runtime: Path) -> None:
    with executor("stopped") as process:
        process.send_signal(signal.SIGSTOP)
        (path,) = runtime.iterdir()
        waiting = []
        try:
            while True:
                sock = socket.socket(socket.AF_UNIX)
                waiting.append(sock)
                sock.setblocking(False)
                sock.connect(str(path))
        except BlockingIOError:
            assert len(waiting) > 1
        assert [each.pid for each in look(timeout=0.3).silent] == [process.pid]
        for sock in waiting:
            sock.close()
    look()


def test_a_fork_that_outlives_a_killed_executor_does_not_stand_for_it(runtime: Path) -> None:
    with executor("killed", "0", "forks") as process:
        (child,) = process.pids  # type: ignore[attr-defined]
        try:
            process.kill()
            process.wait()
            assert look() == Answers([], [], [])
            assert list(runtime.iterdir()) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_copy_of_the_listener_in_a_child_that_never_forgot_it(folder: Path) -> None:
    """A process that holds the socket of a killed one open: it takes connections and never answers."""
    code = """
import os, signal, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(f"{sys.argv[1]}/{os.getpid()}-1.sock")
sock.listen()
child = os.fork()
if child:
    print(child, flush=True)
signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        assert look(timeout=0.3) == Answers([], [], [])
        assert list(folder.iterdir()) == []
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_process_that_got_the_id_later_does_not_stand_for_the_old_one(folder: Path) -> None:
    path = folder / f"{os.getpid()}-7.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))  # nobody listens
        found = look(timeout=0.2)
        assert [(each.pid, each.why) for each in found.silent] == [
            (os.getpid(), "its process lives but does not listen")
        ]
        os.utime(path, (1, 1))
        assert look(timeout=0.2) == Answers([], [], [])
    assert not path.exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "without an answer"),
        (b'{"name": "a', "cut off"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "cut off"),
        (b'["list"]\n', "not that of a shard-executor"),
        (b'{"name": 7}\n', "not that of a shard-executor"),
        (b'{"name": "a", "error": "it is ill"}\n', "it is ill"),
    ],
    ids=["nothing", "half", "http", "list", "name", "error"],
)
def test_answers_that_are_none(folder: Path, answer: bytes, words: str) -> None:
    path = folder / f"{os.getpid()}-7.sock"
    with listening(path, answer):
        found = look()
        assert found.executors == []
        (silent,) = found.silent
        assert isinstance(silent, Silent)
        assert words in silent.why


def test_what_is_no_socket_of_ours_is_passed_over(folder: Path) -> None:
    others = [folder / name for name in ("note.txt", "1-1.sock.bak", "0-1.sock", "x-1.sock", "99999999999-1.sock")]
    for path in others:
        path.touch()
    assert look() == Answers([], [], [])
    plain_file = folder / f"{os.getpid()}-1.sock"
    plain_file.touch()
    (silent,) = look(timeout=0.2).silent
    assert silent.pid == os.getpid()
    for path in (*others, plain_file):
        path.unlink()


def test_a_folder_that_others_may_write_to_is_not_trusted(folder: Path) -> None:
    with StatusServer(dict, kind="run", name="mine"):
        folder.chmod(0o777)
        found = look()
        assert found.executors == []
        assert "may be written by others (mode 0777)" in found.complaints[0]
        folder.chmod(0o700)
        assert [each["name"] for each in look().executors] == ["mine"]


def test_the_folders_of_other_environments_are_looked_at_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: Path
) -> None:
    """A program started by cron has no XDG_RUNTIME_DIR, the terminal next to it has."""
    monkeypatch.delenv("SHARD_EXECUTOR_RUNTIME_DIR")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(runtime.parent))
    below = f"shard-executor-{os.geteuid()}"
    assert candidates()[0] == runtime.parent / below
    with StatusServer(dict, kind="run", name="mine"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert candidates()[0] == tmp_path / "shard-executor"
        assert {Path("/tmp", below), Path(f"/run/user/{os.geteuid()}/shard-executor")} < set(places())
        assert "mine" in [each["name"] for each in ask_all(places()[:2]).executors]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert candidates()[0] == runtime.parent / below
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    assert candidates()[0] == runtime.parent / below
    monkeypatch.setenv("SHARD_EXECUTOR_RUNTIME_DIR", "here")
    assert candidates() == places() == [Path.cwd() / "here"]
