"""A small client of the development cluster for tests: requests, watches, pods, all over real sockets."""

from __future__ import annotations

import http.client
import json
import secrets
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
LIMIT = 15.0  # seconds for one answer or event


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return self.json.get("reason", "")


class Watch:
    """An open watch of JSON events; iterating ends where the server ends it."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.connection = connection
        self.response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self.response.readline():
            yield json.loads(line)

    def take(self, count: int) -> list[dict[str, Any]]:
        events = self.__iter__()
        return [next(events) for _ in range(count)]

    def words(self, count: int) -> list[str]:
        return [f"{event['type']} {event['object']['metadata'].get('name')}" for event in self.take(count)]

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.response.close()
        self.connection.close()


class DevApi:
    """A client with one namespace of its own."""

    def __init__(self, url: str, token: str | None) -> None:
        self.address = urllib.parse.urlsplit(url).netloc
        self.token = token
        self.namespace = f"test-{secrets.token_hex(4)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        answer = self.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        assert answer.status == 201, answer

    def _open(
        self,
        method: str,
        path: str,
        body: Any,
        accept: str,
        content_type: str,
        token: str | None,
        query: dict[str, Any],
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.address, timeout=LIMIT)
        headers = {"Accept": accept, "Content-Type": content_type}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path + ("?" + urllib.parse.urlencode(query) if query else ""), data, headers)
        return connection, connection.getresponse()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = JSON,
        content_type: str = JSON,
        token: str | None = "",
        **query: Any,
    ) -> Answer:
        given = self.token if token == "" else token
        connection, response = self._open(method, path, body, accept, content_type, given, query)
        try:
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def path(self, name: str, subresource: str = "") -> str:
        return f"{self.pods}/{name}" + (f"/{subresource}" if subresource else "")

    def create(self, name: str, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
        answer = self.call("POST", self.pods, manifest(name, spec, **metadata))
        assert answer.status == 201, answer
        return answer.json

    def running(self, name: str, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
        self.create(name, **metadata)
        assert self.bind(name).status == 201
        return self.set_status(name, phase=phase)

    def bind(self, name: str, node: str = "elsewhere") -> Answer:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        return self.call("POST", self.path(name, "binding"), {"metadata": {"name": name}, "target": target})

    def evict(self, name: str) -> Answer:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return self.call("POST", self.path(name, "eviction"), body)

    def label(self, name: str, **labels: str | None) -> dict[str, Any]:
        answer = self.call("PATCH", self.path(name), {"metadata": {"labels": labels}}, content_type=MERGE)
        assert answer.status == 200, answer
        return answer.json

    def set_status(self, name: str, **status: Any) -> dict[str, Any]:
        answer = self.call("PATCH", self.path(name, "status"), {"status": status}, content_type=STRATEGIC)
        assert answer.status == 200, answer
        return answer.json

    def get(self, name: str) -> Answer:
        return self.call("GET", self.path(name))

    def delete(self, name: str, **query: Any) -> Answer:
        return self.call("DELETE", self.path(name), **query)

    def list(self, **query: Any) -> dict[str, Any]:
        answer = self.call("GET", self.pods, **query)
        assert answer.status == 200, answer
        return answer.json

    def names(self, **query: Any) -> list[str]:
        return [item["metadata"]["name"] for item in self.list(**query)["items"]]

    def version(self) -> str:
        return self.list()["metadata"]["resourceVersion"]

    def watch(self, path: str | None = None, accept: str = JSON, **query: Any) -> Watch:
        query = {"watch": "true", "timeoutSeconds": 20, **query}
        connection, response = self._open("GET", path or self.pods, None, accept, JSON, self.token, query)
        assert response.status == 200, response.read()
        return Watch(connection, response)


def manifest(name: str, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A pod that no scheduler takes up."""
    containers = [{"name": "base", "image": "task:1"}]
    whole = {"schedulerName": "nobody", "containers": containers, **(spec or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": whole}


def until(condition: Callable[[], Any], what: str) -> Any:
    """Polls until the condition holds; returns its value."""
    deadline = time.monotonic() + LIMIT
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {LIMIT} s: {what}"
        time.sleep(0.02)
    return value
