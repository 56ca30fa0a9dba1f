"""Waiting for quota: one gate per namespace that refused a pod for its quota.

A namespace that is full stays full until pods end, so the tickets behind it are not tried one by one: one create
at a time probes, backing off, and a pod of ours that ends there makes the next probe due at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shard_executor.core.cleanup import backoff_delay


@dataclass(slots=True)
class _Gate:
    opens: float
    tries: int = 1
    probing: bool = False


class QuotaGates:
    """Gates by namespace; a namespace without a gate is open."""

    __slots__ = ("_gates", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._gates: dict[str, _Gate] = {}
        self._rng = rng

    def admits(self, namespace: str, now: float) -> bool:
        gate = self._gates.get(namespace)
        return gate is None or (not gate.probing and now >= gate.opens)

    def started(self, namespace: str) -> None:
        gate = self._gates.get(namespace)
        if gate is not None:
            gate.probing = True

    def ended(self, namespace: str) -> None:
        """A create ended without an answer about quota."""
        gate = self._gates.get(namespace)
        if gate is not None:
            gate.probing = False

    def passed(self, namespace: str) -> None:
        """A create was admitted: the namespace has room."""
        self._gates.pop(namespace, None)

    def refused(self, namespace: str, now: float) -> None:
        """A create was refused for quota."""
        gate = self._gates.get(namespace)
        tries = gate.tries + 1 if gate is not None and gate.probing else (gate.tries if gate else 1)
        self._gates[namespace] = _Gate(now + backoff_delay(tries, self._rng, base=1.0), tries)

    def room(self, namespace: str, now: float) -> None:
        """A pod ended: the next probe is due."""
        gate = self._gates.get(namespace)
        if gate is not None:
            gate.opens = now
            gate.tries = 1

    def opens_at(self, now: float) -> float | None:
        """When the next gate that is not being probed opens."""
        waiting = [gate.opens for gate in self._gates.values() if not gate.probing]
        return max(now, min(waiting)) if waiting else None

    def parked(self) -> list[str]:
        """The namespaces that are waiting for quota."""
        return sorted(self._gates)
