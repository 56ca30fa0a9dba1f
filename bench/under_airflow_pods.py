"""Building a task's pod for Airflow: compiled slices against the provider's generator, per pod.

    python bench/under_airflow_pods.py [--rounds N] [--pods N] [--json FILE]

Needs an environment with Airflow and its Kubernetes provider. Before anything is timed, every pod of one round is
compared with the provider's, field for field apart from what only shard-executor puts there. Each round runs every
line once, in turn, so that a noisy neighbour hits all of them; the median over rounds counts.

The provider's lines are what its executor does for each pod: read the template, construct, sanitize, write JSON. "Kept
template" leaves the first out, which the provider does not do. All lines give JSON text for tasks that differ in ids,
try, map index and a workload of 1.5 KB. With a mutation hook, pods are built in the builder process: its CPU time is in
the figure, and the share that the scheduler's process spends is given beside it. CPU time counts, since a pod that
waits for a CPU is no slower to build.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="bench-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "airflow" / "generation"))

import psutil
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator, workload_to_command_args
from generation_cases import comparable, pod_of, request_of, settings_of, stock_pod, without_ours
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import PodFactory, PodRequest

TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata:
  name: worker
  labels: {tier: airflow, component: worker, release: bench}
  annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
spec:
  restartPolicy: Never
  serviceAccountName: airflow-worker
  securityContext: {runAsUser: 50000, fsGroup: 0}
  containers:
    - name: base
      image: apache/airflow
      imagePullPolicy: IfNotPresent
      envFrom: [{configMapRef: {name: airflow-variables}}]
      env:
        - {name: AIRFLOW__CORE__EXECUTOR, value: LocalExecutor}
        - {name: AIRFLOW__CORE__FERNET_KEY, valueFrom: {secretKeyRef: {name: fernet, key: fernet-key}}}
        - {name: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, valueFrom: {secretKeyRef: {name: metadata, key: connection}}}
      resources: {requests: {cpu: 100m, memory: 512Mi}, limits: {memory: 1Gi}}
      volumeMounts:
        - {name: logs, mountPath: /opt/airflow/logs}
        - {name: config, mountPath: /opt/airflow/airflow.cfg, subPath: airflow.cfg, readOnly: true}
  volumes:
    - {name: logs, emptyDir: {}}
    - {name: config, configMap: {name: airflow-config}}
"""
HOOK = """\
from kubernetes.client import models as k8s

def pod_mutation_hook(pod):
    pod.metadata.annotations["team"] = "data"
    pod.spec.tolerations = [*(pod.spec.tolerations or []), k8s.V1Toleration(key="workers", operator="Exists")]
"""


def override() -> k8s.V1Pod:
    """A fresh object for each task, as the scheduler reads it from the database."""
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"team": "data"}),
        spec=k8s.V1PodSpec(
            containers=[
                k8s.V1Container(
                    name="base",
                    env=[k8s.V1EnvVar(name="LEVEL", value="3")],
                    resources=k8s.V1ResourceRequirements(requests={"cpu": "1", "memory": "2Gi"}),
                )
            ],
            tolerations=[k8s.V1Toleration(key="batch", operator="Exists", effect="NoSchedule")],
            node_selector={"pool": "batch"},
        ),
    )


def requests_of(count: int, template: str, overridden: bool) -> list[PodRequest]:
    filler = "x" * 1400
    return [
        request_of(
            task_id=f"task_{n % 20}",
            run_id=f"scheduled__2026-03-{n % 28 + 1:02}T06:30:00+00:00",
            map_index=n,
            try_number=n % 3 + 1,
            bin=n % 256,
            submission_id=f"17/etl/task_{n % 20}/{n}",
            workload_json=json.dumps({"token": filler, "ti": {"task_id": f"task_{n % 20}", "map_index": n}}),
            pod_template_file=template,
            pod_override=override() if overridden else None,
        )
        for n in range(count)
    ]


class Workload:
    def __init__(self, text: str) -> None:
        self.text = text

    def model_dump_json(self) -> str:
        return self.text


