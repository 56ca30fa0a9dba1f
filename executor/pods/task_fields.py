"""The fields that a task may have, and what to do about the words that are none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shard_executor.pods.task_words import TaskError, suggestion

FIELDS: dict[str, str] = {
    "id": "text, unique in the list",
    "image": "text, e.g. python:3.13-slim",
    "command": 'a list of strings, e.g. ["python3", "-c"]',
    "args": 'a list of strings, e.g. ["--input", "a.csv"]',
    "env": "a mapping of names to text, numbers or true/false, or a list of Kubernetes env entries",
    "resources": "a mapping with requests and limits as Kubernetes has it, e.g. {requests: {cpu: 100m}}",
    "labels": "a mapping of text to text",
    "annotations": "a mapping of text to text",
    "template": "the path of a pod template in YAML, relative to the task list",
    "retries": "a whole number from 0 to 2147483647, e.g. 3",
    "timeout": "whole seconds from 1 to 2147483647, e.g. 3600",
    "priority": "a whole number from -2147483648 to 2147483647 (higher is created first)",
    "namespace": "the name of a namespace (1 to 63 lower-case letters, digits or '-', with no '-' at either end)",
    "service_account": "the name of a service account (lower-case letters, digits, '-' or '.'), e.g. worker",
    "node_selector": "a mapping of text to text, e.g. {disktype: ssd}",
    "tolerations": "a list of Kubernetes tolerations, e.g. [{key: gpu, operator: Exists}]",
}

_MEANT = {
    "name": "id",
    "cmd": "command",
    "entrypoint": "command",
    "argv": "command",
    "arguments": "args",
    "environment": "env",
    "activeDeadlineSeconds": "timeout",
    "active_deadline_seconds": "timeout",
    "deadline": "timeout",
    "timeoutSeconds": "timeout",
    "serviceAccountName": "service_account",
    "serviceAccount": "service_account",
    "service_account_name": "service_account",
    "nodeSelector": "node_selector",
    "retry": "retries",
    "max_retries": "retries",
    "backoffLimit": "retries",
    "pod_template": "template",
    "podTemplate": "template",
}

# Fields of Kubernetes' PodSpec, Container and Pod that are no field of a task.
_IN_A_TEMPLATE = (
    "volumes volume_mounts volumeMounts volumeDevices affinity initContainers init_containers containers envFrom "
    "env_from ports securityContext security_context imagePullPolicy image_pull_policy imagePullSecrets "
    "image_pull_secrets priorityClassName priority_class_name schedulerName runtimeClassName hostNetwork hostAliases "
    "dnsPolicy dnsConfig terminationGracePeriodSeconds topologySpreadConstraints workingDir working_dir lifecycle "
    "livenessProbe readinessProbe startupProbe nodeName metadata spec"
)

_INDEPENDENT = (
    "tasks of a list run independently of each other; put the later tasks into a list of their own and run that "
    "after this one, write one task that does both steps, or use an orchestrator such as Airflow"
)
_AMOUNTS = "write it as 'resources', e.g. {requests: {cpu: 500m, memory: 1Gi}}"
_INSTEAD = {
    **dict.fromkeys(("depends_on", "dependsOn", "depends", "dependencies", "needs", "after"), _INDEPENDENT),
    **dict.fromkeys(("cpu", "memory", "requests", "limits"), _AMOUNTS),
    "gpu": "write it as 'resources', e.g. {limits: {nvidia.com/gpu: 1}}",
    **{word: f"write it as {field!r} ({FIELDS[field]})" for word, field in _MEANT.items()},
    **dict.fromkeys(
        _IN_A_TEMPLATE.split(), "put it into a pod template, and that file's path into the field 'template'"
    ),
    "restartPolicy": "it is always Never; 'retries' says how often a failed task is run again, in a new pod",
}


def refuse_unknown(data: Mapping[str, Any]) -> TaskError:
    """The error of a mapping with keys that are no field: advice for those that are known from elsewhere.

    Args:
        data: has at least one key that is not in `FIELDS`.
    """
    unknown = [str(key) for key in data if key not in FIELDS]
    advised: dict[str, list[str]] = {}
    for word in unknown:
        if word in _INSTEAD:
            advised.setdefault(_INSTEAD[word], []).append(word)
    if advised:
        told = [f"{_named(words)}: {advice}" for advice, words in advised.items()]
        others = [word for word in unknown if word not in _INSTEAD]
        if others:
            told.append(_named(others) + suggestion(others[0], FIELDS).replace(";", ":", 1))
        problem = "; ".join(told)
    else:
        problem = f"{_named(unknown)}{suggestion(unknown[0], FIELDS) or ';'} allowed: {', '.join(FIELDS)}"
    task_id = data.get("id")
    return TaskError(task_id if isinstance(task_id, str) else None, unknown[0], problem)


def _named(words: list[str]) -> str:
    return f"unknown field{'s' if len(words) > 1 else ''} {', '.join(map(repr, words))}"
