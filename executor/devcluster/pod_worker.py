"""One pod's life on a node: init containers, containers with restarts, deadline, deletion, and what it reports."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shard_executor.devcluster.container import ConfigError, PodPlace, make_volumes
from shard_executor.devcluster.kubelet import Disruption
from shard_executor.devcluster.launcher import ContainerStarter, NodeServices
from shard_executor.devcluster.pods import DEFAULT_GRACE, TERMINAL, finish_deletion
from shard_executor.devcluster.podstatus import (
    TERMINATED_BY_DEADLINE,
    ContainerRecord,
    Placement,
    final_phase,
    put_status,
    records_of,
    waiting,
)
from shard_executor.devcluster.runtime import RunningProcess
from shard_executor.devcluster.versions import Obj


@dataclass(slots=True)
class _Cause:
    """Why a pod is being stopped, and what its status will say."""

    grace: float
    reason: str | None = None
    message: str | None = None
    disruption: Obj | None = None


class PodWorker:
    """Runs one pod. Constructing starts nothing.

    Args:
        services: what all pods of the kubelet share.
        pod: the bound pod as it is stored now; its spec does not change.
        host_ip: its node's address.
        reachable: whether its node can report and be reached at present.
    """

    def __init__(self, services: NodeServices, pod: Obj, host_ip: str, reachable: Callable[[], bool]) -> None:
        self._services = services
        self._pod = pod
        metadata = pod["metadata"]
        self.uid: str = metadata["uid"]
        self._namespace: str = metadata["namespace"]
        self._name: str = metadata["name"]
        self._spec: Obj = pod["spec"]
        self._reachable = reachable
        self.root: Path = services.root / self.uid
        has_init = bool(self._spec.get("initContainers"))
        self.init = records_of(self._spec, "initContainers", "PodInitializing")
        self.main = records_of(self._spec, "containers", "PodInitializing" if has_init else "ContainerCreating")
        self._host_ip = host_ip
        self._start_time = services.store.clock()
        self._sandbox = False
        self._processes: dict[str, RunningProcess] = {}
        self._verdicts: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._cause: _Cause | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._final: tuple[str, _Cause | None] | None = None

    @property
    def node(self) -> str:
        """The node it runs on."""
        return str(self._spec["nodeName"])

    @property
    def finished(self) -> bool:
        """Whether the pod has come to its end here."""
        return self._task is not None and self._task.done()

    @property
    def running_containers(self) -> int:
        """How many processes run now."""
        return len(self._processes)

    def start(self) -> asyncio.Task[None]:
        """Begins the pod's life; the task ends with it."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=f"pod {self._namespace}/{self._name}")
        seconds = self._spec.get("activeDeadlineSeconds")
        if seconds is not None:
            cause = _Cause(self._grace(), "DeadlineExceeded", TERMINATED_BY_DEADLINE)
            self._deadline = loop.call_later(seconds, self._stop, cause)
        return self._task

    def record(self, container: str) -> ContainerRecord | None:
        """What is known of a container by name."""
        return next((record for record in [*self.init, *self.main] if record.name == container), None)

    def process(self, container: str) -> RunningProcess | None:
        """The running process of a container."""
        return self._processes.get(container)

    def log_path(self, container: str, attempt: int) -> Path:
        """Where the log of a container's n-th run is."""
        return self.root / f"{container}.{attempt}.log"

    def delete(self, grace: float) -> None:
        """The pod has a deletionTimestamp: stop within `grace` seconds, then let it go. May come again, shorter."""
        if self._reachable():
            self._stop(_Cause(grace))

    def vanish(self) -> asyncio.Task[None] | None:
        """The pod object is gone: kill everything, report nothing more.

        Returns: the task that still winds down, None if there is none.
        """
        self._final = None
        self._kill()
        self._cancel_timers()
        if self._task is None or self._task.done():
            return None
        if self._cause is None:
            self._cause = _Cause(0)
            self._task.cancel()
        return self._task

    def abandon(self) -> asyncio.Task[None] | None:
        """The kubelet ends: kill everything and cancel the pod's life.

        Returns: the task to wait for, None if there is none.
        """
        self._kill()
        self._cancel_timers()
        if self._task is not None:
            self._task.cancel()
        return self._task

    def disrupt(self, disruption: Disruption) -> bool:
        """Carries out a disruption; False if there is nothing to disrupt any more."""
        if self.finished:
            return False
        if disruption.kind == "pressure":
            short = disruption.message.partition(" Threshold")[0]
            condition = {"reason": "TerminationByKubelet", "message": short}
            self._stop(_Cause(0, "Evicted", disruption.message, condition))
            self._services.events.warning(self._pod, "Evicted", disruption.message)
            return True
        name = disruption.container or self.main[0].name
        process = self._processes.get(name)
        if process is None:
            return False
        self._verdicts[name] = "OOMKilled"
        self._services.runtime.signal(process, signal.SIGKILL)
        return True

    def resync(self) -> None:
        """The node is back: report what happened while it was cut off, and catch up on a deletion."""
        if self._final is not None:
            self._report_final(*self._final)
        elif not self.finished:
            self.report()
        pod = self._services.store.find("pods", self._namespace, self._name)
        if pod is not None and pod["metadata"]["uid"] == self.uid and "deletionTimestamp" in pod["metadata"]:
            if self.finished:
                finish_deletion(self._services.store, self._namespace, self._name, self.uid)
            else:
                self.delete(pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    def report(self, phase: str | None = None, cause: _Cause | None = None) -> None:
        """Writes the status; the phase follows from the containers unless given (kubelet_pods.go getPhase)."""
        if not self._reachable():
            return
        if phase is None:
            begun = all("waiting" not in record.state or record.last_state for record in self.main)
            phase = "Running" if begun else "Pending"
        put_status(
            self._services.store,
            self._namespace,
            self._name,
            self.uid,
            phase=phase,
            place=Placement(self._host_ip, self._host_ip if self._sandbox else "", self._start_time),
            init=self.init,
            containers=self.main,
            reason=cause.reason if cause else None,
            message=cause.message if cause else None,
            disruption=cause.disruption if cause else None,
        )

    async def _run(self) -> None:
        try:
            await self._live()
        except asyncio.CancelledError:
            if self._cause is None or self._task is None:
                self._kill()
                raise
            self._task.uncancel()
        if self._cause is not None:
            await self._wind_down(self._cause)
        self._cancel_timers()

    async def _live(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.report()
        place = PodPlace(self._host_ip, self._host_ip, self.root)
        await self._mount(place)
        self._sandbox = True
        starter = ContainerStarter(self._services, self._pod, place, self.report)
        if not await self._initialize(starter):
            self._report_final("Failed", None)
            return
        policy = self._spec.get("restartPolicy", "Always")
        for record in self.main:
            if "terminated" not in record.state:
                record.state = waiting("ContainerCreating")
        if len(self.main) == 1:
            await self._supervise(starter, self._spec["containers"][0], self.main[0], policy)
        else:
            async with asyncio.TaskGroup() as group:
                for container, record in zip(self._spec["containers"], self.main, strict=True):
                    group.create_task(self._supervise(starter, container, record, policy))
        await self._stop_sidecars()
        self._report_final(final_phase(self.main), None)

    async def _mount(self, place: PodPlace) -> None:
        while True:
            try:
                make_volumes(self._services.store, self._pod, place)
            except ConfigError as error:
                words = f"MountVolume.SetUp failed: {error}"
                self._services.events.warning(self._pod, "FailedMount", words)
                await asyncio.sleep(self._services.pauses.retry)
            else:
                return

    async def _initialize(self, starter: ContainerStarter) -> bool:
        """Runs the init containers in order; False if the pod has failed by one."""
        policy = "Never" if self._spec.get("restartPolicy") == "Never" else "OnFailure"
        for container, record in zip(self._spec.get("initContainers") or (), self.init, strict=True):
            if container.get("restartPolicy") == "Always":  # a sidecar (KEP-753): starts, and the next one follows
                await self._start(starter, container, record)
                self.report()
                continue
            await self._supervise(starter, container, record, policy)
            if record.exit_code != 0:
                return False
            record.ready = True
        return True

    async def _supervise(self, starter: ContainerStarter, container: Obj, record: ContainerRecord, policy: str) -> None:
        """Runs a container until its restart policy says that it is over."""
        pauses = self._services.pauses
        pause = 0.0  # the first restart is immediate
        while True:
            process = await self._start(starter, container, record)
            if process is not None:
                self.report()
                await self._watch_exit(container, record, process)
            code = record.exit_code
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                if record in self.init or any("terminated" not in other.state for other in self.main):
                    self.report()
                return
            record.last_state = record.state
            if pause:
                words = (
                    f"back-off {pause:g}s restarting failed container={record.name} "
                    f"pod={self._name}_{self._namespace}({self.uid})"
                )
                record.state = waiting("CrashLoopBackOff", words)
                self.report()
                self._services.events.warning(self._pod, "BackOff", words)
                await asyncio.sleep(pause)
            pause = min(max(pause * 2, pauses.restart), pauses.restart_limit)
            record.restarts += 1
            self.log_path(record.name, record.restarts - 2).unlink(missing_ok=True)

    async def _start(self, starter: ContainerStarter, container: Obj, record: ContainerRecord) -> RunningProcess | None:
        log = self.log_path(record.name, record.restarts)
        process = await starter.start(container, record, str(log))
        if process is not None:
            self._processes[record.name] = process
            seed = f"{self.uid}/{record.name}/{record.restarts}"
            identity = f"containerd://{hashlib.sha256(seed.encode()).hexdigest()}"
            record.run(identity, self._services.store.clock())
        return process

    async def _watch_exit(self, container: Obj, record: ContainerRecord, process: RunningProcess) -> None:
        code = await asyncio.shield(process.exited)
        self._conclude(container, record, code)

    def _conclude(self, container: Obj, record: ContainerRecord, code: int) -> None:
        """Notes the end of a container's process."""
        self._processes.pop(record.name, None)
        reason = self._verdicts.pop(record.name, None)
        log = self.log_path(record.name, record.restarts)
        message = self._services.termination_message(container, self.root, str(log), code)
        record.finish(code, self._services.store.clock(), reason=reason, message=message)

    def _stop(self, cause: _Cause) -> None:
        """Interrupts the pod's life; a later call can only shorten the grace."""
        if self._task is None or self._task.done():
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + cause.grace
        if self._cause is None:
            self._cause = cause
            for process in self._processes.values():
                self._services.runtime.signal(process, signal.SIGTERM if cause.grace > 0 else signal.SIGKILL)
            self._task.cancel()
        if self._kill_timer is None or due < self._kill_timer.when():
            if self._kill_timer is not None:
                self._kill_timer.cancel()
            self._kill_timer = loop.call_at(due, self._kill)
            self._services.events.normal(self._pod, "Killing", "Stopping containers")

    def _kill(self) -> None:
        for process in self._processes.values():
            self._services.runtime.signal(process, signal.SIGKILL)

    async def _wind_down(self, cause: _Cause) -> None:
        """Waits for the processes that were told to stop, and reports how it ended."""
        specs = {spec["name"]: spec for spec in [*(self._spec.get("initContainers") or ()), *self._spec["containers"]]}
        for name, process in list(self._processes.items()):
            code = await asyncio.shield(process.exited)
            record = self.record(name)
            if record is not None:
                self._conclude(specs[name], record, code)
        self._report_final("Failed" if cause.reason else final_phase(self.main), cause)

    async def _stop_sidecars(self) -> None:
        """The containers are done: sidecars get SIGTERM, and SIGKILL after the grace period."""
        sidecars = [record for record in self.init if record.name in self._processes]
        if not sidecars:
            return
        for record in sidecars:
            self._services.runtime.signal(self._processes[record.name], signal.SIGTERM)
        self._kill_timer = asyncio.get_running_loop().call_later(self._grace(), self._kill)
        specs = {spec["name"]: spec for spec in self._spec["initContainers"]}
        for record in sidecars:
            await self._watch_exit(specs[record.name], record, self._processes[record.name])

    def _report_final(self, phase: str, cause: _Cause | None) -> None:
        store = self._services.store
        if not self._reachable():
            self._final = (phase, cause)
            return
        self._final = None
        pod = store.find("pods", self._namespace, self._name)
        if pod is None or pod["metadata"]["uid"] != self.uid:
            return
        if pod["status"].get("phase") not in TERMINAL:
            self.report(phase, cause)
        if "deletionTimestamp" in pod["metadata"]:
            finish_deletion(store, self._namespace, self._name, self.uid)

    def _grace(self) -> float:
        seconds = self._spec.get("terminationGracePeriodSeconds")
        return float(DEFAULT_GRACE if seconds is None else seconds)

    def _cancel_timers(self) -> None:
        for timer in (self._deadline, self._kill_timer):
            if timer is not None:
                timer.cancel()
