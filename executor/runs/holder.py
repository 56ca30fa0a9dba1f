"""One parent a journal: a lock that the kernel frees when its process dies, and a sign of life for other hosts.

flock(2) decides between processes of one host, and between hosts where the file system carries it across. Where it does
not, the lock file's content tells: a holder writes the time into it every few seconds, and a process on another host
keeps away as long as that is young. It is read before the database is opened, as two hosts that do not see each
other's locks must not have one SQLite file open at the same time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from shard_executor.runs.journal_errors import JournalError, JournalHeld, unwritable

ALIVE = 60.0  # seconds; a sign of life from another host counts that long
_TELL_LIMIT = 1.0  # seconds that one who has just taken the lock may need to write down who it is
_TELL_POLL = 0.02
# Shards must not inherit it, and a link that somebody has laid there is not followed.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MAX_CONTENT = 4096
_BEGINNING = b'{"host":'  # of what a holder writes
_MAX_PID, _MAX_TIME = 2**31, 2.0**33  # what a pid and unix seconds can be; a file may say anything


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a journal.

    Args:
        host: its host's name.
        boot: id of that host's boot; empty where the kernel does not tell.
        pid: its process id.
        since: when it took the journal, unix seconds.
        beat: its last sign of life, unix seconds.
        token: random; tells it from all others.
    """

    host: str
    boot: str
    pid: int
    since: float
    beat: float
    token: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The host that this process runs on; `booted` is in unix seconds."""

    host: str
    boot: str
    booted: float


def this_machine(now: float) -> Machine:
    """Reads the host's name and boot; both of the boot are left empty where there is no Linux /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        booted = now - float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        boot, booted = "", 0.0
    return Machine(socket.gethostname(), boot, booted)


def alive_elsewhere(owner: Owner, machine: Machine, now: float) -> bool:
    """Whether an owner must be taken for a living process of another host.

    A host of the same name that has booted anew is this one, unless the sign of life is younger than our boot: then it
    is another host that bears the same name, as a pod that was moved to another node does.
    """
    elsewhere = owner.host != machine.host or (owner.boot != machine.boot and owner.beat > machine.booted)
    return elsewhere and abs(now - owner.beat) < ALIVE


