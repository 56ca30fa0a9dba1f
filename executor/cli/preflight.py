"""Asks the cluster what a run needs before anything is created: is it there, the namespace, the permissions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shard_executor.cli.answers import NEXT_CLUSTER, REQUEST_LIMIT, object_of, shown_address, unreachable, words_of
from shard_executor.cli.errors import CommandError, warn
from shard_executor.cli.permissions import LEAST, Need, allowed

if TYPE_CHECKING:
    from shard_executor.core.credentials import Credentials
    from shard_executor.shard.api import Api


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the preflight learnt: the server's address without a path, its version, e.g. `v1.36.2`, and the uid of the
    run's namespace where this account may read it."""

    host: str
    version: str
    namespace_uid: str | None = None


def preflight(
    credentials: Credentials, namespace: str, origin: str, *, keeps_pods: bool = False, others: Sequence[str] = ()
) -> Cluster:
    """Checks server, namespaces and permissions. Blocking, at most a few times REQUEST_LIMIT.

    Args:
        credentials: as resolved for the run.
        namespace: where the pods shall go.
        origin: where the credentials come from, for messages, e.g. `context dev in ~/.kube/config`.
        keeps_pods: some pods stay after their task has ended, which takes one more permission.
        others: further namespaces that tasks name.

    Raises:
        CommandError: says what is missing and what to do next. Nothing has been created.
    """
    return asyncio.run(_preflight(credentials, [namespace, *others], origin, keeps_pods))


async def _preflight(credentials: Credentials, namespaces: list[str], origin: str, keeps_pods: bool) -> Cluster:
    from shard_executor.shard.api import Api, TransportFault

    api = Api(credentials, connections=8)
    await api.start()
    try:
        version = await _server_version(api, credentials, origin)
        uids = []
        for namespace in namespaces:
            uids.append(await _check_namespace(api, namespace, shown_address(credentials)))
            await _check_permissions(api, namespace, origin, keeps_pods)
    except TransportFault as fault:
        raise CommandError("; ".join(unreachable(credentials, fault.info, origin))) from fault
    finally:
        await api.end()
    return Cluster(shown_address(credentials), version, uids[0])


async def _server_version(api: Api, credentials: Credentials, origin: str) -> str:
    answer = await api.request("GET", "/version", timeout=REQUEST_LIMIT)
    if answer.status == 401:
        raise CommandError(
            f"{shown_address(credentials)} ({origin}) refuses these credentials: {words_of(answer)}; "
            "log in again or check the user of this context"
        )
    body = object_of(answer)
    if answer.status == 403:  # hardened servers hide /version from accounts without system:public-info-viewer
        return "unknown"
    version = body.get("gitVersion")
    if answer.status != 200 or not isinstance(version, str):
        raise CommandError(
            f"{shown_address(credentials)} ({origin}) is no Kubernetes API server, or it is not ready: "
            f"GET /version answered {answer.status} {words_of(answer)}; {NEXT_CLUSTER}"
        )
    return version


async def _check_namespace(api: Api, namespace: str, host: str) -> str | None:
    """The namespace's uid, or None if this account may not read it."""
    answer = await api.request("GET", f"/api/v1/namespaces/{namespace}", timeout=REQUEST_LIMIT)
    if answer.status == 404:
        raise CommandError(
            f"namespace {namespace!r} does not exist on {host}{await _other_namespaces(api)}; create it "
            f"(kubectl create namespace {namespace}) or give another with --namespace"
        )
    if answer.status == 200:
        found = object_of(answer)
        if found.get("status", {}).get("phase") == "Terminating":
            raise CommandError(f"namespace {namespace!r} on {host} is being deleted; give another with --namespace")
        uid = found.get("metadata", {}).get("uid")
        return uid if isinstance(uid, str) else None
    if answer.status != 403:  # an account that may only see pods is fine: creating them will tell
        raise CommandError(f"cannot look up namespace {namespace!r} on {host}: {answer.status} {words_of(answer)}")
    return None


async def _other_namespaces(api: Api) -> str:
    answer = await api.request("GET", "/api/v1/namespaces", query={"limit": "20"}, timeout=REQUEST_LIMIT)
    if answer.status != 200:
        return ""
    names = [item.get("metadata", {}).get("name") for item in object_of(answer).get("items") or []]
    return f" (it has: {', '.join(filter(None, names))})" if names else ""


async def _check_permissions(api: Api, namespace: str, origin: str, keeps_pods: bool) -> None:
    asked = [each for each in LEAST if keeps_pods or each.need is not Need.KEEPING]
    answers = await asyncio.gather(*(allowed(api, namespace, permission) for permission in asked))
    refused = [permission for permission, answer in zip(asked, answers, strict=True) if answer is False]
    missing = [permission.verb for permission in refused if permission.need is not Need.LOGS]
    if missing:
        needed = ", ".join(permission.verb for permission in asked if permission.need is not Need.LOGS)
        raise CommandError(
            f"no permission in namespace {namespace!r}: this account ({origin}) may not {', '.join(missing)} pods; "
            f"it needs a Role with {needed} on pods (`shard-executor doctor` says how to grant it); or "
            "use another --namespace or --context"
        )
    if None in answers:
        warn("the server does not answer SelfSubjectAccessReview: permissions could not be checked beforehand")
    for permission in refused:
        warn(f"this account may not {permission} in namespace {namespace!r}: {permission.without}")
