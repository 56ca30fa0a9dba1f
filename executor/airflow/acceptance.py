"""From a workload that the scheduler hands over to a job in the book."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any
from uuid import uuid4

from shard_executor._fast import bin_of
from shard_executor.airflow.book import Book, Job
from shard_executor.airflow.coordinators import template_and_image
from shard_executor.airflow.options import Options


def job_of(
    options: Options,
    book: Book,
    workload: Any,
    key: Hashable,
    pod_override: Any,
    pod_template_file: str | None,
    namespace: str,
    queue: str | None,
) -> Job:
    """A job, not in the book yet.

    Args:
        options: the executor's.
        book: which knows the submission ids that have been used.
        workload: the ExecuteTask.
        key: what the event buffer calls its task instance.
        pod_override, pod_template_file: of its executor_config.
        namespace: where its pod goes.
        queue: of the task; a coordinator declared for it may bring its own template and image, which then count.
    """
    ti = workload.ti
    template_file, image = template_and_image(queue, pod_template_file, options)
    submission_id = getattr(ti, "external_executor_id", None)
    if submission_id is None or not book.first_time(submission_id):
        submission_id = str(uuid4())  # an id from an earlier hand-over must not name this one's pod
    return Job(
        ticket=submission_id,
        key=key,
        ti_key=(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number),
        ti_id=str(ti.id),
        submission_id=submission_id,
        bin=bin_of(ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)),
        namespace=namespace,
        priority=ti.priority_weight,
        workload=workload,
        pod_override=pod_override,
        pod_template_file=template_file,
        image=image,
        accepted_at=time.monotonic(),
    )


def fresh_token(generator: Any, ti_id: str) -> str | None:
    """A token for a task instance, signed now; None where this Airflow's executors sign none.

    Args:
        generator: `BaseExecutor.jwt_generator`.
        ti_id: the task instance's id.
    """
    if generator is None:
        return None
    try:
        from airflow.executors.workloads.base import BaseWorkloadSchema
    except ImportError:  # before Airflow 3.2
        return generator.generate({"sub": ti_id})  # type: ignore[no-any-return]
    token: str = BaseWorkloadSchema.generate_token(ti_id, generator)
    return token