def when(seconds: float) -> str:
    """Unix seconds for a message."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def seen_elsewhere(path: Path, owner: Owner, now: float) -> JournalHeld:
    """The error for a journal whose holder on another host has given a sign of life lately."""
    age = max(0.0, now - owner.beat)
    left = owner.beat + ALIVE - now
    return JournalHeld(
        f"journal {path}: is held by another process, seen {age:.0f} s ago on host {owner.host}, pid {owner.pid}; "
        f"if it is dead, try again in {max(1.0, left):.0f} s",
        host=owner.host,
        pid=owner.pid,
        since=owner.since,
    )


class Holder:
    """The lock on one journal. Constructing touches nothing.

    Args:
        journal: path of the journal; the lock is the file of that name with `.lock` added.
        clock: unix seconds.
    """

    def __init__(self, journal: Path, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self.path = journal.with_name(journal.name + ".lock")
        self._clock = clock
        self._descriptor: int | None = None
        self._created = False
        self.owner: Owner | None = None

    def take(self) -> Owner:
        """Takes the lock without waiting for a living holder.

        Raises:
            JournalHeld: another process has it, here or on another host.
            JournalUnwritable: the lock file cannot be made, or the file system has no locks.
        """
        descriptor, created = self._locked()
        now = self._clock()
        machine = this_machine(now)
        before = _read(descriptor)
        if before is None and not _may_be_replaced(descriptor):
            os.close(descriptor)
            why = f"its lock would be {self.path}, and that is a file of something else"
            raise unwritable(self._journal, why, "name another file with --journal")
        if before is not None and alive_elsewhere(before, machine, now):
            os.close(descriptor)
            raise seen_elsewhere(self._journal, before, now)
        owner = Owner(machine.host, machine.boot, os.getpid(), now, now, secrets.token_hex(8))
        self._descriptor, self._created = descriptor, created
        try:
            self._write(owner)
        except OSError as fault:
            self.release(forget=True)
            raise unwritable(self._journal, f"its lock {self.path} cannot be written: {fault.strerror}") from fault
        self.owner = owner
        return owner

    def beat(self, now: float) -> None:
        """Writes a sign of life, unix seconds. Raises OSError."""
        if self.owner is None:
            raise ValueError("the lock is not held")
        self.owner = replace(self.owner, beat=now)
        self._write(self.owner)

    def release(self, *, forget: bool = False, remove: bool = False) -> None:
        """Gives the lock up; safe to call again.

        Args:
            forget: remove the lock file if this holder has made it: nothing came of the journal.
            remove: remove the lock file: the journal is gone.
        """
        descriptor, self._descriptor, self.owner = self._descriptor, None, None
        if descriptor is None:
            return
        try:
            # Names go while the lock is held: one who opened the file before finds out that it has lost its name.
            if remove or (forget and self._created):
                self.path.unlink(missing_ok=True)
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _locked(self) -> tuple[int, bool]:
        """A descriptor of the lock file with the lock on it, and whether the file was made for it."""
        deadline = time.monotonic() + _TELL_LIMIT
        while True:
            descriptor, created = self._opened()
            last_word = time.monotonic() >= deadline
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _still_named(descriptor, self.path):
                    return descriptor, created
                os.close(descriptor)  # somebody has removed the file since
                if last_word:
                    raise unwritable(self._journal, f"its lock {self.path} vanishes again and again")
            except BlockingIOError:
                owner = _read(descriptor)
                os.close(descriptor)
                self._refuse(owner, last_word=last_word)
                time.sleep(_TELL_POLL)
            except JournalError:
                raise
            except OSError as fault:
                os.close(descriptor)
                if created:
                    self.path.unlink(missing_ok=True)
                raise unwritable(
                    self._journal,
                    f"the file system of {self.path} has no locks ({fault.strerror})",
                    "keep the journal on a local disk: name another file with --journal",
                ) from fault

    def _opened(self) -> tuple[int, bool]:
        try:
            try:
                return os.open(self.path, _FLAGS | os.O_EXCL, 0o600), True
            except FileExistsError:
                return os.open(self.path, _FLAGS, 0o600), False
        except OSError as fault:
            why = f"its lock {self.path} cannot be opened for writing: {fault.strerror or fault}"
            advice = "make room and run again with the same run id" if fault.errno == errno.ENOSPC else ""
            raise unwritable(self._journal, why, advice) from fault

    def _refuse(self, owner: Owner | None, *, last_word: bool) -> None:
        """Raises JournalHeld, naming the holder; waits for a better name if there is none yet and time is left."""
        if owner is not None and (last_word or owner.host != socket.gethostname() or _exists(owner.pid)):
            raise JournalHeld(
                f"journal {self._journal}: is held by process {owner.pid} on host {owner.host} since "
                f"{when(owner.since)}; wait until it ends, or stop it there, and then run again",
                host=owner.host,
                pid=owner.pid,
                since=owner.since,
            )
        if last_word:
            raise JournalHeld(
                f"journal {self._journal}: is held by another process, which has not said who it is; "
                f"`fuser {self.path}` may tell; wait until it ends and run again"
            )

    def _write(self, owner: Owner) -> None:
        if self._descriptor is None:
            raise ValueError("the lock is not held")
        content = orjson.dumps(asdict(owner), option=orjson.OPT_APPEND_NEWLINE)
        if os.pwrite(self._descriptor, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self._descriptor, len(content))


def _still_named(descriptor: int, path: Path) -> bool:
    """Whether a locked file still has its name; whoever removes one holds its lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> Owner | None:
    """Who the content names; None if it is empty, half written or not ours."""
    try:
        said = orjson.loads(os.pread(descriptor, _MAX_CONTENT, 0))
        return owner_of(*(said[field.name] for field in fields(Owner)))
    except (ValueError, TypeError, KeyError):
        return None


def _may_be_replaced(descriptor: int) -> bool:
    """Whether content that names nobody is nothing, or what a power loss left of a holder's, and not a foreign file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    content = os.pread(descriptor, _MAX_CONTENT, 0)
    return not content.strip(b"\0") or content.startswith(_BEGINNING)


def owner_of(host: Any, boot: Any, pid: Any, since: Any, beat: Any, token: Any) -> Owner | None:
    """An owner as a file names it; None if those are no values that a holder writes."""
    numbers = isinstance(pid, int) and isinstance(since, (int, float)) and isinstance(beat, (int, float))
    if not numbers or not (0 < pid < _MAX_PID and 0 <= since < _MAX_TIME and 0 <= beat < _MAX_TIME):
        return None
    return Owner(str(host), str(boot), pid, float(since), float(beat), str(token))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
