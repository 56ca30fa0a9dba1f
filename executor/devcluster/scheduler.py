"""Binds pods to nodes: first come, first served, up to the capacity of each node.

Only pods that name the default scheduler, or none, are bound. A pod that fits nowhere stays Pending; when it has
waited for a while it gets PodScheduled=False with reason Unschedulable and a FailedScheduling event, as from
kube-scheduler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from shard_executor.devcluster.nodes import node_object, schedulable
from shard_executor.devcluster.pod_events import PodEvents
from shard_executor.devcluster.pods import TERMINAL, bind_pod, set_condition, update_status
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

NAME = "default-scheduler"
_SWEEP = 1.0  # seconds between looks at pods that wait


class Scheduler:
    """The scheduler and the node objects. Constructing starts nothing; all calls on the event loop.

    Args:
        store: the cluster's objects.
        events: where FailedScheduling and Scheduled go.
        nodes: how many nodes to create, named ``dev-node-0`` and so on.
        capacity: pods at once on each node.
        address: gives a node's address by its index.
        patience: seconds a pod waits for room before it is marked Unschedulable; one that fits no node at all is
            marked at once.
    """

    def __init__(
        self,
        store: Store,
        events: PodEvents,
        *,
        nodes: int = 1,
        capacity: int = 110,
        address: Callable[[int], str] = lambda index: "127.0.0.1",
        patience: float = 5.0,
    ) -> None:
        if nodes < 1 or capacity < 1:
            raise ValueError(f"nodes and capacity must be at least 1, not {nodes} and {capacity}")
        self._store = store
        self._events = events
        self.nodes = {f"dev-node-{index}": address(index) for index in range(nodes)}
        self.capacity = capacity
        self._patience = patience
        self._queue: deque[tuple[str, str, str, float]] = deque()  # namespace, name, uid, since
        self._placed: dict[str, str] = {}  # uid -> node
        self._load = dict.fromkeys(self.nodes, 0)
        self._wake: asyncio.Handle | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    @property
    def waiting(self) -> int:
        """How many pods have no node yet (including some that have gone meanwhile)."""
        return len(self._queue)

    @property
    def placed(self) -> int:
        """How many unfinished pods are on nodes."""
        return len(self._placed)

    def start(self) -> None:
        """Creates the nodes, takes up the pods that are there and follows all later ones."""
        for name, address in self.nodes.items():
            if self._store.find("nodes", "", name) is None:
                self._store.create("nodes", node_object(name, address, self.capacity, self._store.clock()))
        self._unsubscribe = [
            self._store.subscribe("pods", self._on_pod),
            self._store.subscribe("nodes", lambda *_: self._schedule_soon()),
        ]
        for pod in self._store.list("pods", None):
            self._on_pod("ADDED", pod, None)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="devcluster scheduler sweep")

    async def end(self) -> None:
        """Stops binding."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None

    def _on_pod(self, kind: str, pod: Obj, previous: Obj | None) -> None:
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        node = spec.get("nodeName")
        if kind == "DELETED" or pod["status"].get("phase") in TERMINAL:
            freed = self._placed.pop(uid, None)
            if freed is not None:
                self._load[freed] -= 1
                self._schedule_soon()
        elif node:
            if node in self._load and uid not in self._placed:
                self._placed[uid] = node
                self._load[node] += 1
        elif previous is None and spec.get("schedulerName", NAME) == NAME and not spec.get("schedulingGates"):
            metadata = pod["metadata"]
            self._queue.append((metadata["namespace"], metadata["name"], uid, self._store.clock()))
            self._schedule_soon()

    def _schedule_soon(self) -> None:
        # Never within a store callback: a write there would reach later subscribers before the one that caused it.
        if self._wake is None:
            self._wake = asyncio.get_running_loop().call_soon(self._schedule)

    def _schedule(self) -> None:
        self._wake = None
        free = {
            name: room
            for name in self.nodes
            if (room := self.capacity - self._load[name]) > 0
            and (node := self._store.find("nodes", "", name)) is not None
            and schedulable(node)
        }
        passed_over: deque[tuple[str, str, str, float]] = deque()
        while self._queue and free:
            entry = self._queue.popleft()
            pod = self._pending(entry)
            if pod is None:
                continue
            chosen = self._choose(pod, free)
            if chosen is None:
                passed_over.append(entry)
                continue
            free[chosen] -= 1
            if not free[chosen]:
                del free[chosen]
            namespace, name, uid, _ = entry
            bound = bind_pod(self._store, namespace, name, chosen, uid=uid)
            words = f"Successfully assigned {namespace}/{name} to {chosen}"
            self._events.normal(bound, "Scheduled", words, NAME)
        while passed_over:
            self._queue.appendleft(passed_over.pop())

    def _choose(self, pod: Obj, free: dict[str, int]) -> str | None:
        """The matching node with the most room."""
        wanted = pod["spec"].get("nodeSelector")
        if not wanted:
            return max(free, key=free.__getitem__)
        fitting = [name for name in free if self._matches(name, wanted)]
        return max(fitting, key=free.__getitem__) if fitting else None

    def _matches(self, name: str, wanted: dict[str, str]) -> bool:
        node = self._store.find("nodes", "", name)
        labels = {} if node is None else node["metadata"].get("labels", {})
        return all(labels.get(key) == value for key, value in wanted.items())

    def _pending(self, entry: tuple[str, str, str, float]) -> Obj | None:
        """The pod of a queue entry, None if it has gone or got a node from elsewhere."""
        namespace, name, uid, _ = entry
        pod = self._store.find("pods", namespace, name)
        if pod is None or pod["metadata"]["uid"] != uid:
            return None
        gone = pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]
        return None if gone else pod

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = self._store.clock()
            for entry in list(self._queue):
                pod = self._pending(entry)
                if pod is not None and not _marked(pod):
                    why = self._why_not(pod, now - entry[3])
                    if why is not None:
                        self._mark(pod, why)

    def _why_not(self, pod: Obj, waited: float) -> str | None:
        wanted = pod["spec"].get("nodeSelector") or {}
        count = len(self.nodes)
        if not any(self._matches(name, wanted) for name in self.nodes):
            return f"0/{count} nodes are available: {count} node(s) didn't match Pod's node affinity/selector."
        if waited < self._patience:
            return None
        found = [self._store.find("nodes", "", name) for name in self.nodes]
        closed = sum(1 for node in found if node is None or not schedulable(node))
        reasons = [f"{closed} node(s) were unschedulable"] if closed else []
        if closed < count:
            reasons.append(f"{count - closed} Too many pods")
        return f"0/{count} nodes are available: {', '.join(reasons)}."

    def _mark(self, pod: Obj, why: str) -> None:
        now = self._store.clock()

        def mutate(status: Obj) -> None:
            set_condition(status, "PodScheduled", "False", now, reason="Unschedulable", message=why)

        marked = update_status(self._store, pod["metadata"]["namespace"], pod["metadata"]["name"], mutate)
        self._events.warning(marked, "FailedScheduling", why, NAME)


def _marked(pod: Obj) -> bool:
    return any(entry["type"] == "PodScheduled" for entry in pod["status"].get("conditions") or ())
