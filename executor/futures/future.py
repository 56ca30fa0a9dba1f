"""The future of one task, and results of many in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shard_executor.futures.outcome import TaskFailed, TaskResult
from shard_executor.pods.task import TaskSpec

if TYPE_CHECKING:
    from shard_executor.supervisor import Submission


class TaskFuture(Future[TaskResult]):
    """The future of one task; `task` is what was submitted, `owner` the dispatcher that settles it."""

    def __init__(self, task: TaskSpec, owner: object) -> None:
        super().__init__()
        self.task = task
        self.owner = owner


@dataclass(slots=True, eq=False)
class OpenTask:
    """A task until its last try is settled. Used by the dispatcher's thread only.

    `submission`: of its next try, until that is handed over. `decided`: its future has left the pending state, for
    running or for cancelled.
    """

    future: TaskFuture
    submission: Submission | None
    decided: bool = False

    def take_submission(self, try_number: int) -> Submission:
        """The submission of its next try, which it keeps no longer: bodies are most of what waiting tasks need."""
        submission, self.submission = self.submission, None
        if submission is None:
            raise ValueError(f"try {try_number} of task {self.future.task.id!r} was not prepared")
        return submission

    def decide(self) -> bool:
        """Makes the future running, or tells those who wait for it if it was cancelled; whether it awaits a result.

        No code of the user runs here.
        """
        if not self.decided:
            self.decided = True
            try:
                return self.future.set_running_or_notify_cancel()
            except RuntimeError:
                # Somebody else has set it, against the rules of Future, which has logged it; no other one may suffer.
                return not self.future.done()
        return not self.future.done()


def results_in_order(futures: list[TaskFuture], end: float | None, return_exceptions: bool) -> Iterator[Any]:
    """Yields the results of futures one after the other; cancels those that are left when it ends.

    Args:
        futures: is emptied, so that each is let go as soon as its result was yielded.
        end: monotonic seconds by which all have to be there, or None.
        return_exceptions: yield a task's failure in its place instead of raising it.
    """
    futures.reverse()
    try:
        while futures:
            outcome: TaskResult | Exception
            try:
                outcome = futures[-1].result(None if end is None else end - time.monotonic())
            except (TaskFailed, CancelledError) as failed:
                if not return_exceptions:
                    raise
                outcome = failed
            futures.pop()
            yield outcome
    finally:
        for future in futures:
            future.cancel()
