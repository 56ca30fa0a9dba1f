"""Every option that the executor reads, once: its type, limits and default, and what it does here.

`options` reads by it, `provider_info` shows it to `airflow config list`, and docs/airflow-options.md is made from it.
The names, types and defaults of `[kubernetes_executor]` are the cncf-kubernetes provider's. Imports nothing of Airflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STOCK = "kubernetes_executor"
OWN = "shard_executor"

Kind = Literal["string", "integer", "float", "boolean", "json", "list"]
Stance = Literal["same", "better", "partly", "no effect", "own"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Args:
        key: its name in its section.
        kind: how its text is read; a list is separated by commas.
        default: the text that counts where nothing is set; "" is nothing.
        words: what it does here, in full sentences.
        stance: "same" as the KubernetesExecutor, "better" where it does more, "partly" and "no effect" with the reason
            in `words`.
        since: release of the provider, or of shard-executor, that brought it; None before this executor's oldest.
        example: a value to show.
        least, most: limits of numbers. choices: the allowed texts.
    """

    key: str
    kind: Kind
    default: str
    words: str
    stance: Stance = "same"
    since: str | None = None
    example: str | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        if self.kind == "boolean":
            return "True or False"
        if self.kind == "json":
            return "a JSON object such as " + (self.example or "{}")
        if self.kind in ("integer", "float"):
            noun = "a whole number" if self.kind == "integer" else "a number"
            if self.least is not None and self.most is not None:
                return f"{noun} from {self.least:g} to {self.most:g}"
            return noun if self.least is None else f"{noun} of at least {self.least:g}"
        return "a text"


