"""Judges a pod without a server, by the rules that the development cluster has from the API server's sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Findings:
    """problems: why a server would refuse the pod. unknown: paths of fields that no rule here knows."""

    problems: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def judge(pod: Mapping[str, Any]) -> Findings:
    """What is wrong with a pod as far as types, names, labels and required fields tell.

    Admission (quotas, pod security, webhooks) and whatever needs other objects is the server's alone to judge.
    Unknown fields are no problem by themselves: servers drop fields that they do not know, and may know more.
    """
    from shard_executor.devcluster import defaults, schema, validation
    from shard_executor.devcluster.errors import ApiError

    try:
        cleaned, unknown = schema.clean("Pod", "v1", dict(pod))
    except ApiError as fault:
        return Findings((fault.message,))
    defaults.default_pod(cleaned)
    causes = validation.pod_causes(cleaned)
    return Findings(tuple(f"{cause['field']}: {cause['message']}" for cause in causes), tuple(unknown))
