"""The query parameters of lists, watches, writes and deletes, parsed and checked as the server does."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from shard_executor.devcluster import errors, schema, selectors
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.selectors import Selector
from shard_executor.devcluster.versions import Obj

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False", "")
_TOKEN_VERSION = "meta.k8s.io/v1"
INCONSISTENT = -1  # the version in a token that goes on from whatever there is now


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for.

    `version` is the text of resourceVersion. `start` is the key after which a page begins, `pinned` its version.
    """

    selector: Selector
    version: str
    match: str
    limit: int
    start: str
    pinned: int | None
    timeout: float | None
    bookmarks: bool
    initial_events: bool | None

    @property
    def number(self) -> int:
        """resourceVersion as a number, 0 if it is empty."""
        return int(self.version or 0)


def parse_list(query: Mapping[str, str], resource: Resource, *, watch: bool, watch_list: bool) -> ListOptions:
    """The options of a list or a watch.

    Args:
        watch: whether it is a watch.
        watch_list: whether the server streams lists.

    Raises:
        ApiError: 400 or 422 for parameters that do not parse or do not fit together; 500 for a malformed
            resourceVersion of a watch, as the real server.
    """
    selector = selectors.parse(query.get("labelSelector", ""), query.get("fieldSelector", ""), resource.fields)
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    limit = _integer(query, "limit") or 0
    timeout = _integer(query, "timeoutSeconds")
    bookmarks = boolean(query, "allowWatchBookmarks") or False
    initial = boolean(query, "sendInitialEvents")
    token = query.get("continue", "")
    if watch:
        causes = _watch_causes(version, match, initial, watch_list)
    else:
        causes = _list_causes(version, match, initial, token)
    if causes:
        raise errors.invalid("ListOptions", None, causes, "meta.k8s.io")
    if not version.isdigit() and version:
        words = f'strconv.ParseUint: parsing "{version}": invalid syntax'
        raise errors.ApiError(500, "", words) if watch else errors.bad_request(f'Invalid value: "{version}": {words}')
    start, pinned = ("", None)
    if token and not watch:
        if version not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        start, pinned = _read_token(token)
    return ListOptions(
        selector,
        version,
        match,
        max(limit, 0),
        start,
        pinned,
        None if timeout is None else float(timeout),
        bookmarks,
        initial,
    )


def _watch_causes(version: str, match: str, initial: bool | None, watch_list: bool) -> list[errors.Cause]:
    """Rules of meta/internalversion/validation for watches."""
    causes: list[errors.Cause] = []
    if match and initial is None:
        words = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(errors.forbidden_field("resourceVersionMatch", words))
    if initial is not None:
        if match != "NotOlderThan":
            if not match:
                words = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                causes.append(errors.forbidden_field("resourceVersionMatch", words))
            else:
                causes.append(errors.not_supported("resourceVersionMatch", match, ("NotOlderThan",)))
        if not watch_list:
            words = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            causes.append(errors.forbidden_field("sendInitialEvents", words))
    return causes


def _list_causes(version: str, match: str, initial: bool | None, token: str) -> list[errors.Cause]:
    """Rules of meta/internalversion/validation for lists."""
    causes: list[errors.Cause] = []
    if match:
        if not version:
            words = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(errors.forbidden_field("resourceVersionMatch", words))
        if token:
            words = "resourceVersionMatch is forbidden when continue is provided"
            causes.append(errors.forbidden_field("resourceVersionMatch", words))
        if match not in ("Exact", "NotOlderThan"):
            causes.append(errors.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan")))
        if match == "Exact" and version == "0":
            words = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(errors.forbidden_field("resourceVersionMatch", words))
    if initial is not None:
        causes.append(errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def make_token(version: int, last_key: str) -> str:
    """A continue token: the version of the snapshot and where the next page starts."""
    data = {"v": _TOKEN_VERSION, "rv": version, "start": f"/{last_key}\0"}
    return base64.urlsafe_b64encode(orjson.dumps(data)).decode().rstrip("=")


def _read_token(token: str) -> tuple[str, int]:
    try:
        data = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if data["v"] != _TOKEN_VERSION or not isinstance(data["rv"], int):
            raise ValueError("unknown version")
        return str(data["start"])[1:].rstrip("\0"), data["rv"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error


def boolean(query: Mapping[str, str], name: str) -> bool | None:
    """A parameter that is true or false; None if it is absent.

    Raises:
        ApiError: 400 for anything else.
    """
    text = query.get(name)
    if text is None:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise errors.bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def integer(query: Mapping[str, str], name: str, least: int = 0) -> int | None:
    """A parameter that is a whole number of at least `least`; None if it is absent.

    Raises:
        ApiError: 400 for anything else.
    """
    value = _integer(query, name)
    if value is not None and value < least:
        raise errors.bad_request(f"{name} must be greater than or equal to {least}")
    return value


def dry_run(query: Mapping[str, str], kind: str) -> bool:
    """Whether a write is only tried out.

    Args:
        kind: of the options, such as CreateOptions, for the words of a refusal.

    Raises:
        ApiError: 422 for a value other than All.
    """
    text = query.get("dryRun", "")
    if text not in ("", "All"):
        raise errors.invalid(kind, None, [errors.not_supported("dryRun", text, ("All",))], "meta.k8s.io")
    return text == "All"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a delete asks for; `grace` in seconds, None for the object's own."""

    grace: int | None
    uid: str | None
    version: str | None
    dry_run: bool


def parse_delete(query: Mapping[str, str], body: Obj | None) -> DeleteOptions:
    """The options of a delete, from its body, or from the query if there is none (handlers/delete.go).

    Raises:
        ApiError: 400 or 422.
    """
    if body is None:
        policy = query.get("propagationPolicy", "")
        grace, uid, version = _integer(query, "gracePeriodSeconds"), query.get("uid"), None
        tried = dry_run(query, "DeleteOptions")
    else:
        options, _ = schema.clean("DeleteOptions", "v1", body)
        policy = options.get("propagationPolicy", "")
        preconditions = options.get("preconditions", {})
        grace, uid, version = (
            options.get("gracePeriodSeconds"),
            preconditions.get("uid"),
            preconditions.get("resourceVersion"),
        )
        tried = dry_run({"dryRun": ",".join(options.get("dryRun", []))}, "DeleteOptions")
    if policy not in ("", "Orphan", "Background", "Foreground"):
        cause = errors.not_supported("propagationPolicy", policy, ("Orphan", "Background", "Foreground"))
        raise errors.invalid("DeleteOptions", None, [cause], "meta.k8s.io")
    return DeleteOptions(grace, uid, version, tried)
