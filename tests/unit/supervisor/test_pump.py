"""The pump alone, without shards: its wake-up pipe, and mistakes of callers."""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shard_executor.supervisor import messages as msg
from shard_executor.supervisor import pump as pump_module
from shard_executor.supervisor.config import Submission, SupervisorConfig
from shard_executor.supervisor.credentials import CredentialSource
from shard_executor.supervisor.pump import Pump


@pytest.fixture
def pump() -> Iterator[Pump]:
    """A pump whose pipe is open and whose thread does not run: the test is the thread."""
    made = idle_pump()
    yield made
    made._close()


def idle_pump(**config: Any) -> Pump:
    values: dict[str, Any] = {"instance": "x", "owner": "x", "namespace": "default", "shards": 1}
    made = Pump(SupervisorConfig(credentials=CredentialSource(), **values, **config), lambda: None)
    made._wake_read, made._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    return made


def wakes(pump: Pump) -> bool:
    return bool(select.select([pump._wake_read], [], [], 0)[0])


def nothing() -> None:
    pass


def test_a_command_that_comes_while_the_pipe_is_emptied_does_not_swallow_later_wake_ups(
    pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def interrupted(descriptor: int, size: int) -> bytes:
        pump.command(nothing)  # from another thread, in the middle of the pump's turn
        return read(descriptor, size)

    pump.command(nothing)
    assert wakes(pump)
    monkeypatch.setattr(pump_module.os, "read", interrupted)
    pump._drain_wakes()
    monkeypatch.undo()
    assert len(pump.commands) == 2
    pump.commands.clear()
    while wakes(pump):
        pump._drain_wakes()
    pump.command(nothing)
    assert wakes(pump)


def test_many_commands_are_one_wake_up(pump: Pump) -> None:
    for _ in range(10_000):
        pump.command(nothing)
    assert os.read(pump._wake_read, 100) == b"\0"


def test_an_acknowledgement_without_a_report_is_a_line_in_the_log(pump: Pump, caplog: pytest.LogCaptureFixture) -> None:
    pump.submit(Submission("t", 0, "default", "t", "s", "{}"))
    with caplog.at_level(logging.ERROR):
        pump.acknowledge("t")
    assert "t was acknowledged before its terminal report" in caplog.text
    assert "t" in pump.ledger.tickets


@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        (b"\x00\x00\x00\x015", "no list of messages"),
        (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (msg.encode([["strange", 1]]), "unknown kind, 'strange'"),
    ],
    ids=["no-list", "length", "unknown-kind"],
)
def test_a_shard_that_sends_garbage_is_replaced_and_ends_nobody_else(
    pump: Pump, caplog: pytest.LogCaptureFixture, garbage: bytes, words: str
) -> None:
    (shard,) = pump.shards
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = subprocess.Popen(["sleep", "600"])
    shard.process, shard.sock = process, ours
    pump._selector = selectors.DefaultSelector()
    pump._selector.register(ours, selectors.EVENT_READ, shard)
    with theirs, caplog.at_level(logging.WARNING):
        theirs.sendall(garbage)
        pump._receive(shard)
    assert process.returncode == -9
    assert not shard.alive
    assert shard.restart_at is not None
    assert words in caplog.text
    assert pump.stats(shard).last_error.startswith("was killed by signal 9: it sent ")
    assert words in pump.stats(shard).last_error


def receives(pump: Pump, *messages: msg.Message) -> list[msg.Message]:
    """One turn of the pump in which its shard sends these; what the shard is sent."""
    (shard,) = pump.shards
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    shard.process, shard.sock = subprocess.Popen(["sleep", "600"]), ours
    shard.beats_at = time.monotonic()
    pump._selector = selectors.DefaultSelector()
    pump._selector.register(ours, selectors.EVENT_READ, shard)
    with theirs:
        if messages:
            theirs.sendall(msg.encode(list(messages)))
        pump._turn()
        while pump.commands:
            pump._turn()
        ours.shutdown(socket.SHUT_WR)
        return msg.FrameReader().feed(b"".join(iter(lambda: theirs.recv(65536), b"")))


def test_the_bodies_of_one_turn_are_asked_for_at_once_and_only_for_tickets_that_wait() -> None:
    asked: list[list[tuple[str, int]]] = []
    pump = idle_pump(build=asked.append)
    try:
        for name in ("a", "b", "c"):
            pump.submit(Submission(name, 0, "default", name, f"s-{name}"))
        list(pump.ledger.dispatch())
        pump.command(pump.revoke, "b")
        wanted = [[msg.NEED_BODY, "a", 0], [msg.NEED_BODY, "b", 0], [msg.NEED_BODY, "c", 2], [msg.NEED_BODY, "no", 0]]
        sent = receives(pump, *wanted)
        assert asked == [[("a", 0), ("c", 2)]]
        assert sent == [[msg.REVOKE, "b"]]
    finally:
        pump._close()


def test_a_defect_of_build_fails_the_tickets_of_that_turn_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def build(wanted: list[tuple[str, int]]) -> None:
        raise RuntimeError("a defect")

    pump = idle_pump(build=build)
    try:
        pump.submit(Submission("a", 0, "default", "a", "s-a"))
        list(pump.ledger.dispatch())
        (answer,) = receives(pump, [msg.NEED_BODY, "a", 0])
        assert answer[:3] == [msg.NO_BODY, "a", "BuildFailed"]
        assert "a defect" in answer[3]
        assert "failed for 1 tickets" in caplog.text
    finally:
        pump._close()


def test_bodies_that_are_at_hand_are_sent_without_asking_anybody(pump: Pump) -> None:
    pump.submit(Submission("t", 0, "default", "t", "s", "{}"))
    list(pump.ledger.dispatch())
    assert receives(pump, [msg.NEED_BODY, "t", 1]) == [[msg.BODY, "t", "{}"]]
