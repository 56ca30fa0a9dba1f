"""What the server says about itself: versions, groups, resources, health, reviews."""

from __future__ import annotations

from shard_executor.devcluster.resources import RESOURCES, Resource, Subresource
from shard_executor.devcluster.versions import Obj

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2+shard-executor-devcluster",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
_GROUPS = {
    "authentication.k8s.io": [("selfsubjectreviews", "SelfSubjectReview")],
    "authorization.k8s.io": [("selfsubjectaccessreviews", "SelfSubjectAccessReview")],
    "policy": [("poddisruptionbudgets", "PodDisruptionBudget")],  # kubectl drain looks for the group
}
HEALTH = ("/healthz", "/livez", "/readyz")


def document(path: str, host: str) -> Obj | None:
    """The discovery document of a path, None if there is none.

    Args:
        host: the server's address, as clients reach it.
    """
    if path == "/version":
        return dict(VERSION)
    if path == "/api":
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
    if path == "/api/v1":
        return _resource_list("v1", [entry for resource in RESOURCES.values() for entry in _entries(resource)])
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in _GROUPS]}
    parts = path.strip("/").split("/")
    if parts[0] != "apis" or parts[1] not in _GROUPS:
        return None
    if len(parts) == 2:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])}
    if len(parts) == 3 and parts[2] == "v1":
        budgets = parts[1] == "policy"  # named, but not kept: evictions know no budgets here
        verbs = [] if budgets else ["create"]
        reviews = [
            {"name": name, "singularName": kind.lower(), "namespaced": budgets, "kind": kind, "verbs": verbs}
            for name, kind in _GROUPS[parts[1]]
        ]
        return _resource_list(f"{parts[1]}/v1", reviews)
    return None


def _group(name: str) -> Obj:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource_list(version: str, resources: list[Obj]) -> Obj:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _entries(resource: Resource) -> list[Obj]:
    entry: Obj = {
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return [entry, *(_sub_entry(resource, sub) for sub in resource.subresources.values())]


def _sub_entry(resource: Resource, sub: Subresource) -> Obj:
    entry: Obj = {
        "name": f"{resource.name}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": list(sub.verbs),
    }
    if sub.group:
        entry |= {"group": sub.group, "version": sub.version}
    return entry
