"""Requests, templates and overrides for the tests of pod generation, and the provider's own pod as the oracle."""

from __future__ import annotations

import copy
import itertools
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import yaml
from hypothesis import strategies as st
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError, BuiltPod, GenerationSettings, PodRequest

OWNER = "17"
_NUMBERS = itertools.count()
PLAIN_TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata:
  name: template
  labels: {tier: airflow}
  annotations: {note: "kept"}
spec:
  restartPolicy: Never
  serviceAccountName: worker
  containers:
    - name: base
      image: from-template
      env:
        - {name: FROM_TEMPLATE, value: "1"}
      volumeMounts:
        - {name: logs, mountPath: /logs}
  volumes:
    - {name: logs, emptyDir: {}}
"""
DATE = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def settings_of(**fields) -> GenerationSettings:
    return GenerationSettings(**{"owner": OWNER, "instance": "main.default", **fields})


def request_of(**fields) -> PodRequest:
    return PodRequest(
        **{
            "dag_id": "etl",
            "task_id": "load",
            "run_id": "scheduled__2026-03-01T06:30:00+00:00",
            "map_index": -1,
            "try_number": 1,
            "workload_json": '{"token":"a.b.c","ti":{"id":"1"},"text":"line\\nand \\"quotes\\""}',
            "ti_id": None,
            "submission_id": "job/etl/load/1",
            "bin": 42,
            "namespace": "airflow",
            "pod_override": None,
            "pod_template_file": None,
            "image": "registry/airflow:3",
            "logical_date": DATE,
            **fields,
        }
    )


def pod_of(built: BuiltPod | BuildError) -> dict:
    """The finished pod of a body, named `pod-name`."""
    assert isinstance(built, BuiltPod), built
    return orjson.loads(built.body.replace("\x00N", "pod-name").replace("\x00A", "0"))


def env_of(pod: dict, container: int = 0) -> dict:
    return {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][container].get("env", [])}


def stock_pod(request: PodRequest, hook=None) -> dict:
    """What the provider's executor sends for a request, in the words of its own generator."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator, workload_to_command_args

    class Workload:
        def model_dump_json(self):
            return request.workload_json

    pod = PodGenerator.construct_pod(
        namespace=request.namespace,
        scheduler_job_id=OWNER,
        pod_id="stock",
        dag_id=request.dag_id,
        task_id=request.task_id,
        kube_image=request.image,
        try_number=request.try_number,
        map_index=request.map_index,
        date=None,
        run_id=request.run_id,
        args=workload_to_command_args(Workload()),
        pod_override_object=copy.deepcopy(request.pod_override),
        base_worker_pod=PodGenerator.deserialize_model_file(request.pod_template_file or ""),
        with_mutation_hook=False,
    )
    if hook is not None:
        hook(pod)
    if request.ti_id is not None:
        pod.metadata.annotations["task_instance_id"] = request.ti_id
        pod.metadata.labels["ti_id"] = request.ti_id
    return orjson.loads(orjson.dumps(ApiClient().sanitize_for_serialization(pod), option=orjson.OPT_NON_STR_KEYS))


def written(folder: Path, document: dict) -> str:
    """The path of a new file in the folder that holds a document as YAML."""
    path = folder / f"{next(_NUMBERS)}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


OURS = {
    "AIRFLOW_CTX_DAG_ID",
    "AIRFLOW_CTX_TASK_ID",
    "AIRFLOW_CTX_DAG_RUN_ID",
    "AIRFLOW_CTX_TRY_NUMBER",
    "AIRFLOW_CTX_MAP_INDEX",
    "AIRFLOW_CTX_EXECUTION_DATE",
}


