"""The faults the development cluster can produce: names, arguments, defaults and words for a help text.

A *rule* changes how requests are answered while it is active. An *action* happens once. Both are asked for by
``POST /devcluster/faults`` with a JSON object: ``kind`` and the arguments below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a fault; `type` is int, float, str or bool, `default` None means that it may be left out."""

    name: str
    type: type
    default: Any
    help: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One fault; `rule` tells a rule from an action."""

    name: str
    rule: bool
    help: str
    arguments: tuple[Argument, ...] = ()

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with defaults filled in.

        Raises:
            ValueError: an unknown or missing argument, or one of the wrong type.
        """
        known = {argument.name: argument for argument in self.arguments}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(
                f"{self.name}: unknown arguments {', '.join(unknown)}; known: {', '.join(known) or 'none'}"
            )
        values: dict[str, Any] = {}
        for argument in self.arguments:
            value = given.get(argument.name)
            if value is None:
                if argument.required:
                    raise ValueError(f"{self.name}: argument {argument.name} is missing: {argument.help}")
                values[argument.name] = argument.default
                continue
            if argument.type is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, argument.type) or (isinstance(value, bool) and argument.type is not bool):
                raise ValueError(f"{self.name}: {argument.name} must be {argument.type.__name__}, not {value!r}")
            values[argument.name] = value
        return values


def _rule(name: str, words: str, *own: Argument, verb: str | None = None, path: str | None = None) -> Kind:
    common = (
        Argument("verb", str, verb, "get, list, watch, create, update, patch, delete, deletecollection; several by ,"),
        Argument("path", str, path, "part of the path that a request must contain"),
        Argument("selector", str, None, "label selector on the pod of the request (create, or a path with its name)"),
        Argument("probability", float, 1.0, "how likely a matching request is hit"),
        Argument("count", int, None, "how many requests are hit at most"),
        Argument("seconds", float, None, "how long the rule is active"),
        Argument("seed", int, 0, "of the draws for probability and jitter"),
    )
    return Kind(name, True, words, (*own, *common))


_PODS = (
    Argument("namespace", str, None, "only pods there"),
    Argument("name", str, None, "only the pod of this name"),
    Argument("selector", str, None, "only pods with these labels"),
    Argument("count", int, None, "at most so many pods, oldest first"),
)
_NODE = Argument("node", str, None, "the node, such as dev-node-0; by default the one with the most pods")
_GRACE = Argument("grace", int, None, "seconds; by default the pod's own")

