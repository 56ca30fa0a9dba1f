"""What can wait: finished pods that nobody owns, pods of tasks that were revoked without us. One thread.

Each piece of work is bounded in time and harmless if it does not come to its end: it is done again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from shard_executor.airflow import adoption
from shard_executor.airflow.book import TiKey
from shard_executor.airflow.cluster import Listed, PodMeta, list_pods, remove_pods
from shard_executor.airflow.database import DatabaseError
from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credentials import CredentialError

log = logging.getLogger(__name__)

LIST_LIMIT = 30.0  # seconds for looking for pods
REMOVE_LIMIT = 60.0  # seconds for removing those that were found
ERRAND_LIMIT = 600.0  # seconds for which it is tried to remove the pods of a task that was taken back
FIRST_SWEEP = 60.0  # seconds from the start, if the interval is longer
END_LIMIT = 5.0  # seconds that the thread is waited for
_TURN = 1.0  # seconds between looks at what is due


@dataclass(frozen=True, slots=True)
class _Errand:
    """Pods of a task instance that are to go; looked for until none is left, or it is too late (monotonic seconds)."""

    until: float
    labels: dict[str, str]
    ti_key: TiKey
    ti_id: str


class Steward:
    """See the module.

    Args:
        credentials: the current credentials.
        namespaces: the watched ones; None is all of them.
        instance, owner: label values of this executor and its scheduler.
        keep: by whether a pod succeeded: it is labelled as done rather than deleted.
        live: ids of living schedulers, from the database.
        waiting: which of some task instances still wait for the end of a pod.
        spared: submission ids of the open jobs, whose pods are not to be removed.
        interval: seconds between sweeps.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        namespaces: tuple[str | None, ...],
        instance: str,
        owner: str,
        keep: Callable[[bool], bool],
        live: Callable[[], set[str]],
        waiting: Callable[[Collection[TiKey]], set[TiKey]],
        spared: Callable[[], set[str]],
        interval: float,
    ) -> None:
        self._credentials = credentials
        self._namespaces = namespaces
        self._instance = instance
        self._owner = owner
        self._keep = keep
        self._live = live
        self._waiting = waiting
        self._spared = spared
        self._interval = interval
        self._errands: deque[_Errand] = deque()
        self._leaving: dict[TiKey, int] = {}  # errands by task instance
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.swept = 0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="shard-executor-steward", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(END_LIMIT)
            self._thread = None

    def remove_pods_of(self, labels: dict[str, str], ti_key: TiKey, ti_id: str) -> None:
        """Removes the pods of a task instance that this executor has no job for; later, and quietly."""
        self._leaving[ti_key] = self._leaving.get(ti_key, 0) + 1
        self._errands.append(_Errand(time.monotonic() + ERRAND_LIMIT, labels, ti_key, ti_id))

    def is_leaving(self, ti_key: TiKey) -> bool:
        """Whether pods of a task instance that are to be removed may still be there."""
        return ti_key in self._leaving

    def _run(self) -> None:
        started = time.monotonic()
        due = started + min(self._interval, FIRST_SWEEP)
        while not self._ending.wait(_TURN):
            try:
                if self._errands:
                    self._run_errands()
                if time.monotonic() >= due:
                    due = time.monotonic() + self._interval
                    self.sweep()
            except (CredentialError, DatabaseError) as error:
                log.warning("finished pods could not be looked for: %s", error)
            except Exception:
                log.exception("looking after pods without an owner failed; it is tried again")

    def _run_errands(self) -> None:
        for _ in range(len(self._errands)):
            if self._ending.is_set():
                return
            errand = self._errands.popleft()
            done = False
            try:
                done = self._remove_pods_of(errand)
            finally:
                if not done and time.monotonic() < errand.until:
                    self._errands.append(errand)
                elif (left := self._leaving.pop(errand.ti_key) - 1) > 0:
                    self._leaving[errand.ti_key] = left

    def sweep(self) -> None:
        """Removes the finished pods of schedulers that are dead."""
        live = {*self._live(), self._owner}
        credentials = self._credentials()
        selector = adoption.ownerless_selector(live)
        succeeded = self._list(credentials, selector, "status.phase=Succeeded")
        failed = self._list(credentials, selector, "status.phase=Failed")
        uids = {pod.uid for pod in succeeded.pods}
        # A failed pod may be the only news of its task: it stays for whoever adopts the task instance.
        waiting = self._waiting({key for pod in failed.pods if (key := adoption.ti_key_of(pod)) is not None})
        found = adoption.to_sweep([*succeeded.pods, *failed.pods], self._instance, uids, waiting)
        if found:
            self._remove(credentials, [(pod, self._keep(pod.uid in uids)) for pod in found])
            self.swept += len(found)
            log.info("%d finished pods of schedulers that are gone were removed or marked as done", len(found))

    def _remove_pods_of(self, errand: _Errand) -> bool:
        """False if pods are left: a removed one may take its grace period to go."""
        credentials = self._credentials()
        listed = self._list(credentials, adoption.task_selector(errand.labels), "")
        spared = self._spared()  # looked up after the list: whatever was made since is not on it
        pods = [
            pod
            for pod in listed.pods
            if adoption.ti_key_of(pod) == errand.ti_key
            and adoption.is_ours(pod, self._instance)
            and pod.annotations.get(adoption.TI_ID_ANNOTATION, errand.ti_id) == errand.ti_id
            and adoption.submission_of(pod) not in spared
        ]
        self._remove(credentials, [(pod, False) for pod in pods if not pod.deleting])
        return not pods and not listed.problems

    def _list(self, credentials: Credentials, selector: str, fields: str) -> Listed:
        listed = list_pods(credentials, self._namespaces, selector, fields, LIST_LIMIT)
        for where, words in listed.problems.items():
            log.warning("pods in %s could not be listed: %s", where, words)
        return listed

    def _remove(self, credentials: Credentials, pods: list[tuple[PodMeta, bool]]) -> None:
        for name, words in remove_pods(credentials, pods, REMOVE_LIMIT).items():
            log.warning("pod %s could not be removed: %s", name, words)
