"""Jobs that wait until the pods of their task instance's revoked hand-over are gone.

A task that was stuck and is queued again has the same id and try. Its old pod, started in that moment, would take the
new hand-over's place and then be killed by the removal that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from shard_executor.airflow.book import Book, Job, TiKey

HELD_LIMIT = 60.0  # seconds that a job waits for that


class Holding:
    """See the module. Used by the scheduler's thread only.

    Args:
        book: the open jobs.
        is_open: whether the supervisor still has a ticket, so that its pod may still be there.
        is_leaving: whether pods of a task instance that had no job here are being removed.
        submit: hands a job to the supervisor.
    """

    def __init__(
        self,
        book: Book,
        is_open: Callable[[str], bool],
        is_leaving: Callable[[TiKey], bool],
        submit: Callable[[Job], None],
    ) -> None:
        self._book = book
        self._is_open = is_open
        self._is_leaving = is_leaving
        self._submit = submit
        self._held: dict[str, tuple[float, Job]] = {}
        self._going: dict[Hashable, list[str]] = {}  # revoked tickets whose pods may still be there

    def must_wait(self, job: Job) -> bool:
        """Whether a revoked hand-over of this job's task instance has a pod, or may still get one."""
        revoked = any(earlier.revoked for earlier in self._book.of_key(job.key))
        return revoked or bool(self._still_going(job.key)) or self._is_leaving(job.ti_key)

    def hold(self, job: Job) -> None:
        """Keeps a job back."""
        self._held[job.ticket] = (job.accepted_at + HELD_LIMIT, job)

    def drop(self, ticket: str) -> bool:
        """Takes a job out that was revoked while it waited; False if it did not wait here."""
        return self._held.pop(ticket, None) is not None

    def going(self, job: Job) -> None:
        """A revoked job was closed; its pod may take its grace period to go."""
        self._going.setdefault(job.key, []).append(job.ticket)

    def turn(self, now: float) -> None:
        """Submits what need not wait any longer. Cheap where nothing waits.

        Args:
            now: monotonic seconds.
        """
        if self._going:
            self._going = {key: still for key in self._going if (still := self._still_going(key))}
        for ticket, (deadline, job) in list(self._held.items()):
            if self._book.get(ticket) is None:
                del self._held[ticket]
            elif now >= deadline or not self.must_wait(job):
                del self._held[ticket]
                self._submit(job)

    def _still_going(self, key: Hashable) -> list[str]:
        return [ticket for ticket in self._going.get(key, ()) if self._is_open(ticket)]
