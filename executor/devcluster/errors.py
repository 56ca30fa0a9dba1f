"""Refusals of the API server: one exception and a constructor for each kind of refusal.

The words follow what a real kube-apiserver 1.36 answers, because clients print them and people grep for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Cause = dict[str, str]

# The constant text of an expired continue token (apiserver's etcd3/errors.go); clients match on reason and code.
EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


class ApiError(Exception):
    """A request was refused.

    Args:
        status: the HTTP status code.
        reason: the machine-readable reason of a Status object, such as ``NotFound``; may be empty.
        message: the words for people.
        details: the ``details`` of the Status: name, kind, group, uid, causes.
        retry_after: seconds after which the client may try again, sent as a header and in the details.
        metadata: the ``metadata`` of the Status; an expired list carries a fresh continue token there.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after
        self.metadata = metadata or {}

    def to_status(self) -> dict[str, Any]:
        """The refusal as a ``v1`` Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details)
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details:
            status["details"] = details
        status["code"] = self.status
        return status


def success(code: int = 200, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Status object that says Success."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    status["code"] = code
    return status


def not_found(resource: str, name: str, group: str = "") -> ApiError:
    """404 for an object that does not exist."""
    details = {"name": name, **({"group": group} if group else {}), "kind": resource}
    return ApiError(404, "NotFound", f'{_qualified(resource, group)} "{name}" not found', details)


def no_such_path() -> ApiError:
    """404 for a path the server does not serve."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: str, name: str) -> ApiError:
    """409 for a create under a taken name."""
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists', {"name": name, "kind": resource})


def conflict(resource: str, name: str, why: str) -> ApiError:
    """409 for a write whose precondition does not hold; `why` completes the sentence."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, {"name": name, "kind": resource})


def modified(resource: str, name: str) -> ApiError:
    """409 for an update from a stale resourceVersion."""
    return conflict(
        resource, name, "the object has been modified; please apply your changes to the latest version and try again"
    )


def bad_request(message: str) -> ApiError:
    """400 for a request that cannot be read."""
    return ApiError(400, "BadRequest", message)


def cause(reason: str, message: str, field: str) -> Cause:
    """One entry of ``details.causes``; `reason` is FieldValueInvalid, FieldValueRequired and the like."""
    return {"reason": reason, "message": message, "field": field}


def invalid_value(field: str, value: object, why: str) -> Cause:
    """A cause for a value that breaks a rule."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", field)


def required(field: str, why: str = "") -> Cause:
    """A cause for a value that is missing."""
    return cause("FieldValueRequired", "Required value" + (f": {why}" if why else ""), field)


def forbidden_field(field: str, why: str) -> Cause:
    """A cause for a value that may not be set or changed."""
    return cause("FieldValueForbidden", f"Forbidden: {why}", field)


def not_supported(field: str, value: str, supported: Iterable[str]) -> Cause:
    """A cause for a value outside an enumeration."""
    words = ", ".join(f'"{word}"' for word in supported)
    return cause("FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {words}', field)


def invalid(kind: str, name: str | None, causes: list[Cause], group: str = "") -> ApiError:
    """422 for an object that can be read but breaks rules of validation."""
    words = [f"{entry['field']}: {entry['message']}" for entry in causes]
    text = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    details: dict[str, Any] = {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": kind}
    details["causes"] = causes
    return ApiError(422, "Invalid", f'{_qualified(kind, group)} "{name or ""}" is invalid: {text}', details)


def forbidden(resource: str, name: str, why: str, causes: list[Cause] | None = None) -> ApiError:
    """403 for what admission or authorization refuses."""
    details: dict[str, Any] = {**({"name": name} if name else {}), "kind": resource}
    if causes:
        details["causes"] = causes
    return ApiError(403, "Forbidden", f'{resource} "{name}" is forbidden: {why}', details)


def namespace_terminating(resource: str, name: str, namespace: str) -> ApiError:
    """403 for a create in a namespace that is being deleted."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    words = f"namespace {namespace} is being terminated"
    return forbidden(resource, name, why, [cause("NamespaceTerminating", words, "metadata.namespace")])


def unauthorized() -> ApiError:
    """401 for credentials the server does not know."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405 for a verb the path does not take."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def not_acceptable(types: Iterable[str]) -> ApiError:
    """406 when no media type of the Accept header can be served."""
    return ApiError(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(types)}")


def unsupported_media_type(types: Iterable[str]) -> ApiError:
    """415 for a body of an unknown content type."""
    words = f"the body of the request was in an unknown format - accepted media types include: {', '.join(types)}"
    return ApiError(415, "UnsupportedMediaType", words)


def too_large(message: str) -> ApiError:
    """413 for a body above the server's limit."""
    return ApiError(413, "RequestEntityTooLarge", message)


def expired(version: int, oldest: int) -> ApiError:
    """410 for a resourceVersion the history no longer reaches back to."""
    return ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")


def expired_continue(fresh_token: str) -> ApiError:
    """410 for a page of a list whose snapshot is gone; `fresh_token` goes on inconsistently."""
    return ApiError(410, "Expired", EXPIRED_CONTINUE, metadata={"continue": fresh_token})


def future_version(version: int, current: int) -> ApiError:
    """504 for a resourceVersion the server has not reached."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    return ApiError(504, "Timeout", message, {"causes": causes}, retry_after=1)


def _qualified(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name
