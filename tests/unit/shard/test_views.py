"""A shard's namespaces against a scripted server: each has its own list, and they are told of as one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api_session import eventually, run
from fake_api import FakeApi, Reply, Stream
from pod_bytes import end_of_list, event, pod
from shard_executor.core.credentials import Credentials
from shard_executor.shard.api import Api
from shard_executor.shard.settings import ShardSettings
from shard_executor.shard.views import Views

PATHS = {"/api/v1/namespaces/one/pods", "/api/v1/namespaces/two/pods"}


class Said:
    """A fake server, the views on it, and what they said."""

    def __init__(self, fake: FakeApi, api: Api, namespaces: tuple[str, ...] = ("one", "two"), **watch: Any) -> None:
        self.fake = fake
        self.api = api
        self.pods: list[str] = []
        self.synced: list[str] = []
        self.unauthorized = 0
        settings = ShardSettings(
            shard=0,
            shards=1,
            bins=(0, 256),
            parent_pid=1,
            instance="tests",
            owner="tests",
            namespaces=namespaces,
            credentials=api.credentials,
            log_tail_lines=0,
            request_timeout=10.0,
            beat_interval=1.0,
            window=(1, 1, 1),
            watch=watch,
        )
        self.views = Views(
            api,
            settings,
            on_changes=lambda changes, _: self.pods.extend(change.name for change in changes),
            on_synced=lambda _, namespace: self.synced.append(namespace),
            on_unauthorized=self._refused,
            rng=random.Random(1),
        )

    def _refused(self) -> None:
        self.unauthorized += 1


@asynccontextmanager
async def watching(*script: Any, **watch: Any) -> AsyncIterator[Said]:
    async with FakeApi(*script) as fake:
        api = Api(Credentials(host=fake.host, token="t"))
        await api.start()
        said = Said(fake, api, **watch)
        tasks = [asyncio.ensure_future(run) for run in said.views.runs()]
        try:
            yield said
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await api.end()


def test_each_namespace_has_a_list_of_its_own() -> None:
    async def scenario() -> None:
        async with watching(Stream(event("ADDED", pod("a", 3)), end_of_list(50))) as said:
            await said.fake.wait_for_requests(2)
            assert {request.path for request in said.fake.requests} == PATHS
            await eventually(lambda: len(said.synced) == 1)
            figures = said.views.watch_figures()
            assert not figures["synced"]
            assert figures["state"] != "watching"
            assert figures["health"] == "ok"
            assert figures["silent_seconds"] >= 0
            said.fake.then(Stream(event("ADDED", pod("b", 4)), end_of_list(60)))
            await eventually(lambda: sorted(said.synced) == ["one", "two"])
            assert said.pods == ["a", "b"], "the second list does not end what the first one held"
            figures = said.views.watch_figures()
            assert figures["synced"]
            assert figures["state"] == "watching"
            assert figures["lists"] == 2
            assert said.views.table_figures()["rows"] == 2

    run(scenario())


def test_a_namespace_that_is_refused_is_named_and_stops_no_other() -> None:
    async def scenario() -> None:
        async with watching(Reply(403), Stream(end_of_list(50)), long_initial=100.0, long_ceiling=300.0) as said:
            await eventually(lambda: said.synced)
            health = said.views.watch_figures()["health"]
            assert health.startswith(f"namespace {'one' if said.synced == ['two'] else 'two'}: ")
            assert "403" in health
            assert not said.views.watch_figures()["synced"]

    run(scenario())


def test_new_credentials_reach_every_namespace_at_once() -> None:
    async def scenario() -> None:
        async with watching(Reply(401), Reply(401), long_initial=100.0, long_ceiling=300.0) as said:
            await eventually(lambda: said.unauthorized == 2)
            said.fake.then(Stream(end_of_list(50)), Stream(end_of_list(50)))
            said.api.replace_credentials(Credentials(host=said.fake.host, token="fresh"))
            said.views.credentials_replaced()
            await eventually(lambda: sorted(said.synced) == ["one", "two"])
            assert said.views.watch_figures()["health"] == "ok"

    run(scenario())


def test_the_whole_cluster_is_one_list_that_speaks_for_every_namespace() -> None:
    async def scenario() -> None:
        pods = event("ADDED", pod("a", 3)), event("ADDED", pod("b", 4))
        async with watching(Stream(*pods, end_of_list(50)), namespaces=("",)) as said:
            await eventually(lambda: said.synced == [""])
            assert [request.path for request in said.fake.requests] == ["/api/v1/pods"]
            assert said.pods == ["a", "b"]
            assert said.views.heard("one") == said.views.heard("two") > 0
            assert said.views.watch_figures()["synced"]

    run(scenario())