def provider(requests: Sequence[PodRequest], kept: k8s.V1Pod | None, hook: Callable[[k8s.V1Pod], None] | None) -> None:
    """Builds the pods as the provider's executor does, to JSON text; its API client is made once, as there."""
    client = ApiClient()
    for request in requests:
        base = kept or PodGenerator.deserialize_model_file(request.pod_template_file)
        pod = PodGenerator.construct_pod(
            namespace=request.namespace,
            scheduler_job_id="17",
            pod_id="bench",
            dag_id=request.dag_id,
            task_id=request.task_id,
            kube_image=request.image,
            try_number=request.try_number,
            map_index=request.map_index,
            date=None,
            run_id=request.run_id,
            args=workload_to_command_args(Workload(request.workload_json)),
            pod_override_object=request.pod_override,
            base_worker_pod=base,
        )
        if hook is not None:
            hook(pod)
        json.dumps(client.sanitize_for_serialization(pod))


def check(factory: PodFactory, requests: Sequence[PodRequest], hook: Callable[[k8s.V1Pod], None] | None) -> None:
    """Raises AssertionError unless every pod is the provider's."""
    for request, built in zip(requests, factory.build(requests), strict=True):
        stock = stock_pod(request, hook)
        assert without_ours(pod_of(built), stock) == comparable(stock), "the pods differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pods", type=int, default=500, help="per line and round; a tenth of it for the provider")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    home = os.environ["AIRFLOW_HOME"]
    template = str(Path(home, "pod.yaml"))
    Path(template).write_text(TEMPLATE)
    plain, hooked = PodFactory(settings_of()), PodFactory(settings_of())
    plain.start()
    assert plain.build(requests_of(1, template, False))
    config = Path(home, "config")
    config.mkdir()
    (config / "airflow_local_settings.py").write_text(HOOK)
    hooked.start()
    names: dict = {}
    exec(HOOK, names)
    hook = names["pod_mutation_hook"]
    kept = PodGenerator.deserialize_model_file(template)

    ours, theirs = options.pods, max(1, options.pods // 10)
    lines: dict[str, tuple[int, Callable[[], object]]] = {}
    try:
        for overridden in (False, True):
            what = "with an override" if overridden else "template only"
            many, few = requests_of(ours, template, overridden), requests_of(theirs, template, overridden)
            check(plain, many, None)
            check(hooked, many, hook)
            lines |= {
                f"provider, {what}": (theirs, lambda few=few: provider(few, None, None)),
                f"provider, kept template, {what}": (theirs, lambda few=few: provider(few, kept, None)),
                f"provider, mutation hook, {what}": (theirs, lambda few=few: provider(few, None, hook)),
                f"compiled, {what}": (ours, lambda many=many: plain.build(many)),
                f"mutation hook, {what}": (ours, lambda many=many: hooked.build(many)),
            }
        print(f"every pod of a round checked against the provider's; {ours} pods a line, {theirs} for the provider\n")
        wall, here, cpu = ({name: [] for name in lines} for _ in range(3))
        builder = psutil.Process(hooked.builder_pid)
        for _ in range(options.rounds):
            for name, (pods, call) in lines.items():
                there = sum(builder.cpu_times()[:2])
                began, spent = time.perf_counter(), time.process_time()
                call()
                wall[name].append((time.perf_counter() - began) / pods * 1e6)
                here[name].append((time.process_time() - spent) / pods * 1e6)
                there = sum(builder.cpu_times()[:2]) - there
                cpu[name].append(here[name][-1] + there / pods * 1e6)
    finally:
        plain.end()
        hooked.end()
        shutil.rmtree(home)
    print(
        f"{f'µs per pod, median of {options.rounds} rounds':46} {'CPU':>9} {'of it here':>10} {'wall':>9} {'ratio':>9}"
    )
    for name in lines:
        peer = f"provider, {'mutation hook, ' if 'mutation' in name else ''}{name.rsplit(', ', 1)[1]}"
        medians = [statistics.median(values[name]) for values in (cpu, here, wall)]
        ratio = statistics.median(cpu[peer]) / medians[0]
        print(f"{name:46} {medians[0]:9.1f} {medians[1]:10.1f} {medians[2]:9.1f} {ratio:8.1f}x")
    if options.json:
        figures = {
            "benchmark": "under_airflow_pods",
            "python": platform.python_version(),
            "machine": platform.machine(),
            "rounds": options.rounds,
            "pods": ours,
            "cpu_microseconds_per_pod": cpu,
            "of_them_in_the_asking_process": here,
            "microseconds_per_pod": wall,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
