"""The kinds the server keeps: their names, scopes, verbs and what they can be selected by."""

from __future__ import annotations

from dataclasses import dataclass, field

_ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_ANY_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
# K/pkg/registry/core/pod/strategy.go ToSelectableFields
_POD_FIELDS = _ANY_FIELDS | {
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
}
# K/pkg/registry/core/event/strategy.go ToSelectableFields
_EVENT_FIELDS = _ANY_FIELDS | {
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
}


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and its collection's path. All kept kinds are in the core group."""

    name: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL
    fields: frozenset[str] = _ANY_FIELDS
    subresources: dict[str, Subresource] = field(default_factory=dict)
    answers_delete_with_object: bool = False
    api_version: str = "v1"
    categories: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        """The lower-case kind."""
        return self.kind.lower()


_STATUS_VERBS = ("get", "patch", "update")


def _sub(*subresources: Subresource) -> dict[str, Subresource]:
    return {entry.name: entry for entry in subresources}


RESOURCES = {
    entry.name: entry
    for entry in (
        Resource("configmaps", "ConfigMap", short_names=("cm",)),
        Resource("events", "Event", short_names=("ev",), fields=_EVENT_FIELDS),
        Resource(
            "namespaces",
            "Namespace",
            namespaced=False,
            short_names=("ns",),
            verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
            fields=_ANY_FIELDS | {"status.phase"},
            subresources=_sub(
                Subresource("finalize", "Namespace", ("update",)), Subresource("status", "Namespace", _STATUS_VERBS)
            ),
            answers_delete_with_object=True,
        ),
        Resource(
            "nodes",
            "Node",
            namespaced=False,
            short_names=("no",),
            fields=_ANY_FIELDS | {"spec.unschedulable"},
            subresources=_sub(Subresource("status", "Node", _STATUS_VERBS)),
        ),
        Resource(
            "pods",
            "Pod",
            short_names=("po",),
            fields=_POD_FIELDS,
            subresources=_sub(
                Subresource("binding", "Binding", ("create",)),
                Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
                Subresource("log", "Pod", ("get",)),
                Subresource("status", "Pod", _STATUS_VERBS),
            ),
            answers_delete_with_object=True,
            categories=("all",),
        ),
        Resource(
            "resourcequotas",
            "ResourceQuota",
            short_names=("quota",),
            subresources=_sub(Subresource("status", "ResourceQuota", _STATUS_VERBS)),
            answers_delete_with_object=True,
        ),
        Resource("secrets", "Secret", fields=_ANY_FIELDS | {"type"}),
        Resource("serviceaccounts", "ServiceAccount", short_names=("sa",), answers_delete_with_object=True),
        Resource("services", "Service", short_names=("svc",), answers_delete_with_object=True, categories=("all",)),
    )
}
NAMESPACED = tuple(entry.name for entry in RESOURCES.values() if entry.namespaced)
