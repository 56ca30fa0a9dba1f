"""The parent's ledger: every accepted ticket until it is closed, and what must be said to its shard.

No IO: the pump feeds it commands of the front door and messages of the shards, and sends what it returns. Every
ticket has exactly one terminal report; a second one, from a shard that was restarted, is dropped here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shard_executor.supervisor import messages as msg
from shard_executor.supervisor.config import Report, Submission

BINS = 256
HANDED_OVER = "handed-over"


def bins_of(shard: int, shards: int) -> tuple[int, int]:
    """The half-open range of bins that shard `shard` of `shards` owns."""
    return BINS * shard // shards, BINS * (shard + 1) // shards


@dataclass(slots=True)
class Ticket:
    """One accepted submission. `body` is kept until its terminal report, for relaunches and restarted shards, if bodies
    are not built just in time.

    `fresh` says that its pod was made by an earlier process and that nobody has been told yet that it runs, `marks`
    are the labels and annotations by which its pod is still to be adopted, `handed_over` says that the pod is
    somebody else's now.
    """

    name: str
    shard: int
    namespace: str
    stem: str
    submission_id: str
    priority: int
    body: str | None
    attempt: int = 0
    uid: str | None = None
    pod: str = ""
    began: bool = False
    fresh: bool = False
    dispatched: bool = False
    reported: str | None = None
    acknowledged: bool = False
    keep: bool = False
    revoked: bool = False
    marks: tuple[dict[str, str], dict[str, str]] | None = None
    handed_over: bool = False
    times: dict[str, float] = field(default_factory=dict)


class Ledger:
    """All tickets of one supervisor.

    Args:
        shards: how many shards share the bins.
        parallelism: tickets between dispatch and terminal report at once; None is without limit.
        keep_succeeded, keep_failed: leave pods in place, labelled as done.
        labels: those that every pod of this supervisor has, besides its bin; adopted ones are given them.
        just_in_time: bodies are built when a shard asks for them; none is kept here.
    """

    def __init__(
        self,
        shards: int,
        parallelism: int | None,
        keep_succeeded: bool,
        keep_failed: bool,
        labels: Mapping[str, str] | None = None,
        just_in_time: bool = False,
    ) -> None:
        self._shard_of = [0] * BINS
        for shard in range(shards):
            for number in range(*bins_of(shard, shards)):
                self._shard_of[number] = shard
        self._parallelism = parallelism
        self._keep = {True: keep_succeeded, False: keep_failed}
        self._labels = dict(labels or {})
        self._just_in_time = just_in_time
        self.tickets: dict[str, Ticket] = {}
        self._waiting: list[tuple[int, int, str]] = []
        self._alive: list[Ticket] = []  # their pods are there already: they take room, and do not wait for it
        self._serial = 0
        self.under_way = 0
        self.accepted = 0
        self.closed = 0
        self.pods_left: list[tuple[str, str]] = []

    # ---- the front door's commands

    def accept(self, submission: Submission, now: float) -> bool:
        """Takes a ticket in; it waits here until there is room. False, and nothing, if its name is open already."""
        if submission.ticket in self.tickets:
            self.closed += 1  # it counts as submitted, so that `idle` still holds in the end
            return False
        ticket = Ticket(
            submission.ticket,
            self._shard_of[submission.bin],
            submission.namespace,
            submission.name_stem,
            submission.submission_id,
            submission.priority,
            submission.body,
            submission.attempt,
            submission.uid,
            submission.pod or "",
            began=submission.began,
            fresh=submission.uid is not None,
            marks=self._marks(submission) if submission.adopts else None,
        )
        ticket.times["submitted"] = now
        self.tickets[ticket.name] = ticket
        self.accepted += 1
        self._serial += 1
        if ticket.uid is not None:
            self._alive.append(ticket)
        else:
            heapq.heappush(self._waiting, (-ticket.priority, self._serial, ticket.name))
        return True

    def _marks(self, submission: Submission) -> tuple[dict[str, str], dict[str, str]]:
        own = {**self._labels, "shard-executor/bin": str(submission.bin)}
        return {**submission.adopt_labels, **own}, dict(submission.adopt_annotations)

    def dispatch(self) -> Iterator[tuple[int, msg.Message]]:
        """Tickets that may go to their shards now."""
        alive, self._alive = self._alive, []
        for ticket in alive:
            yield self._dispatched(ticket)
        while self._waiting and (self._parallelism is None or self.under_way < self._parallelism):
            waiting = self.tickets.get(heapq.heappop(self._waiting)[2])
            if waiting is not None and not waiting.dispatched and not waiting.reported:
                yield self._dispatched(waiting)

    def _dispatched(self, ticket: Ticket) -> tuple[int, msg.Message]:
        ticket.dispatched = True
        self.under_way += 1
        return ticket.shard, self._submit(ticket)

    def revoke(self, name: str, now: float) -> tuple[Report | None, int, msg.Message | None]:
        """Revokes a ticket: one that has not been dispatched ends here, any other is its shard's to end."""
        ticket = self.tickets.get(name)
        if ticket is None or ticket.reported or ticket.revoked:
            return None, 0, None
        ticket.revoked = True
        if ticket.dispatched:
            return None, ticket.shard, [msg.REVOKE, name]
        if ticket.uid is not None:
            return None, 0, None  # its pod must go: its shard is told with the ticket
        ticket.reported = "revoked"
        ticket.body = None
        ticket.times["reported"] = now
        report = Report(
            name,
            "revoked",
            True,
            "revoked",
            "Revoked",
            message="the task was revoked before its pod was created",
            namespace=ticket.namespace,
            times=dict(ticket.times),
        )
        return report, 0, None

    def acknowledge(self, name: str) -> tuple[int, msg.Message] | None:
        """The caller has the terminal report; its pod may be removed."""
        ticket = self.tickets.get(name)
        if ticket is None or ticket.acknowledged:
            return None
        if ticket.reported is None:
            raise KeyError(f"ticket {name} was acknowledged before its terminal report")
        ticket.acknowledged = True
        if not ticket.dispatched:
            self._close(ticket)
            return None
        ticket.keep = self._keep[ticket.reported == "succeeded"]
        return ticket.shard, [msg.ACK, name, ticket.keep]

    # ---- the shards' messages

    def reported(self, fields: dict[str, Any]) -> Report | None:
        """Takes a shard's report; None if the ticket has had its terminal one."""
        ticket = self.tickets.get(fields["ticket"])
        if ticket is None or ticket.reported is not None:
            return None
        state, terminal = fields["state"], fields["terminal"]
        ticket.attempt = fields["attempt"]
        ticket.uid = fields["uid"]
        ticket.pod = fields["pod"]
        ticket.began = fields["began"]
        ticket.fresh = ticket.fresh and state != "running"
        times = ticket.times
        if state == "pending" and ticket.uid is not None:
            times["created"] = fields["at"]
        for mine, theirs in (("started", "started_at"), ("finished", "finished_at")):
            if fields[theirs] is not None:
                times[mine] = fields[theirs]
        if terminal:
            ticket.reported = state
            ticket.handed_over = fields["failure_class"] == HANDED_OVER
            ticket.body = None
            times["reported"] = fields["at"]
            self.under_way -= 1
        return Report(
            ticket.name,
            state,
            terminal,
            fields["failure_class"],
            fields["reason"],
            fields["exit_code"],
            fields["message"],
            fields["log_tail"],
            ticket.pod,
            ticket.namespace,
            ticket.uid,
            ticket.attempt,
            dict(times),
            fields["container"],
        )

    def adopted(self, name: str) -> None:
        """A ticket's pod has our labels: another owner that takes it later keeps it."""
        if (ticket := self.tickets.get(name)) is not None:
            ticket.marks = None

    def shard_closed(self, name: str, pod_left: str | None) -> None:
        ticket = self.tickets.get(name)
        if ticket is None:
            return
        if pod_left:
            self.pods_left.append((f"{ticket.namespace}/{ticket.pod}", pod_left))
        self._close(ticket)

    def _close(self, ticket: Ticket) -> None:
        del self.tickets[ticket.name]
        self.closed += 1

    def body(self, name: str) -> tuple[int, msg.Message] | None:
        """The answer to a shard that needs a ticket's body for another attempt."""
        ticket = self.tickets.get(name)
        if ticket is None:
            return None
        if ticket.body is None:
            return ticket.shard, [msg.NO_BODY, name, "BodyRefused", "the ticket has been reported"]
        return ticket.shard, [msg.BODY, name, ticket.body]

    def waits_for_body(self, name: str) -> bool:
        """Whether a body that is built for a ticket may still be of use to its shard."""
        ticket = self.tickets.get(name)
        return ticket is not None and ticket.dispatched and not ticket.reported and not ticket.revoked

    def built(self, name: str, body: str) -> tuple[int, msg.Message] | None:
        """A body that was built just in time."""
        return (self.tickets[name].shard, [msg.BODY, name, body]) if self.waits_for_body(name) else None

    def not_built(self, name: str, reason: str, message: str) -> tuple[int, msg.Message] | None:
        """A body that cannot be built."""
        if not self.waits_for_body(name):
            return None
        return self.tickets[name].shard, [msg.NO_BODY, name, reason, message]

    def resend(self, shard: int) -> Iterator[msg.Message]:
        """Everything that a restarted shard must know of its predecessor's tickets."""
        for ticket in self.tickets.values():
            if ticket.shard == shard and ticket.dispatched:
                yield self._submit(ticket)
                if ticket.acknowledged:
                    yield [msg.ACK, ticket.name, ticket.keep]

    def _submit(self, ticket: Ticket) -> msg.Message:
        body = ticket.body if ticket.uid is None else None
        if self._just_in_time:
            ticket.body = None  # it serves one create
        return [
            msg.SUBMIT,
            ticket.name,
            ticket.namespace,
            ticket.stem,
            ticket.submission_id,
            ticket.priority,
            ticket.attempt,
            ticket.uid,
            ticket.began,
            ticket.fresh,
            HANDED_OVER if ticket.handed_over else ticket.reported,
            ticket.revoked and ticket.reported is None,
            body,
            ticket.pod or None,
            ticket.marks if ticket.reported is None else None,
        ]
