"""Faults that happen once: to pods, nodes, images, quotas and open watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from shard_executor.devcluster import disruptions, errors, nodes
from shard_executor.devcluster.errors import ApiError
from shard_executor.devcluster.fault_kinds import parse as parse_fault
from shard_executor.devcluster.faults import Faults
from shard_executor.devcluster.images import ImageRule
from shard_executor.devcluster.kubelet import Disruption, Kubelet
from shard_executor.devcluster.pods import TERMINAL, delete_pod, evict_pod
from shard_executor.devcluster.selectors import parse
from shard_executor.devcluster.store import Store
from shard_executor.devcluster.versions import Obj, Objs

Arguments = Mapping[str, Any]


class FaultActions:
    """Carries out faults and undoes what can be undone. Constructing starts nothing.

    Args:
        store: the cluster's objects.
        kubelet: runs the pods.
        faults: the rules on requests.
    """

    def __init__(self, store: Store, kubelet: Kubelet, faults: Faults) -> None:
        self._store = store
        self._kubelet = kubelet
        self._faults = faults
        self._touched_nodes: set[str] = set()
        self._quotas: set[tuple[str, str]] = set()
        self._collections: set[asyncio.Task[None]] = set()
        self._actions: dict[str, Callable[[Arguments], dict[str, Any]]] = {
            "cut-watches": self._cut_watches,
            "compact": self._compact,
            "evict": self._each(lambda namespace, name, values: self._evict(namespace, name, values["grace"])),
            "preempt": self._each(
                lambda namespace, name, values: disruptions.preempt(store, namespace, name, values["grace"])
            ),
            "delete": self._each(
                lambda namespace, name, values: delete_pod(store, namespace, name, grace=values["grace"])
            ),
            "pressure": self._each(lambda *pod: self._disrupt(Disruption("pressure"), *pod), running=True),
            "oom": self._each(lambda *pod: self._disrupt(Disruption("oom"), *pod), running=True),
            "drain": self._drain,
            "lose-node": self._lose_node,
            "recover-node": self._recover_node,
            "image-error": self._image_error,
            "quota": self._quota,
            "lift-quota": self._lift_quota,
        }

    def apply(self, request: Any) -> dict[str, Any]:
        """Carries out a fault, rule or action.

        Args:
            request: the JSON object; see `fault_kinds`.

        Returns: what was done: a rule as it is listed, or the kind and what it affected.
        Raises:
            ValueError: an unknown kind or wrong arguments.
            ApiError: it names something that does not exist.
        """
        kind, arguments = parse_fault(request)
        if kind.rule:
            return self._faults.add(kind, arguments).to_json()
        return {"kind": kind.name, **self._actions[kind.name](arguments)}

    def active(self) -> list[dict[str, Any]]:
        """The rules that are active now."""
        return [rule.to_json() for rule in self._faults.rules()]

    async def clear(self) -> dict[str, Any]:
        """Back to normal: no rules, all images can be had, lost and cordoned nodes are back, no quotas of ours."""
        rules = self._faults.clear() + len(self._kubelet.images.rules)
        self._kubelet.images.rules.clear()
        await self.end()
        recovered = sorted(self._touched_nodes)
        for node in recovered:
            self._recover_node({"node": node})
        for namespace, name in list(self._quotas):
            self._lift_quota({"namespace": namespace, "name": name})
        return {"rules": rules, "nodes": recovered}

    async def end(self) -> None:
        """Stops what is still to come of earlier faults."""
        for task in self._collections:
            task.cancel()
        await asyncio.gather(*self._collections, return_exceptions=True)

    def _each(
        self, action: Callable[[str, str, Arguments], object], *, running: bool = False
    ) -> Callable[[Arguments], dict[str, Any]]:
        """An action on each pod that the arguments choose; False from it means that the pod was not affected."""

        def run(arguments: Arguments) -> dict[str, Any]:
            affected: list[str] = []
            for pod in self._choose(arguments, running=running):
                namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
                if action(namespace, name, arguments) is not False:
                    affected.append(f"{namespace}/{name}")
            return {"pods": affected}

        return run

    def _choose(self, arguments: Arguments, *, running: bool) -> Objs:
        """The unfinished pods meant, oldest first.

        Raises:
            ApiError: 404 if a pod is named and not there.
        """
        selector = parse(arguments["selector"] or "", "", frozenset())
        name = arguments["name"]
        pods = [
            pod
            for pod in self._store.list("pods", arguments["namespace"])
            if (name is None or pod["metadata"]["name"] == name)
            and selector.matches(pod)
            and "deletionTimestamp" not in pod["metadata"]
            and pod["status"].get("phase") not in TERMINAL
            and (not running or _runs(pod))
        ]
        if name is not None and not pods:
            raise errors.not_found("pods", name)
        pods.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        return pods[: arguments["count"]]

    def _evict(self, namespace: str, name: str, grace: int | None) -> None:
        evict_pod(self._store, namespace, name, grace=grace)

    def _disrupt(self, disruption: Disruption, namespace: str, name: str, _: Arguments) -> bool:
        try:
            self._kubelet.disrupt(namespace, name, disruption)
        except ApiError as error:
            if error.status == 409:  # it ended in this very moment, and its status will say so
                return False
            raise
        return True

    def _cut_watches(self, arguments: Arguments) -> dict[str, Any]:
        return {"watches": self._faults.cut_watches(arguments["mode"], arguments["path"], arguments["count"])}

    def _compact(self, arguments: Arguments) -> dict[str, Any]:
        self._store.compact()
        return {"watches": self._faults.cut_watches("end") if arguments["cut"] else 0, "version": self._store.version}

    def _pods_on(self, node: str) -> Objs:
        return [
            pod
            for pod in self._store.list("pods", None)
            if pod["spec"].get("nodeName") == node and pod["status"].get("phase") not in TERMINAL
        ]

    def _node(self, arguments: Arguments) -> str:
        node: str | None = arguments["node"]
        if node is None:
            return max(self._kubelet.nodes, key=lambda name: len(self._pods_on(name)))
        if node not in self._kubelet.nodes:
            raise errors.not_found("nodes", node)
        return node

    def _drain(self, arguments: Arguments) -> dict[str, Any]:
        node = self._node(arguments)
        nodes.cordon(self._store, node)
        self._touched_nodes.add(node)
        affected = [_key(pod) for pod in self._pods_on(node) if "deletionTimestamp" not in pod["metadata"]]
        for namespace, name in affected:
            self._evict(namespace, name, arguments["grace"])
        return {"node": node, "pods": ["/".join(key) for key in affected]}

    def _lose_node(self, arguments: Arguments) -> dict[str, Any]:
        node, manner = self._node(arguments), arguments["manner"]
        if manner not in disruptions.MANNERS:
            raise ValueError(f"lose-node: manner must be one of {', '.join(disruptions.MANNERS)}, not {manner!r}")
        self._kubelet.lose_node(node)
        nodes.lose(self._store, node)
        self._touched_nodes.add(node)
        affected = self._pods_on(node)
        for pod in affected:
            disruptions.lose_pod(self._store, *_key(pod), manner)
        if arguments["gc_seconds"] >= 0:
            collection = self._collect(affected, manner, arguments["gc_seconds"])
            task = asyncio.get_running_loop().create_task(collection, name=f"collect the pods of {node}")
            self._collections.add(task)
            task.add_done_callback(self._collections.discard)
        return {"node": node, "pods": ["/".join(_key(pod)) for pod in affected]}

    async def _collect(self, pods: Objs, manner: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for pod in pods:
            namespace, name = _key(pod)
            present = self._store.find("pods", namespace, name)
            if present is not None and present["metadata"]["uid"] == pod["metadata"]["uid"]:
                disruptions.collect_pod(self._store, namespace, name, manner)

    def _recover_node(self, arguments: Arguments) -> dict[str, Any]:
        node = self._node(arguments)
        nodes.recover(self._store, node)
        self._kubelet.recover_node(node)
        self._touched_nodes.discard(node)
        return {"node": node}

    def _image_error(self, arguments: Arguments) -> dict[str, Any]:
        selector = parse(arguments["selector"] or "", "", frozenset())
        part, seconds = arguments["image"] or "", arguments["seconds"]

        def matches(labels: Mapping[str, str], image: str) -> bool:
            return part in image and selector.matches({"metadata": {"labels": dict(labels)}})

        until = None if seconds is None else self._store.clock() + seconds
        self._kubelet.images.rules.append(ImageRule(matches, arguments["count"], arguments["message"], until))
        return {"rules": len(self._kubelet.images.rules)}

    def _quota(self, arguments: Arguments) -> dict[str, Any]:
        namespace, name = arguments["namespace"], arguments["name"]
        spec = {"hard": {"pods": str(arguments["pods"])}}
        present = self._store.find("resourcequotas", namespace, name)
        if present is not None:
            self._store.replace("resourcequotas", {**present, "spec": spec})
        else:
            metadata = {"name": name, "namespace": namespace}
            quota = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}}
            self._store.create("resourcequotas", quota)
        self._quotas.add((namespace, name))
        return {"quota": f"{namespace}/{name}", "hard": spec["hard"]}

    def _lift_quota(self, arguments: Arguments) -> dict[str, Any]:
        namespace, name = arguments["namespace"], arguments["name"]
        self._quotas.discard((namespace, name))
        found = self._store.find("resourcequotas", namespace, name) is not None
        if found:
            self._store.remove("resourcequotas", namespace, name)
        return {"quota": f"{namespace}/{name}", "removed": found}


def _key(pod: Obj) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _runs(pod: Obj) -> bool:
    statuses = pod["status"].get("containerStatuses") or ()
    return any("running" in status.get("state", {}) for status in statuses)
