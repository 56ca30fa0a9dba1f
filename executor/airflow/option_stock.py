"""The options of `[kubernetes_executor]`: names, types and defaults are the cncf-kubernetes provider's."""

from __future__ import annotations

from shard_executor.airflow.option import Option

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
