"""A Watcher running against a scripted server, with short delays and everything it says noted down."""

import asyncio
import random

from fake_api import FakeApi
from shard_executor._fast.table import PodTable
from shard_executor.core.credentials import Credentials
from shard_executor.core.watch_types import WatchSettings
from shard_executor.shard.api import Api
from shard_executor.shard.watcher import Watcher

KINDS = ("ADDED", "MODIFIED", "DELETED", "GONE")
PHASES = ("Unknown", "Pending", "Running", "Succeeded", "Failed")
FAST = {
    "backoff_initial": 0.01,
    "backoff_ceiling": 0.05,
    "long_initial": 0.05,
    "long_ceiling": 0.1,
    "relist_spacing": 0.0,
    "undecodable_delay": 0.01,
    "short_watch": 0.05,
    "connect_timeout": 5.0,
    "page_timeout": 5.0,
}


class WatchSession:
    """`async with WatchSession(*script) as session`: session.fake, session.watcher, session.said."""

    def __init__(self, *script, namespace="default", selector="", bins=(0, 256), token="t", **settings):
        self.fake = FakeApi(*script)
        self.settings = WatchSettings(**{**FAST, **settings})
        self.namespace = namespace
        self.selector = selector
        self.token = token
        self.table = PodTable(bin_lo=bins[0], bin_hi=bins[1])
        self.said = []  # "ADDED a Pending", "synced", "unauthorized"
        self.times = []

    async def __aenter__(self):
        await self.fake.__aenter__()
        self.api = Api(Credentials(host=self.fake.host, token=self.token))
        await self.api.start()
        self.watcher = Watcher(
            self.api,
            self.table,
            namespace=self.namespace,
            label_selector=self.selector,
            on_changes=self._on_changes,
            on_synced=lambda: self.said.append("synced"),
            on_unauthorized=lambda: self.said.append("unauthorized"),
            rng=random.Random(1),
            settings=self.settings,
        )
        self.task = asyncio.ensure_future(self.watcher.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        (result,) = await asyncio.gather(self.task, return_exceptions=True)
        await self.api.end()
        await self.fake.__aexit__(*exc)
        self.table.validate()
        if isinstance(result, Exception):
            raise result

    def _on_changes(self, changes, at):
        self.times.append(at)
        self.said += [f"{KINDS[change.kind]} {change.name} {PHASES[change.phase]}" for change in changes]

    async def until(self, condition):
        """Wait until it holds, or fail with what was said and asked so far."""
        try:
            async with asyncio.timeout(10):
                while not condition():
                    if self.task.done():
                        self.task.result()
                    await asyncio.sleep(0.002)
        except TimeoutError:
            story = self.watcher.story()
            raise AssertionError(f"never: said {self.said}, asked {self.fake.short()}\n{story}") from None

    async def until_said(self, *words):
        await self.until(lambda: self.said == list(words))

    async def until_asked(self, *requests):
        await self.until(lambda: self.fake.short() == list(requests))
