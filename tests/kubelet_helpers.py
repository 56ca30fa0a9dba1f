"""Pods, stores and waits for the tests of kubelets and faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from shard_executor.devcluster.kubelet import Kubelet
from shard_executor.devcluster.store import Store

Obj = dict[str, Any]
T = TypeVar("T")
LIMIT = 20.0  # seconds; only reached when something is broken


def pod(name: str, *command: str, labels: dict[str, str] | None = None, annotations: Any = None, **spec: Any) -> Obj:
    """A pod as the API server stores it, with one container called base."""
    container: Obj = {"name": "base", "image": "busybox"}
    if command:
        container["command"] = list(command)
    container.update(spec.pop("container", {}))
    metadata: Obj = {"name": name, "namespace": "default", "labels": labels or {}, "annotations": annotations or {}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"containers": [container], "restartPolicy": "Never", "schedulerName": "default-scheduler", **spec},
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


async def until(what: Callable[[], T | None], limit: float = LIMIT) -> T:
    """Polls until `what` gives something that is true, and returns it."""
    deadline = time.monotonic() + limit
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        await asyncio.sleep(0.01)


async def finished(store: Store, name: str) -> Obj:
    """The pod once its phase is Succeeded or Failed."""

    def look() -> Obj | None:
        found = store.get("pods", "default", name)
        return found if found["status"]["phase"] in ("Succeeded", "Failed") else None

    return await until(look)


async def waits_with(store: Store, name: str, reason: str) -> Obj:
    """The status of the first container once it waits with this reason."""

    def look() -> Obj | None:
        statuses = store.get("pods", "default", name)["status"].get("containerStatuses") or [{"state": {}}]
        waiting = statuses[0]["state"].get("waiting", {})
        return statuses[0] if waiting.get("reason") == reason else None

    return await until(look)


async def running(store: Store, name: str) -> Obj:
    """The pod once it runs."""

    def look() -> Obj | None:
        found = store.get("pods", "default", name)
        return found if found["status"]["phase"] == "Running" else None

    return await until(look)


def record(store: Store) -> list[tuple[str, Obj]]:
    """A list to which every later change of a pod is added."""
    seen: list[tuple[str, Obj]] = []
    store.subscribe("pods", lambda kind, new, _: seen.append((kind, new)))
    return seen


def ended(found: Obj, container: int = 0) -> Obj:
    """The terminated state of a container of a pod."""
    return dict(found["status"]["containerStatuses"][container]["state"]["terminated"])


def conditions(found: Obj) -> dict[str, Obj]:
    """The conditions of a pod by type."""
    return {entry["type"]: entry for entry in found["status"]["conditions"]}


async def log(kubelet: Kubelet, name: str, **query: Any) -> bytes:
    """The whole log of a pod."""
    return b"".join([piece async for piece in await kubelet.logs("default", name, **query)])


@asynccontextmanager
async def started(kubelet: Kubelet) -> AsyncIterator[None]:
    """Runs a kubelet."""
    kubelet.start()
    try:
        yield
    finally:
        await kubelet.end()
