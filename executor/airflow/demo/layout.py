"""Folders, configuration and pod template of an Airflow on this machine; nothing here starts anything.

Everything is configured by environment variables. The workers are pods of a development cluster, that is processes of
this machine with an environment of their own: they get a home apart, and know neither database nor keys, as in a
deployment whose workers reach Airflow through its execution API only.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OURS = "shard_executor.ShardExecutor"
STOCK = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"
USER = "admin"
RECORDS = "SHARD_EXECUTOR_DEMO_RECORDS"  # names the file to which tasks write what they did
GATES = "SHARD_EXECUTOR_DEMO_GATES"  # names the folder of files that tasks wait for
_IMAGE = "apache/airflow:local"  # any well-formed name will do: the development cluster pulls nothing
_LOOPBACK = "127.0.0.1"

# Pauses for a machine where everything is near and little runs: an idle Airflow asks every second, and sees within a
# quarter of a minute that a scheduler is dead.
_OPTIONS: Mapping[str, str] = {
    "core.load_examples": "False",
    "core.max_active_tasks_per_dag": "1000",  # [core] parallelism is the only bound
    "core.dags_are_paused_at_creation": "False",
    "core.hostname_callable": "socket.gethostname",  # the default asks the name servers
    "core.simple_auth_manager_users": f"{USER}:admin",
    "scheduler.scheduler_heartbeat_sec": "1",
    "scheduler.job_heartbeat_sec": "2",
    "scheduler.scheduler_idle_sleep_time": "0.5",
    "scheduler.scheduler_health_check_threshold": "15",
    "scheduler.orphaned_tasks_check_interval": "5",
    "scheduler.task_queued_timeout_check_interval": "2",
    "scheduler.trigger_timeout_check_interval": "2",
    "dag_processor.parsing_processes": "1",
    "dag_processor.min_file_process_interval": "60",
    "dag_processor.refresh_interval": "30",
    "dag_processor.stale_dag_threshold": "600",
    "logging.colored_console_log": "False",
    "kubernetes_executor.in_cluster": "False",
    "kubernetes_executor.namespace": "default",
}


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """What may differ from one Airflow to the next.

    Args:
        executor: what ``[core] executor`` says.
        database: an SQLAlchemy URL; None for an SQLite file, which is enough for one scheduler.
        database_async: the same database with its asyncio driver, where `database` is given.
        parallelism: task instances at once; each is a Python that imports Airflow.
        port: of the API server on loopback; 0 takes a free one.
        shared_logs: whether workers write their logs where the API server reads them, as with a shared volume.
            Otherwise a task's log is to be had while its pod is there, or not at all.
        options: further options, ``section.key`` to value; they win over those given here.
        variables: further environment variables of all processes, workers included.
    """

    executor: str = OURS
    database: str | None = None
    database_async: str | None = None
    parallelism: int = 4
    port: int = 0
    shared_logs: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


def variable(option: str) -> str:
    """The environment variable of an option written ``section.key``."""
    section, _, key = option.partition(".")
    return f"AIRFLOW__{section.upper()}__{key.upper()}"


def clean_environment() -> dict[str, str]:
    """This process's environment without what configures an Airflow or a cluster, or leads loopback to a proxy."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("AIRFLOW", "_AIRFLOW")) and name not in ("KUBECONFIG", "PYTHONWARNINGS")
    }
    kept["NO_PROXY"] = kept["no_proxy"] = f"{_LOOPBACK},localhost"
    return kept


class Layout:
    """The folders of one Airflow.

    Args:
        folder: an existing folder that is its own.
        kubeconfig: of the cluster for the workers.
        port: of the API server.
    """

    def __init__(self, folder: Path, kubeconfig: Path, port: int, settings: HomeSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.port = port
        self.url = f"http://{_LOOPBACK}:{port}"
        self.password = secrets.token_urlsafe(9)
        self.dags = folder / "dags"
        self.logs = folder / "logs"
        self.worker_logs = self.logs if settings.shared_logs else folder / "worker" / "logs"
        self.gates = folder / "gates"
        self.records = folder / "records.jsonl"
        self.database_file = folder / "airflow.db"
        self._kubeconfig = kubeconfig
        self._template = folder / "pod_template.yaml"
        self._passwords = folder / "passwords.json"
        self._fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._jwt_secret = urlsafe_b64encode(secrets.token_bytes(48)).decode()
        self._secret_key = secrets.token_urlsafe(24)

    def write(self) -> None:
        """Makes the folders and the files that everything needs to start."""
        for folder in (self.dags, self.logs, self.worker_logs, self.gates, self.folder / "worker"):
            folder.mkdir(parents=True, exist_ok=True)
        self.records.touch()
        # Without the file every first process writes one with keys of its own; all configuration is in variables.
        (self.folder / "airflow.cfg").touch()
        (self.folder / "worker" / "airflow.cfg").touch()
        self._passwords.write_text(json.dumps({USER: self.password}))
        self._passwords.chmod(0o600)
        self._template.write_text(json.dumps(self.pod_template(), indent=2))  # JSON is YAML

    def environment(self, options: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of an Airflow process.

        Args:
            options: ``section.key`` to value, over those of the settings.
        """
        settings = self.settings
        chosen = {
            **_OPTIONS,
            "core.executor": settings.executor,
            "core.dags_folder": str(self.dags),
            "core.fernet_key": self._fernet_key,
            "core.parallelism": str(settings.parallelism),
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.simple_auth_manager_passwords_file": str(self._passwords),
            "database.sql_alchemy_conn": settings.database or f"sqlite:///{self.database_file}",
            "api.base_url": self.url,
            "api.secret_key": self._secret_key,
            "api_auth.jwt_secret": self._jwt_secret,
            "logging.base_log_folder": str(self.logs),
            "logging.dag_processor_child_process_log_directory": str(self.logs / "dag_processor"),
            "kubernetes_executor.config_file": str(self._kubeconfig),
            "kubernetes_executor.pod_template_file": str(self._template),
            **settings.options,
            **(options or {}),
        }
        if settings.database_async is not None:
            chosen.setdefault("database.sql_alchemy_conn_async", settings.database_async)
        named = {variable(option): value for option, value in chosen.items()}
        return {**clean_environment(), "AIRFLOW_HOME": str(self.folder), **settings.variables, **named}

    def pod_template(self) -> dict[str, object]:
        """The pod template of the workers: what an image and its mounts would provide is in variables here."""
        options = {
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.dags_folder": str(self.dags),
            "core.executor": "LocalExecutor",  # a worker runs its task itself
            "core.load_examples": "False",
            "core.hostname_callable": "socket.gethostname",
            "logging.base_log_folder": str(self.worker_logs),
        }
        env = {
            "AIRFLOW_HOME": str(self.folder / "worker"),
            **{variable(option): value for option, value in options.items()},
            "NO_PROXY": f"{_LOOPBACK},localhost",
            "no_proxy": f"{_LOOPBACK},localhost",
            RECORDS: str(self.records),
            GATES: str(self.gates),
            **self.settings.variables,
        }
        container = {
            "name": "base",
            "image": _IMAGE,
            "env": [{"name": name, "value": value} for name, value in env.items()],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "worker"},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
