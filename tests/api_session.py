"""An Api on a scripted server, and what its tests have in common."""

import asyncio

import pytest

from fake_api import FakeApi
from shard_executor.core.credentials import Credentials
from shard_executor.shard.api import Api, TransportFault


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())


class Session:
    """A started Api on a scripted server."""

    def __init__(self, *script, tls=None, connections=4, **credentials):
        self.fake = FakeApi(*script, tls=tls)
        self.connections = connections
        self.credentials = credentials

    async def __aenter__(self):
        await self.fake.__aenter__()
        self.api = Api(Credentials(host=self.fake.host, **self.credentials), connections=self.connections)
        await self.api.start()
        return self.api, self.fake

    async def __aexit__(self, *exc):
        await self.api.end()
        await self.fake.__aexit__(*exc)


async def fault_from(awaitable):
    with pytest.raises(TransportFault) as caught:
        await awaitable
    return caught.value.info


async def eventually(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what changes lies behind a socket
            await asyncio.sleep(0.005)
