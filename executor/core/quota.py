"""Waiting for quota: one gate per namespace that refused a pod for its quota.

A namespace that is full stays full until pods end, so the tickets behind it are not tried one by one: one create
at a time probes, backing off, and a pod of ours that ends there makes the next probe due at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from shard_executor.core.backoff import backoff_delay


@dataclass(slots=True)
class _Gate:
    opens: float
    tries: int = 1
    probing: bool = False
    roomy: bool = False


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
        if gate is not None and gate.roomy:
            self._gates[namespace] = _Gate(now)  # the pod that ended meanwhile may not have been counted out yet
            return
        tries = gate.tries + 1 if gate is not None and gate.probing else (gate.tries if gate else 1)
        self._gates[namespace] = _Gate(now + backoff_delay(tries, self._rng, base=1.0), tries)

    def room(self, namespace: str, now: float) -> None:
        """A pod ended: the next probe is due."""
        gate = self._gates.get(namespace)
        if gate is not None:
            gate.opens = now
            gate.tries = 1
            gate.roomy = gate.probing

    def opens_at(self, namespaces: Iterable[str], now: float) -> float:
        """When the next gate of these namespaces opens; infinite if all are open or being probed."""
        gates = (self._gates.get(namespace) for namespace in namespaces)
        return min((g.opens for g in gates if g is not None and not g.probing and g.opens > now), default=float("inf"))

    def parked(self) -> list[str]:
        """The namespaces that are waiting for quota."""
        return sorted(self._gates)
