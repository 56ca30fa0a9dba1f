"""The shard process: `python -m shard_executor.shard FD PARENT_PID`, with one end of a socket pair as FD.

It stops when told to, when the channel ends, and when its parent dies: forked children of the parent may hold the
other end of the channel open, so the parent is watched by pidfd too. Pods are left as they are.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import traceback
from typing import Any

from shard_executor.shard.driver import Shard
from shard_executor.shard.settings import ShardSettings
from shard_executor.supervisor import messages as msg

_READ_SIZE = 256 * 1024
_EXIT_FAILED = 70  # sysexits.h EX_SOFTWARE
_EXIT_ORPHANED = 3


class Channel:
    """The shard's end of the socket pair: messages out are gathered and written once per turn of the loop."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._out: list[msg.Message] = []
        self._pending = bytearray()
        self._scheduled = False
        self._writing = False

    def send(self, message: msg.Message) -> None:
        self._out.append(message)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Writes what has gathered; what the socket does not take now is written when it can be."""
        self._scheduled = False
        if self._out:
            self._pending += msg.encode(self._out)
            self._out = []
        try:
            while self._pending:
                sent = self._sock.send(self._pending)
                del self._pending[:sent]
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock, self.flush)
            return
        except OSError:
            self._pending.clear()  # the parent has gone: the reader notices and ends the process
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)


class ChannelLog(logging.Handler):
    """Sends this process's log to the parent, whose log is the one that is read, at the level that it asks for."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send([msg.LOG, record.levelname.lower(), self.format(record)])


async def serve(sock: socket.socket, parent_pid: int) -> int:
    """Runs the shard until it is told to stop or orphaned; returns the exit code."""
    loop = asyncio.get_running_loop()
    channel = Channel(sock, loop)
    logging.getLogger().addHandler(ChannelLog(channel))
    reader = msg.FrameReader()
    orphaned = asyncio.Event()
    over: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not over.done():
            over.set_result(code)

    def failed(trace: str) -> None:
        channel.send([msg.LOG, "error", f"the shard failed and will be restarted:\n{trace}"])
        end(_EXIT_FAILED)

    def defect(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or "handle" not in context:
            loop.default_exception_handler(context)  # a transport's complaint: its user has had the error
        else:
            # A callback of the loop failed: what it was for would be missing without anybody noticing.
            failed("".join(traceback.format_exception(error)))

    loop.set_exception_handler(defect)
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        return _EXIT_ORPHANED
    loop.add_reader(parent, orphaned.set)
    watch_parent = loop.create_task(orphaned.wait())
    watch_parent.add_done_callback(lambda _: end(_EXIT_ORPHANED))
    if os.getppid() != parent_pid:
        return _EXIT_ORPHANED

    shard: Shard | None = None

    async def read() -> None:
        nonlocal shard
        while True:
            data = await loop.sock_recv(sock, _READ_SIZE)
            if not data:
                end(_EXIT_ORPHANED)
                return
            for message in reader.feed(data):
                if message[0] == msg.CONFIG:
                    settings = ShardSettings.from_json(message[1])
                    logging.getLogger("shard_executor").setLevel(settings.log_level)
                    shard = Shard(settings, channel.send, failed)
                    await shard.start()
                    channel.send([msg.READY, os.getpid()])
                elif message[0] == msg.STOP:
                    if shard is not None:
                        await shard.end(message[1])
                        shard = None
                    channel.send([msg.STOPPED])
                    end(0)
                    return
                elif shard is not None:
                    shard.receive(message)

    def read_ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed("".join(traceback.format_exception(error)))

    reading = loop.create_task(read())
    reading.add_done_callback(read_ended)
    code = await over
    for task in (reading, watch_parent):
        task.cancel()
    if shard is not None and code != _EXIT_ORPHANED:
        await shard.end(0.0)
    channel.flush()
    loop.remove_reader(parent)
    os.close(parent)
    return code


def main(arguments: list[str]) -> int:
    """Takes over the channel and runs the loop; SIGINT of a terminal is the parent's business."""
    fd, parent_pid = (int(argument) for argument in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=fd) as sock:
        sock.setblocking(False)
        return asyncio.run(serve(sock, parent_pid))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # nothing is left to finalise, and an orphan must not linger in interpreter shutdown
