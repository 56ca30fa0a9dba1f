"""Runs one shard: carries events to the shard's state and its actions out, and nothing else.

One loop, one table from action to method, no decisions: those are in `core/`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import resource
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import psutil

from shard_executor._fast import DELETED, GONE, PodChange
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.credentials import Credentials
from shard_executor.core.failures import PENDING_RULES, Verdict, judge
from shard_executor.core.lifecycle import InvalidTransition, TaskState
from shard_executor.core.shard_base import ShardPolicy
from shard_executor.core.shard_state import ShardState
from shard_executor.core.window import CreateWindow
from shard_executor.pods.names import pod_name
from shard_executor.shard.api import Api, TransportFault
from shard_executor.shard.latency import Latency
from shard_executor.shard.pod_requests import PodRequests
from shard_executor.shard.settings import ShardSettings
from shard_executor.shard.views import Views
from shard_executor.supervisor import messages as msg

_TIMED = ("create", "get", "delete", "patch", "log", "LIST")
_SYNC_LIMIT = 10.0  # seconds that creates wait for the first list; a server that cannot list may still create


class Shard:
    """One shard of an executor's tickets, on a running event loop.

    Args:
        settings: what the parent sent.
        send: hands a message to the channel; it is flushed by the channel's owner.
        failed: called with a traceback when a part of the shard ended by an error that is none of its states.
    """

    def __init__(
        self, settings: ShardSettings, send: Callable[[msg.Message], None], failed: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._send = send
        self._failed = failed
        self._clock = time.monotonic
        self._rng = random.Random()
        self.api = Api(settings.credentials, connections=settings.window[2] + 32)
        policy = ShardPolicy(**{**settings.policy, "log_tail": settings.log_tail_lines > 0})
        fatal = PENDING_RULES if policy.fatal_reasons is None else frozenset(policy.fatal_reasons)
        self._judge: Callable[..., Verdict] = partial(judge, worker=settings.worker_container, fatal=fatal)
        initial, minimum, maximum = settings.window
        self.state = ShardState(
            policy,
            CreateWindow(initial, minimum, maximum),
            self._rng,
            pod_name,
            hold_until=self._clock() + _SYNC_LIMIT,
        )
        self._requests = PodRequests(
            self.api,
            timeout=settings.request_timeout,
            log_lines=settings.log_tail_lines,
            selects=settings.selects,
            judge=self._judge,
            delete_options=settings.delete_options,
        )
        self._views = Views(
            self.api,
            settings,
            on_changes=self._on_changes,
            on_synced=self._on_synced,
            on_unauthorized=partial(self._send, [msg.NEED_CREDENTIALS]),
            rng=self._rng,
        )
        self._bodies: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._creates: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._beat_task: asyncio.Task[None] | None = None
        self._to_running = Latency()
        self._to_report = Latency()
        self._started_at = time.time() // 1.0  # kubelets give the end of a task in whole seconds
        self._process = psutil.Process()
        self._stopping = False

    # ---- start and end

    async def start(self) -> None:
        """Opens the connection pools and starts heartbeats; the watches wait for `begin`."""
        await self.api.start()
        self._beat_task = self._watched(self._beat())

    def begin(self) -> None:
        """The tickets of a predecessor are all here: the watches may start."""
        if not self._watches:
            self._watches = [self._watched(run) for run in self._views.runs()]

    async def end(self, grace: float) -> None:
        """Starts no more creates, waits up to `grace` seconds for those in flight, then closes everything."""
        self._stopping = True
        if self._creates and grace > 0:
            await asyncio.wait(self._creates, timeout=grace)
        running = [*self._watches, *self._tasks]
        if self._beat_task is not None:
            running.append(self._beat_task)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        await self.api.end()

    # ---- messages from the parent

    def receive(self, message: msg.Message) -> None:
        """Takes one message of the parent's, except CONFIG and STOP."""
        _RECEIVERS[message[0]](self, *message[1:])

    def _on_submit(
        self,
        ticket: str,
        namespace: str,
        stem: str,
        submission_id: str,
        priority: int,
        attempt: int,
        uid: str | None,
        began: bool,
        fresh: bool,
        reported: str | None,
        revoked: bool,
        body: str | None,
        pod: str | None,
        marks: list[dict[str, str]] | None,
    ) -> None:
        if body is not None and ticket not in self.state.tasks:
            self._bodies[ticket] = body
        self._apply(
            ev.Submitted(
                ticket,
                namespace,
                stem,
                submission_id,
                priority,
                attempt,
                uid,
                began,
                fresh,
                reported,
                body is not None,
                pod,
                (marks[0], marks[1]) if marks is not None else None,
            )
        )
        if revoked:
            self._apply(ev.Revoked(ticket))

    def _on_body(self, ticket: str, body: str) -> None:
        if ticket in self.state.tasks:  # else it was closed meanwhile, and nobody would drop the body again
            self._bodies[ticket] = body
            self._apply(ev.BodyArrived(ticket))

    def _on_no_body(self, ticket: str, reason: str, message: str) -> None:
        self._apply(ev.BodyRefused(ticket, message, reason))

    def _on_ack(self, ticket: str, keep: bool) -> None:
        self._apply(ev.Acknowledged(ticket, keep))

    def _on_revoke(self, ticket: str) -> None:
        self._apply(ev.Revoked(ticket))

    def _on_credentials(self, record: dict[str, Any]) -> None:
        try:
            self.api.replace_credentials(Credentials.from_json(record))
        except TransportFault as fault:
            self._send([msg.LOG, "error", f"the new credentials cannot be used: {fault.info.message}"])
        else:
            self._views.credentials_replaced()

    # ---- the state's door

    def _apply(self, event: ev.Event) -> None:
        try:
            actions = self.state.handle(event, self._clock())
        except InvalidTransition as error:
            # A defect of ours, kept to its ticket: the others go on, and the story goes to the log.
            self._send([msg.LOG, "error", str(error)])
            return
        for action in actions:
            _DOERS[type(action)](self, action)

    def _on_changes(self, changes: list[PodChange], _now: float) -> None:
        for change in changes:
            kind = change.kind
            if kind == GONE:
                self._apply(
                    ev.PodEnded(change.namespace, change.name, change.uid, None, self._views.heard(change.namespace))
                )
            elif kind != DELETED:
                verdict = self._judge(change.phase, change.deleting, change.status())
                self._apply(ev.PodSeen(change.namespace, change.name, change.uid, change.deleting, verdict))
            elif change.deleting:
                verdict = self._judge(change.phase, True, change.status(), ended=True)
                self._apply(ev.PodEnded(change.namespace, change.name, change.uid, verdict))
            else:  # every deletion of a pod writes a deletionTimestamp first: this one only left the selector
                self._apply(ev.PodLeft(change.namespace, change.name, change.uid))

    def _on_synced(self, since: float, namespace: str) -> None:
        self._apply(ev.Relisted(since, namespace))

    # ---- actions

    def _spawn(self, ask: Callable[[], Awaitable[ev.Event]]) -> None:
        self._tasks.add(self._watched(self._answer(ask)))

    async def _answer(self, ask: Callable[[], Awaitable[ev.Event]]) -> None:
        self._apply(await ask())  # asked only now: a task that is cancelled before its first step leaves nothing behind

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed("".join(traceback.format_exception(error)))

    def _create(self, action: act.CreatePod) -> None:
        if self._stopping:
            return  # the ticket stays with the parent, or ends with it
        task = self._watched(self._answer(partial(self._requests.create, action, self._bodies[action.ticket])))
        self._tasks.add(task)
        self._creates.add(task)
        task.add_done_callback(self._creates.discard)

    def _read(self, action: act.ReadPod) -> None:
        self._spawn(partial(self._requests.read, action, self.state.tasks[action.ticket].submission_id))

    def _remove(self, action: act.RemovePod) -> None:
        self._spawn(partial(self._requests.remove, action))

    def _tail(self, action: act.TailLog) -> None:
        self._spawn(partial(self._requests.tail, action))

    def _need_body(self, action: act.NeedBody) -> None:
        self._send([msg.NEED_BODY, action.ticket, action.attempt])

    def _adopt(self, action: act.AdoptPod) -> None:
        self._spawn(partial(self._requests.adopt, action))

    def _tell_adopted(self, action: act.TellAdopted) -> None:
        self._send([msg.ADOPTED, action.ticket])

    def _drop_body(self, action: act.DropBody) -> None:
        self._bodies.pop(action.ticket, None)

    def _report(self, action: act.Report) -> None:
        fields = dataclasses.asdict(action)
        waited = fields.pop("waited")
        now = fields["at"] = time.time()
        self._send([msg.REPORT, fields])
        if waited is not None:
            self._to_running.add(waited)
        # A task that finished while nobody watched says nothing about how fast results are reported.
        if action.terminal and action.finished_at is not None and action.finished_at >= self._started_at:
            self._to_report.add(max(0.0, now - action.finished_at))

    def _closed(self, action: act.Closed) -> None:
        self._send([msg.CLOSED, action.ticket, action.pod_left])

    def _need_credentials(self, action: act.NeedCredentials) -> None:
        self._send([msg.NEED_CREDENTIALS])

    def _wake_at(self, action: act.WakeAt) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, action.at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._apply, ev.Tick())

    # ---- heartbeat

    async def _beat(self) -> None:
        while True:
            self._send([msg.BEAT, self.figures()])
            await asyncio.sleep(self._settings.beat_interval)

    def figures(self) -> dict[str, Any]:
        """What the heartbeat says: memory in MiB, CPU in seconds, counts by state, requests by verb and code."""
        cpu = self._process.cpu_times()
        counts = self.state.counts
        return {
            "cpu_seconds": cpu.user + cpu.system,
            "rss_mb": self._process.memory_info().rss / 2**20,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "queued": counts[TaskState.QUEUED],
            "creating": counts[TaskState.CREATING],
            "pending": counts[TaskState.PENDING],
            "running": counts[TaskState.RUNNING],
            "cleaning": len(self.state.cleanup),
            "asked": self.state.asked,
            "adopting": self.state.adopting,
            "window": int(self.state.window.size),
            "parked": self.state.gates.parked(),
            "outcomes": dict(self.state.outcomes),
            "watch": self._views.watch_figures(),
            "table": self._views.table_figures(),
            "latencies": self._latencies(),
            "calls": {f"{verb} {code}": count for (verb, code), count in self.api.calls.items()},
        }

    def _latencies(self) -> dict[str, dict[str, float]]:
        named = {verb: Latency() for verb in _TIMED}
        for (verb, _), latency in self.api.latency.items():
            if verb in named:
                named[verb].merge(latency)
        named["created-to-running"] = self._to_running
        named["finished-to-reported"] = self._to_report
        return {name: latency.summary() for name, latency in named.items() if latency.count}


_RECEIVERS: dict[str, Callable[..., None]] = {
    msg.SUBMIT: Shard._on_submit,
    msg.BEGIN: Shard.begin,
    msg.BODY: Shard._on_body,
    msg.NO_BODY: Shard._on_no_body,
    msg.ACK: Shard._on_ack,
    msg.REVOKE: Shard._on_revoke,
    msg.CREDENTIALS: Shard._on_credentials,
}

_DOERS: dict[type, Callable[[Shard, Any], None]] = {
    act.CreatePod: Shard._create,
    act.ReadPod: Shard._read,
    act.RemovePod: Shard._remove,
    act.TailLog: Shard._tail,
    act.NeedBody: Shard._need_body,
    act.DropBody: Shard._drop_body,
    act.AdoptPod: Shard._adopt,
    act.TellAdopted: Shard._tell_adopted,
    act.Report: Shard._report,
    act.Closed: Shard._closed,
    act.NeedCredentials: Shard._need_credentials,
    act.WakeAt: Shard._wake_at,
}