_ALL = (
    _rule(
        "latency",
        "answers later",
        Argument("ms", float, 100.0, "milliseconds before a request is executed"),
        Argument("jitter_ms", float, 0.0, "up to so many milliseconds more, drawn evenly"),
    ),
    _rule(
        "throttle",
        "429 as priority and fairness answers it: text/plain with Retry-After",
        Argument("retry_after", int, 1, "seconds in Retry-After; 0 leaves the header out"),
    ),
    _rule(
        "error",
        "a Status with an error code instead of the execution",
        Argument("code", int, 500, "HTTP status: 500, 503, 504, 403, ..."),
        Argument("retry_after", int, 0, "seconds in Retry-After; 0 leaves the header out"),
        Argument("message", str, "an injected fault", "the message of the Status"),
    ),
    _rule("drop", "resets the connection before a request is executed"),
    _rule("lost-response", "executes the request and resets the connection without an answer", verb="create"),
    _rule(
        "refuse-delete",
        "refuses deletions",
        Argument("code", int, 403, "403, 429 or 500"),
        Argument("retry_after", int, 0, "seconds in Retry-After; 0 leaves the header out"),
        verb="delete,deletecollection",
        path="/pods",
    ),
    _rule("stall-watch", "keeps watches open and silent, bookmarks included, until it ends", verb="watch"),
    _rule("flaky-watch", "resets a watch where it would send; count and probability per write", verb="watch"),
    _rule("garbage-watch", "sends an object that cannot be decoded before what it sends", verb="watch"),
    Kind(
        "cut-watches",
        False,
        "ends the watches that are open now",
        (
            Argument("mode", str, "reset", "reset: the connection breaks; end: the stream ends cleanly"),
            Argument("path", str, None, "part of the path that the watch must contain"),
            Argument("count", int, None, "at most so many"),
        ),
    ),
    Kind(
        "compact",
        False,
        "forgets the history: every older resourceVersion is 410 Expired from now on",
        (Argument("cut", bool, True, "also ends the open watches, so that they have to come again"),),
    ),
    Kind("evict", False, "evicts pods through the eviction API: DisruptionTarget, then deletion", (*_PODS, _GRACE)),
    Kind("preempt", False, "preempts pods as the scheduler does: DisruptionTarget, then deletion", (*_PODS, _GRACE)),
    Kind("delete", False, "deletes pods as somebody else might", (*_PODS, _GRACE)),
    Kind("pressure", False, "evicts running pods for node pressure: phase Failed, reason Evicted", _PODS),
    Kind("oom", False, "kills a container of running pods as out of memory: OOMKilled, 137", _PODS),
    Kind("drain", False, "cordons a node and evicts all pods on it", (_NODE, _GRACE)),
    Kind(
        "lose-node",
        False,
        "a node goes silent; its pods are marked, and deleted by the garbage collector",
        (
            _NODE,
            Argument("manner", str, "unknown", "unknown: phase Unknown, NodeLost; taint: DeletionByTaintManager; gc"),
            Argument("gc_seconds", float, 1.0, "until the pods are deleted; below 0 they stay"),
        ),
    ),
    Kind(
        "recover-node", False, "undoes lose-node and drain", (Argument("node", str, None, "the node", required=True),)
    ),
    Kind(
        "image-error",
        False,
        "the images of the next pods cannot be pulled: ErrImagePull, ImagePullBackOff",
        (
            Argument("selector", str, None, "only pods with these labels"),
            Argument("image", str, None, "part of the image's name"),
            Argument("count", int, None, "so many pods; by default all until cleared"),
            Argument("seconds", float, None, "how long"),
            Argument("message", str, None, "the message instead of 'not found'"),
        ),
    ),
    Kind(
        "quota",
        False,
        "creates a ResourceQuota, or changes it",
        (
            Argument("namespace", str, "default", "where"),
            Argument("pods", int, 0, "how many pods may exist"),
            Argument("name", str, "devcluster-fault", "name of the ResourceQuota"),
        ),
    ),
    Kind(
        "lift-quota",
        False,
        "deletes the ResourceQuota",
        (
            Argument("namespace", str, "default", "where"),
            Argument("name", str, "devcluster-fault", "name of the ResourceQuota"),
        ),
    ),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


def parse(request: Any) -> tuple[Kind, dict[str, Any]]:
    """The kind and the checked arguments of a request's JSON object.

    Raises:
        ValueError: it is no object, of an unknown kind, or its arguments are wrong.
    """
    if not isinstance(request, dict):
        raise ValueError(f"a fault is a JSON object, not {request!r}")
    given = dict(request)
    name = given.pop("kind", None)
    if name not in KINDS:
        raise ValueError(f"unknown kind {name!r}; known: {', '.join(KINDS)}")
    kind = KINDS[name]
    return kind, kind.check(given)


def describe() -> list[str]:
    """The table as lines of text, for a help page."""
    lines: list[str] = []
    for kind in KINDS.values():
        lines.append(f"{kind.name} ({'rule' if kind.rule else 'action'}): {kind.help}")
        for argument in kind.arguments:
            default = "required" if argument.required else "-" if argument.default is None else repr(argument.default)
            lines.append(f"    {argument.name} ({argument.type.__name__}, {default}): {argument.help}")
    return lines
