"""Asks the cluster what a run needs before anything is created: is it there, the namespace, the permissions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from shard_executor.cli.errors import CommandError, warn
from shard_executor.core.faults import Fault, FaultInfo

if TYPE_CHECKING:
    from shard_executor.core.credentials import Credentials
    from shard_executor.shard.api import Answer, Api

NEEDED_VERBS = ("create", "delete", "get", "list", "watch")
KEEPING_VERBS = (*NEEDED_VERBS, "patch")  # a pod that stays is marked as done
REQUEST_LIMIT = 15.0  # seconds for each of the few requests; a server that needs longer is not fit to be tried
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_NEXT_CLUSTER = "check --kubeconfig and --context, or start a cluster on this machine with `shard-executor devcluster`"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the preflight learnt: the server's address without a path, and its version, e.g. `v1.36.2`."""

    host: str
    version: str


def preflight(credentials: Credentials, namespace: str, origin: str, *, keeps_pods: bool = False) -> Cluster:
    """Checks server, namespace and permissions. Blocking, at most a few times REQUEST_LIMIT.

    Args:
        credentials: as resolved for the run.
        namespace: where the pods shall go.
        origin: where the credentials come from, for messages, e.g. `context dev in ~/.kube/config`.
        keeps_pods: some pods stay after their task has ended, which takes one more permission.

    Raises:
        CommandError: says what is missing and what to do next. Nothing has been created.
    """
    return asyncio.run(_preflight(credentials, namespace, origin, KEEPING_VERBS if keeps_pods else NEEDED_VERBS))


def shown_address(credentials: Credentials) -> str:
    """Scheme, host and port: a path may hold what is nobody else's business, such as a token."""
    parts = urlsplit(credentials.host)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def _preflight(credentials: Credentials, namespace: str, origin: str, verbs: tuple[str, ...]) -> Cluster:
    from shard_executor.shard.api import Api, TransportFault

    api = Api(credentials, connections=8)
    await api.start()
    try:
        version = await _server_version(api, credentials, origin)
        await _check_namespace(api, namespace, shown_address(credentials))
        await _check_permissions(api, namespace, origin, verbs)
    except TransportFault as fault:
        raise CommandError(_unreachable(credentials, fault.info, origin)) from fault
    finally:
        await api.end()
    return Cluster(shown_address(credentials), version)


def _unreachable(credentials: Credentials, info: FaultInfo, origin: str) -> str:
    if info.fault is Fault.TLS:
        return (
            f"{shown_address(credentials)} ({origin}) does not pass the TLS check: {info.message}; "
            "check certificate-authority in the kubeconfig"
        )
    words = "does not answer" if info.fault is Fault.TIMEOUT else "cannot be reached"
    return f"the cluster {shown_address(credentials)} ({origin}) {words}: {info.message or info.fault}; {_NEXT_CLUSTER}"


async def _server_version(api: Api, credentials: Credentials, origin: str) -> str:
    answer = await api.request("GET", "/version", timeout=REQUEST_LIMIT)
    if answer.status == 401:
        raise CommandError(
            f"{shown_address(credentials)} ({origin}) refuses these credentials: {_words(answer)}; "
            "log in again or check the user of this context"
        )
    body = _object(answer)
    if answer.status == 403:  # hardened servers hide /version from accounts without system:public-info-viewer
        return "unknown"
    version = body.get("gitVersion")
    if answer.status != 200 or not isinstance(version, str):
        raise CommandError(
            f"{shown_address(credentials)} ({origin}) is no Kubernetes API server, or it is not ready: "
            f"GET /version answered {answer.status} {_words(answer)}; {_NEXT_CLUSTER}"
        )
    return version


async def _check_namespace(api: Api, namespace: str, host: str) -> None:
    answer = await api.request("GET", f"/api/v1/namespaces/{namespace}", timeout=REQUEST_LIMIT)
    if answer.status == 404:
        raise CommandError(
            f"namespace {namespace!r} does not exist on {host}{await _other_namespaces(api)}; create it "
            f"(kubectl create namespace {namespace}) or give another with --namespace"
        )
    if answer.status == 200:
        phase = _object(answer).get("status", {}).get("phase")
        if phase == "Terminating":
            raise CommandError(f"namespace {namespace!r} on {host} is being deleted; give another with --namespace")
        return
    if answer.status != 403:  # an account that may only see pods is fine: creating them will tell
        raise CommandError(f"cannot look up namespace {namespace!r} on {host}: {answer.status} {_words(answer)}")


async def _other_namespaces(api: Api) -> str:
    answer = await api.request("GET", "/api/v1/namespaces", query={"limit": "20"}, timeout=REQUEST_LIMIT)
    if answer.status != 200:
        return ""
    names = [item.get("metadata", {}).get("name") for item in _object(answer).get("items") or []]
    return f" (it has: {', '.join(filter(None, names))})" if names else ""


async def _check_permissions(api: Api, namespace: str, origin: str, verbs: tuple[str, ...]) -> None:
    questions = [(verb, "") for verb in verbs] + [("get", "log")]
    answers = await asyncio.gather(*(_allowed(api, namespace, verb, sub) for verb, sub in questions))
    missing = [verb for (verb, sub), allowed in zip(questions, answers, strict=True) if not sub and allowed is False]
    if missing:
        raise CommandError(
            f"no permission in namespace {namespace!r}: this account ({origin}) may not {', '.join(missing)} pods; "
            f"it needs a Role with {', '.join(verbs)} on pods; or use another --namespace or --context"
        )
    if None in answers:
        warn("the server does not answer SelfSubjectAccessReview: permissions could not be checked beforehand")
    elif answers[-1] is False:
        warn(f"this account may not get pods/log in namespace {namespace!r}: failed tasks will have no log tail")


async def _allowed(api: Api, namespace: str, verb: str, subresource: str) -> bool | None:
    """Whether the account may do it; None if the server does not answer such questions."""
    attributes = {"namespace": namespace, "verb": verb, "resource": "pods"}
    if subresource:
        attributes["subresource"] = subresource
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.request("POST", _REVIEWS, body=orjson.dumps(review), timeout=REQUEST_LIMIT)
    if answer.status not in (200, 201):
        return None
    return bool(_object(answer).get("status", {}).get("allowed"))


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _words(answer: Answer) -> str:
    from shard_executor.shard.api import fault_of

    return fault_of(answer).message