STOCK_OPTIONS: tuple[Option, ...] = (
    Option("namespace", "string", "default", "Namespace of pods whose template, override or hook names none."),
    Option(
        "multi_namespace_mode",
        "boolean",
        "False",
        "Pods may be created in other namespaces too. Without a list, one watch per shard covers the whole cluster; "
        "this needs a ClusterRole. A pod of a namespace that is not watched is refused with a reason.",
        "better",
    ),
    Option(
        "multi_namespace_mode_namespace_list",
        "list",
        "",
        "The namespaces that are watched, beside `namespace`. A Role in each of them is enough. "
        "Spaces around names do not matter. There is no process per namespace.",
        "better",
        example="team-a,team-b",
    ),
    Option(
        "pod_template_file",
        "string",
        "",
        "The pod that all pods are made from. It is read again when it changes, not for every pod.",
        "better",
    ),
    Option("worker_container_repository", "string", "", "Image of the worker's container, together with the tag."),
    Option("worker_container_tag", "string", "", "Tag of that image. The template's image holds unless both are set."),
    Option("delete_worker_pods", "boolean", "True", "Finished pods are deleted, else labelled as done."),
    Option(
        "delete_worker_pods_on_failure",
        "boolean",
        "False",
        "Failed pods are deleted too. A pod is deleted once its result has been handed over, at most one request at a "
        "time. Refused deletes are repeated with growing pauses and hold up nothing else.",
        "better",
    ),
    Option(
        "worker_pod_pending_fatal_container_state_reasons",
        "list",
        "CreateContainerConfigError,ErrImagePull,CreateContainerError,ImageInspectError,InvalidImageName",
        "A pending pod whose container waits for one of these reasons fails at once. "
        "`ErrImagePull` with the message `pull QPS exceeded` is waited out.",
        since="8.1.0",
    ),
    Option(
        "worker_pods_creation_batch_size",
        "integer",
        "1",
        "Pods are created beside the scheduler's loop, as many at a time as the API server takes without getting "
        "slower. There is no batch per loop.",
        "no effect",
    ),
    Option(
        "async_pod_creation",
        "boolean",
        "False",
        "Pods are always created concurrently. It only switches on `pod_creation_max_concurrency`.",
        "better",
        since="10.21.0",
    ),
    Option(
        "pod_creation_max_concurrency",
        "integer",
        "0",
        "With `async_pod_creation`, a limit on create requests in flight over all shards, at least one per shard. "
        "0 leaves it to `[shard_executor] max_creates_in_flight`.",
        since="10.21.0",
        example="16",
        least=0,
    ),
    Option(
        "task_publish_max_retries",
        "integer",
        "0",
        "Creates that fail for a passing reason (quota, 409, 429, 5xx, a broken connection) are repeated for "
        "`[shard_executor] create_timeout`, even where this is 0; a lost answer makes no second pod. "
        "-1 repeats them until Airflow takes the task back.",
        "better",
        least=-1,
    ),
    Option(
        "pod_launch_failure_retries",
        "integer",
        "1",
        "How often a task whose pod failed before the task began gets another pod, without using a retry. "
        "-1 is without limit.",
        since="10.20.0",
        least=-1,
    ),
    Option(
        "pod_launch_failure_excluded_container_reasons",
        "list",
        "Error",
        "Container reasons after which it does not.",
        since="10.20.0",
    ),
    Option(
        "running_pod_log_lines",
        "integer",
        "100",
        "Lines of a running pod's log that the log view shows.",
        since="10.20.0",
        least=1,
    ),
    Option(
        "logs_task_metadata",
        "boolean",
        "False",
        "It adds annotations to lines that the KubernetesExecutor writes for each event. Here a line in the log names "
        "DAG, task, run and try, and there is none per event.",
        "no effect",
    ),
    Option("in_cluster", "boolean", "True", "Sign in with the service account of the pod."),
    Option(
        "cluster_context",
        "string",
        "",
        "With `in_cluster = False`, the kubeconfig's context. The current one is kept from the start on, so that "
        "`kubectl config use-context` does not move a running scheduler.",
        "better",
    ),
    Option(
        "config_file",
        "string",
        "",
        "With `in_cluster = False`, the kubeconfig. Token files, certificates and exec plugins are asked again before "
        "they are too old.",
        "better",
    ),
    Option(
        "client_factory",
        "string",
        "",
        "A callable that returns a `kubernetes.client.CoreV1Api`. The client itself is not used: server, certificates, "
        "proxy, headers and token of its configuration are, and they are asked for again every minute and after a 401.",
        stance="partly",
        since="10.24.0",
        example="my_company.kubernetes.build_client",
    ),
    Option(
        "async_client_factory",
        "string",
        "",
        "There is no second client; `client_factory` serves for everything.",
        "no effect",
        since="10.24.0",
        example="my_company.kubernetes.build_async_client",
    ),
    Option("verify_ssl", "boolean", "True", "False accepts any certificate of the API server."),
    Option("ssl_ca_cert", "string", "", "CA bundle in PEM instead of the kubeconfig's or the service account's."),
    Option(
        "kube_client_request_args",
        "json",
        "",
        "`_request_timeout` (seconds, or connect and read in a list, which are added) limits each request; watches "
        "have limits of their own. Other arguments of the Python client have no effect; `dry_run` is refused.",
        stance="partly",
        example='{"_request_timeout": [10, 50]}',
    ),
    Option(
        "delete_option_kwargs",
        "json",
        "",
        "Fields of DeleteOptions in the Python client's spelling. The uid is always a precondition, so `preconditions` "
        "is refused, and so is `dry_run`, with which no pod would ever go.",
        "better",
        example='{"grace_period_seconds": 10}',
    ),
    Option(
        "api_client_retry_configuration",
        "json",
        "",
        "Arguments for urllib3, which is not used for pods. Requests are repeated as their fault deserves, with "
        "growing pauses and Retry-After.",
        "no effect",
        example='{"total": 3, "backoff_factor": 0.5}',
    ),
    Option(
        "enable_tcp_keepalive",
        "boolean",
        "True",
        "Every request has a limit, idle connections are closed after a minute, and a silent watch is opened anew "
        "after two, so a dead connection is noticed without probes.",
        "no effect",
    ),
    Option("tcp_keep_idle", "integer", "120", "See `enable_tcp_keepalive`.", "no effect"),
    Option("tcp_keep_intvl", "integer", "30", "See `enable_tcp_keepalive`.", "no effect"),
    Option("tcp_keep_cnt", "integer", "6", "See `enable_tcp_keepalive`.", "no effect"),
)

