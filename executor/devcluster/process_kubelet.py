"""The kubelet that runs pods as processes of this host: one worker for each pod, logs from files, lost nodes."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from shard_executor.devcluster import errors
from shard_executor.devcluster.images import Images
from shard_executor.devcluster.kubelet import Disruption, choose_container, no_previous, not_started, pieces_of
from shard_executor.devcluster.launcher import NodeServices, Pauses
from shard_executor.devcluster.logfile import DEFAULT_LIMIT, LogQuery, LogReader
from shard_executor.devcluster.pod_events import PodEvents
from shard_executor.devcluster.pod_worker import PodWorker
from shard_executor.devcluster.pods import TERMINAL
from shard_executor.devcluster.runtime import Runtime
from shard_executor.devcluster.scheduler import Scheduler
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

_FOLLOW_PAUSE = 0.1  # seconds between looks at a log that is followed


class ProcessKubelet:
    """All nodes of a development cluster whose pods are real processes. Constructing starts nothing.

    Args:
        store: the cluster's objects.
        nodes: how many nodes there are.
        capacity: pods at once on each; further pods stay Pending.
        root: an existing directory for logs and volumes; by default a temporary one, removed at the end.
        pauses: seconds of back-off.
        log_limit: bytes after which a container's log is rotated; at most twice as much is kept.
        events: which Event objects to write: ``none``, ``warnings`` or ``all``.
        patience: seconds until a pod that finds no room is marked Unschedulable.
    """

    def __init__(
        self,
        store: Store,
        *,
        nodes: int = 1,
        capacity: int = 110,
        root: Path | None = None,
        pauses: Pauses | None = None,
        log_limit: int = DEFAULT_LIMIT,
        events: str = "warnings",
        patience: float = 5.0,
    ) -> None:
        self._store = store
        self.images = Images()
        self._events = PodEvents(store, events)
        self._scheduler = Scheduler(store, self._events, nodes=nodes, capacity=capacity, patience=patience)
        self._given_root = root
        self._pauses = pauses or Pauses()
        self._runtime = Runtime(log_limit=log_limit)
        self._services: NodeServices | None = None
        self._workers: dict[str, PodWorker] = {}
        self._lost: set[str] = set()
        self._removals: set[asyncio.Future[None]] = set()
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return list(self._scheduler.nodes)

    def start(self) -> None:
        """Creates the nodes and takes up all pods, present and future."""
        if self._given_root is None:
            root = Path(tempfile.mkdtemp(prefix="shard-executor-devcluster-")).resolve()
            self._runtime.scratch = root
        else:
            root = self._given_root.resolve()
        self._services = NodeServices(self._store, self._runtime, self.images, self._events, root, self._pauses)
        self._unsubscribe = self._store.subscribe("pods", self._on_pod)
        for pod in self._store.list("pods", None):
            self._on_pod("ADDED", pod, None)
        self._scheduler.start()

    async def end(self) -> None:
        """Kills all processes, forgets all pods and removes the temporary directory."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._scheduler.end()
        tasks = [task for worker in self._workers.values() if (task := worker.abandon()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._runtime.end()
        self._workers.clear()
        await asyncio.gather(*self._removals)
        if self._services is not None and self._given_root is None:
            await asyncio.to_thread(shutil.rmtree, self._services.root, ignore_errors=True)
        self._services = None

    async def logs(
        self,
        namespace: str,
        name: str,
        *,
        container: str | None = None,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        since_seconds: int | None = None,
        previous: bool = False,
        follow: bool = False,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """The log of a container; see `kubelet.Kubelet.logs`."""
        pod = self._store.get("pods", namespace, name)
        chosen = choose_container(pod, container)
        worker = self._workers.get(pod["metadata"]["uid"])
        record = None if worker is None else worker.record(chosen)
        if worker is None or record is None:
            return pieces_of()
        attempt = record.restarts
        if previous:
            attempt -= 1
            if attempt < 0:
                raise no_previous(pod, chosen)
        elif "waiting" in record.state:
            if not record.last_state:
                raise not_started(pod, chosen, record.state["waiting"]["reason"])
            attempt -= 0 if worker.log_path(chosen, attempt).exists() else 1
        query = LogQuery(tail_lines, limit_bytes, since_seconds, timestamps, follow, previous)
        path = worker.log_path(chosen, max(attempt, 0))
        process = worker.process(chosen) if follow and not previous else None
        return _stream(LogReader(str(path), query, self._store.clock()), None if process is None else process.exited)

    def disrupt(self, namespace: str, name: str, disruption: Disruption) -> None:
        """Lets something happen to a running pod; see `kubelet.Kubelet.disrupt`."""
        pod = self._store.get("pods", namespace, name)
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is None or not worker.disrupt(disruption):
            raise errors.conflict("pods", name, "it has no running container here")

    def lose_node(self, node: str) -> None:
        """Cuts a node off: its processes run on, but nothing of them is reported and no deletion reaches them.

        A pod whose object disappears meanwhile is killed all the same, although a real lost node would let it run.
        """
        self._lost.add(node)

    def recover_node(self, node: str) -> None:
        """Reconnects a node: its pods report how they are, and pending deletions are carried out."""
        self._lost.discard(node)
        for worker in list(self._workers.values()):
            if worker.node == node:
                worker.resync()

    def stats(self) -> dict[str, int]:
        """Counts: pods known, waiting for a node, on nodes, processes now, started, refused, exited."""
        counts = self._runtime.counts
        return {
            "pods": len(self._workers),
            "queued": self._scheduler.waiting,
            "placed": self._scheduler.placed,
            "processes": sum(worker.running_containers for worker in self._workers.values()),
            "started": counts.started,
            "refused": counts.refused,
            "exited": counts.exited,
        }

    def _on_pod(self, kind: str, pod: Obj, previous: Obj | None) -> None:
        """Follows the store. Acts a step later: a write from here would overtake the change that caused it."""
        metadata = pod["metadata"]
        loop = asyncio.get_running_loop()
        worker = self._workers.get(metadata["uid"])
        if kind == "DELETED":
            if worker is not None:
                loop.call_soon(self._forget, worker)
        elif worker is None:
            node = pod["spec"].get("nodeName")
            if node in self._scheduler.nodes and pod["status"].get("phase") not in TERMINAL:
                self._take(pod, node)
        elif "deletionTimestamp" in metadata and _deletion_of(previous) != _deletion_of(pod):
            loop.call_soon(worker.delete, float(metadata.get("deletionGracePeriodSeconds") or 0))

    def _take(self, pod: Obj, node: str) -> None:
        if self._services is None:
            return
        worker = PodWorker(self._services, pod, self._scheduler.nodes[node], lambda: node not in self._lost)
        self._workers[worker.uid] = worker
        worker.start().add_done_callback(_show_failure)
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            asyncio.get_running_loop().call_soon(worker.delete, float(metadata["deletionGracePeriodSeconds"] or 0))

    def _forget(self, worker: PodWorker) -> None:
        self._workers.pop(worker.uid, None)
        task = worker.vanish()
        if task is None:
            self._remove(worker.root)
        else:
            task.add_done_callback(lambda _: self._remove(worker.root))

    def _remove(self, folder: Path) -> None:
        # In a thread: a task may have left a hundred thousand files in its directory.
        loop = asyncio.get_running_loop()
        removal = loop.run_in_executor(None, functools.partial(shutil.rmtree, folder, ignore_errors=True))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)


def _deletion_of(pod: Obj | None) -> tuple[str | None, int | None]:
    metadata: Obj = {} if pod is None else pod["metadata"]
    return metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")


def _show_failure(task: asyncio.Task[None]) -> None:
    """A worker never fails by design; if one does, it must not be silent."""
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)


async def _stream(reader: LogReader, exited: asyncio.Future[int] | None) -> AsyncIterator[bytes]:
    try:
        while True:
            # Asked before reading: what a container printed before its end is in the file by then.
            ended = exited is None or exited.done()
            while piece := reader.read():
                yield piece
            if ended or reader.exhausted:
                return
            await asyncio.sleep(_FOLLOW_PAUSE)
    finally:
        reader.close()
