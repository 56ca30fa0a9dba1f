"""Faults on requests: rules that delay, refuse, lose and break answers, and the watches they can be applied to."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from shard_executor.devcluster import errors
from shard_executor.devcluster.errors import ApiError
from shard_executor.devcluster.fault_kinds import Kind
from shard_executor.devcluster.selectors import Selector, parse
from shard_executor.devcluster.store import Store

PREFIX = "/devcluster/"  # requests below it are never hit
_PAUSE = 0.02  # seconds between looks at whether a stall is over
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_REASONS = {
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
# A frame that is whole but holds no object, for both encodings of a watch.
_GARBAGE_JSON = b'{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":"not an object"}}\n'
_GARBAGE_EVENT = b"\x0a\x08MODIFIED\x12\x08\x0a\x06k8s\x00\xff\xff"
_GARBAGE_PROTOBUF = len(_GARBAGE_EVENT).to_bytes(4, "big") + _GARBAGE_EVENT


class OpenWatch(Protocol):
    """A watch that can be ended from outside."""

    def end(self) -> None:
        """Ends the stream cleanly."""


@dataclass(slots=True, eq=False)
class Rule:
    """An active rule. `until` is in the loop's time; `hits` counts the requests it has hit."""

    id: int
    kind: Kind
    arguments: dict[str, Any]
    selector: Selector
    rng: random.Random
    until: float | None
    hits: int = 0
    verbs: frozenset[str] = field(default_factory=frozenset)

    def expired(self, now: float) -> bool:
        """Whether it can do no more. A stall whose count is used up goes on holding the watches it holds."""
        used_up = self._used_up() and self.kind.name != "stall-watch"
        return used_up or (self.until is not None and now >= self.until)

    def draw(self) -> bool:
        """Whether it strikes a matching request; counts the hit."""
        probability = self.arguments["probability"]
        if self._used_up() or (probability < 1 and self.rng.random() >= probability):
            return False
        self.hits += 1
        return True

    def _used_up(self) -> bool:
        count = self.arguments["count"]
        return count is not None and self.hits >= count

    def to_json(self) -> dict[str, Any]:
        """For listings."""
        given = {name: value for name, value in self.arguments.items() if value is not None}
        return {"id": self.id, "kind": self.kind.name, **given, "hits": self.hits}


