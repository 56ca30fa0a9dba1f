"""The private folder in which running executors leave their status sockets, and what is stale in it."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import psutil

RUNTIME_DIR = "SHARD_EXECUTOR_RUNTIME_DIR"
MAX_PATH = 107  # bytes of a socket's path: sun_path of unix(7) has 108 with the NUL that ends it
PROBE_LIMIT = 0.5  # seconds that a connection to a socket that may be stale may take
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(r"([1-9][0-9]{0,9})-[0-9]+\.sock")
_CLOCK_MARGIN = 2.0  # seconds by which a process's start, counted from boot, may seem later than its socket


class StatusError(RuntimeError):
    """There can be no status socket; the message says why and what to do next. No reason to end a run."""


def candidates() -> list[Path]:
    """Folders for sockets, the best first.

    $SHARD_EXECUTOR_RUNTIME_DIR alone if it is set. Else $XDG_RUNTIME_DIR/shard-executor where that is a folder of this
    user (not so after `su`; XDG Base Directory Specification), then shard-executor-<uid> in the folders for temporary
    files.
    """
    named = os.environ.get(RUNTIME_DIR)
    if named:
        return [Path(named).absolute()]
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_own_folder(runtime):
        found.append(Path(runtime, "shard-executor"))
    for base in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"):
        if os.path.isabs(base) and os.path.isdir(base) and os.access(base, os.W_OK | os.X_OK):
            found.append(Path(base, f"shard-executor-{os.geteuid()}"))
    return list(dict.fromkeys(found))


def places() -> list[Path]:
    """Where a client looks: all candidates, as the executor may have been started in another environment."""
    found = candidates()
    if not os.environ.get(RUNTIME_DIR):
        found.append(Path(f"/run/user/{os.geteuid()}/shard-executor"))
    return list(dict.fromkeys(found))


def _is_own_folder(path: str) -> bool:
    try:
        state = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()


def check_folder(folder: Path) -> None:
    """Looks whether nobody else can put a socket into a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        StatusError: it is no folder, belongs to another user, or others may write to it.
    """
    try:
        state = os.lstat(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StatusError(f"{folder}: {error.strerror}; {_advice()}") from None
    if not stat.S_ISDIR(state.st_mode):
        raise StatusError(f"{folder} is no folder; {_advice()}")
    if state.st_uid != os.geteuid():
        raise StatusError(f"{folder} belongs to user {state.st_uid}, not to {os.geteuid()}; {_advice()}")
    if state.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(state.st_mode)
        raise StatusError(f"{folder} may be written by others (mode {mode:04o}): chmod 0700 it, or {_advice()}")


def prepare_folder(folder: Path) -> bool:
    """Creates a folder with mode 0700, or checks the one that is there; whether it was created.

    Raises:
        StatusError: see `check_folder`, or it cannot be created.
        FileNotFoundError: somebody has removed it this moment.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
            created = True
        except FileExistsError:
            created = False
        check_folder(folder)
        return created
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StatusError(f"{folder} cannot be created: {error.strerror or error}; {_advice()}") from None


def _advice() -> str:
    return f"set {RUNTIME_DIR} to a folder of your own"


def check_length(path: Path) -> None:
    """Raises StatusError for a path that no Unix socket can have."""
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise StatusError(
            f"{path}: the path of a Unix socket has at most {MAX_PATH} bytes, this one {length}; "
            f"set {RUNTIME_DIR} to a shorter folder"
        )


def sockets(folder: Path) -> list[tuple[Path, int]]:
    """The sockets in a folder, each with the process id that its name tells. Raises OSError."""
    found = []
    for name in sorted(os.listdir(folder)):
        match = _NAME.fullmatch(name)
        if match:
            found.append((folder / name, int(match[1])))
    return found


def process_lives(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def owner_lives(path: Path, pid: int) -> bool:
    """Whether a process lives that may have made this socket: it has that id and is not younger than the file.

    Raises:
        FileNotFoundError: the socket is gone.
    """
    made_at = os.lstat(path).st_mtime
    try:
        return process_lives(pid) and bool(psutil.Process(pid).create_time() <= made_at + _CLOCK_MARGIN)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def answers(path: Path) -> bool:
    """Whether somebody listens at a socket. A full queue of connections means yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_LIMIT)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def drop_stale(folder: Path) -> None:
    """Removes the sockets of processes that were killed. Raises OSError."""
    for path, pid in sockets(folder):
        try:
            stale = not owner_lives(path, pid) and not answers(path)
        except FileNotFoundError:
            continue  # its executor has ended this moment
        if stale:
            path.unlink(missing_ok=True)
