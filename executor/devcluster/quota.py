"""ResourceQuota: how much a namespace uses, the refusal of pods beyond it, and the status that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from shard_executor.devcluster import errors
from shard_executor.devcluster.pods import TERMINAL
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{letter: Decimal(1000) ** (place + 1) for place, letter in enumerate("kMGTPE")},
    **{f"{letter}i": Decimal(1024) ** (place + 1) for place, letter in enumerate("KMGTPE")},
}
_Usage = dict[str, Decimal]


class Quotas:
    """Counts what the pods of each namespace use and keeps the status of quotas. Constructing starts nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[str, _Usage] = {}
        self._stale: set[str] = set()
        self._handle: asyncio.Handle | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Counts the pods there are and follows later ones."""
        for pod in self._store.list("pods"):
            self._on_pod("ADDED", pod, None)
        self._unsubscribe = [
            self._store.subscribe("pods", self._on_pod),
            self._store.subscribe("resourcequotas", self._on_quota),
        ]

    def end(self) -> None:
        """Stops following."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def admit(self, pod: Obj) -> None:
        """Refuses a pod that exceeds a quota of its namespace.

        Raises:
            ApiError: 403 in the words of the ResourceQuota plugin.
        """
        metadata = pod["metadata"]
        namespace = metadata["namespace"]
        quotas = self._store.list("resourcequotas", namespace)
        if not quotas:
            return
        asked, used = _usage(pod), self._used.get(namespace, {})
        for quota in quotas:
            hard = quota.get("spec", {}).get("hard", {})
            over = [
                name
                for name in sorted(hard)
                if asked.get(name) and used.get(name, Decimal(0)) + asked[name] > quantity(hard[name])
            ]
            if over:
                words = (
                    f"requested: {_pairs(over, asked)}, used: {_pairs(over, used)}, "
                    f"limited: {','.join(f'{name}={hard[name]}' for name in over)}"
                )
                why = f"exceeded quota: {quota['metadata']['name']}, {words}"
                raise errors.forbidden("pods", metadata.get("name", ""), why)

    def _on_pod(self, kind: str, pod: Obj, previous: Obj | None) -> None:
        namespace = pod["metadata"]["namespace"]
        after = {} if kind == "DELETED" else _usage(pod)
        before = {} if previous is None else _usage(previous)
        if after == before:
            return
        used = self._used.setdefault(namespace, {})
        for name in after.keys() | before.keys():
            used[name] = used.get(name, Decimal(0)) + after.get(name, Decimal(0)) - before.get(name, Decimal(0))
        if self._store.list("resourcequotas", namespace):
            self._refresh_soon(namespace)

    def _on_quota(self, kind: str, quota: Obj, previous: Obj | None) -> None:
        if kind != "DELETED":
            self._refresh_soon(quota["metadata"]["namespace"])

    def _refresh_soon(self, namespace: str) -> None:
        # A moment later, so that a burst of pods makes one write of the quota's status.
        self._stale.add(namespace)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(0.1, self._refresh)

    def _refresh(self) -> None:
        self._handle = None
        stale, self._stale = self._stale, set()
        for namespace in stale:
            used = self._used.get(namespace, {})
            for quota in self._store.list("resourcequotas", namespace):
                hard = quota.get("spec", {}).get("hard", {})
                shown = {name: _text(used.get(name, Decimal(0))) for name in hard}
                self._store.replace("resourcequotas", {**quota, "status": {"hard": hard, "used": shown}})


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity, such as ``500m`` or ``2Gi``, as a number."""
    number = text.rstrip("numkMGTPEi")
    suffix = text[len(number) :]
    return Decimal(number) * _SUFFIXES[suffix]


def _usage(pod: Obj) -> _Usage:
    """What a pod counts for: count/pods as long as it exists, the rest until it has finished."""
    usage: _Usage = {"count/pods": Decimal(1)}
    if pod.get("status", {}).get("phase") in TERMINAL:
        return usage
    usage["pods"] = Decimal(1)
    for container in pod["spec"].get("containers", []):
        for part in ("requests", "limits"):
            for name, amount in container.get("resources", {}).get(part, {}).items():
                key = f"{part}.{name}"
                usage[key] = usage.get(key, Decimal(0)) + quantity(amount)
    for name in ("cpu", "memory"):
        if f"requests.{name}" in usage:
            usage[name] = usage[f"requests.{name}"]
    return usage


def _pairs(wanted: list[str], amounts: _Usage) -> str:
    return ",".join(f"{name}={_text(amounts.get(name, Decimal(0)))}" for name in wanted)


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
