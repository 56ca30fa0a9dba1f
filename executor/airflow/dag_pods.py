"""The pods that the tasks of a DAG would get, without a run and without a cluster: `generate-dag-yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.models import DagModel, DagRun, TaskInstance
from airflow.utils.cli import get_bagged_dag
from airflow.utils.types import DagRunType

from shard_executor._fast import bin_of
from shard_executor.airflow.coordinators import template_and_image
from shard_executor.airflow.generation import (
    BuildError,
    PodRequest,
    executor_config_parts,
    general_pod,
    namespace_of,
)
from shard_executor.airflow.options import Options, generation_settings

OWNER = "worker-config"  # stands for the scheduler's job, as in the provider's command
_UNSAFE = re.compile(r"[^\w.-]+")


def dag_of(dag_id: str, bundle_names: list[str] | None) -> Any:
    """The DAG, parsed now.

    Args:
        bundle_names: DAG bundles to look into; all of them if None.

    Raises:
        AirflowException: there is no such DAG.
    """
    return get_bagged_dag(bundle_names=bundle_names, dag_id=dag_id)


def pods_of_dag(
    dag: Any, logical_date: datetime | None, bundle_names: list[str] | None, options: Options
) -> Iterator[tuple[str, Mapping[str, Any] | BuildError]]:
    """Name for a file, and the pod of each task, or why it can have none.

    Args:
        logical_date: of the run; now if None.
        bundle_names: where the DAG was looked for.
    """
    dag_id, date = dag.dag_id, logical_date or datetime.now(UTC)
    run = DagRun(dag_id, logical_date=date)
    run.run_id = DagRun.generate_run_id(run_type=DagRunType.MANUAL, logical_date=date, run_after=date)
    model = DagModel(dag_id=dag_id)
    model.bundle_name = bundle_names[0] if bundle_names else _stored_bundle(dag_id)
    model.relative_fileloc = dag.relative_fileloc
    settings = generation_settings(options, OWNER)
    stamp = date.strftime("%Y-%m-%dT%H_%M_%S")
    for task in _scheduler_side(dag).tasks:
        name = _UNSAFE.sub("_", f"{dag_id}_{task.task_id}_{stamp}")
        try:
            yield name, general_pod(_request(task, run, model, options), settings)
        except BuildError as error:
            yield name, error


def _request(task: Any, run: Any, model: Any, options: Options) -> PodRequest:
    ti = TaskInstance(task, run_id=run.run_id, dag_version_id=uuid4())
    ti.dag_run, ti.dag_model = run, model
    ti.try_number = 1
    override, template = executor_config_parts(ti.executor_config)
    template_file, image = template_and_image(ti.queue, template, options)
    return PodRequest(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        try_number=ti.try_number,
        workload_json=ExecuteTask.make(ti).model_dump_json(),
        ti_id=str(ti.id) if hasattr(BaseExecutor, "get_task_key") else None,
        submission_id=str(ti.id),
        bin=bin_of(ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)),
        namespace=namespace_of(override, options.namespace),
        pod_override=override,
        pod_template_file=template_file,
        image=image,
        logical_date=run.logical_date,
    )


def _stored_bundle(dag_id: str) -> str:
    """The bundle that the DAG was found in, as the database has it since it was parsed."""
    stored = DagModel.get_dagmodel(dag_id)
    return str(stored.bundle_name) if stored is not None else "default"


def _scheduler_side(dag: Any) -> Any:
    """The DAG as the scheduler has it: through its serialized form, whose class differs between releases."""
    from airflow.serialization import serialized_objects

    cls = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    return cls.from_dict(cls.to_dict(dag))
