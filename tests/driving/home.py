"""A home for one Airflow: configuration by environment variables, a metadata database, a pod template, a hook.

Nothing here imports Airflow: it reads its configuration when it is imported, so each home belongs to one process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STOCK = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"
OURS = "shard_executor.ShardExecutor"
_MIGRATE_LIMIT = 180.0  # seconds until the database is made
_TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata:
  name: replaced
  labels: {component: worker, release: airflow, tier: airflow}
  annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
spec:
  restartPolicy: Never
  serviceAccountName: default
  securityContext: {runAsUser: 50000, fsGroup: 0}
  containers:
    - name: base
      image: replaced
      imagePullPolicy: IfNotPresent
      env:
        - {name: AIRFLOW__CORE__EXECUTOR, value: LocalExecutor}
        - {name: AIRFLOW__LOGGING__REMOTE_LOGGING, value: "True"}
        - name: AIRFLOW__API_AUTH__JWT_SECRET
          valueFrom: {secretKeyRef: {name: airflow-jwt, key: secret}}
        - name: AIRFLOW__CORE__FERNET_KEY
          valueFrom: {secretKeyRef: {name: airflow-fernet, key: key}}
      resources:
        requests: {cpu: 200m, memory: 512Mi}
        limits: {memory: 1Gi}
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
    pod.metadata.labels["cost-center"] = pod.metadata.labels.get("dag_id", "none")
    pod.spec.tolerations = [*(pod.spec.tolerations or []), k8s.V1Toleration(key="batch", operator="Exists")]
    for container in pod.spec.containers:
        container.env = [*(container.env or []), k8s.V1EnvVar(name="POD_OWNER", value="data")]
"""


@dataclass(frozen=True, slots=True)
class Home:
    """One Airflow's folder and what its processes need in their environment."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "airflow.db"


def make_database(folder: Path) -> Path:
    """Makes an empty metadata database by ``airflow db migrate``; about 4 s. Copies of it serve many homes.

    Raises:
        RuntimeError: with the command's last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "airflow", "db", "migrate"],
        env=_base(folder),
        capture_output=True,
        text=True,
        timeout=_MIGRATE_LIMIT,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"airflow db migrate ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        )
    return folder / "airflow.db"


def make_home(
    folder: Path,
    database: Path,
    executor: str,
    kubeconfig: Path,
    *,
    options: Mapping[str, str] | None = None,
    template: str = _TEMPLATE,
    hook: str | None = None,
) -> Home:
    """Fills a folder.

    Args:
        folder: of this home; made if need be.
        database: an empty metadata database, to be copied.
        executor: import path of the executor's class.
        kubeconfig: of the cluster.
        options: ``section.key`` -> value, written over what is set here.
        template: the pod template.
        hook: text of airflow_local_settings.py; none by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(database, folder / "airflow.db")
    (folder / "dags").mkdir(exist_ok=True)
    (folder / "pod_template.yaml").write_text(template)
    if hook is not None:
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "airflow_local_settings.py").write_text(hook)
    settings = {
        "core.executor": executor,
        "kubernetes_executor.in_cluster": "False",
        "kubernetes_executor.config_file": str(kubeconfig),
        "kubernetes_executor.namespace": "default",
        "kubernetes_executor.pod_template_file": str(folder / "pod_template.yaml"),
        "kubernetes_executor.worker_container_repository": "example/airflow",
        "kubernetes_executor.worker_container_tag": "3",
        **(options or {}),
    }
    environment = _base(folder)
    for name, value in settings.items():
        section, _, key = name.partition(".")
        environment[f"AIRFLOW__{section.upper()}__{key.upper()}"] = value
    return Home(folder, environment)


def _base(folder: Path) -> dict[str, str]:
    """The environment without whatever Airflow settings the caller has, and with what every home needs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    database = folder / "airflow.db"
    return environment | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of 64 bytes or more is what HS512 asks for, so here is one.",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:9/execution/",
    }
