"""The status socket: one JSON object a connection, whatever its clients, its folder and its forks do."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command import until
from shard_executor.status import server as server_module
from shard_executor.status.folder import MAX_PATH, StatusError
from shard_executor.status.server import MAX_CLIENTS, StatusServer


@contextmanager
def serving(describe: Any = lambda: {"answer": 42}, **arguments: Any) -> Iterator[StatusServer]:
    before = set(threading.enumerate())
    with StatusServer(describe, **{"kind": "run", "name": "mine", **arguments}) as server:
        assert server.path is not None
        yield server
    assert set(threading.enumerate()) <= before


def connect(server: StatusServer) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20)

    def connected() -> bool:
        try:
            sock.connect(str(server.path))
        except BlockingIOError:  # as many as it takes are waiting already
            return False
        return True

    until(connected, "a connection")
    return sock


def read(sock: socket.socket) -> dict[str, Any]:
    with sock, sock.makefile("rb") as stream:
        found: dict[str, Any] = json.loads(stream.read())
    return found


def test_every_connection_gets_one_object(runtime: Path) -> None:
    with serving() as server:
        for _ in range(3):
            found = read(connect(server))
            assert (found["kind"], found["name"], found["pid"]) == ("run", "mine", os.getpid())
            assert found["answer"] == 42
            assert found["host"] == socket.gethostname()
            assert found["started"].endswith("Z")
        assert server.path == runtime / f"{os.getpid()}-{server.path.stem.partition('-')[2]}.sock"
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert not runtime.exists(), "a folder that the server made is left behind"


def test_constructing_starts_nothing(runtime: Path) -> None:
    server = StatusServer(dict, kind="run", name="mine")
    server.end()
    assert not runtime.exists()
    assert server.path is None


def test_it_ends_once_and_starts_once() -> None:
    server = StatusServer(dict, kind="run", name="mine")
    server.start()
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    server.end()
    server.end()
    assert server.path is not None
    assert not server.path.exists()


def test_a_folder_of_the_user_stays(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    with serving():
        pass
    assert runtime.is_dir()


def test_two_servers_share_a_folder_that_the_last_one_removes(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    monkeypatch.delenv("SHARD_EXECUTOR_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent))
    folder = runtime.parent / "shard-executor"
    first, second = (StatusServer(dict, kind="run", name=name) for name in "ab")
    first.start()
    second.start()
    assert len(list(folder.iterdir())) == 2
    first.end()
    assert read(connect(second))["name"] == "b"
    second.end()
    assert not folder.exists()


def test_a_folder_that_is_removed_meanwhile_is_made_again(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    monkeypatch.delenv("SHARD_EXECUTOR_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent))
    done = []

    def churn(server: int) -> None:
        for n in range(50):
            with StatusServer(dict, kind="run", name=f"{server}-{n}") as each:
                assert each.path is not None
                assert read(connect(each))["name"] == f"{server}-{n}"
        done.append(server)

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [0, 1]
    assert list(runtime.parent.iterdir()) == []


def test_a_client_that_does_not_read_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "READ_LIMIT", 60.0)
    large = {"text": "x" * 8_000_000}  # far more than a socket buffers
    with serving(lambda: large) as server, connect(server) as lazy:
        assert lazy.recv(1)
        assert len(read(connect(server))["text"]) == 8_000_000
        server.end()
    assert caplog.records == []  # the end did not wait for the lazy one


def test_more_clients_than_it_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "READ_LIMIT", 0.3)
    with serving(lambda: {"text": "x" * 8_000_000}) as server:
        lazy = [connect(server) for _ in range(MAX_CLIENTS)]
        assert len(read(connect(server))["text"]) == 8_000_000  # once the lazy ones have had their time
        for sock in lazy:
            with sock:
                received = 0
                while part := sock.recv(1 << 20):
                    received += len(part)
                assert received < 8_000_000


def test_clients_that_come_and_go_at_once() -> None:
    with serving(lambda: {"text": "x" * 1_000_000}) as server:
        for _ in range(50):
            connect(server).close()
        assert read(connect(server))["kind"] == "run"


def test_answers_are_made_at_a_bounded_rate() -> None:
    made = []
    with serving(lambda: {"made": made.append(1)}) as server:
        began = time.monotonic()
        for _ in range(200):
            read(connect(server))
        assert len(made) <= (time.monotonic() - began) / server_module.REUSE + 1


def test_what_cannot_be_described_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, Any]:
        raise KeyError("shard")

    with serving(fail) as server:
        assert "KeyError('shard')" in read(connect(server))["error"]
    with serving(lambda: {"not": object()}) as server:
        assert "not JSON serializable" in read(connect(server))["error"]
    assert any(record.exc_info for record in caplog.records)


def run_program(code: str) -> None:
    """In a process of its own: forking one with the threads of other tests would be another matter."""
    prelude = """
