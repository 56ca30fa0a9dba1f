"""Faults on requests and watches, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from kubelet_helpers import until
from shard_executor.devcluster.cluster import ClusterConfig, DevCluster
from shard_executor.devcluster.fault_kinds import KINDS, describe, parse

PODS = "/api/v1/namespaces/default/pods"


class Client:
    """A client of a development cluster."""

    def __init__(self, cluster: DevCluster, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.session = session

    async def fault(self, kind: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.session.post("/devcluster/faults", json={"kind": kind, **arguments})
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def create(self, name: str, labels: dict[str, str] | None = None) -> aiohttp.ClientResponse:
        metadata = {"name": name, "labels": labels or {}}
        spec = {"containers": [{"name": "base", "image": "busybox"}], "schedulerName": "nobody"}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return await self.session.post(PODS, json=body)

    def names(self) -> list[str]:
        return [found["metadata"]["name"] for found in self.cluster.store.list("pods")]

    @asynccontextmanager
    async def watch(self, **query: str) -> AsyncIterator[aiohttp.StreamReader]:
        version = str(self.cluster.store.version)
        query = {"watch": "1", "resourceVersion": version, **query}
        async with self.session.get(PODS, params=query) as answer:
            assert answer.status == 200
            yield answer.content


def with_cluster(scenario: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        cluster = DevCluster(ClusterConfig(kubelet="simulated"))
        await cluster.start()
        headers = {"Authorization": f"Bearer {cluster.token}"}
        try:
            async with aiohttp.ClientSession(cluster.url, headers=headers) as session:
                await scenario(Client(cluster, session))
        finally:
            await cluster.end()

    asyncio.run(run())


async def names_of(stream: aiohttp.StreamReader, count: int) -> list[str]:
    """The names in the next events of a watch."""
    lines = [await asyncio.wait_for(stream.readline(), 20) for _ in range(count)]
    return [json.loads(line)["object"]["metadata"]["name"] for line in lines]


def test_throttle():
    async def scenario(client: Client) -> None:
        await client.fault("throttle", verb="create", count=2, retry_after=7)
        for _ in range(2):
            answer = await client.create("a")
            assert (answer.status, answer.content_type) == (429, "text/plain")
            assert answer.headers["Retry-After"] == "7"
            assert await answer.text() == "Too many requests, please try again later.\n"
        assert (await client.create("a")).status == 201

    with_cluster(scenario)


@pytest.mark.parametrize("code", [500, 503, 504])
def test_errors(code):
    async def scenario(client: Client) -> None:
        await client.fault("error", code=code, path="/pods", message="because", retry_after=3)
        answer = await client.session.get(PODS)
        status = await answer.json()
        assert (answer.status, status["kind"], status["code"], status["message"]) == (code, "Status", code, "because")
        assert answer.headers["Retry-After"] == "3"
        assert (await client.session.get("/api/v1/namespaces")).status == 200
        cleared = await client.session.delete("/devcluster/faults")
        assert (await cleared.json())["rules"] == 1
        assert (await client.session.get(PODS)).status == 200

    with_cluster(scenario)


def test_latency_waits_before_it_executes():
    async def scenario(client: Client) -> None:
        await client.fault("latency", ms=150.0, verb="create")
        begun = time.monotonic()
        task = asyncio.create_task(client.create("a"))
        await until(lambda: client.cluster.stats()["faults"][0]["hits"])
        assert client.names() == []
        assert (await task).status == 201
        assert time.monotonic() - begun >= 0.15

    with_cluster(scenario)


def test_drop_and_lost_response():
    async def scenario(client: Client) -> None:
        await client.fault("drop", verb="create", count=1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.create("a")
        assert client.names() == []
        await client.fault("lost-response", count=1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.create("a")
        assert client.names() == ["a"]
        assert (await client.create("a")).status == 409

    with_cluster(scenario)


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (429, "TooManyRequests"), (500, "InternalError")])
def test_refused_deletes(code, reason):
    async def scenario(client: Client) -> None:
        await client.create("a")
        await client.fault("refuse-delete", code=code, count=1)
        answer = await client.session.delete(f"{PODS}/a")
        assert (answer.status, (await answer.json())["reason"]) == (code, reason)
        assert client.names() == ["a"]
        assert (await client.session.delete(f"{PODS}/a")).status == 200

    with_cluster(scenario)


def test_a_selector_looks_into_bodies_and_at_named_pods():
    async def scenario(client: Client) -> None:
        await client.fault("error", selector="team=red", verb="create,get")
        assert (await client.create("red", {"team": "red"})).status == 500
        assert (await client.create("blue", {"team": "blue"})).status == 201
        assert (await client.session.get(f"{PODS}/blue")).status == 200

    with_cluster(scenario)


def test_probability_and_seed():
    async def scenario(client: Client) -> None:
        await client.fault("error", probability=0.5, seed=3, verb="get", path="/pods/x")
        codes = [(await client.session.get(f"{PODS}/x")).status for _ in range(40)]
        assert set(codes) == {404, 500}
        await client.session.delete("/devcluster/faults")
        await client.fault("error", probability=0.5, seed=3, verb="get", path="/pods/x")
        assert codes == [(await client.session.get(f"{PODS}/x")).status for _ in range(40)]

    with_cluster(scenario)


def test_a_rule_ends_after_its_seconds():
    async def scenario(client: Client) -> None:
        await client.fault("error", seconds=0.05)
        assert (await client.session.get(PODS)).status == 500

        async def lists() -> bool:
            return (await client.session.get(PODS)).status == 200

        deadline = time.monotonic() + 20
        while not await lists():
            assert time.monotonic() < deadline
        assert client.cluster.stats()["faults"] == []

    with_cluster(scenario)


def test_cutting_watches():
    async def scenario(client: Client) -> None:
        async with client.watch() as stream:
            await client.create("a")
            assert await names_of(stream, 1) == ["a"]
            assert await client.fault("cut-watches") == {"kind": "cut-watches", "watches": 1}
            with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
                await asyncio.wait_for(stream.readline(), 20)
        async with client.watch() as stream:
            await client.fault("cut-watches", mode="end")
            assert await asyncio.wait_for(stream.read(), 20) == b""
        await until(lambda: client.cluster.stats()["watches"] == 0)

    with_cluster(scenario)


def test_a_stalled_watch_goes_on_when_the_stall_is_over():
    async def scenario(client: Client) -> None:
        async with client.watch() as stream:
            await client.create("a")
            assert await names_of(stream, 1) == ["a"]
            await client.fault("stall-watch")
            await client.create("b")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.readline(), 0.2)
            await client.session.delete("/devcluster/faults")
            await client.create("c")
            assert await names_of(stream, 2) == ["b", "c"]

    with_cluster(scenario)


def test_a_flaky_watch_breaks_where_it_would_send():
    async def scenario(client: Client) -> None:
        await client.fault("flaky-watch", count=1)
        async with client.watch() as stream:
            await client.create("a")
            with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
                await asyncio.wait_for(stream.readline(), 20)
        async with client.watch() as stream:
            await client.create("b")
            assert await names_of(stream, 1) == ["b"]

    with_cluster(scenario)


def test_garbage_comes_before_the_next_event():
    async def scenario(client: Client) -> None:
        await client.fault("garbage-watch", count=1)
        async with client.watch() as stream:
            await client.create("a")
            line = await asyncio.wait_for(stream.readline(), 20)
            assert json.loads(line)["object"]["metadata"] == "not an object"
            assert await names_of(stream, 1) == ["a"]

    with_cluster(scenario)


def test_garbage_in_a_protobuf_watch_is_a_whole_frame():
    async def scenario(client: Client) -> None:
        await client.fault("garbage-watch", count=1)
        headers = {"Accept": "application/vnd.kubernetes.protobuf"}
        query = {"watch": "1", "resourceVersion": str(client.cluster.store.version)}
        async with client.session.get(PODS, params=query, headers=headers) as answer:
            await client.create("a")
            first = await answer.content.readexactly(int.from_bytes(await answer.content.readexactly(4), "big"))
            second = await answer.content.readexactly(int.from_bytes(await answer.content.readexactly(4), "big"))
        assert first.startswith(b"\n\x08MODIFIED")
        assert second.startswith(b"\n\x05ADDED")

    with_cluster(scenario)


def test_compaction_expires_watches():
    async def scenario(client: Client) -> None:
        await client.create("a")
        version = str(client.cluster.store.version)
        await client.create("b")
        async with client.watch() as stream:
            assert (await client.fault("compact"))["watches"] == 1
            assert await asyncio.wait_for(stream.read(), 20) == b""
        async with client.watch(resourceVersion=version) as stream:
            event = json.loads(await asyncio.wait_for(stream.readline(), 20))
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)

    with_cluster(scenario)


def test_a_quota_refuses_pods_until_it_is_lifted():
    async def scenario(client: Client) -> None:
        await client.fault("quota", pods=1)
        assert (await client.create("a")).status == 201
        answer = await client.create("b")
        assert answer.status == 403
        assert "exceeded quota: devcluster-fault" in (await answer.json())["message"]
        assert (await client.fault("lift-quota"))["removed"] is True
        assert (await client.create("b")).status == 201

    with_cluster(scenario)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "unknown kind None"),
        ({"kind": "no-such"}, "unknown kind 'no-such'; known: latency"),
        ({"kind": "latency", "sec": 1}, "latency: unknown arguments sec; known: ms"),
        ({"kind": "latency", "ms": "long"}, "latency: ms must be float, not 'long'"),
        ({"kind": "recover-node"}, "recover-node: argument node is missing"),
        ({"kind": "cut-watches", "mode": "softly"}, "mode must be reset or end"),
        ({"kind": "error", "selector": "a in"}, "unable to parse requirement"),
        ({"kind": "drain", "node": "no-such"}, 'nodes "no-such" not found'),
    ],
)
def test_faults_that_make_no_sense_are_refused(body, words):
    async def scenario(client: Client) -> None:
        answer = await client.session.post("/devcluster/faults", json=body)
        assert answer.status in (400, 404)
        assert words in (await answer.json())["message"]

    with_cluster(scenario)


def test_rules_are_listed():
    async def scenario(client: Client) -> None:
        await client.fault("latency", ms=1, verb="get")
        await client.session.get(f"{PODS}/x")
        listed = (await (await client.session.get("/devcluster/faults")).json())["rules"]
        assert [(rule["kind"], rule["ms"], rule["hits"]) for rule in listed] == [("latency", 1.0, 1)]

    with_cluster(scenario)


def test_every_kind_is_described_and_has_checked_defaults():
    text = "\n".join(describe())
    for name, kind in KINDS.items():
        assert f"{name} ({'rule' if kind.rule else 'action'}): " in text
        given = {argument.name: "x" for argument in kind.arguments if argument.required}
        assert parse({"kind": name, **given})[0] is kind
