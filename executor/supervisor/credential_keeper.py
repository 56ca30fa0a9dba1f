"""Keeps the shards' credentials fresh from a thread of its own, since an exec plugin may take seconds to answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credentials import CredentialError, CredentialSource

log = logging.getLogger(__name__)

CHECK_INTERVAL = 10.0  # seconds between looks at token files and expiry times
REFRESH_INTERVAL = 5.0  # at most one forced refresh in this time, however many requests were answered by 401


class CredentialKeeper:
    """Calls `changed` with every new record.

    Args:
        source: where they come from.
        changed: called from the keeper's thread.
    """

    def __init__(self, source: CredentialSource, changed: Callable[[Credentials], None]) -> None:
        self._source = source
        self._changed = changed
        self._wake = threading.Event()
        self._end = threading.Event()
        self._forced = False
        self._thread: threading.Thread | None = None
        self._last: Credentials | None = None

    def start(self, first: Credentials) -> None:
        self._last = first
        self._thread = threading.Thread(target=self._run, name="shard-executor-credentials", daemon=True)
        self._thread.start()

    def refresh(self) -> None:
        """A shard was answered by 401."""
        self._forced = True
        self._wake.set()

    def end(self, timeout: float = 5.0) -> None:
        self._end.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait(CHECK_INTERVAL)
            self._wake.clear()
            if self._end.is_set():
                return
            forced, self._forced = self._forced, False
            try:
                record = self._source.refresh() if forced else self._source.current()
            except CredentialError as error:
                log.warning("credentials could not be renewed, the old ones stay in use: %s", error)
                record = None
            except Exception:  # a plugin's answer that nobody foresaw: without this thread no token is ever renewed
                log.exception("credentials could not be renewed, the old ones stay in use")
                record = None
            if record is not None and (forced or record != self._last):
                self._last = record
                self._changed(record)
            if forced:
                self._end.wait(REFRESH_INTERVAL)
