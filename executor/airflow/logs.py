"""The log of a task while its pod is there, read from the API server; remote or local logs take over afterwards.

Works in any process, also where the executor was never started: Airflow's API server constructs executors to read logs.
No fault gets out of here: what went wrong is one of the messages that the user sees above the log.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, Protocol

log = logging.getLogger(__name__)

CONTAINER = "base"
CONNECT_LIMIT = 5.0  # seconds until the API server accepts a connection
READ_LIMIT = 30.0  # seconds without a byte of an answer
SHOWN = 5  # pods that are named in a message
_INSTANCE_LABEL = "shard-executor/instance"
_ATTEMPT_ANNOTATION = "shard-executor/attempt"
_TASK_INSTANCE_LABEL = "ti_id"  # set where task instances are known by their uuid
_ENDED = ("Succeeded", "Failed")

LogStream = Generator[str, None, None]


class LogOptions(Protocol):
    """The options that count here; see `shard_executor.airflow.options`."""

    @property
    def namespace(self) -> str: ...
    @property
    def namespaces(self) -> tuple[str, ...]: ...
    @property
    def all_namespaces(self) -> bool: ...
    @property
    def running_pod_log_lines(self) -> int: ...
    @property
    def instance(self) -> str: ...
    @property
    def client_factory(self) -> str | None: ...
    @property
    def in_cluster(self) -> bool: ...
    @property
    def kubeconfig(self) -> str | None: ...
    @property
    def context(self) -> str | None: ...


def task_log(
    options: LogOptions, ti: Any, try_number: int, *, team_name: str | None = None
) -> tuple[list[str], list[str]]:
    """What `BaseExecutor.get_task_log` returns: messages, and the log as one text or "". Never raises.

    Args:
        options: of the executor.
        ti: task instance, or its record in the history.
        try_number: whose log is wanted.
        team_name: the team whose cluster it is, where Airflow has teams.
    """
    messages, streams = streaming_task_log(options, ti, try_number, team_name=team_name)
    return messages, ["\n".join(stream) for stream in streams] or [""]


def streaming_task_log(
    options: LogOptions, ti: Any, try_number: int, *, team_name: str | None = None
) -> tuple[list[str], list[LogStream]]:
    """As `task_log`, with a stream of lines in place of the text, or none. Never raises, and neither do the streams.

    Reads the last `running_pod_log_lines` lines that are there now; it does not wait for more.
    """
    messages: list[str] = []
    try:
        hostname = f" {ti.hostname}" if getattr(ti, "hostname", None) else ""
        messages.append(f"Attempting to fetch logs from pod{hostname} through kube API")
        client = kube_client(options, team_name)
        pod = _find(client, options, ti, try_number, messages)
        return messages, _read(client, options, pod, messages) if pod is not None else []
    except Exception as error:
        log.debug("reading a pod's log failed", exc_info=True)
        messages.append(_failed(error))
        return messages, []


def kube_client(options: LogOptions, team_name: str | None = None) -> Any:
    """The provider's client of the API server: from `client_factory` where one is set, else from the options."""
    from airflow.providers.cncf.kubernetes import kube_client as provider

    getter: Callable[..., Any] | None = getattr(provider, "_get_executor_kube_client", None)  # from provider 10.24 on
    if options.client_factory and getter is not None:
        knows_teams = "team_name" in inspect.signature(getter).parameters
        return getter(team_name=team_name) if team_name and knows_teams else getter()
    return provider.get_kube_client(
        in_cluster=options.in_cluster, cluster_context=options.context, config_file=options.kubeconfig
    )


# ---- finding the pod


def _find(client: Any, options: LogOptions, ti: Any, try_number: int, messages: list[str]) -> Any | None:
    """The pod of a try, or None with a message. Raises what the client raises if no namespace could be listed."""
    selector = selector_of(ti, try_number)
    override = _override_namespace(ti)
    # One after the other, since most pods are where the option says; None stands for all of them.
    watched = dict.fromkeys((options.namespace, *options.namespaces))
    namespaces: list[str | None] = [override] if override else [*watched]
    if options.all_namespaces and not override:
        namespaces.append(None)
    errors: list[Exception] = []
    for namespace in namespaces:
        try:
            found = _listed(client, namespace, selector)
        except Exception as error:  # noqa: BLE001 - a namespace that may not be listed hides no other
            errors.append(error)
            continue
        if found:
            return _choose(found, options.instance, ti, messages)
    if len(errors) == len(namespaces):
        raise errors[0]
    messages.extend(_failed(error) for error in errors)
    where = ", ".join(name if name is not None else "all namespaces" for name in namespaces)
    messages.append(f"Reading from k8s pod logs failed: no pod of this try in {where} (labels {selector})")
    return None


def selector_of(ti: Any, try_number: int) -> str:
    """The labels of a try's pods, whichever scheduler they belong to by now."""
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    selector: str = PodGenerator.build_selector_for_k8s_executor_pod(
        dag_id=ti.dag_id, task_id=ti.task_id, try_number=try_number, map_index=ti.map_index, run_id=ti.run_id
    )
    return selector