def without_ours(pod: dict, stock: dict) -> dict:
    """A pod of ours without what only we put there; what `stock` has of it stays, to be compared."""
    pod = copy.deepcopy(pod)
    metadata = pod["metadata"]
    del metadata["name"]
    for field in ("labels", "annotations"):
        metadata[field] = {
            key: value for key, value in metadata[field].items() if not key.startswith("shard-executor/")
        }
    main = pod["spec"]["containers"][0]
    theirs = {entry["name"] for entry in stock["spec"]["containers"][0].get("env", []) if isinstance(entry, dict)}
    main["env"] = [entry for entry in main.get("env", []) if entry["name"] not in OURS - theirs]
    for key in ("apiVersion", "kind"):
        if key not in stock:
            assert pod.pop(key) == {"apiVersion": "v1", "kind": "Pod"}[key]
    if "restartPolicy" not in stock["spec"]:
        assert pod["spec"].pop("restartPolicy") == "Never"
    return pod


def comparable(stock: dict) -> dict:
    """The provider's pod without its name."""
    pod = copy.deepcopy(stock)
    pod["metadata"].pop("name", None)
    pod["metadata"].pop("generateName", None)
    pod["spec"]["containers"][0].setdefault("env", [])
    return pod


def until(condition, seconds=20.0):
    """Waits until a condition holds and returns what it returned; fails at the limit."""
    limit = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


# --- generated input -------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "c", "logs", "base", "x-1"])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ID = st.one_of(
    st.text("abcXYZ019._-", min_size=1, max_size=90),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
    st.sampled_from(
        ["", '"', "\\", "${HOME}", "größe", "задача", "🦀" * 30, "a" * 64, "-", "a-", "\x1b[0m", "{{ dag_id }}"]
    ),
)
LABELS = st.dictionaries(st.sampled_from(["a", "team", "dag_id", "run_id", "tier"]), TEXT, max_size=3)
QUANTITIES = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "100m", "1Gi"]), max_size=2)


def _maybe(strategy):
    return st.one_of(st.none(), strategy)


def _model(cls, **fields):
    return st.builds(cls, **fields)


def _list(strategy, most=2):
    return st.one_of(st.none(), st.lists(strategy, max_size=most))


ENV = _model(
    k8s.V1EnvVar,
    name=st.sampled_from(["A", "B", "AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_MAP_INDEX", "AIRFLOW_IS_K8S_EXECUTOR_POD"]),
    value=_maybe(TEXT),
    value_from=_maybe(
        st.one_of(
            st.just(k8s.V1EnvVarSource(secret_key_ref=k8s.V1SecretKeySelector(name="s", key="k"))),
            st.just(k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="status.podIP"))),
        )
    ),
)
ENV_FROM = _model(
    k8s.V1EnvFromSource,
    prefix=_maybe(TEXT),
    config_map_ref=_maybe(_model(k8s.V1ConfigMapEnvSource, name=WORDS, optional=_maybe(st.booleans()))),
)
PORT = _model(k8s.V1ContainerPort, container_port=st.integers(1, 65535), name=_maybe(WORDS))
MOUNT = _model(k8s.V1VolumeMount, name=WORDS, mount_path=TEXT, read_only=_maybe(st.booleans()), sub_path=_maybe(TEXT))
RESOURCES = _model(k8s.V1ResourceRequirements, requests=_maybe(QUANTITIES), limits=_maybe(QUANTITIES))
SECURITY = _model(
    k8s.V1SecurityContext,
    run_as_user=_maybe(st.integers(0, 70000)),
    privileged=_maybe(st.booleans()),
    capabilities=_maybe(_model(k8s.V1Capabilities, drop=_list(st.just("ALL")))),
)
CONTAINER = _model(
    k8s.V1Container,
    name=WORDS,
    image=_maybe(st.sampled_from(["", "img:1", "img:2"])),
    args=_list(TEXT),
    command=_list(TEXT),
    env=_list(ENV),
    env_from=_list(ENV_FROM),
    ports=_list(PORT),
    resources=_maybe(RESOURCES),
    volume_mounts=_list(MOUNT),
    security_context=_maybe(SECURITY),
    lifecycle=_maybe(st.just(k8s.V1Lifecycle(pre_stop=k8s.V1LifecycleHandler(_exec=k8s.V1ExecAction(command=["sh"]))))),
    working_dir=_maybe(TEXT),
)
VOLUME = _model(
    k8s.V1Volume,
    name=WORDS,
    empty_dir=_maybe(_model(k8s.V1EmptyDirVolumeSource, medium=_maybe(st.just("Memory")))),
    host_path=_maybe(_model(k8s.V1HostPathVolumeSource, path=TEXT)),
)
TOLERATION = _model(
    k8s.V1Toleration,
    key=_maybe(WORDS),
    operator=_maybe(st.just("Exists")),
    toleration_seconds=_maybe(st.integers(0, 9)),
)
AFFINITY = st.just(
    k8s.V1Affinity(
        node_affinity=k8s.V1NodeAffinity(
            required_during_scheduling_ignored_during_execution=k8s.V1NodeSelector(
                node_selector_terms=[
                    k8s.V1NodeSelectorTerm(
                        match_expressions=[k8s.V1NodeSelectorRequirement(key="zone", operator="In", values=["a", "b"])]
                    )
                ]
            )
        )
    )
)


