"""Asks running executors how they stand, by the sockets that they have left; drops those of killed ones."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shard_executor.status.folder import StatusError, check_folder, owner_lives, process_lives, sockets

ASK_LIMIT = 2.0  # seconds for one executor's answer
MAX_ANSWER = 64 * 1024 * 1024  # bytes
_AT_ONCE = 16
_RETRY = 0.05  # seconds between two tries of a socket whose owner does not listen yet, or has too many callers
_PEER = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@dataclass(frozen=True, slots=True)
class Silent:
    """An executor that did not answer, and why."""

    pid: int
    socket: str
    why: str


@dataclass(slots=True)
class Answers:
    """executors: what those that run say, each with the path of its `socket`, oldest first. silent: did not answer.

    complaints: what is wrong with the folders where sockets were looked for.
    """

    executors: list[dict[str, Any]]
    silent: list[Silent]
    complaints: list[str]


def ask_all(folders: Iterable[Path], *, timeout: float = ASK_LIMIT) -> Answers:
    """Asks every executor whose socket lies in these folders, all at once.

    Args:
        folders: those that do not exist are passed over, those that others can write to are refused.
        timeout: seconds for each answer.
    """
    found: list[tuple[Path, int]] = []
    complaints: list[str] = []
    for folder in folders:
        try:
            check_folder(folder)
            found += sockets(folder)
        except FileNotFoundError:
            continue
        except StatusError as error:
            complaints.append(str(error))
        except OSError as error:
            complaints.append(f"{folder}: {error.strerror or error}")
    executors: list[dict[str, Any]] = []
    silent: list[Silent] = []
    if found:
        with ThreadPoolExecutor(min(_AT_ONCE, len(found)), thread_name_prefix="shard-executor-ask") as pool:
            for answer in pool.map(lambda each: ask(*each, timeout=timeout), found):
                if isinstance(answer, Silent):
                    silent.append(answer)
                elif answer is not None:
                    executors.append(answer)
    executors.sort(key=lambda each: (str(each.get("started")), str(each["name"])))
    return Answers(executors, silent, complaints)


def ask(path: Path, pid: int, *, timeout: float = ASK_LIMIT) -> dict[str, Any] | Silent | None:
    """One executor's answer, or None if it has ended; the socket of one that was killed is removed.

    Args:
        path: of its socket.
        pid: the process that made it, by its name.
        timeout: seconds.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            problem = _connect(sock, path, pid, deadline)
            if problem is not None:
                return Silent(pid, str(path), problem)
            data = _read(sock, deadline)
        except FileNotFoundError:
            return None
        except TimeoutError:
            if _listener_is_gone(sock):  # a forked child of a killed executor keeps its socket open
                path.unlink(missing_ok=True)
                return None
            return Silent(pid, str(path), f"it does not answer within {timeout:g} s")
        except OSError as error:
            return Silent(pid, str(path), f"it cannot be asked: {error.strerror or error}") if path.exists() else None
    return _understood(data, path, pid)


def _connect(sock: socket.socket, path: Path, pid: int, deadline: float) -> str | None:
    """Connects; words if that cannot be. Raises FileNotFoundError if there is nobody, TimeoutError, OSError."""
    while True:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            sock.connect(os.fspath(path))
        except ConnectionRefusedError:
            if not owner_lives(path, pid):
                path.unlink(missing_ok=True)
                raise FileNotFoundError from None
            if time.monotonic() >= deadline:
                return "its process lives but does not listen"
        except BlockingIOError:  # the queue of the socket is full
            if time.monotonic() >= deadline:
                raise TimeoutError from None
        else:
            return None
        time.sleep(_RETRY)


def _read(sock: socket.socket, deadline: float) -> bytes:
    """One line, or what came before the end of the connection."""
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < MAX_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        part = sock.recv(262144)
        if not part:
            break
        data += part
    return bytes(data)


def _listener_is_gone(sock: socket.socket) -> bool:
    """Whether the process that made the listening socket has ended; one of another PID namespace (0) may live."""
    try:
        pid, _, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    except OSError:
        return False
    return pid != 0 and not process_lives(pid)


def _understood(data: bytes, path: Path, pid: int) -> dict[str, Any] | Silent | None:
    try:
        answer = orjson.loads(data)
    except ValueError:
        if not data and not path.exists():
            return None  # it has ended meanwhile
        return Silent(pid, str(path), "its answer is cut off" if data else "it closed the connection without an answer")
    if not isinstance(answer, dict) or not isinstance(answer.get("name"), str):
        return Silent(pid, str(path), "its answer is not that of a shard-executor")
    if "error" in answer:
        return Silent(pid, str(path), str(answer["error"]))
    answer.setdefault("pid", pid)
    answer["socket"] = str(path)
    return answer