class Faults:
    """The rules on requests, consulted around every request. Constructing starts nothing.

    Args:
        store: to look up the labels of a pod named in a path.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: list[Rule] = []
        self._next = 0
        self._watches: dict[OpenWatch, web.Request] = {}

    def add(self, kind: Kind, arguments: dict[str, Any]) -> Rule:
        """Makes a rule active.

        Raises:
            ApiError: 400 for a label selector that cannot be parsed.
        """
        self._next += 1
        seconds = arguments["seconds"]
        rule = Rule(
            self._next,
            kind,
            arguments,
            parse(arguments["selector"] or "", "", frozenset()),
            random.Random(arguments["seed"]),
            None if seconds is None else asyncio.get_running_loop().time() + seconds,
            verbs=frozenset(filter(None, (arguments["verb"] or "").split(","))),
        )
        self._rules.append(rule)
        return rule

    def rules(self) -> list[Rule]:
        """The rules that are active now."""
        now = asyncio.get_running_loop().time()
        self._rules = [rule for rule in self._rules if not rule.expired(now)]
        return list(self._rules)

    def clear(self, identity: int | None = None) -> int:
        """Removes a rule, or all; returns how many."""
        kept = [] if identity is None else [rule for rule in self._rules if rule.id != identity]
        removed = len(self._rules) - len(kept)
        self._rules = kept
        return removed

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """What happens before a request is executed: delays, refusals, drops.

        Returns: the answer that takes the place of the execution, None if it goes on.
        Raises:
            ApiError: the refusal of a rule, to be encoded as the server's own are.
        """
        if not self._rules or request.path.startswith(PREFIX):
            return None
        for rule in await self.hit(request, ("latency", "drop", "throttle", "error", "refuse-delete")):
            values = rule.arguments
            if rule.kind.name == "latency":
                await asyncio.sleep((values["ms"] + rule.rng.random() * values["jitter_ms"]) / 1000)
            elif rule.kind.name == "drop":
                reset_connection(request)
                return web.Response(status=500)
            elif rule.kind.name == "throttle":
                headers = {"Retry-After": str(values["retry_after"])} if values["retry_after"] else {}
                return web.Response(status=429, text="Too many requests, please try again later.\n", headers=headers)
            elif rule.kind.name == "error":
                raise _status_error(values["code"], values["message"], values["retry_after"])
            else:
                raise _delete_refusal(request, values["code"], values["retry_after"])
        return None

    async def after(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """What happens after a request was executed: its answer may be lost."""
        if self._rules and not request.path.startswith(PREFIX):
            for _ in await self.hit(request, ("lost-response",)):
                reset_connection(request)
                break
        return response

    @contextmanager
    def watching(self, request: web.Request, watch: OpenWatch) -> Iterator[web.StreamResponse]:
        """Makes a watch known for as long as it is open; gives the unprepared answer that its events go to."""
        self._watches[watch] = request
        try:
            yield _WatchResponse(self, request)
        finally:
            del self._watches[watch]

    def cut_watches(self, mode: str, path: str | None = None, count: int | None = None) -> int:
        """Ends open watches; returns how many.

        Args:
            mode: ``reset`` or ``end``.
            path: part of their path.
            count: at most so many, the longest open first.

        Raises:
            ValueError: an unknown mode.
        """
        if mode not in ("reset", "end"):
            raise ValueError(f"cut-watches: mode must be reset or end, not {mode!r}")
        chosen = [entry for entry in self._watches.items() if path is None or path in entry[1].path][:count]
        for watch, request in chosen:
            if mode == "reset":
                reset_connection(request)
            watch.end()
        return len(chosen)

    @property
    def open_watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    async def hit(self, request: web.Request, kinds: tuple[str, ...]) -> list[Rule]:
        """The rules of these kinds that strike this request now, in the order they were added."""
        struck: list[Rule] = []
        if not self._rules:
            return struck
        labels: dict[str, str] | None = None
        for rule in self.rules():
            if rule.kind.name not in kinds or not matches(rule, request):
                continue
            if not rule.selector.empty:
                if labels is None:
                    labels = await self._labels(request)
                if not rule.selector.matches({"metadata": {"labels": labels}}):
                    continue
            if rule.draw():
                struck.append(rule)
        return struck

    async def _labels(self, request: web.Request) -> dict[str, str]:
        """The labels of the pod that a request is about: from its body, or from the store by its name."""
        namespace, name = pod_of(request.path)
        if name:
            pod = self._store.find("pods", namespace, name)
            return {} if pod is None else dict(pod["metadata"].get("labels") or {})
        if request.method != "POST":
            return {}
        try:
            body = json.loads(await request.read())  # aiohttp keeps it for the handler
        except ValueError:
            return {}  # protobuf, or nothing that can be read: no labels to match
        metadata = body.get("metadata") if isinstance(body, dict) else None
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        return labels if isinstance(labels, dict) else {}


class _WatchResponse(web.StreamResponse):
    """An answer whose writes go through the rules."""

    def __init__(self, faults: Faults, request: web.Request) -> None:
        super().__init__()
        self._faults = faults
        self._watched = request
        self._stalls: dict[int, bool] = {}  # rule -> whether it holds this watch

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a piece, as far as the rules let it.

        Raises:
            ConnectionResetError: the connection was cut by a rule, or by the client during a stall.
        """
        request = self._watched
        while self._stalled():
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client left a stalled watch")
            await asyncio.sleep(_PAUSE)
        for rule in await self._faults.hit(request, ("flaky-watch", "garbage-watch")):
            if rule.kind.name == "flaky-watch":
                reset_connection(request)
                raise ConnectionResetError("cut by a fault rule")
            protobuf = "protobuf" in request.headers.get("Accept", "")
            await super().write(_GARBAGE_PROTOBUF if protobuf else _GARBAGE_JSON)
        await super().write(data)

    def _stalled(self) -> bool:
        stalled = False
        for rule in self._faults.rules():
            if rule.kind.name == "stall-watch" and matches(rule, self._watched):
                held = self._stalls.get(rule.id)
                if held is None:
                    held = self._stalls[rule.id] = rule.draw()
                stalled = stalled or held
        return stalled


def verb_of(request: web.Request) -> str:
    """The Kubernetes verb of a request: get, list, watch, create, update, patch, delete or deletecollection."""
    if request.method in _VERBS:
        return _VERBS[request.method]
    named = _names_an_object(request.path)
    if request.method == "DELETE":
        return "delete" if named else "deletecollection"
    if request.query.get("watch", "") in ("1", "true"):
        return "watch"
    return "get" if named else "list"


def pod_of(path: str) -> tuple[str, str]:
    """Namespace and name of the pod in a path; an empty name if there is none."""
    parts = path.strip("/").split("/")
    if len(parts) >= 6 and parts[:3] == ["api", "v1", "namespaces"] and parts[4] == "pods":
        return parts[3], parts[5]
    return "", ""


def reset_connection(request: web.Request) -> None:
    """Breaks a request's connection: the client gets a reset instead of the rest."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def matches(rule: Rule, request: web.Request) -> bool:
    """Whether path and verb of a request fit a rule."""
    path = rule.arguments["path"]
    return (path is None or path in request.path) and (not rule.verbs or verb_of(request) in rule.verbs)


def _names_an_object(path: str) -> bool:
    parts = path.strip("/").split("/")
    below = parts[2:] if parts[0] == "api" else parts[3:]  # /api/v1/..., /apis/GROUP/VERSION/...
    if len(below) > 2 and below[0] == "namespaces":
        below = below[2:]
    return len(below) > 1


def _status_error(code: int, message: str, retry_after: int) -> ApiError:
    return ApiError(code, _REASONS.get(code, "Unknown"), message, retry_after=retry_after or None)


def _delete_refusal(request: web.Request, code: int, retry_after: int) -> ApiError:
    _, name = pod_of(request.path)
    if code == 403:
        why = 'User "devcluster" cannot delete resource "pods" in API group "": an injected fault'
        return errors.forbidden("pods", name, why)
    return _status_error(code, f'the deletion of pods "{name}" was refused: an injected fault', retry_after)
