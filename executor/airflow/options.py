"""Reads and checks the executor's options, once, before anything is started. Imports neither airflow nor kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shard_executor.airflow.generation import GenerationSettings
from shard_executor.airflow.instance import MAX_DEPLOYMENT, instance_label, is_deployment
from shard_executor.airflow.option_reader import OptionError, Reader
from shard_executor.airflow.option_table import OWN, STOCK, option
from shard_executor.airflow.request_options import delete_options, request_timeout
from shard_executor.supervisor.config import default_shards
from shard_executor.supervisor.credentials import CredentialSource

__all__ = ["OptionError", "Options", "credential_source", "read_options"]

DEFAULT_CREATES_PER_SHARD = 64
FIRST_CREATES = 8
WITHOUT_LIMIT = 1e9  # seconds; Airflow takes a task back long before


@dataclass(frozen=True, slots=True)
class Options:
    """What the executor was told; times in seconds.

    `docs/airflow-options.md` says what each means. Where this differs from the options' names:

    Args:
        namespaces: further namespaces to watch, `namespace` not among them unless named.
        all_namespaces: multi_namespace_mode without a list.
        kube_image: repository and tag joined, None unless both are set.
        fatal_reasons: worker_pod_pending_fatal_container_state_reasons.
        excluded_container_reasons: pod_launch_failure_excluded_container_reasons.
        kubeconfig, context: None where the service account is used or the default counts.
        request_timeout: of one request, from kube_client_request_args.
        delete_options: DeleteOptions as the API spells them.
        create_timeout: what counts after `task_publish_max_retries` and `task_queued_timeout` were looked at.
        shards: at least 1.
        window: first, least and most creates in flight of one shard.
        instance: value of the label that keeps executors apart.
        team_name: the team that these are of.
        notes: what was set and has no effect here, with the reason; one sentence each.
    """

    parallelism: int
    namespace: str
    namespaces: tuple[str, ...]
    all_namespaces: bool
    pod_template_file: str
    kube_image: str | None
    delete_worker_pods: bool
    delete_worker_pods_on_failure: bool
    fatal_reasons: tuple[str, ...]
    pod_launch_failure_retries: int
    excluded_container_reasons: frozenset[str]
    task_publish_max_retries: int
    running_pod_log_lines: int
    logs_task_metadata: bool
    kubeconfig: str | None
    context: str | None
    in_cluster: bool
    client_factory: str | None
    verify_ssl: bool
    ssl_ca_cert: str | None
    request_timeout: float
    delete_options: dict[str, Any]
    task_queued_timeout: float
    orphaned_check_interval: float
    scheduler_health_check_threshold: float
    deployment: str
    instance: str
    shards: int
    window: tuple[int, int, int]
    create_timeout: float
    start_timeout: float
    disruption_policy: str
    worker_container_decides: bool
    log_tail_lines: int
    context_env: bool
    dags_folder: str | None
    jinja_templates: bool
    adoption_timeout: float
    builder_idle_timeout: float
    builder_answer_timeout: float
    metrics_interval: float
    team_name: str | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


def read_options(conf: Any, *, team_name: str | None = None, alias: str | None = None, common: Any = None) -> Options:
    """The executor's options, checked.

    Args:
        conf: what has Airflow's `get(section, key, fallback=)`: `BaseExecutor.conf`, or the global configuration.
        team_name: its team. A team's options are the team's own or the defaults, as everywhere in Airflow.
        alias: under which `[core] executor` names it.
        common: for what no team decides (`[scheduler]`) or may leave open (`deployment`); default: `conf` without a
            team, else Airflow's global configuration.

    Raises:
        OptionError: naming section, key, value and what is allowed.
    """
    read = Reader(conf)
    shared = read if common is None and team_name is None else Reader(common or _global_conf())

    namespace = read.namespace(STOCK, "namespace") or "default"
    multi = read.boolean(STOCK, "multi_namespace_mode")
    listed = read.namespaces(STOCK, "multi_namespace_mode_namespace_list") if multi else ()
    repository, tag = read.text(STOCK, "worker_container_repository"), read.text(STOCK, "worker_container_tag")
    in_cluster = read.boolean(STOCK, "in_cluster")
    shards = read.integer(OWN, "shards") or default_shards()
    queued = shared.number("scheduler", "task_queued_timeout")
    publish_retries = read.integer(STOCK, "task_publish_max_retries")
    deployment = read.text(OWN, "deployment")
    if deployment == option(OWN, "deployment").default:  # Airflow does not tell a default from a value that was set
        deployment = shared.text(OWN, "deployment")
    if not is_deployment(deployment):
        words = f"letters, digits, '-' and '_', a letter or digit at both ends, at most {MAX_DEPLOYMENT} characters"
        raise OptionError(OWN, "deployment", deployment, words)

    for key in ("worker_pods_creation_batch_size", "tcp_keep_idle", "tcp_keep_intvl", "tcp_keep_cnt"):
        read.integer(STOCK, key)
    read.boolean(STOCK, "enable_tcp_keepalive")
    read.mapping(STOCK, "api_client_retry_configuration")
    read.text(STOCK, "async_client_factory")
    return Options(
        parallelism=read.integer("core", "parallelism"),
        namespace=namespace,
        namespaces=tuple(name for name in listed if name != namespace),
        all_namespaces=multi and not listed,
        pod_template_file=read.text(STOCK, "pod_template_file"),
        kube_image=f"{repository}:{tag}" if repository and tag else None,
        delete_worker_pods=read.boolean(STOCK, "delete_worker_pods"),
        delete_worker_pods_on_failure=read.boolean(STOCK, "delete_worker_pods_on_failure"),
        fatal_reasons=read.listed(STOCK, "worker_pod_pending_fatal_container_state_reasons"),
        pod_launch_failure_retries=read.integer(STOCK, "pod_launch_failure_retries"),
        excluded_container_reasons=frozenset(read.listed(STOCK, "pod_launch_failure_excluded_container_reasons")),
        task_publish_max_retries=publish_retries,
        running_pod_log_lines=read.integer(STOCK, "running_pod_log_lines"),
        logs_task_metadata=read.boolean(STOCK, "logs_task_metadata"),
        kubeconfig=None if in_cluster else read.text(STOCK, "config_file") or None,
        context=None if in_cluster else read.text(STOCK, "cluster_context") or None,
        in_cluster=in_cluster,
        client_factory=read.text(STOCK, "client_factory") or None,
        verify_ssl=read.boolean(STOCK, "verify_ssl"),
        ssl_ca_cert=read.text(STOCK, "ssl_ca_cert") or None,
        request_timeout=request_timeout(read),
        delete_options=delete_options(read),
        task_queued_timeout=queued,
        orphaned_check_interval=shared.number("scheduler", "orphaned_tasks_check_interval"),
        scheduler_health_check_threshold=shared.number("scheduler", "scheduler_health_check_threshold"),
        deployment=deployment,
        instance=instance_label(deployment, team_name, alias),
        shards=shards,
        window=_window(read, shards),
        create_timeout=read.number(OWN, "create_timeout") or (WITHOUT_LIMIT if publish_retries < 0 else queued),
        start_timeout=read.number(OWN, "start_timeout"),
        disruption_policy=read.text(OWN, "disruption_policy"),
        worker_container_decides=read.boolean(OWN, "worker_container_decides"),
        log_tail_lines=read.integer(OWN, "log_tail_lines"),
        context_env=read.boolean(OWN, "context_env"),
        dags_folder=read.text(OWN, "dags_folder") or None,
        jinja_templates=read.boolean(OWN, "jinja_templates"),
        adoption_timeout=read.number(OWN, "adoption_timeout"),
        builder_idle_timeout=read.number(OWN, "builder_idle_timeout"),
        builder_answer_timeout=read.number(OWN, "builder_answer_timeout"),
        metrics_interval=read.number(OWN, "metrics_interval"),
        team_name=team_name,
        notes=tuple(read.notes),
    )


def _global_conf() -> Any:
    from airflow.configuration import conf

    return conf


def _window(read: Reader, shards: int) -> tuple[int, int, int]:
    """Creates in flight of one shard: the total is cut in equal parts, none of them empty."""
    limits = [read.integer(OWN, "max_creates_in_flight")]
    concurrency = read.integer(STOCK, "pod_creation_max_concurrency")
    if read.boolean(STOCK, "async_pod_creation"):
        limits.append(concurrency)
    total = min((limit for limit in limits if limit), default=DEFAULT_CREATES_PER_SHARD * shards)
    most = max(1, total // shards)
    return min(FIRST_CREATES, most), 1, most


def credential_source(options: Options, *, environ: Mapping[str, str] | None = None) -> CredentialSource:
    """Where these options say that the credentials come from. Nothing is read or started yet.

    Args:
        environ: environment to read; the process's own by default.
    """
    if options.client_factory:
        from shard_executor.airflow.client_factory import FactorySource

        return FactorySource(options.client_factory)
    return CredentialSource(
        options.kubeconfig,
        options.context,
        in_cluster=options.in_cluster,
        verify=options.verify_ssl,
        ca_file=options.ssl_ca_cert,
        environ=environ,
    )


def generation_settings(options: Options, owner: str) -> GenerationSettings:
    """What these options say of all pods; `owner` is the value of their label airflow-worker."""
    return GenerationSettings(
        owner=owner,
        instance=options.instance,
        template_file=options.pod_template_file,
        context_env=options.context_env,
        dags_folder=options.dags_folder,
        jinja=options.jinja_templates,
        idle_timeout=options.builder_idle_timeout,
        answer_timeout=options.builder_answer_timeout,
    )