def _override_namespace(ti: Any) -> str | None:
    config = getattr(ti, "executor_config", None)
    override = config.get("pod_override") if isinstance(config, dict) else None
    if isinstance(override, dict):
        metadata = override.get("metadata")
        return (metadata.get("namespace") or None) if isinstance(metadata, dict) else None
    return getattr(getattr(override, "metadata", None), "namespace", None) or None


def _listed(client: Any, namespace: str | None, selector: str) -> list[Any]:
    limits = (CONNECT_LIMIT, READ_LIMIT)
    if namespace is None:
        found = client.list_pod_for_all_namespaces(label_selector=selector, _request_timeout=limits)
    else:
        found = client.list_namespaced_pod(namespace=namespace, label_selector=selector, _request_timeout=limits)
    return list(found.items)


def _choose(pods: list[Any], instance: str, ti: Any, messages: list[str]) -> Any:
    """The newest that is alive, else the newest: a try has several after a relaunch or a deferral.

    Two Airflows in one namespace may have pods with the same labels but for the instance, which counts first. Others
    do too where there are no such pods: an executor that was renamed meanwhile, or the KubernetesExecutor.
    """
    ti_id = str(getattr(ti, "id", ""))
    pods = [pod for pod in pods if _label(pod, _INSTANCE_LABEL) == instance] or pods
    pods = [pod for pod in pods if _label(pod, _TASK_INSTANCE_LABEL) == ti_id] or pods
    pods.sort(key=_rank, reverse=True)
    chosen = pods[0]
    if len(pods) > 1:
        alive = "newest that is alive" if _alive(chosen) else "newest"
        others = ", ".join(pod.metadata.name for pod in pods[1 : SHOWN + 1]) + (" ..." if len(pods) > SHOWN + 1 else "")
        messages.append(f"Found {len(pods)} pods of this try; reading the {alive}, {_named(chosen)} (others: {others})")
    return chosen


def _rank(pod: Any) -> tuple[bool, Any, int, str]:
    """Creation times have whole seconds, so the launch attempt decides between two of one second."""
    created = pod.metadata.creation_timestamp
    attempt = str((pod.metadata.annotations or {}).get(_ATTEMPT_ANNOTATION, ""))
    seconds = created.timestamp() if created is not None else 0.0
    return _alive(pod), seconds, int(attempt) if attempt.isdecimal() else 0, pod.metadata.name


def _alive(pod: Any) -> bool:
    return pod.metadata.deletion_timestamp is None and pod.status.phase not in _ENDED


def _label(pod: Any, name: str) -> str | None:
    return (pod.metadata.labels or {}).get(name)


def _named(pod: Any) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


# ---- reading it


def _read(client: Any, options: LogOptions, pod: Any, messages: list[str]) -> list[LogStream]:
    if pod.status.phase == "Pending":
        why = _waits_for(pod)
        messages.append(f"Pod {_named(pod)} has not started{f': {why}' if why else ''}")
        return []
    response = client.read_namespaced_pod_log(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        container=CONTAINER,
        follow=False,
        tail_lines=options.running_pod_log_lines,
        _preload_content=False,
        _request_timeout=(CONNECT_LIMIT, READ_LIMIT),
    )
    lines = _lines(response)
    first = next(lines, None)
    if first is None:
        messages.append(f"Pod {_named(pod)} has written nothing yet")
        return []
    messages.append("Found logs through kube API")
    return [_stream(first, lines)]


def _waits_for(pod: Any) -> str:
    """Why a pod is pending, as its containers or the Kubernetes scheduler say; "" if nobody does."""
    for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        waiting = getattr(status.state, "waiting", None)
        if waiting is not None and waiting.reason:
            return _joined(waiting.reason, waiting.message)
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return _joined(condition.reason, condition.message)
    return ""


def _lines(response: Any) -> Generator[str, None, None]:
    """The lines of an answer, whatever its bytes; a fault on the way is its last line. Frees the connection."""
    from airflow.utils.log.logging_mixin import remove_escape_codes

    try:
        for line in response:
            yield remove_escape_codes(line.decode("utf-8", "replace").rstrip("\r\n"))
    except Exception as error:  # noqa: BLE001 - it is part of what the user reads
        yield _failed(error)
    finally:
        _close(response)


def _close(response: Iterable[bytes]) -> None:
    close = getattr(response, "close", None)
    if close is not None:
        close()


def _stream(first: str, rest: Iterator[str]) -> LogStream:
    """A generator, which is what Airflow takes for a stream."""
    yield from chain((first,), rest)


def _failed(error: Exception) -> str:
    return f"Reading from k8s pod logs failed: {_words(error)}"


def _words(error: Exception) -> str:
    """One line; for a refusal of the API server its status and its own message, not all its headers."""
    status = getattr(error, "status", None)
    if status:
        body = getattr(error, "body", None)
        try:
            found = json.loads(body) if body else {}
            message = found.get("message") if isinstance(found, dict) else None
        except ValueError:
            message = None
        return _joined(f"HTTP {status} {getattr(error, 'reason', None) or ''}".strip(), message)
    return _joined(type(error).__name__, str(error))


def _joined(what: str | None, more: str | None) -> str:
    return ": ".join(" ".join(part.split()) for part in (what, more) if part)
