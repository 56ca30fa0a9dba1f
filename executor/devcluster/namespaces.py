"""The life of namespaces: what a new one gets, and the controller that empties and removes deleted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shard_executor.devcluster import errors
from shard_executor.devcluster.pods import delete_pod
from shard_executor.devcluster.resources import NAMESPACED
from shard_executor.devcluster.store import Store, timestamp
from shard_executor.devcluster.versions import Obj

INITIAL = ("default", "kube-node-lease", "kube-public", "kube-system")


def new_namespace(name: str) -> Obj:
    """An active namespace."""
    return complete({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})


def complete(namespace: Obj) -> Obj:
    """Fills in what the server adds to a new namespace: its name label, finalizer and phase."""
    metadata = namespace["metadata"]
    name = metadata.get("name", "")
    labels = {**metadata.get("labels", {}), **({"kubernetes.io/metadata.name": name} if name else {})}
    spec = {**namespace.get("spec", {}), "finalizers": ["kubernetes"]}
    return {**namespace, "metadata": {**metadata, "labels": labels}, "spec": spec, "status": {"phase": "Active"}}


def mark_deleted(store: Store, name: str) -> Obj:
    """Puts a namespace into the phase Terminating; its controller does the rest.

    Returns: the namespace.
    Raises:
        ApiError: 404 if there is none.
    """
    namespace = store.get("namespaces", "", name)
    if "deletionTimestamp" in namespace["metadata"]:
        return namespace
    metadata = {**namespace["metadata"], "deletionTimestamp": timestamp(store.clock())}
    status = {**namespace.get("status", {}), "phase": "Terminating"}
    return store.replace("namespaces", {**namespace, "metadata": metadata, "status": status})


def finalize(store: Store, namespace: Obj) -> Obj:
    """Stores the finalizers of the body's spec; a deleted namespace without any is removed.

    Raises:
        ApiError: 404 if there is no such namespace.
    """
    name = namespace["metadata"]["name"]
    current = store.get("namespaces", "", name)
    finalizers = namespace.get("spec", {}).get("finalizers", [])
    if not finalizers and "deletionTimestamp" in current["metadata"]:
        return store.remove("namespaces", "", name)
    return store.replace("namespaces", {**current, "spec": {**current.get("spec", {}), "finalizers": finalizers}})


def check_open(store: Store, namespace: str, resource: str, name: str) -> None:
    """Refuses a create in a namespace that does not exist or is being deleted (plugin NamespaceLifecycle).

    Raises:
        ApiError: 404 or 403.
    """
    found = store.find("namespaces", "", namespace)
    if found is None:
        raise errors.not_found("namespaces", namespace)
    if "deletionTimestamp" in found["metadata"]:
        raise errors.namespace_terminating(resource, name, namespace)


class NamespaceController:
    """Empties deleted namespaces and removes them once they are empty. Constructing starts nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: set[str] = set()
        self._handle: asyncio.Handle | None = None
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Creates the initial namespaces and follows all of them."""
        self._unsubscribe = [self._store.subscribe("namespaces", self._on_namespace)]
        self._unsubscribe += [self._store.subscribe(resource, self._on_content) for resource in NAMESPACED]
        for name in INITIAL:
            if self._store.find("namespaces", "", name) is None:
                self._store.create("namespaces", new_namespace(name))

    def end(self) -> None:
        """Stops following."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_namespace(self, kind: str, namespace: Obj, previous: Obj | None) -> None:
        name = namespace["metadata"]["name"]
        if kind == "ADDED" or (kind == "MODIFIED" and "deletionTimestamp" in namespace["metadata"]):
            self._soon(name)

    def _on_content(self, kind: str, obj: Obj, previous: Obj | None) -> None:
        if kind != "DELETED":
            return
        name = obj["metadata"]["namespace"]
        namespace = self._store.find("namespaces", "", name)
        if namespace is not None and "deletionTimestamp" in namespace["metadata"]:
            self._soon(name)

    def _soon(self, name: str) -> None:
        self._dirty.add(name)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._handle = None
        dirty, self._dirty = self._dirty, set()
        for name in dirty:
            namespace = self._store.find("namespaces", "", name)
            if namespace is None:
                continue
            if "deletionTimestamp" in namespace["metadata"]:
                self._empty(name)
            elif self._store.find("serviceaccounts", name, "default") is None:
                account = {"name": "default", "namespace": name}
                self._store.create(
                    "serviceaccounts", {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": account}
                )

    def _empty(self, name: str) -> None:
        for pod in self._store.list("pods", name):
            if "deletionTimestamp" not in pod["metadata"]:
                delete_pod(self._store, name, pod["metadata"]["name"])
        if self._store.list("pods", name):
            return
        for resource in NAMESPACED:
            for obj in list(self._store.list(resource, name)):
                self._store.remove(resource, name, obj["metadata"]["name"])
        self._store.remove("namespaces", "", name)
