"""The pump: one thread of the parent that talks to all shards, so that the front door never waits.

It owns the ledger and the shard processes. The front door leaves commands in a queue and finds reports in another;
both are crossed by one wake-up per batch.
"""

from __future__ import annotations

import logging
import os
import random
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor import messages as msg
from shard_executor.supervisor.config import Report, ShardStats, Submission, SupervisorConfig
from shard_executor.supervisor.ledger import Ledger
from shard_executor.supervisor.shard_figures import settings_of, stats_of
from shard_executor.supervisor.shard_process import ShardProcess

log = logging.getLogger(__name__)
shard_log = logging.getLogger("shard_executor.shard")

MAX_FAILED_STARTS = 5  # starts in a row that never became ready: the supervisor is then said to have failed
_TURN = 1.0  # seconds between looks at heartbeats and restarts when nothing arrives
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


class Pump:
    """See the module; `start` and `end` own the thread and the processes.

    Args:
        config: the supervisor's.
        need_credentials: called when a shard was answered by 401.
    """

    def __init__(self, config: SupervisorConfig, need_credentials: Callable[[], None]) -> None:
        self._config = config
        self._need_credentials = need_credentials
        self._rng = random.Random()
        self.ledger = Ledger(
            config.shards,
            config.parallelism,
            not config.delete_pods,
            not config.delete_failed_pods,
            {**config.selector, "shard-executor/instance": config.instance},
            config.build is not None,
        )
        self._wanted: list[tuple[str, int]] = []  # bodies that shards have asked for in this turn
        self.shards = [ShardProcess(number) for number in range(config.shards)]
        self.commands: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.reports: deque[Report] = deque()
        self.news = threading.Condition()
        self.failure: str | None = None
        self._credentials: Credentials | None = None
        self._selector: selectors.BaseSelector | None = None
        self._wake_read = self._wake_write = -1
        self._awake = False
        self._ending: float | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    # ---- the front door's side

    def start(self, credentials: Credentials) -> None:
        """Starts the processes and the thread.

        Raises:
            OSError: a process could not be started.
        """
        self._credentials = credentials
        self._pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        try:
            for shard in self.shards:
                self._spawn(shard)
        except OSError:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="shard-executor-pump", daemon=True)
        self._thread.start()

    def command(self, method: Callable[..., None], *arguments: Any) -> None:
        """Leaves a command; returns at once, from any thread."""
        self.commands.append((method, arguments))
        if not self._awake:
            self._awake = True
            try:
                os.write(self._wake_write, b"\0")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already
            except OSError:
                log.debug("a command came after the end")

    def end(self, timeout: float) -> None:
        """Tells the shards to stop and joins the thread; kills what has not stopped after `timeout` seconds."""
        if self._thread is None:
            return
        self.command(self._begin_end, time.monotonic() + timeout, timeout)
        self._thread.join(timeout + 5.0)
        self._thread = None

    # ---- commands, run by the thread

    def submit(self, submission: Submission) -> None:
        if not self.ledger.accept(submission, time.time()):
            log.error("ticket %s is open already: the second submission of that name is dropped", submission.ticket)

    def acknowledge(self, name: str) -> None:
        try:
            self._to_shard(self.ledger.acknowledge(name))
        except KeyError as error:  # the caller's mistake must not end everybody's tasks
            log.error("%s; this acknowledgement is ignored", error.args[0])

    def revoke(self, name: str) -> None:
        report, shard, message = self.ledger.revoke(name, time.time())
        if report is not None:
            self._publish(report)
        elif message is not None:
            self._to_shard((shard, message))

    def provide(self, name: str, body: str) -> None:
        self._to_shard(self.ledger.built(name, body))

    def refuse_body(self, name: str, reason: str, message: str) -> None:
        self._to_shard(self.ledger.not_built(name, reason, message))

    def credentials_changed(self, credentials: Credentials) -> None:
        self._credentials = credentials
        for shard in self.shards:
            shard.out.append([msg.CREDENTIALS, credentials.to_json()])

    def _begin_end(self, deadline: float, grace: float) -> None:
        self._ending = deadline
        for shard in self.shards:
            if shard.alive:
                shard.out.append([msg.STOP, max(0.0, grace - 1.0)])
            shard.restart_at = None

    def _to_shard(self, addressed: tuple[int, msg.Message] | None) -> None:
        if addressed is not None:
            shard = self.shards[addressed[0]]
            if shard.alive:  # a dead one is sent the whole truth when it starts again
                shard.out.append(addressed[1])

    def _publish(self, report: Report) -> None:
        self.reports.append(report)

    # ---- the thread

    def _run(self) -> None:
        try:
            while not (self._ending is not None and not any(shard.alive for shard in self.shards)):
                self._turn()
        except Exception as error:
            self.failure = f"the supervisor's pump failed: {error!r}"
            log.exception("the supervisor's pump failed; its shards are stopped and their pods left as they are")
        finally:
            self._close()
            with self.news:
                self.news.notify_all()

    def _turn(self) -> None:
        assert self._selector is not None
        ready = self._selector.select(self._patience())
        for key, mask in ready:
            if key.data is None:
                self._drain_wakes()
            elif mask & selectors.EVENT_READ:
                self._receive(key.data)
        before = len(self.reports)
        while self.commands:
            method, arguments = self.commands.popleft()
            method(*arguments)
        if self._ending is None:
            for addressed in self.ledger.dispatch():
                self._to_shard(addressed)
            if self._wanted:
                self._build()
        self._look_after(time.monotonic())
        for shard in self.shards:
            self._flush(shard)
        if len(self.reports) != before or any(key.data for key, _ in ready):
            with self.news:
                self.news.notify_all()

    def _build(self) -> None:
        """Asks for the bodies that this turn's messages want."""
        wanted = [(name, attempt) for name, attempt in self._wanted if self.ledger.waits_for_body(name)]
        self._wanted = []
        assert self._config.build is not None
        if not wanted:
            return
        try:
            self._config.build(wanted)
        except Exception as error:  # the front door's defect must not end everybody's tasks
            log.exception("`build` failed for %d tickets", len(wanted))
            for name, _ in wanted:
                self.refuse_body(name, "BuildFailed", f"the pod could not be built: {error!r}")

    def _drain_wakes(self) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass  # it was emptied to the last byte
        # Only now: a command that comes while the pipe is read needs no wake-up, as all commands are looked at next.
        # The other way round its byte would be swallowed here, and no later command would write one.
        self._awake = False

    def _patience(self) -> float:
        if self.commands:
            return 0.0
        now = time.monotonic()
        due = [shard.restart_at for shard in self.shards if shard.restart_at is not None]
        if self._ending is not None:
            due.append(self._ending)
        return min(_TURN, max(0.0, min(due) - now)) if due else _TURN

    def _receive(self, shard: ShardProcess) -> None:
        messages, is_open = shard.receive()
        for message in messages:
            receiver = _RECEIVERS.get(message[0])
            if receiver is None:
                shard.last_words, is_open = f"it sent a message of an unknown kind, {message[0]!r:.60}", False
                shard.kill()
                break
            receiver(self, shard, *message[1:])
        if not is_open:
            self._buried(shard)

    def _buried(self, shard: ShardProcess) -> None:
        assert self._selector is not None
        assert shard.sock is not None
        self._selector.unregister(shard.sock)
        was_ready, told_to_stop = shard.ready, shard.stopped
        code = shard.reap(time.monotonic(), self._rng)
        if self._ending is not None:
            shard.restart_at = None
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        shard.last_error = f"{how}: {shard.last_words}" if shard.last_words else how
        shard_log.warning("shard %d %s; starting it again", shard.shard, shard.last_error)
        if not was_ready and not told_to_stop and shard.failures >= MAX_FAILED_STARTS:
            words = f": {shard.last_words}" if shard.last_words else ""
            self.failure = f"shard {shard.shard} {how} {shard.failures} times in a row before it was ready{words}"

    def _spawn(self, shard: ShardProcess) -> None:
        assert self._selector is not None
        assert self._credentials is not None
        shard.spawn(time.monotonic(), self._pid)
        assert shard.sock is not None
        self._selector.register(shard.sock, selectors.EVENT_READ, shard)
        level = shard_log.getEffectiveLevel()
        settings = settings_of(self._config, shard.shard, self._credentials, self._pid, level)
        shard.out.append([msg.CONFIG, settings.to_json()])
        shard.out.extend(self.ledger.resend(shard.shard))
        shard.out.append([msg.BEGIN])

    def _look_after(self, now: float) -> None:
        for shard in self.shards:
            if shard.alive:
                if self._ending is not None:
                    if now >= self._ending:
                        shard.kill()
                elif now - shard.beats_at > self._config.beat_timeout:
                    shard.last_words = f"it had not been heard for {now - shard.beats_at:.0f} s"
                    shard_log.error("shard %d has not been heard for %.0f s", shard.shard, now - shard.beats_at)
                    shard.beats_at = now
                    shard.kill()
            elif shard.restart_at is not None and now >= shard.restart_at:
                try:
                    self._spawn(shard)
                except OSError as error:
                    shard.failures += 1
                    shard.restart_at = now + min(30.0, 2.0**shard.failures)
                    shard.last_error = f"cannot be started: {error}"
                    shard_log.error("shard %d %s", shard.shard, shard.last_error)

    def _flush(self, shard: ShardProcess) -> None:
        assert self._selector is not None
        if shard.sock is None:
            return
        waits = shard.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
        if self._selector.get_key(shard.sock).events != wanted:
            self._selector.modify(shard.sock, wanted, shard)

    def _close(self) -> None:
        for shard in self.shards:
            if shard.process is not None:
                shard.kill()
                shard.reap(time.monotonic(), self._rng)
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        descriptors = self._wake_read, self._wake_write
        self._wake_read = self._wake_write = -1  # first, so that no late command writes into whoever gets the number
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    # ---- messages of the shards

    def _on_ready(self, shard: ShardProcess, pid: int) -> None:
        shard.ready = True
        shard.beats_at = time.monotonic()

    def _on_report(self, shard: ShardProcess, fields: dict[str, Any]) -> None:
        report = self.ledger.reported(fields)
        if report is not None:
            self._publish(report)

    def _on_closed(self, shard: ShardProcess, name: str, pod_left: str | None) -> None:
        self.ledger.shard_closed(name, pod_left)

    def _on_need_body(self, shard: ShardProcess, name: str, attempt: int) -> None:
        if self._config.build is None:
            self._to_shard(self.ledger.body(name))
        else:
            self._wanted.append((name, attempt))

    def _on_adopted(self, shard: ShardProcess, name: str) -> None:
        self.ledger.adopted(name)

    def _on_need_credentials(self, shard: ShardProcess) -> None:
        self._need_credentials()

    def _on_beat(self, shard: ShardProcess, figures: dict[str, Any]) -> None:
        shard.beats_at = time.monotonic()
        shard.figures = figures

    def _on_log(self, shard: ShardProcess, level: str, text: str) -> None:
        if level == "error":
            shard.last_words = text.strip().rsplit("\n", 1)[-1]
        shard_log.log(_LEVELS.get(level, logging.INFO), "shard %d: %s", shard.shard, text)

    def _on_stopped(self, shard: ShardProcess) -> None:
        shard.stopped = True

    def stats(self, shard: ShardProcess) -> ShardStats:
        """What a shard's last heartbeat said."""
        return stats_of(shard)


_RECEIVERS: dict[str, Callable[..., None]] = {
    msg.READY: Pump._on_ready,
    msg.REPORT: Pump._on_report,
    msg.CLOSED: Pump._on_closed,
    msg.NEED_BODY: Pump._on_need_body,
    msg.ADOPTED: Pump._on_adopted,
    msg.NEED_CREDENTIALS: Pump._on_need_credentials,
    msg.BEAT: Pump._on_beat,
    msg.LOG: Pump._on_log,
    msg.STOPPED: Pump._on_stopped,
}
