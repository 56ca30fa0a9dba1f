"""The least a run needs to be allowed: one list, from which preflight, doctor and deploy/role.yaml take it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from shard_executor.cli.answers import REQUEST_LIMIT, object_of

if TYPE_CHECKING:
    from shard_executor.shard.api import Api

REVIEWS_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ROLE_NAME = "shard-executor"  # of the Role and RoleBinding in deploy/role.yaml
_SERVICE_ACCOUNT = "system:serviceaccount:"


class Need(StrEnum):
    """What stops without a permission."""

    RUN = "run"  # every run
    KEEPING = "keeping"  # runs that keep pods
    LOGS = "logs"  # only the log tails of failed tasks


@dataclass(frozen=True, slots=True)
class Permission:
    """One verb on `pods` or a subresource of it, in the core API group.

    need: what stops without it. without: what that means, in words that follow "may not create pods: ".
    """

    verb: str
    subresource: str
    need: Need
    without: str

    @property
    def resource(self) -> str:
        """As a Role names it: `pods` or `pods/log`."""
        return f"pods/{self.subresource}" if self.subresource else "pods"

    @property
    def rule(self) -> str:
        """The rule of a Role that grants it, as YAML in one line."""
        return f'{{apiGroups: [""], resources: ["{self.resource}"], verbs: ["{self.verb}"]}}'

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


LEAST: tuple[Permission, ...] = (
    Permission("create", "", Need.RUN, "no task can start"),
    Permission("delete", "", Need.RUN, "pods whose results are written cannot be removed"),
    Permission("get", "", Need.RUN, "a pod cannot be read back when the answer to its create was lost"),
    Permission("list", "", Need.RUN, "the run's pods cannot be found"),
    Permission("watch", "", Need.RUN, "the run's pods cannot be followed"),
    Permission("patch", "", Need.KEEPING, "a run with --keep-pods cannot mark the pods that stay as done"),
    Permission("get", "log", Need.LOGS, "failed tasks will have no log tail"),
)


async def allowed(api: Api, namespace: str, permission: Permission) -> bool | None:
    """Whether the account has it; None if the server does not answer such questions. Raises TransportFault."""
    attributes = {"namespace": namespace, "verb": permission.verb, "resource": "pods"}
    if permission.subresource:
        attributes["subresource"] = permission.subresource
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.request("POST", REVIEWS_PATH, body=orjson.dumps(review), timeout=REQUEST_LIMIT)
    if answer.status not in (200, 201):
        return None
    status = object_of(answer).get("status")
    return bool(status.get("allowed")) if isinstance(status, dict) else None


def rules_of(permissions: Iterable[Permission]) -> list[dict[str, Any]]:
    """The rules of a Role that grants exactly these, one a resource."""
    verbs: dict[str, list[str]] = {}
    for permission in permissions:
        verbs.setdefault(permission.resource, []).append(permission.verb)
    return [{"apiGroups": [""], "resources": [resource], "verbs": names} for resource, names in verbs.items()]


def granting_commands(missing: Sequence[Permission], namespace: str, account: str) -> list[str]:
    """kubectl commands that give an account what it lacks, for somebody who may grant it.

    `kubectl auth reconcile` adds rules and subjects to what there is, so that the commands may be repeated and leave
    other rules of the Role alone.

    Args:
        account: the user's name as the server knows it, "" if that could not be learnt.
    """
    if not missing:
        return []
    where, reconcile = f"-n {namespace}", "--dry-run=client -o yaml | kubectl auth reconcile -f -"
    commands = []
    for rule in rules_of(missing):
        verbs, resource = ",".join(rule["verbs"]), rule["resources"][0]
        commands.append(f"kubectl create role {ROLE_NAME} {where} --verb={verbs} --resource={resource} {reconcile}")
    if account.startswith(_SERVICE_ACCOUNT):
        subject = f"--serviceaccount={shlex.quote(account.removeprefix(_SERVICE_ACCOUNT))}"
    else:
        subject = f"--user={shlex.quote(account) if account else 'NAME_OF_THIS_USER'}"
    commands.append(f"kubectl create rolebinding {ROLE_NAME} {where} --role={ROLE_NAME} {subject} {reconcile}")
    return commands
