"""Names what can go wrong between us and an API server: one enum, and one function from an answer to its fault.

Nothing here decides what to do about a fault; the watch, the launcher and the reaper have their own tables for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

# A server that asks for more is taken at its word only so far: nothing in this program waits without a limit.
RETRY_AFTER_LIMIT = 300.0
MESSAGE_LIMIT = 1000


class Fault(StrEnum):
    """What failed, in words that fit a metric label. The comment after each name says where it comes from."""

    EXPIRED = "expired"  # 410 Expired or Gone: version or continue token compacted away
    THROTTLED = "throttled"  # 429: priority and fairness, watch cache not ready
    TOO_LARGE_VERSION = "too-large-version"  # 504 Timeout: the server has not reached the version asked for
    UNAUTHORIZED = "unauthorized"  # 401
    FORBIDDEN = "forbidden"  # 403 by an admission plugin or webhook
    NOT_PERMITTED = "not-permitted"  # 403 by the authorizer: RBAC gives us no such right, or none yet
    QUOTA = "quota"  # 403 by a ResourceQuota
    NAMESPACE_TERMINATING = "namespace-terminating"  # 403: nothing new may be created there
    NOT_FOUND = "not-found"  # 404 in the API server's own words
    ALREADY_EXISTS = "already-exists"  # 409 AlreadyExists
    CONFLICT = "conflict"  # 409 on a version or uid, of the object or of a quota it counts against
    INVALID = "invalid"  # 400, 405, 406, 413, 415, 422: this request can never succeed
    FEATURE_DISABLED = "feature-disabled"  # 500 "storage feature ... is disabled": no streaming lists on this server
    UNAVAILABLE = "unavailable"  # 502, 503, 504, a 404 without a Status: mostly load balancers, and shutdown
    SERVER_ERROR = "server-error"  # other 5xx, webhooks and etcd included
    REFUSED = "refused"  # nobody listens, or the name does not resolve
    DISCONNECTED = "disconnected"  # the connection broke before the answer was complete
    TIMEOUT = "timeout"  # our own limit passed, or 408
    TLS = "tls"  # handshake or certificate
    PROTOCOL = "protocol"  # an answer that is not what a Kubernetes API server sends
    UNKNOWN = "unknown"  # any other status, redirects included


# An identical request may succeed later without anyone acting. QUOTA, UNAUTHORIZED, FORBIDDEN, NOT_PERMITTED and
# NAMESPACE_TERMINATING may pass too, but only after somebody did something, so callers treat them one by one.
TRANSIENT: frozenset[Fault] = frozenset(
    {
        Fault.THROTTLED,
        Fault.TOO_LARGE_VERSION,
        Fault.CONFLICT,
        Fault.UNAVAILABLE,
        Fault.SERVER_ERROR,
        Fault.REFUSED,
        Fault.DISCONNECTED,
        Fault.TIMEOUT,
        Fault.TLS,
        Fault.PROTOCOL,
    }
)


@dataclass(frozen=True, slots=True)
class FaultInfo:
    """One failed request or one ERROR event.

    status: the HTTP status, or the Status object's code inside a stream; 0 when no answer came.
    reason: the Status reason, or the exception's class name when no answer came.
    message: at most 1,000 characters, one line, fit for a user's eyes.
    retry_after: seconds the server asked us to wait, at most 300; None if it did not say.
    causes: one line per cause, "reason: message (field)".
    """

    fault: Fault
    status: int = 0
    reason: str = ""
    message: str = ""
    retry_after: float | None = None
    causes: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.fault} ({self.status})" if self.status else str(self.fault)
        return f"{head}: {self.message}" if self.message else head


_BY_CODE = {
    401: Fault.UNAUTHORIZED,
    403: Fault.FORBIDDEN,
    404: Fault.NOT_FOUND,
    408: Fault.TIMEOUT,
    409: Fault.CONFLICT,
    410: Fault.EXPIRED,
    429: Fault.THROTTLED,
    500: Fault.SERVER_ERROR,
    502: Fault.UNAVAILABLE,
    503: Fault.UNAVAILABLE,
    504: Fault.UNAVAILABLE,
    **dict.fromkeys((400, 405, 406, 411, 413, 414, 415, 422), Fault.INVALID),
}
_FEATURE_DISABLED = re.compile(r"storage feature \S+ is disabled", re.IGNORECASE)
_TOO_LARGE = "too large resource version"
# etcd's limit of 1.5 MiB an object comes through as a 500; asking again changes nothing.
_OVERSIZED = "etcdserver: request is too large"
# The authorizer's words (apiserver's endpoints/handlers/responsewriters/errors.go), never an admission plugin's.
_NOT_PERMITTED = re.compile(r'\bUser ".*" cannot \w+ (?:resource|path) "')
# The quota admission plugin's two refusals (plugin/pkg/admission/resourcequota/controller.go): over the limit, and
# the quota's usage not yet counted.
_QUOTA_WORDS = ("exceeded quota", "status unknown for quota")
# An admission webhook chooses its refusal's code freely, a ValidatingAdmissionPolicy among a few, 401 for one.
_DENIED = re.compile(
    r"^admission webhook \"[^\"]*\" denied the request|ValidatingAdmissionPolicy '[^']*' .*denied request"
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>?")
_SPACE = re.compile(r"\s+")


def classify_status(
    code: int, reason: str, message: str, retry_after: float | None = None, causes: Sequence[str] = ()
) -> FaultInfo:
    """Name the fault of a Status object, wherever it came from: an answer's body or an ERROR event in a stream.

    code: HTTP status, or the Status object's own code. causes: lines as in FaultInfo. retry_after: seconds.
    Too large a version comes in three shapes (cause reason, cause message, bare message), depending on the server's
    release; client-go's isTooLargeResourceVersionError knows the same three.
    """
    fault = _name(code, reason, message, causes)
    wait = None if retry_after is None else min(max(float(retry_after), 0.0), RETRY_AFTER_LIMIT)
    return FaultInfo(fault, code, reason, _one_line(message), wait, tuple(causes))


def classify_answer(
    status: int, content_type: str, headers: Mapping[str, str], body_status: Mapping[str, Any] | None, text: str
) -> FaultInfo:
    """Name the fault of an HTTP answer that is not a success.

    body_status: the answer's Status object as a mapping of JSON names, None if there was none to read.
    text: the body as text, used for the message when there is no Status (throttling, load balancers, login pages).
    An API server says in a Status what it did not find. Any other 404 comes from a proxy that has no server behind it
    at the moment, and says nothing about the object: that is UNAVAILABLE.
    """
    wait = _header_wait(headers)
    if body_status is None:
        message = _readable(text, content_type)
        info = classify_status(status, "", message or f"HTTP {status} without a body", wait)
        return replace(info, fault=Fault.UNAVAILABLE) if info.fault is Fault.NOT_FOUND else info
    details = body_status.get("details")
    details = details if isinstance(details, Mapping) else {}
    if wait is None:
        wait = _positive(details.get("retryAfterSeconds"))
    reason, message = str(body_status.get("reason") or ""), str(body_status.get("message") or "")
    return classify_status(status, reason, message, wait, _causes(details.get("causes")))


def _name(code: int, reason: str, message: str, causes: Sequence[str]) -> Fault:
    lowered = message.lower()
    if reason in ("Expired", "Gone"):
        return Fault.EXPIRED
    if _TOO_LARGE in lowered or any("ResourceVersionTooLarge" in c or _TOO_LARGE in c.lower() for c in causes):
        return Fault.TOO_LARGE_VERSION
    fault = _BY_CODE.get(code)
    if fault is Fault.FORBIDDEN:
        if any(words in lowered for words in _QUOTA_WORDS):
            return Fault.QUOTA
        if "because it is being terminated" in lowered or any("NamespaceTerminating" in c for c in causes):
            return Fault.NAMESPACE_TERMINATING
        if _NOT_PERMITTED.search(message):
            return Fault.NOT_PERMITTED
    elif fault is Fault.CONFLICT:
        if reason == "AlreadyExists" or (not reason and "already exists" in lowered):
            return Fault.ALREADY_EXISTS
    elif fault is Fault.SERVER_ERROR and _FEATURE_DISABLED.search(message):
        return Fault.FEATURE_DISABLED
    elif fault is Fault.SERVER_ERROR and _OVERSIZED in lowered:
        return Fault.INVALID
    elif fault in (Fault.UNAUTHORIZED, Fault.NOT_FOUND) and _DENIED.search(message):
        return Fault.FORBIDDEN  # neither our credentials nor the object are what is missing
    if fault is not None:
        return fault
    return Fault.SERVER_ERROR if 500 <= code < 600 else Fault.UNKNOWN


def _positive(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    return None


def _header_wait(headers: Mapping[str, str]) -> float | None:
    # API servers send whole seconds. The date form, which some proxies send, needs a clock and counts as absent.
    for name, value in headers.items():
        if name.lower() == "retry-after":
            text = value.strip()
            return float(text[:9]) if text.isascii() and text.isdigit() else None
    return None


def _causes(value: object) -> list[str]:
    return [_cause(cause) for cause in value if isinstance(cause, Mapping)] if isinstance(value, (list, tuple)) else []


def _cause(cause: Mapping[str, Any]) -> str:
    words = ": ".join(str(part) for part in (cause.get("reason"), cause.get("message")) if part)
    field = cause.get("field")
    return _one_line(f"{words} ({field})" if field else words)


def _readable(text: str, content_type: str) -> str:
    if "html" in content_type.lower() or text.lstrip()[:1] == "<":
        title = _TITLE.search(text)
        text = title.group(1) if title else _TAG.sub(" ", text)
    return _one_line(text)


def _one_line(text: str) -> str:
    line = _SPACE.sub(" ", text[: 4 * MESSAGE_LIMIT]).strip()
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