import json, os, signal, socket, sys, threading
from shard_executor.status.server import StatusServer
def connect(server):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(server.path))
    return sock
def read(sock):
    with sock, sock.makefile("rb") as stream:
        return json.loads(stream.read())
"""
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_fork_keeps_the_parents_socket() -> None:
    run_program("""
server = StatusServer(dict, kind="run", name="parent")
with server:
    child = os.fork()
    if child == 0:
        server.end()
        mine = StatusServer(dict, kind="run", name="child")
        mine.start()
        assert mine.path != server.path
        assert read(connect(mine))["pid"] == os.getpid()
        mine.end()
        sys.exit(0)  # leaves the block, too
    assert os.waitpid(child, 0)[1] == 0
    assert read(connect(server))["name"] == "parent"
assert not server.path.exists()
""")


def test_a_living_child_does_not_keep_a_client_waiting() -> None:
    """A fork in the midst of an answer has a copy of the connection, whose end the client must see all the same."""
    run_program("""
begun, go_on = threading.Event(), threading.Event()
def describe():
    begun.set()
    go_on.wait(20)
    return {}
with StatusServer(describe, kind="run", name="mine") as server:
    sock = connect(server)
    assert begun.wait(20)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        go_on.set()
        assert read(sock)["name"] == "mine"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
""")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(runtime: Path, mode: int) -> None:
    runtime.mkdir()
    runtime.chmod(mode)
    with pytest.raises(StatusError, match=f"mode {mode:04o}.*SHARD_EXECUTOR_RUNTIME_DIR"):
        StatusServer(dict, kind="run", name="mine").start()


def test_a_folder_of_somebody_else_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir(mode=0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(StatusError, match=f"belongs to user {mine}, not to {mine + 1}"):
        StatusServer(dict, kind="run", name="mine").start()


def test_a_link_a_file_and_a_forbidden_place_are_refused(runtime: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(target)
    file.touch()
    for folder, words in ((link, "no folder"), (file, "no folder"), (file / "below", "cannot be created")):
        with pytest.raises(StatusError, match=words):
            StatusServer(dict, kind="run", name="mine", folder=folder).start()
    assert list(target.iterdir()) == []


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * MAX_PATH)
    with pytest.raises(StatusError, match=r"at most 107 bytes.*SHARD_EXECUTOR_RUNTIME_DIR"):
        StatusServer(dict, kind="run", name="mine", folder=folder).start()
    assert not folder.exists()
    just = tmp_path / ("x" * (MAX_PATH - len(str(tmp_path)) - 1 - len("/1234567890-1000.sock")))
    with serving(folder=just) as server:
        assert read(connect(server))["name"] == "mine"


def test_without_a_socket_the_block_runs_all_the_same(runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    ran = []
    with StatusServer(dict, kind="run", name="nightly") as server:
        ran.append(server.path)
        server.end()
    assert ran == [None]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "run nightly cannot be seen with `shard-executor status`" in record.getMessage()


def test_without_threads_or_descriptors_nothing_is_left(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StatusError, match="new thread"):
        StatusServer(dict, kind="run", name="mine").start()
    assert not runtime.exists()


def test_a_socket_of_a_killed_process_with_the_same_id_is_replaced(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is in a container that was started again on the same volume."""
    runtime.mkdir(mode=0o700)
    number = 900_000
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(runtime / f"{os.getpid()}-{number}.sock"))
    stale.close()
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(str(runtime / f"{os.getpid()}-{number + 1}.sock"))
    taken.listen()
    numbers = iter(range(number, number + 10))
    monkeypatch.setattr(server_module, "_numbers", numbers)
    with taken, serving(name="one"), serving(name="two") as second:
        assert read(connect(second))["name"] == "two"
        assert len(list(runtime.iterdir())) == 3
    Path(runtime / f"{os.getpid()}-{number + 1}.sock").unlink()
    assert [path.name for path in runtime.iterdir()] == []


def test_sockets_of_killed_processes_are_swept_at_the_start(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    code = """
import sys
from shard_executor.status.server import StatusServer
with StatusServer(dict, kind="run", name="killed"):
    print("up", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    (runtime / "note.txt").touch()
    process.kill()
    process.communicate()
    assert len(list(runtime.iterdir())) == 2
    with serving():
        names = {path.name for path in runtime.iterdir()}
        assert len(names) == 2
        assert not any(name.startswith(f"{process.pid}-") for name in names)
    (runtime / "note.txt").unlink()


def test_a_thread_that_fails_takes_its_socket_along(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as server:
        monkeypatch.setattr(server, "_accept", lambda: 1 / 0)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(server.path))
            until(lambda: not runtime.exists(), "the socket is gone")
    assert "ZeroDivisionError" in caplog.text
