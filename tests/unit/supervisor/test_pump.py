"""The pump alone, without shards: its wake-up pipe, and mistakes of callers."""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import subprocess
from collections.abc import Iterator

import pytest

from shard_executor.supervisor import messages as msg
from shard_executor.supervisor import pump as pump_module
from shard_executor.supervisor.config import Submission, SupervisorConfig
from shard_executor.supervisor.credentials import CredentialSource
from shard_executor.supervisor.pump import Pump


@pytest.fixture
def pump() -> Iterator[Pump]:
    """A pump whose pipe is open and whose thread does not run: the test is the thread."""
    made = Pump(
        SupervisorConfig(instance="x", owner="x", namespace="default", credentials=CredentialSource(), shards=1),
        lambda: None,
    )
    made._wake_read, made._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield made
    made._close()


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