def _spec(containers):
    return _model(
        k8s.V1PodSpec,
        containers=containers,
        init_containers=_list(CONTAINER),
        volumes=_list(VOLUME),
        affinity=_maybe(AFFINITY),
        tolerations=_list(TOLERATION),
        node_selector=_maybe(LABELS),
        service_account_name=_maybe(WORDS),
        priority=_maybe(st.integers(-5, 5)),
        termination_grace_period_seconds=_maybe(st.integers(0, 60)),
        restart_policy=_maybe(st.sampled_from(["Never", "OnFailure"])),
        host_network=_maybe(st.booleans()),
        security_context=_maybe(
            _model(
                k8s.V1PodSecurityContext,
                fs_group=_maybe(st.integers(0, 5)),
                supplemental_groups=_list(st.integers(0, 9)),
            )
        ),
        image_pull_secrets=_list(_model(k8s.V1LocalObjectReference, name=WORDS)),
    )


def _metadata(namespaces):
    return _model(
        k8s.V1ObjectMeta,
        name=_maybe(WORDS),
        generate_name=_maybe(WORDS),
        namespace=namespaces,
        labels=_maybe(LABELS),
        annotations=_maybe(st.dictionaries(st.sampled_from(["note", "task_id", "vault/{{x}}"]), TEXT, max_size=2)),
        finalizers=_list(WORDS),
    )


OVERRIDES = _model(
    k8s.V1Pod,
    metadata=_maybe(_metadata(st.sampled_from([None, "", "elsewhere"]))),
    spec=_maybe(_spec(st.lists(CONTAINER, max_size=3))),
)
TEMPLATES = _model(
    k8s.V1Pod,
    api_version=st.sampled_from([None, "v1"]),
    kind=st.sampled_from([None, "Pod"]),
    metadata=_maybe(_metadata(st.sampled_from([None, "template-ns"]))),
    spec=_maybe(_spec(st.lists(CONTAINER, max_size=3))),
).map(lambda pod: ApiClient().sanitize_for_serialization(pod))
REQUESTS = st.fixed_dictionaries(
    {
        "dag_id": ID,
        "task_id": ID,
        "run_id": ID,
        "map_index": st.sampled_from([-1, -1, 0, 7, 12345]),
        "try_number": st.integers(0, 99),
        "workload_json": st.one_of(TEXT, st.just('{"a":"\\u00e9","b":[1,2]}')),
        "ti_id": st.sampled_from([None, "0198c0de-0000-7000-8000-000000000001"]),
        "bin": st.integers(0, 255),
        "image": st.sampled_from([None, "", "registry/airflow:3"]),
        "logical_date": st.sampled_from([None, DATE]),
    }
)
