"""What the supervisor is handed for one try of a task, the same from every front door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shard_executor.supervisor.config import Submission

if TYPE_CHECKING:
    from shard_executor.pods.body import PodBuilder
    from shard_executor.pods.task import TaskSpec
    from shard_executor.runs.resume import Known


def submission_of(builder: PodBuilder, task: TaskSpec, try_number: int = 0, known: Known | None = None) -> Submission:
    """One try of a task. Its ticket is its submission id, so that no try is taken for another one.

    Args:
        builder: of the run.
        task: checked.
        try_number: from 0.
        known: what an earlier process of the run knew of this try's pod; None is nothing.

    Raises:
        TaskError: as `PodBuilder.body`.
    """
    bin_number = builder.bin(task.id)
    submission_id = builder.submission_id(task.id, try_number)
    return Submission(
        ticket=submission_id,
        bin=bin_number,
        namespace=builder.namespace_of(task),
        name_stem=task.id,
        submission_id=submission_id,
        body=builder.body(task, bin_number, try_number),
        priority=task.priority,
        attempt=known.attempt if known is not None else 0,
        uid=known.uid if known is not None else None,
        began=known.began if known is not None else False,
    )
