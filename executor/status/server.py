"""A Unix socket on which a running executor tells about itself: every connection gets one JSON object."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

import shard_executor
from shard_executor.status.folder import (
    RUNTIME_DIR,
    StatusError,
    answers,
    candidates,
    check_length,
    drop_stale,
    prepare_folder,
)

log = logging.getLogger(__name__)

READ_LIMIT = 2.0  # seconds that a client has to read its answer
MAX_CLIENTS = 8  # answered at the same time; as many more wait in the kernel's queue
REUSE = 0.05  # seconds for which an answer is given again: bounds what a client that asks without pause can cost
JOIN_LIMIT = 5.0  # seconds that `end` waits for the thread
_ACCEPT_PAUSE = 1.0  # seconds without a further accept after one failed, as without file descriptors
_TRIES = 100  # of finding a name that nobody uses

_numbers = itertools.count(1)
_started: weakref.WeakSet[StatusServer] = weakref.WeakSet()


@dataclass(slots=True)
class _Client:
    left: memoryview
    deadline: float


class StatusServer:
    """Answers `shard-executor status`. Constructing starts nothing.

        with StatusServer(lambda: describe(supervisor.stats(), namespaces=["jobs"]), kind="run", name=run_id):
            ...

    The `with` block runs without a socket, after a warning in the log, where there can be none.

    Args:
        describe: gives what is told beside kind, name and process, as JSON types. Called on this server's thread, so
            it must be quick: what is in memory, no requests.
        kind: what runs: run, pod-executor.
        name: the run's id.
        folder: of the socket; None is the first of `candidates()`.
    """

    def __init__(
        self, describe: Callable[[], dict[str, Any]], *, kind: str, name: str, folder: Path | None = None
    ) -> None:
        self._describe = describe
        self._kind = kind
        self._name = name
        self._folder = folder
        self._lock = threading.Lock()
        self._pid = 0
        self._head: dict[str, Any] = {}
        self._listener: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._clients: dict[socket.socket, _Client] = {}
        self._thread: threading.Thread | None = None
        self._answer: tuple[float, bytes] = (float("-inf"), b"")
        self._accept_at: float | None = None  # when connections are taken again, None while they are
        self._tidies = False
        self.path: Path | None = None

    def start(self) -> None:
        """Listens and starts the thread.

        Raises:
            StatusError: there can be no socket; the message says why. Nothing is left of the attempt.
            RuntimeError: it was started before.
        """
        with self._lock:
            if self._pid:
                raise RuntimeError("this status server was started before; make a new one")
            self._listener, self.path, self._tidies = _listen(self._folder)
            started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._head = {
                "kind": self._kind,
                "name": self._name,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "version": shard_executor.__version__,
                "started": started,
            }
            thread = threading.Thread(target=self._run, name="shard-executor-status", daemon=True)
            try:
                self._wake = socket.socketpair()
                self._selector = selectors.DefaultSelector()
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._selector.register(self._wake[0], selectors.EVENT_READ)
                thread.start()
            except (OSError, RuntimeError) as error:  # no descriptors, no threads to be had
                self._forget()
                self._remove()
                raise StatusError(f"its socket cannot be served: {error}") from None
            self._pid = os.getpid()
            self._thread = thread
            _started.add(self)

    def try_start(self) -> bool:
        """`start`, or a warning in the log that says why there is no socket."""
        try:
            self.start()
        except StatusError as error:
            log.warning("%s %s cannot be seen with `shard-executor status`: %s", self._kind, self._name, error)
            return False
        return True

    def end(self) -> None:
        """Removes the socket and joins the thread. Harmless when repeated, before the start and in a forked child."""
        if self._pid != os.getpid():
            return  # before the lock, which in a forked child may be locked for ever
        with self._lock:
            thread = self._thread
            if thread is None or self._wake is None:
                return
            self._thread = None
            _started.discard(self)
            self._remove()  # first, so that nobody is refused whose socket is still to be seen
            with contextlib.suppress(OSError):  # the thread may have failed
                self._wake[1].send(b"\0")
            thread.join(JOIN_LIMIT)
            if thread.is_alive():
                log.warning("the status thread has not ended within %.0f s", JOIN_LIMIT)
                return
            self._wake[1].close()

    def __enter__(self) -> Self:
        self.try_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    # ---- the thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception:
            log.exception("the status socket fails; nobody can ask this executor any more")
            self._remove()
        finally:
            self._close()

    def _turn(self) -> bool:
        """Waits for something to do and does it; False when told to end."""
        assert self._selector is not None
        assert self._wake is not None
        limits = [client.deadline for client in self._clients.values()]
        if self._accept_at is not None:
            limits.append(self._accept_at)
        patience = max(0.0, min(limits) - time.monotonic()) if limits else None
        for key, _ in self._selector.select(patience):
            if key.fileobj is self._wake[0]:
                return False
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._send(key.fileobj)
        now = time.monotonic()
        for sock in [sock for sock, client in self._clients.items() if now >= client.deadline]:
            self._drop(sock)
        if self._accept_at is not None and now >= self._accept_at and len(self._clients) < MAX_CLIENTS:
            self._accept_at = None
            assert self._listener is not None
            self._selector.register(self._listener, selectors.EVENT_READ)
        return True

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as error:
            log.warning("a question about the status could not be taken: %s", error)
            self._pause(_ACCEPT_PAUSE)
            return
        sock.setblocking(False)
        self._clients[sock] = _Client(memoryview(self._object()), time.monotonic() + READ_LIMIT)
        assert self._selector is not None
        self._selector.register(sock, selectors.EVENT_WRITE)
        self._send(sock)
        if len(self._clients) >= MAX_CLIENTS:
            self._pause(READ_LIMIT)  # at the latest then the first of them has gone

    def _pause(self, seconds: float) -> None:
        assert self._selector is not None
        assert self._listener is not None
        self._selector.unregister(self._listener)
        self._accept_at = time.monotonic() + seconds

    def _object(self) -> bytes:
        now = time.monotonic()
        if now - self._answer[0] < REUSE:
            return self._answer[1]
        try:
            answer = orjson.dumps({**self._head, **self._describe()}, option=orjson.OPT_APPEND_NEWLINE)
        except Exception as error:
            log.exception("this executor cannot say how it stands")
            words = f"it cannot say how it stands: {error!r}"
            answer = orjson.dumps({**self._head, "error": words}, option=orjson.OPT_APPEND_NEWLINE)
        self._answer = (now, answer)
        return answer

    def _send(self, sock: socket.socket) -> None:
        client = self._clients[sock]
        try:
            while client.left:
                client.left = client.left[sock.send(client.left) :]
        except BlockingIOError:
            return
        except OSError:
            self._drop(sock)  # it does not want to know any more
            return
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        assert self._selector is not None
        del self._clients[sock]
        self._selector.unregister(sock)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # a forked child may hold a copy, which would keep the client waiting
        sock.close()
        if self._accept_at is not None and len(self._clients) == MAX_CLIENTS - 1:
            self._accept_at = time.monotonic()

    def _close(self) -> None:
        """Closes what this process holds, but for the end of the wake-up that `end` writes to."""
        if self._selector is not None:
            self._selector.close()
        for sock in [*self._clients, self._listener, self._wake[0] if self._wake else None]:
            if sock is not None:
                sock.close()
        self._clients.clear()

    def _remove(self) -> None:
        """Removes the socket, and its folder if it was the last there and the folder is not the user's."""
        assert self.path is not None
        try:
            self.path.unlink(missing_ok=True)
            if self._tidies:
                self.path.parent.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                log.debug("%s is left behind: %s", self.path, error)

    def _forget(self) -> None:
        """In a forked child: closes its copies and nothing else. Its parent goes on listening."""
        self._close()
        if self._wake is not None:
            self._wake[1].close()


