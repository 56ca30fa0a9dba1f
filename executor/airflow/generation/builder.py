"""The builder process: `python -m shard_executor.airflow.generation.builder FD PARENT_PID`.

It imports airflow, which a scheduler's thread should not have to wait for, and runs what holds the interpreter for
long: the provider's generator, Jinja, and the deployment's mutation hook. It ends when its channel ends, when its
parent dies, and, with no hook in use, after a time without work.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from shard_executor.airflow.generation import wire
from shard_executor.airflow.generation.request import BuildError, GenerationSettings
from shard_executor.airflow.generation.subject import Subject

if TYPE_CHECKING:
    from shard_executor.airflow.generation.general import Generator

log = logging.getLogger(__name__)

EXIT_IDLE = 0
EXIT_ORPHANED = 3
EXIT_FAILED = 70  # sysexits.h EX_SOFTWARE


def serve(sock: socket.socket) -> int:
    """Answers jobs until there is nobody to answer; returns the exit code."""
    frames = wire.Frames(sock)
    path, fields = frames.read()
    # The parent's, so that airflow_local_settings and plugins are found where the scheduler found them.
    sys.path[:] = path
    try:
        from shard_executor.airflow.generation.general import Generator, hooks_in_use

        settings = GenerationSettings(**fields)
        generator = Generator(settings)
        hooks = hooks_in_use()
    except Exception:  # imports of a deployment's own code among it
        log.exception("the pod builder cannot start")
        wire.send(sock, (wire.FAILED, traceback.format_exc()))
        return EXIT_FAILED
    wire.send(sock, (wire.READY, hooks))
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    limit = None if hooks else settings.idle_timeout * 1000
    while waiting.poll(limit):
        for kind, fields in frames.read():
            wire.send(sock, _answer(generator, kind, Subject(*fields)))
    return EXIT_IDLE


def _answer(generator: Generator, kind: int, subject: Subject) -> tuple[Any, ...]:
    of_shape = kind == wire.COMPILE  # until the shape has been found good
    try:
        if kind == wire.COMPILE:
            compiled = generator.compile(subject)
            if compiled is not None:
                return (wire.PLAN, *compiled)
            of_shape = False
            return (wire.LOGIC, *generator.build(subject))
        return (wire.POD, *generator.build(subject))
    except BuildError as error:
        return (wire.ERROR, error.reason, error.message, of_shape)
    except Exception as error:
        # Whatever it is must not stop everybody's pods: this task is told of it, by name.
        log.exception("the pod of task %s of %s could not be generated", subject.task_id, subject.dag_id)
        return (wire.ERROR, "BuildFailed", f"generating the pod failed: {type(error).__name__}: {error}", False)


def _end_with(parent: int) -> None:
    """Ends this process with its parent, whatever a hook is doing then: forks of the parent may hold the channel."""
    waiting = select.poll()
    waiting.register(parent, select.POLLIN)
    waiting.poll()
    os._exit(EXIT_ORPHANED)


def main(arguments: list[str]) -> int:
    """Takes over the channel and serves it; SIGINT of a terminal is the parent's business."""
    fd, parent_pid = (int(argument) for argument in arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        return EXIT_ORPHANED
    if os.getppid() != parent_pid:
        return EXIT_ORPHANED
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    with socket.socket(fileno=fd) as sock:
        try:
            return serve(sock)
        except (wire.ChannelEnded, OSError):
            return EXIT_ORPHANED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to finalise, and an orphan must not linger in interpreter shutdown
