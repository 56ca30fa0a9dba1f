"""A shard's settings as they cross the channel from the parent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shard_executor.core.credentials import Credentials


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """See `SupervisorConfig` for what the fields mean; `bins` is this shard's half-open range of 256.

    One namespace "" stands for all of the cluster.
    """

    shard: int
    shards: int
    bins: tuple[int, int]
    parent_pid: int
    instance: str
    owner: str
    namespaces: tuple[str, ...]
    credentials: Credentials
    log_tail_lines: int
    request_timeout: float
    beat_interval: float
    window: tuple[int, int, int]
    policy: dict[str, Any] = field(default_factory=dict)
    watch: dict[str, Any] = field(default_factory=dict)
    log_level: int = logging.WARNING
    selector: dict[str, str] = field(default_factory=dict)
    delete_options: dict[str, Any] = field(default_factory=dict)
    worker_container: str | None = None

    def to_json(self) -> dict[str, Any]:
        data = {name: getattr(self, name) for name in self.__slots__}
        data["credentials"] = self.credentials.to_json()
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ShardSettings:
        return cls(
            **{
                **data,
                "credentials": Credentials.from_json(data["credentials"]),
                "bins": tuple(data["bins"]),
                "namespaces": tuple(data["namespaces"]),
                "window": tuple(data["window"]),
            }
        )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is one that `label_selector` selects."""
        if labels.get("shard-executor/instance") != self.instance or labels.get("airflow_executor_done") == "True":
            return False
        if any(labels.get(name) != value for name, value in self.selector.items()):
            return False
        return self.shards == 1 or labels.get("shard-executor/bin", "") in map(str, range(*self.bins))

    def label_selector(self) -> str:
        """Which pods this shard lists and watches: its executor's, in its bins, not marked as done."""
        clauses = [f"{name}={value}" for name, value in self.selector.items()]
        clauses.append(f"shard-executor/instance={self.instance}")
        if self.shards > 1:
            low, high = self.bins
            clauses.append(f"shard-executor/bin in ({','.join(map(str, range(low, high)))})")
        clauses.append("airflow_executor_done!=True")
        return ",".join(clauses)
