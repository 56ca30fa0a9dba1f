"""The supervisor: the one object that a front door (command line, API, Airflow) holds.

Nothing here waits for the API server, a shard or a lock held across IO: `submit`, `acknowledge` and `revoke` leave a
command, `drain` takes reports from memory.
"""

from __future__ import annotations

import time

from shard_executor.supervisor.config import NAMESPACE, Report, ShardStats, Submission, SupervisorConfig
from shard_executor.supervisor.credential_keeper import CredentialKeeper
from shard_executor.supervisor.ledger import BINS
from shard_executor.supervisor.pump import Pump


class SupervisorError(RuntimeError):
    """The supervisor was used in a way it cannot serve; the message says what to do instead."""


class Supervisor:
    """Runs submissions as pods over shard processes. Constructing starts nothing.

    Args:
        config: see `SupervisorConfig`.
    """

    def __init__(self, config: SupervisorConfig) -> None:
        self.config = config
        self._watched = frozenset(config.watched)
        self._keeper = CredentialKeeper(config.credentials, self._credentials_changed)
        self._pump = Pump(config, self._keeper.refresh)
        self._submitted = 0
        self._started = self._ended = False

    def start(self) -> None:
        """Resolves the credentials and starts the shards.

        Raises:
            CredentialError: no usable credentials; nothing has been started.
            SupervisorError: it was started before.
            OSError: a process could not be started.
        """
        if self._started:
            raise SupervisorError("this supervisor was started before; make a new one")
        credentials = self.config.credentials.load()
        self._pump.start(credentials)
        self._started = True
        self._keeper.start(credentials)

    def end(self, timeout: float = 10.0) -> None:
        """Stops the shards: creates in flight are finished, pods are left as they are. Harmless when repeated.

        Args:
            timeout: seconds after which shards that have not stopped are killed.
        """
        if not self._started or self._ended:
            return
        self._ended = True
        self._keeper.end()
        self._pump.end(timeout)

    def submit(self, submission: Submission) -> None:
        """Hands a task over; never blocks.

        Raises:
            SupervisorError: not started or ended, a namespace that is not watched, a bin or an attempt that cannot be,
                a pod without a uid, no body and nobody to build it, or half a surrogate pair in a text.
        """
        if not self._started or self._ended:
            raise SupervisorError("submit needs a supervisor that is started and not ended")
        if self.config.all_namespaces:
            if not NAMESPACE.fullmatch(submission.namespace):
                raise SupervisorError(
                    f"ticket {submission.ticket}: {submission.namespace!r} is no namespace name (an RFC 1123 label)"
                )
        elif submission.namespace not in self._watched:
            raise SupervisorError(
                f"ticket {submission.ticket}: namespace {submission.namespace!r} is not watched, "
                f"only {', '.join(map(repr, self.config.watched))}"
            )
        if not 0 <= submission.bin < BINS:
            raise SupervisorError(f"ticket {submission.ticket}: bin {submission.bin} is not between 0 and {BINS - 1}")
        if submission.attempt < 0 or submission.uid == "":
            raise SupervisorError(
                f"ticket {submission.ticket}: attempt {submission.attempt} of pod {submission.uid!r} cannot be"
            )
        if submission.body is None and self.config.build is None:
            raise SupervisorError(f"ticket {submission.ticket}: it has no body, and there is no `build` to ask for it")
        if submission.adopts and submission.uid is None:
            raise SupervisorError(f"ticket {submission.ticket}: a pod is adopted by its uid, which is missing")
        for name in ("ticket", "name_stem", "submission_id", "body", "uid", "pod"):
            _check_text(submission.ticket, name, getattr(submission, name) or "")
        for marks in (submission.adopt_labels, submission.adopt_annotations):
            for name, value in marks.items():
                _check_text(submission.ticket, name, name + value)
        self._submitted += 1
        self._pump.command(self._pump.submit, submission)

    def provide(self, ticket: str, body: str) -> None:
        """Answers `SupervisorConfig.build` with a ticket's body; never blocks.

        It is dropped if the ticket does not wait for it any more: revoked, timed out, or answered before.

        Raises:
            SupervisorError: half a surrogate pair in the body.
        """
        _check_text(ticket, "body", body)
        self._pump.command(self._pump.provide, ticket, body)

    def refuse_body(self, ticket: str, reason: str, message: str) -> None:
        """Answers `SupervisorConfig.build` for a ticket whose body cannot be made: it ends as failed.

        Args:
            ticket: one that was asked for; one that does not wait any more is left as it is.
            reason: a CamelCase word; the report's.
            message: what a user can do about it; the report's.

        Raises:
            SupervisorError: half a surrogate pair in a text.
        """
        _check_text(ticket, "message", reason + message)
        self._pump.command(self._pump.refuse_body, ticket, reason, message)

    def acknowledge(self, ticket: str) -> None:
        """The ticket's terminal report is safe with the caller: its pod may be removed."""
        self._pump.command(self._pump.acknowledge, ticket)

    def revoke(self, ticket: str) -> None:
        """Ends a ticket: its pod is deleted, and a terminal report says revoked unless it had finished before."""
        self._pump.command(self._pump.revoke, ticket)

    def drain(self) -> list[Report]:
        """The reports that have come since the last call; never blocks."""
        reports = self._pump.reports
        return [reports.popleft() for _ in range(len(reports))]

    def wait(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for something new: a report to drain, a closed ticket, a failure."""
        deadline = time.monotonic() + timeout
        news = self._pump.news
        with news:
            if self._pump.reports or self.failure is not None:
                return True
            news.wait(max(0.0, deadline - time.monotonic()))
        return bool(self._pump.reports)

    def idle(self) -> bool:
        """Every ticket has been reported, acknowledged and closed; nothing of them is left on the cluster."""
        return self._pump.ledger.closed == self._submitted

    @property
    def open_tickets(self) -> int:
        """Tickets that are not closed yet."""
        return self._submitted - self._pump.ledger.closed

    @property
    def failure(self) -> str | None:
        """Why this supervisor cannot go on, if so; pods are left as they are."""
        return self._pump.failure

    @property
    def pods_left(self) -> list[tuple[str, str]]:
        """Pods that could not be removed, with the server's words."""
        return list(self._pump.ledger.pods_left)

    def watched_ok(self) -> bool:
        """Whether every shard said in its last heartbeat that its lists are complete and its watches are well."""
        watches = [shard.watch for shard in self.stats()]
        return all(watch.get("synced") and watch.get("health") == "ok" for watch in watches)

    def stats(self) -> list[ShardStats]:
        """What each shard said of itself in its last heartbeat."""
        return [self._pump.stats(shard) for shard in self._pump.shards]

    def _credentials_changed(self, credentials: object) -> None:
        self._pump.command(self._pump.credentials_changed, credentials)


def _check_text(ticket: str, name: str, text: str) -> None:
    """Raises SupervisorError for what cannot be sent to a shard."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SupervisorError(f"ticket {ticket!r}: {name} is no text: {error}") from None