OWN_OPTIONS: tuple[Option, ...] = (
    Option(
        "deployment",
        "string",
        "airflow",
        "Name of this Airflow. Two Airflows that share a namespace need different names, or they would take each "
        "other's pods. Teams without one of their own use the common one.",
        "own",
        "0.1.0",
        "production",
    ),
    Option(
        "shards",
        "integer",
        "0",
        "Processes that create, watch and delete pods. 0 is one per CPU, two at most. Each costs the API server a "
        "watch per namespace.",
        "own",
        "0.1.0",
        "2",
        0,
        256,
    ),
    Option(
        "max_creates_in_flight",
        "integer",
        "0",
        "Limit of create requests in flight over all shards, at least one per shard. Below it the number follows the "
        "API server's answers. 0 is 64 per shard.",
        "own",
        "0.1.0",
        "32",
        0,
        16384,
    ),
    Option(
        "create_timeout",
        "float",
        "0",
        "Seconds that the creation of a pod is repeated for while it fails for a passing reason. "
        "0 is `[scheduler] task_queued_timeout`.",
        "own",
        "0.1.0",
        "300",
        0,
    ),
    Option(
        "start_timeout",
        "float",
        "0",
        "Seconds from a pod's creation until it has to run, else it fails with the reason it was waiting for. "
        "0 leaves it to `[scheduler] task_queued_timeout`.",
        "own",
        "0.1.0",
        "300",
        0,
    ),
    Option(
        "disruption_policy",
        "string",
        "fail",
        "What becomes of a task whose running pod was evicted, preempted, drained or lost with its node: `fail` fails "
        "it as any failure, `resubmit` schedules it anew without using a retry.",
        "own",
        "0.1.0",
        "resubmit",
        choices=("fail", "resubmit"),
    ),
    Option(
        "worker_container_decides",
        "boolean",
        "False",
        "The end of the container `base` is the end of the pod, even while sidecars go on.",
        "own",
        "0.1.0",
    ),
    Option(
        "log_tail_lines",
        "integer",
        "20",
        "Last lines of a failed pod's log that go to the task's event log, with secrets masked. 0 is none.",
        "own",
        "0.1.0",
        None,
        0,
        1000,
    ),
    Option(
        "context_env",
        "boolean",
        "True",
        "Pods get the variables `AIRFLOW_CTX_DAG_ID`, `_TASK_ID`, `_DAG_RUN_ID`, `_TRY_NUMBER`, `_MAP_INDEX` and "
        "`_EXECUTION_DATE`, each unless the pod sets it.",
        "own",
        "0.1.0",
    ),
    Option(
        "dags_folder",
        "string",
        "",
        "The workers' `AIRFLOW__CORE__DAGS_FOLDER`, unless the pod sets it. Nothing leaves the image's.",
        "own",
        "0.1.0",
        "/opt/airflow/dags",
    ),
    Option(
        "jinja_templates",
        "boolean",
        "False",
        "Render all pod templates with Jinja. Without it only files named `*.j2` are.",
        "own",
        "0.1.0",
    ),
    Option(
        "adoption_timeout",
        "float",
        "5",
        "Seconds that taking over a dead scheduler's pods may hold up the scheduler. What was not answered by then is "
        "left alone and asked for again.",
        "own",
        "0.1.0",
        None,
        0.1,
        60,
    ),
    Option(
        "builder_idle_timeout",
        "float",
        "300",
        "Seconds without work after which the process that generates pods ends. The next pod starts it again.",
        "own",
        "0.1.0",
        None,
        1,
    ),
    Option(
        "builder_answer_timeout",
        "float",
        "60",
        "Seconds that the generation of one pod may take, `pod_mutation_hook` included.",
        "own",
        "0.1.0",
        None,
        1,
    ),
    Option(
        "metrics_interval",
        "float",
        "10",
        "Seconds between two reports of metrics.",
        "own",
        "0.1.0",
        None,
        0.1,
        3600,
    ),
)

# Read too, from where Airflow has them; their words are Airflow's.
AIRFLOW_OPTIONS: dict[str, tuple[Option, ...]] = {
    "core": (Option("parallelism", "integer", "32", "Pods alive at once per scheduler.", least=1),),
    "scheduler": (
        Option("task_queued_timeout", "float", "600.0", "How long a task may wait for its start.", least=0),
        Option("orphaned_tasks_check_interval", "float", "300.0", "How often ownerless pods are looked for.", least=0),
        Option("scheduler_health_check_threshold", "integer", "30", "When a scheduler counts as dead.", least=0),
    ),
}

_BY_PLACE: dict[tuple[str, str], Option] = {
    (section, option.key): option
    for section, options in ((STOCK, STOCK_OPTIONS), (OWN, OWN_OPTIONS), *AIRFLOW_OPTIONS.items())
    for option in options
}


def option(section: str, key: str) -> Option:
    """The option of a section. Raises KeyError for one that the executor does not know."""
    return _BY_PLACE[section, key]
