"""One pod, as a dictionary in its JSON shape, to everything the compiled core tells of it."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shard_executor._fast.views import Condition, ContainerView, PodStatusView

Json = Any

PHASES = {"Pending": 1, "Running": 2, "Succeeded": 3, "Failed": 4}
BIN_LABEL = "shard-executor/bin"
OBSERVED = ("airflow-worker", "airflow_executor_done")
OBSERVED_PREFIX = "shard-executor/"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Refused(Exception):
    """The object cannot be read."""


@dataclass(frozen=True)
class Pod:
    uid: str
    name: str
    namespace: str
    version: int
    phase: int
    deleting: bool
    bin: str | None
    labels: dict[str, str]
    annotations: dict[str, str]
    status: PodStatusView

    @property
    def state(self) -> object:
        """What makes a row changed when it differs."""
        return (
            self.phase,
            self.deleting,
            self.status.reason,
            self.status.message,
            [(c.type, c.status, c.reason) for c in self.status.conditions],
            *(
                [(c.name, c.state, c.reason, c.exit_code) for c in containers]
                for containers in (self.status.init_containers, self.status.containers)
            ),
            {k: v for k, v in self.labels.items() if k in OBSERVED or k.startswith(OBSERVED_PREFIX)},
        )


def parse(text: bytes) -> Json:
    """JSON as the core takes it: invalid UTF-8 and lone surrogates replaced, raw control characters let through."""
    return _clean(json.loads(text.decode("utf-8", "replace"), strict=False))


def _clean(value: Json) -> Json:
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _of(kind: type, parent: Json, key: str) -> Json:
    value = parent.get(key)
    if value is None:
        return kind()
    if type(value) is not kind:
        raise Refused(f"{key} is no {kind.__name__}")
    return value


def _int32(parent: Json, key: str) -> int:
    value: int = _of(int, parent, key)
    if not -(2**31) <= value < 2**31:
        raise Refused(f"{key} is out of range")
    return value


def _time(parent: Json, key: str) -> float | None:
    text = _of(str, parent, key)
    if not TIME.fullmatch(text):
        return None
    return datetime.fromisoformat(text).timestamp() or None  # 1970 stands for never


def _container(status: Json) -> ContainerView:
    if type(status) is not dict:
        raise Refused("a container status is no object")
    states = _of(dict, status, "state")
    found = {}
    for kind in ("waiting", "running", "terminated"):
        if states.get(kind) is None:
            continue
        state = _of(dict, states, kind)
        found[kind] = (
            kind,
            _of(str, state, "reason"),
            _of(str, state, "message"),
            _int32(state, "exitCode") if kind == "terminated" else None,
            (_int32(state, "signal") or None) if kind == "terminated" else None,
            _time(state, "startedAt"),
            _time(state, "finishedAt"),
        )
    empty = ("", "", "", None, None, None, None)
    state = found.get("terminated") or found.get("running") or found.get("waiting") or empty
    return ContainerView(
        _of(str, status, "name"), *state, restart_count=_int32(status, "restartCount"), ready=_of(bool, status, "ready")
    )


def _condition(condition: Json) -> Condition:
    if type(condition) is not dict:
        raise Refused("a condition is no object")
    return Condition(*(_of(str, condition, key) for key in ("type", "status", "reason", "message")))


def _texts(parent: Json, key: str, *, strict: bool) -> dict[str, str]:
    result = {}
    for name, value in _of(dict, parent, key).items():
        if strict and value is not None and type(value) is not str:
            raise Refused(f"{key}.{name} is no text")
        result[name] = value if type(value) is str else ""
    return result


def project(pod: Json) -> Pod:
    """Raises Refused for what the core calls undecodable."""
    if type(pod) is not dict:
        raise Refused("no object")
    if _of(str, pod, "kind") not in ("", "Pod"):
        raise Refused("no Pod")
    metadata = _of(dict, pod, "metadata")
    status = _of(dict, pod, "status")
    labels = _texts(metadata, "labels", strict=True)
    annotations = _texts(metadata, "annotations", strict=False)
    version = _of(str, metadata, "resourceVersion")
    if not re.fullmatch("[0-9]+", version) or int(version) >= 2**64:
        raise Refused("resourceVersion")
    uid = _of(str, metadata, "uid")
    if not uid:
        raise Refused("uid")
    return Pod(
        uid=uid,
        name=_of(str, metadata, "name"),
        namespace=_of(str, metadata, "namespace"),
        version=int(version),
        phase=PHASES.get(_of(str, status, "phase"), 0),
        deleting=_of(str, metadata, "deletionTimestamp") != "",
        bin=labels.get(BIN_LABEL),
        labels=labels,
        annotations=annotations,
        status=PodStatusView(
            reason=_of(str, status, "reason"),
            message=_of(str, status, "message"),
            start_time=_time(status, "startTime"),
            conditions=tuple(_condition(c) for c in _of(list, status, "conditions")),
            init_containers=tuple(_container(c) for c in _of(list, status, "initContainerStatuses")),
            containers=tuple(_container(c) for c in _of(list, status, "containerStatuses")),
        ),
    )
