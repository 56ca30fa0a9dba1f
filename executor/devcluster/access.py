"""Who a request comes from, and what that user may do."""

from __future__ import annotations

import hmac
import ssl
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from shard_executor.devcluster import errors
from shard_executor.devcluster.resources import RESOURCES
from shard_executor.devcluster.versions import Obj

_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")  # system:public-info-viewer
_ANONYMOUS_GROUPS = ("system:unauthenticated",)


@dataclass(frozen=True, slots=True)
class User:
    """A user name and its groups."""

    name: str
    groups: tuple[str, ...]

    @property
    def anonymous(self) -> bool:
        """Whether no credentials were given."""
        return self.groups == _ANONYMOUS_GROUPS


ANONYMOUS = User("system:anonymous", _ANONYMOUS_GROUPS)


@dataclass(frozen=True, slots=True)
class Access:
    """Authentication by one token or by client certificates, and rules of what is denied.

    Args:
        token: the bearer token; None lets everyone in.
        user: the name of whoever has the token.
        denied: pairs of verb and resource, ``*`` for any, that are refused; subresources as ``pods/log``.
    """

    token: str | None
    user: str = "system:serviceaccount:default:devcluster"
    denied: tuple[tuple[str, str], ...] = ()

    @property
    def prefix(self) -> str:
        """A path below which requests need no header: kubectl never sends its token over plain HTTP."""
        return f"/with-token/{self.token}" if self.token else ""

    def identify(self, request: web.Request, *, prefixed: bool = False) -> User:
        """The user of a request.

        Args:
            prefixed: whether its path had the prefix; a wrong token in a header is refused all the same.

        Raises:
            ApiError: 401 for a wrong token.
        """
        known = User(self.user, ("system:serviceaccounts", "system:authenticated"))
        if self.token is None:
            return known
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if hmac.compare_digest(given.strip().encode(), self.token.encode()):
                return known
            raise errors.unauthorized()
        if scheme:
            raise errors.unauthorized()
        return known if prefixed else _certificate_user(request) or ANONYMOUS

    def allowed(self, user: User, verb: str, resource: str) -> bool:
        """Whether the user may do this; `resource` may have a subresource."""
        if user.anonymous:
            return False
        return not any(denied in ("*", verb) and what in ("*", resource) for denied, what in self.denied)

    def check(self, user: User, verb: str, resource: str, subresource: str, namespace: str, name: str) -> None:
        """Refuses what the user may not do.

        Raises:
            ApiError: 403.
        """
        whole = f"{resource}/{subresource}" if subresource else resource
        if self.allowed(user, verb, whole):
            return
        shown = f' "{name}"' if name else ""
        scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        words = f'User "{user.name}" cannot {verb} resource "{whole}" in API group "" {scope}'
        details = {**({"name": name} if name else {}), "kind": resource}
        raise errors.ApiError(403, "Forbidden", f"{whole}{shown} is forbidden: {words}", details)

    def check_path(self, user: User, path: str, verb: str) -> None:
        """Refuses paths that are no resources to anonymous users, except the public ones.

        Raises:
            ApiError: 403.
        """
        if user.anonymous and not path.startswith(_PUBLIC):
            words = f'forbidden: User "{user.name}" cannot {verb} path "{path}"'
            raise errors.ApiError(403, "Forbidden", words)

    def review(self, user: User, review: Obj) -> Obj:
        """The answer to a SelfSubjectAccessReview."""
        spec = review.get("spec", {})
        attributes = spec.get("resourceAttributes")
        if attributes is None and "nonResourceAttributes" not in spec:
            raise errors.invalid(
                "SelfSubjectAccessReview",
                None,
                [errors.invalid_value("spec.resourceAttributes", "null", "exactly one of the attributes is needed")],
                "authorization.k8s.io",
            )
        allowed = not user.anonymous
        if attributes is not None:
            whole = attributes.get("resource", "")
            if attributes.get("subresource"):
                whole = f"{whole}/{attributes['subresource']}"
            allowed = self.allowed(user, attributes.get("verb", ""), whole)
        status: Obj = {
            "allowed": allowed,
            **({"reason": "devcluster: everything not denied is allowed"} if allowed else {}),
        }
        return {**review, "metadata": review.get("metadata", {}), "status": status}


def parse_denial(text: str) -> tuple[str, str]:
    """``VERB:RESOURCE`` of the command line as a pair; either may be ``*``.

    Raises:
        ValueError: for another form or an unknown resource.
    """
    verb, colon, resource = text.partition(":")
    if not colon or not verb or (resource != "*" and resource.partition("/")[0] not in RESOURCES):
        raise ValueError(f"{text!r} is not VERB:RESOURCE, such as create:pods")
    return verb, resource


def _certificate_user(request: web.Request) -> User | None:
    """The common name of a verified client certificate, with its organizations as groups."""
    channel = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    certificate = channel.getpeercert() if isinstance(channel, ssl.SSLObject) else None
    if not certificate:
        return None
    subject: Any = certificate.get("subject", ())  # a tuple of relative names, each a tuple of key-value pairs
    pairs: list[tuple[str, str]] = [pair for part in subject for pair in part]
    names = [value for key, value in pairs if key == "commonName"]
    groups = [value for key, value in pairs if key == "organizationName"]
    return User(names[0] if names else "unnamed", (*groups, "system:authenticated"))
