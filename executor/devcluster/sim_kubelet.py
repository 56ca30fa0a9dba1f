"""The kubelet without processes: walks thousands of pods through their lives by a heap of timers.

Each life costs three writes, as few as a real one: bound, running, finished. restartPolicy is taken as Never.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import heapq
from collections.abc import AsyncIterator, Callable

from shard_executor.devcluster import disruptions, errors
from shard_executor.devcluster.images import Images, backing_off
from shard_executor.devcluster.kubelet import Disruption, choose_container, no_previous, not_started, pieces_of
from shard_executor.devcluster.pod_events import PodEvents
from shard_executor.devcluster.pods import TERMINAL, delete_pod, evict_pod, finish_deletion
from shard_executor.devcluster.podstatus import (
    NODE_LOW,
    TERMINATED_BY_DEADLINE,
    ContainerRecord,
    Placement,
    put_status,
    records_of,
    waiting,
)
from shard_executor.devcluster.scheduler import Scheduler
from shard_executor.devcluster.sim_outcomes import Fate, Fates, SimSettings
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

Step = Callable[["_Life"], None]
_PULL_REPORT = 1.0  # seconds of ErrImagePull before ImagePullBackOff
_TERMINATED = 143  # SIGTERM
_KILLED = 137  # SIGKILL


class _Life:
    """One pod on its way."""

    __slots__ = ("fate", "host_ip", "init", "main", "name", "namespace", "node", "over", "pod_ip", "start_time", "uid")

    def __init__(self, pod: Obj, fate: Fate, host_ip: str, number: int, now: float) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        self.uid: str = metadata["uid"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.node: str = spec["nodeName"]
        self.fate = fate
        self.init = records_of(spec, "initContainers", "PodInitializing")
        self.main = records_of(spec, "containers", "PodInitializing" if self.init else "ContainerCreating")
        self.host_ip = host_ip
        self.pod_ip = f"10.{64 + (number >> 16) % 64}.{(number >> 8) % 256}.{number % 256}"
        self.start_time = now
        self.over = False

    @property
    def running(self) -> bool:
        return "running" in self.main[0].state


class SimKubelet:
    """All nodes of a development cluster whose pods only seem to run. Constructing starts nothing.

    Args:
        store: the cluster's objects.
        settings: latencies, outcomes, seed.
        nodes: how many nodes there are.
        capacity: pods at once on each.
        events: which Event objects to write: ``none``, ``warnings`` or ``all``.
        patience: seconds until a pod that finds no room is marked Unschedulable.
    """

    def __init__(
        self,
        store: Store,
        settings: SimSettings | None = None,
        *,
        nodes: int = 10,
        capacity: int = 1_100,
        events: str = "none",
        patience: float = 5.0,
    ) -> None:
        self._store = store
        self._settings = settings or SimSettings()
        self._fates = Fates(self._settings)
        self.images = Images()
        self._events = PodEvents(store, events)
        self._scheduler = Scheduler(
            store,
            self._events,
            nodes=nodes,
            capacity=capacity,
            address=lambda index: f"10.1.{index // 250}.{index % 250 + 1}",
            patience=patience,
        )
        self._lives: dict[str, _Life] = {}
        self._timers: list[tuple[float, int, Step, _Life]] = []
        self._sequence = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._lost: dict[str, list[tuple[Step, _Life]]] = {}
        self._finished = 0
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""
        return list(self._scheduler.nodes)

    def start(self) -> None:
        """Creates the nodes and takes up all pods, present and future."""
        self._unsubscribe = self._store.subscribe("pods", self._on_pod)
        for pod in self._store.list("pods", None):
            self._on_pod("ADDED", pod, None)
        self._scheduler.start()

    async def end(self) -> None:
        """Stops all timers."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._scheduler.end()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._timers.clear()
        self._lives.clear()

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
        """One generated line; see `kubelet.Kubelet.logs`. Neither waits for the end nor knows `since_seconds`."""
        pod = self._store.get("pods", namespace, name)
        chosen = choose_container(pod, container)
        life = self._lives.get(pod["metadata"]["uid"])
        if life is None:
            return pieces_of()
        if previous:
            raise no_previous(pod, chosen)
        record = next(record for record in [*life.init, *life.main] if record.name == chosen)
        if "waiting" in record.state:
            raise not_started(pod, chosen, record.state["waiting"]["reason"])
        state: Obj = next(iter(record.state.values()))
        stamp = f"{state['startedAt']} " if timestamps else ""
        line = f"{stamp}{namespace}/{name} {chosen}: simulated, {life.fate.outcome}, {life.fate.run:.3f} s\n".encode()
        return pieces_of(b"" if tail_lines == 0 else line[:limit_bytes])

    def disrupt(self, namespace: str, name: str, disruption: Disruption) -> None:
        """Lets something happen to a running pod; see `kubelet.Kubelet.disrupt`."""
        pod = self._store.get("pods", namespace, name)
        life = self._lives.get(pod["metadata"]["uid"])
        if life is None or life.over or not life.running:
            raise errors.conflict("pods", name, "it has no running container here")
        if disruption.kind == "pressure":
            self._evict(life, disruption.message)
        else:
            self._end_containers(life, _KILLED, "OOMKilled")
            self._conclude(life, "Failed")

    def lose_node(self, node: str) -> None:
        """Cuts a node off: what would happen on it waits."""
        self._lost.setdefault(node, [])

    def recover_node(self, node: str) -> None:
        """Reconnects a node: what has waited happens now."""
        for step, life in self._lost.pop(node, []):
            if self._still_matters(step, life):
                step(life)

    def stats(self) -> dict[str, int]:
        """Counts: pods known, waiting for a node, on nodes, timers, finished."""
        return {
            "pods": len(self._lives),
            "queued": self._scheduler.waiting,
            "placed": self._scheduler.placed,
            "timers": len(self._timers),
            "finished": self._finished,
        }

    def _on_pod(self, kind: str, pod: Obj, previous: Obj | None) -> None:
        metadata = pod["metadata"]
        life = self._lives.get(metadata["uid"])
        if kind == "DELETED":
            if life is not None:
                life.over = True
                del self._lives[life.uid]
        elif life is None:
            node = pod["spec"].get("nodeName")
            if node in self._scheduler.nodes and pod["status"].get("phase") not in TERMINAL:
                self._take(pod, node)
        elif "deletionTimestamp" in metadata and not life.over:
            before: Obj = {} if previous is None else previous["metadata"]
            grace = metadata.get("deletionGracePeriodSeconds") or 0
            if "deletionTimestamp" not in before or before.get("deletionGracePeriodSeconds") != grace:
                self._after(min(self._settings.stop_seconds, grace), self._stop, life)

    def _take(self, pod: Obj, node: str) -> None:
        fate = self._fates.draw(pod)
        self._sequence += 1
        life = _Life(pod, fate, self._scheduler.nodes[node], self._sequence, self._store.clock())
        self._lives[life.uid] = life
        failure = self.images.failure(
            life.main[0].image, pod["metadata"].get("labels") or {}, life.uid, self._store.clock()
        )
        if failure is not None:
            after = backing_off(life.main[0].image, failure)
            step = functools.partial(self._refuse_image, failure.reason, failure.message, after)
            self._after(fate.start, step, life)
        else:
            self._after(fate.start, self._begin, life)

    def _after(self, seconds: float, step: Step, life: _Life) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, step, life))
        if self._alarm is None or due < self._alarm.when():
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(due, self._ring)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = None
        # A bounded batch, so that a herd of timers does not hold up the requests of clients.
        for _ in range(200):
            if not self._timers or self._timers[0][0] > loop.time():
                break
            _, _, step, life = heapq.heappop(self._timers)
            if not self._still_matters(step, life):
                continue
            held = self._lost.get(life.node)
            if held is not None:
                held.append((step, life))
            else:
                step(life)
        # A step may have set an alarm for a timer of its own, which may be later than the ones that are left.
        if self._timers and (self._alarm is None or self._timers[0][0] < self._alarm.when()):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(self._timers[0][0], self._ring)

    def _still_matters(self, step: Step, life: _Life) -> bool:
        """A pod that has ended by itself while it was being deleted still has to go."""
        return life.uid in self._lives and (not life.over or step == self._stop)

    def _begin(self, life: _Life) -> None:
        """The containers start, or fail to."""
        outcome = life.fate.outcome
        if outcome == "imagepull":
            image = life.main[0].image or "image"
            words = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": not found'
            self._refuse_image("ErrImagePull", words, f'Back-off pulling image "{image}"', life)
            return
        if outcome in ("cfgerr", "stuck"):
            if outcome == "cfgerr":
                life.main[0].state = waiting("CreateContainerConfigError", 'secret "airflow-metadata" not found')
            self._write(life, "Pending")
            return
        now = self._store.clock()
        for record in life.init:
            record.run(_container_id(life, record), now)
            failed = outcome == "initfail"
            record.finish(2 if failed else 0, now)
            record.ready = not failed
            if failed:
                self._conclude(life, "Failed")
                return
        if outcome == "initfail":
            words = 'failed to create containerd task: exec: "simulated": executable file not found in $PATH: unknown'
            life.main[0].finish(128, now, reason="StartError", message=words)
            self._conclude(life, "Failed")
            return
        for record in life.main:
            record.run(_container_id(life, record), now)
        self._write(life, "Running")
        if outcome != "hang":
            self._after(life.fate.run, self._finish, life)

    def _refuse_image(self, reason: str, message: str, after: str, life: _Life) -> None:
        life.main[0].state = waiting(reason, message)
        self._write(life, "Pending")
        if reason == "ErrImagePull":
            self._after(_PULL_REPORT, functools.partial(self._refuse_image, "ImagePullBackOff", after, ""), life)

    def _finish(self, life: _Life) -> None:
        """What was drawn for the pod comes to pass."""
        outcome = life.fate.outcome
        if outcome == "evict":
            self._evict(life, NODE_LOW)
        elif outcome == "deadline":
            self._end_containers(life, _KILLED)
            self._conclude(life, "Failed", reason="DeadlineExceeded", message=TERMINATED_BY_DEADLINE)
        elif outcome == "preempt":
            disruptions.preempt(self._store, life.namespace, life.name)
        elif outcome == "drain":
            evict_pod(self._store, life.namespace, life.name)
        elif outcome == "deleted":
            delete_pod(self._store, life.namespace, life.name, grace=0)
        elif outcome == "nodelost":
            disruptions.lose_pod(self._store, life.namespace, life.name, "unknown")
            self._after(self._settings.gc_seconds, self._collect, life)
        else:
            self._end_containers(life, life.fate.exit_code, "OOMKilled" if outcome == "oom" else None)
            self._conclude(life, "Succeeded" if life.fate.exit_code == 0 else "Failed")

    def _collect(self, life: _Life) -> None:
        disruptions.collect_pod(self._store, life.namespace, life.name, "unknown")

    def _stop(self, life: _Life) -> None:
        """A deletion has reached the containers."""
        if life.running:
            self._end_containers(life, _TERMINATED)
            self._conclude(life, "Failed")
        finish_deletion(self._store, life.namespace, life.name, life.uid)

    def _evict(self, life: _Life, message: str) -> None:
        self._end_containers(life, _KILLED)
        condition = {"reason": "TerminationByKubelet", "message": message.partition(" Threshold")[0]}
        self._conclude(life, "Failed", reason="Evicted", message=message, disruption=condition)

    def _end_containers(self, life: _Life, code: int, reason: str | None = None) -> None:
        now = self._store.clock()
        for record in life.main:
            record.finish(code, now, reason=reason)

    def _conclude(
        self,
        life: _Life,
        phase: str,
        *,
        reason: str | None = None,
        message: str | None = None,
        disruption: Obj | None = None,
    ) -> None:
        life.over = True
        self._finished += 1
        self._write(life, phase, reason, message, disruption)

    def _write(
        self,
        life: _Life,
        phase: str,
        reason: str | None = None,
        message: str | None = None,
        disruption: Obj | None = None,
    ) -> None:
        place = Placement(life.host_ip, "" if phase == "Pending" else life.pod_ip, life.start_time)
        put_status(
            self._store,
            life.namespace,
            life.name,
            life.uid,
            phase=phase,
            place=place,
            init=life.init,
            containers=life.main,
            reason=reason,
            message=message,
            disruption=disruption,
        )


def _container_id(life: _Life, record: ContainerRecord) -> str:
    return f"containerd://{hashlib.sha256(f'{life.uid}/{record.name}'.encode()).hexdigest()}"