def _in_forked_child() -> None:
    for server in list(_started):
        server._forget()
    _started.clear()


os.register_at_fork(after_in_child=_in_forked_child)


def _listen(folder: Path | None) -> tuple[socket.socket, Path, bool]:
    """A listening socket of mode 0600, its path, and whether its folder may go with it; raises StatusError."""
    tidies = folder is None and not os.environ.get(RUNTIME_DIR)
    if folder is None:
        folders = candidates()
        if not folders:
            raise StatusError(f"there is no folder for its socket: set {RUNTIME_DIR} to one of your own")
        folder = folders[0]
    words = ""
    for _ in range(_TRIES):
        path = folder / f"{os.getpid()}-{next(_numbers)}.sock"
        check_length(path)
        try:
            tidies |= prepare_folder(folder)
            drop_stale(folder)
            return _bind(path), path, tidies
        except OSError as error:
            words = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                if not answers(path):  # of a killed process that had our id, as in a restarted container
                    path.unlink(missing_ok=True)
            elif error.errno != errno.ENOENT:  # that is: the end of another executor has removed the folder
                raise StatusError(f"{path}: {words}") from None
    raise StatusError(f"{folder}: no socket could be made in {_TRIES} tries: {words}")


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(os.fspath(path))
        os.chmod(path, 0o600)  # before anybody can connect
        sock.listen(MAX_CLIENTS)
    except BaseException:
        sock.close()
        raise
    return sock
