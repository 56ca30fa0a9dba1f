"""What can wait: finished pods that nobody owns, pods of tasks that were revoked without us. One thread.

Each piece of work is bounded in time and harmless if it does not come to its end: it is done again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from shard_executor.airflow import adoption
from shard_executor.airflow.cluster import Listed, PodMeta, list_pods, remove_pods
from shard_executor.airflow.database import DatabaseError
from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credentials import CredentialError

log = logging.getLogger(__name__)

LIST_LIMIT = 30.0  # seconds for looking for pods
REMOVE_LIMIT = 60.0  # seconds for removing those that were found
FIRST_SWEEP = 60.0  # seconds from the start, if the interval is longer
END_LIMIT = 5.0  # seconds that the thread is waited for
_TURN = 1.0  # seconds between looks at what is due


class Steward:
    """See the module.

    Args:
        credentials: the current credentials.
        namespaces: the watched ones; None is all of them.
        instance, owner: label values of this executor and its scheduler.
        keep: by whether a pod succeeded: it is labelled as done rather than deleted.
        live: ids of living schedulers, from the database.
        waiting: which of some task instances still wait for the end of a pod.
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
        waiting: Callable[[Collection[adoption.TiKey]], set[adoption.TiKey]],
        interval: float,
    ) -> None:
        self._credentials = credentials
        self._namespaces = namespaces
        self._instance = instance
        self._owner = owner
        self._keep = keep
        self._live = live
        self._waiting = waiting
        self._interval = interval
        self._errands: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
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

    def remove_pods_of(self, labels: dict[str, str], ti_key: adoption.TiKey, ti_id: str) -> None:
        """Removes the pods of a task instance that this executor has no job for; later, and quietly."""
        self._errands.append((self._remove_pods_of, (labels, ti_key, ti_id)))

    def _run(self) -> None:
        started = time.monotonic()
        due = started + min(self._interval, FIRST_SWEEP)
        while not self._ending.wait(_TURN):
            try:
                while self._errands and not self._ending.is_set():
                    errand, arguments = self._errands.popleft()
                    errand(*arguments)
                if time.monotonic() >= due:
                    due = time.monotonic() + self._interval
                    self.sweep()
            except (CredentialError, DatabaseError) as error:
                log.warning("finished pods could not be looked for: %s", error)
            except Exception:
                log.exception("looking after pods without an owner failed; it is tried again")

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

    def _remove_pods_of(self, labels: dict[str, str], ti_key: adoption.TiKey, ti_id: str) -> None:
        credentials = self._credentials()
        listed = self._list(credentials, adoption.task_selector(labels), "")
        pods = [
            pod
            for pod in listed.pods
            if adoption.ti_key_of(pod) == ti_key
            and adoption.is_ours(pod, self._instance)
            and pod.annotations.get(adoption.TI_ID_ANNOTATION, ti_id) == ti_id
        ]
        self._remove(credentials, [(pod, False) for pod in pods])

    def _list(self, credentials: Credentials, selector: str, fields: str) -> Listed:
        listed = list_pods(credentials, self._namespaces, selector, fields, LIST_LIMIT)
        for where, words in listed.problems.items():
            log.warning("pods in %s could not be listed: %s", where, words)
        return listed

    def _remove(self, credentials: Credentials, pods: list[tuple[PodMeta, bool]]) -> None:
        for name, words in remove_pods(credentials, pods, REMOVE_LIMIT).items():
            log.warning("pod %s could not be removed: %s", name, words)
