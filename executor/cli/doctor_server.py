"""Doctor's checks of the server itself: reachable, version, clock, who we are, what we may do, the namespace."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from shard_executor.cli.answers import NEXT_CLUSTER, REQUEST_LIMIT, object_of, words_of
from shard_executor.cli.doctor_report import Check, State
from shard_executor.cli.permissions import LEAST, Need, Permission, allowed

if TYPE_CHECKING:
    from shard_executor.shard.api import Answer, Api

OLDEST_MINOR = 28  # of Kubernetes 1.x: the rules of lists and watches were read in the sources from there on
CLOCK_LIMIT = 2.0  # seconds of skew, beyond what the measurement leaves open, that are worth a warning
_WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_GIT_VERSION = re.compile(r"v?(\d+)\.(\d+)")


async def check_server(api: Api) -> list[Check]:
    """Server, version and clock. One problem and nothing else if there is no API server. Raises TransportFault."""
    answer = await api.request("GET", "/version", timeout=REQUEST_LIMIT)
    body = object_of(answer)
    version = body.get("gitVersion")
    if answer.status == 401:
        message = f"it refuses these credentials: {words_of(answer)}"
        return [Check("server", State.PROBLEM, message, "log in again, or check the user of this context")]
    if answer.status != 403 and (answer.status != 200 or not isinstance(version, str)):
        message = f"no Kubernetes API server, or not ready: GET /version answered {answer.status} {words_of(answer)}"
        return [Check("server", State.PROBLEM, message.rstrip(), NEXT_CLUSTER)]
    # Asked once more on the open connection: the first answer took a TLS handshake too.
    sent = time.time()
    answer = await api.request("GET", "/version", timeout=REQUEST_LIMIT)
    received = time.time()
    milliseconds = round((received - sent) * 1000, 1)
    return [
        Check("server", State.OK, f"answers in {milliseconds:g} ms", facts={"milliseconds": milliseconds}),
        version_check(version if isinstance(version, str) else None),
        clock_check(answer.headers.get("Date"), sent, received),
    ]


def version_check(version: str | None) -> Check:
    """Judges a server's gitVersion; None if the account may not read it."""
    if version is None:
        return Check("version", State.SKIPPED, "this account may not read it (403)")
    facts = {"version": version}
    found = _GIT_VERSION.match(version)
    if found is not None and (int(found[1]), int(found[2])) < (1, OLDEST_MINOR):
        message = f"{version} is older than 1.{OLDEST_MINOR}, the oldest that this program was written for"
        return Check("version", State.WARNING, message, "upgrade the cluster, or try a short list first", facts)
    return Check("version", State.OK, version, facts=facts)


def clock_check(date: str | None, sent: float, received: float) -> Check:
    """Compares clocks by an answer's Date header, which is cut to whole seconds.

    Args:
        date: the header, None if there was none.
        sent, received: our unix seconds before the request and after the answer.
    """
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return Check("clock", State.SKIPPED, "the server's answers have no readable Date header to compare with")
    if moment.tzinfo is None:  # "-0000": the time is UTC, its zone is not told (RFC 5322, 3.3)
        moment = moment.replace(tzinfo=UTC)
    skew = (sent + received) / 2 - (moment.timestamp() + 0.5)
    doubt = 0.5 + (received - sent) / 2
    facts = {"skew_seconds": round(skew, 1), "accurate_to_seconds": round(doubt, 1)}
    if abs(skew) - doubt <= CLOCK_LIMIT:
        return Check("clock", State.OK, f"agrees with the server's to {abs(skew) + doubt:.1f} s", facts=facts)
    where = "ahead of" if skew > 0 else "behind"
    message = (
        f"this machine's clock is {abs(skew):.0f} s {where} the server's: times in results mix both, and tokens may "
        "seem expired or not yet valid"
    )
    return Check("clock", State.WARNING, message, "synchronise this machine's clock (NTP), or the server's", facts)


async def check_account(api: Api) -> tuple[Check, str]:
    """Who the server takes us for; the name is "" where it does not say. Raises TransportFault."""
    body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
    answer = await api.request("POST", _WHO_AM_I, body=body, timeout=REQUEST_LIMIT)
    if answer.status == 401:
        message = f"the server refuses these credentials: {words_of(answer)}"
        return Check("account", State.PROBLEM, message, "log in again, or check the user of this context"), ""
    name = _inner(answer, "status", "userInfo").get("username")
    if answer.status not in (200, 201) or not isinstance(name, str):
        anonymous = answer.status == 403 and "system:anonymous" in words_of(answer)
        name = "system:anonymous" if anonymous else ""
    if name == "system:anonymous":
        message = "the server does not know who asks: this context gives no credentials"
        return Check("account", State.PROBLEM, message, "check the user of this context", {"user": name}), ""
    if not name:
        return Check("account", State.SKIPPED, f"the server does not say who asks ({answer.status})"), ""
    return Check("account", State.OK, name, facts={"user": name}), name


async def check_permissions(api: Api, namespace: str) -> tuple[list[Check], list[Permission]]:
    """One check for each entry of the least list, and those that are missing. Raises TransportFault."""
    answers = await asyncio.gather(*(allowed(api, namespace, permission) for permission in LEAST))
    if all(answer is None for answer in answers):
        message = "the server does not answer SelfSubjectAccessReview: permissions could not be checked"
        return [Check("permission", State.WARNING, message, "compare the account's Role with deploy/role.yaml")], []
    checks = []
    for permission, answer in zip(LEAST, answers, strict=True):
        facts = {"verb": permission.verb, "resource": permission.resource, "allowed": answer}
        if answer:
            checks.append(Check("permission", State.OK, f"may {permission}", facts=facts))
        elif answer is None:
            message = f"the server did not say whether this account may {permission}"
            checks.append(Check("permission", State.WARNING, message, "run doctor again", facts))
        else:
            state = State.PROBLEM if permission.need is Need.RUN else State.WARNING
            message = f"may not {permission}: {permission.without}"
            checks.append(Check("permission", state, message, f"its Role needs the rule {permission.rule}", facts))
    return checks, [each for each, answer in zip(LEAST, answers, strict=True) if answer is False]


async def check_namespace(api: Api, namespace: str) -> Check:
    """Whether the namespace is there and open. Raises TransportFault."""
    answer = await api.request("GET", f"/api/v1/namespaces/{namespace}", timeout=REQUEST_LIMIT)
    facts: dict[str, Any] = {"namespace": namespace}
    if answer.status == 404:
        return Check(
            "namespace",
            State.PROBLEM,
            f"{namespace!r} does not exist",
            f"kubectl create namespace {namespace}, or give another with --namespace",
            facts,
        )
    if answer.status == 403:
        message = "this account may not read namespace objects (403); no run needs to"
        return Check("namespace", State.SKIPPED, message, facts=facts)
    if answer.status != 200:
        message = f"cannot be looked up: {answer.status} {words_of(answer)}"
        return Check("namespace", State.PROBLEM, message, "run doctor again, or ask who runs the server", facts)
    phase = _inner(answer, "status").get("phase")
    if phase == "Terminating":
        message = f"{namespace!r} is being deleted: no pod can be created there"
        return Check("namespace", State.PROBLEM, message, "give another with --namespace", facts)
    return Check("namespace", State.OK, f"{namespace} exists", facts=facts)


def _inner(answer: Answer, *keys: str) -> dict[str, Any]:
    value: Any = object_of(answer)
    for key in keys:
        value = value.get(key)
        if not isinstance(value, dict):
            return {}
    return value if isinstance(value, dict) else {}
