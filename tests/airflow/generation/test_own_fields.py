"""The context environment, labels and annotations that are ours, and ids of every kind."""

from __future__ import annotations

import pytest
from generation_cases import env_of, pod_of, request_of
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError


def _base(**fields):
    return k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", **fields)]))


def test_variables_that_the_pod_sets_are_left_alone(shared_factory, template):
    override = _base(
        env=[
            k8s.V1EnvVar(name="AIRFLOW_CTX_DAG_ID", value="mine"),
            k8s.V1EnvVar(
                name="AIRFLOW_CTX_TASK_ID",
                value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.name")),
            ),
        ]
    )
    (built,) = shared_factory.build([request_of(pod_template_file=template, pod_override=override)])
    names = [entry["name"] for entry in pod_of(built)["spec"]["containers"][0]["env"]]
    assert len(names) == len(set(names))
    assert env_of(pod_of(built))["AIRFLOW_CTX_DAG_ID"] == "mine"
    assert env_of(pod_of(built))["AIRFLOW_CTX_TRY_NUMBER"] == "1"


def test_no_logical_date_no_variable(shared_factory):
    (built,) = shared_factory.build([request_of(logical_date=None)])
    assert "AIRFLOW_CTX_EXECUTION_DATE" not in env_of(pod_of(built))


def test_the_variables_go_into_the_container_that_runs_the_task(shared_factory, tmp_path):
    """The provider takes the first one for the task's, whatever an override calls it."""
    path = tmp_path / "pod.yaml"
    path.write_text("spec: {containers: [{name: first}, {name: second}]}")
    override = k8s.V1Pod(
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="sidecar"), k8s.V1Container(name="base", image="x")])
    )
    (built,) = shared_factory.build([request_of(pod_template_file=str(path), pod_override=override)])
    assert "AIRFLOW_CTX_DAG_ID" in env_of(pod_of(built), 0)
    assert "AIRFLOW_CTX_DAG_ID" not in env_of(pod_of(built), 1)
    assert pod_of(built)["spec"]["containers"][0]["args"][0] == "python"


def test_options_of_the_environment(make_factory):
    off, folder = make_factory(context_env=False), make_factory(dags_folder="/opt/dags")
    (built,) = off.build([request_of()])
    assert set(env_of(pod_of(built))) == {"AIRFLOW_IS_K8S_EXECUTOR_POD"}
    set_already = _base(env=[k8s.V1EnvVar(name="AIRFLOW__CORE__DAGS_FOLDER", value="/own")])
    plain, own = folder.build([request_of(), request_of(pod_override=set_already)])
    assert env_of(pod_of(plain))["AIRFLOW__CORE__DAGS_FOLDER"] == "/opt/dags"
    assert env_of(pod_of(own))["AIRFLOW__CORE__DAGS_FOLDER"] == "/own"


def test_what_the_watch_goes_by_cannot_be_overridden(shared_factory):
    override = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(
            name="mine",
            generate_name="mine-",
            labels={"airflow-worker": "x", "shard-executor/bin": "x", "team": "a"},
            annotations={"shard-executor/submission": "x", "shard-executor/attempt": "x"},
        )
    )
    (built,) = shared_factory.build([request_of(pod_override=override)])
    metadata = pod_of(built)["metadata"]
    assert metadata["name"] == "pod-name"
    assert "generateName" not in metadata
    assert {key: metadata["labels"][key] for key in ("airflow-worker", "shard-executor/bin", "team")} == {
        "airflow-worker": "17",
        "shard-executor/bin": "42",
        "team": "a",
    }
    assert metadata["annotations"]["shard-executor/submission"] == "job/etl/load/1"
    assert built.body.count("\x00N") == built.body.count("\x00A") == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task_id": "a\0b"}, r"task_id 'a\\x00b' has a NUL character"),
        ({"run_id": "manual\ud800"}, "run_id .* lone surrogate at position 6"),
        ({"dag_id": None}, "dag_id must be text"),
        ({"workload_json": "\udfff"}, "the workload's JSON is no Unicode text"),
        ({"ti_id": "\udfff"}, "ti_id .* lone surrogate"),
    ],
)
def test_ids_that_no_pod_can_carry_are_refused_alone(shared_factory, fields, words):
    before, refused, after = shared_factory.build([request_of(), request_of(**fields), request_of(task_id="other")])
    assert isinstance(refused, BuildError)
    assert refused.reason in ("InvalidIdentifier", "InvalidWorkload")
    with pytest.raises(BuildError, match=words):
        raise refused
    assert pod_of(before)["metadata"]["labels"]["task_id"] == "load"
    assert pod_of(after)["metadata"]["labels"]["task_id"] == "other"


def test_values_that_look_like_our_places_stay_values(shared_factory):
    (built,) = shared_factory.build([request_of(dag_id="\\u0000N", task_id='"},{"', workload_json="\\\x01N")])
    pod = pod_of(built)
    assert pod["metadata"]["annotations"]["dag_id"] == "\\u0000N"
    assert pod["metadata"]["annotations"]["task_id"] == '"},{"'
    assert pod["spec"]["containers"][0]["args"][4] == "\\\x01N"
    assert built.body.count("\x00N") == 1
