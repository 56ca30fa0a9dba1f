"""The shard's driver without a loop: what it keeps of the messages it gets."""

from __future__ import annotations

import asyncio
import gc

from shard_executor.core.credentials import Credentials
from shard_executor.shard.driver import Shard
from shard_executor.shard.settings import ShardSettings
from shard_executor.supervisor import messages as msg

SETTINGS = ShardSettings(
    shard=0,
    shards=1,
    bins=(0, 256),
    parent_pid=1,
    instance="tests",
    owner="tests",
    namespaces=("ns",),
    credentials=Credentials(host="http://127.0.0.1:1"),
    log_tail_lines=0,
    request_timeout=1.0,
    beat_interval=1.0,
    window=(1, 1, 1),
)


def test_bodies_are_kept_only_for_tickets_that_are_still_to_be_created() -> None:
    sent: list[msg.Message] = []
    shard = Shard(SETTINGS, sent.append, sent.append)
    shard._wake_at = lambda action: None  # type: ignore[assignment,method-assign] # there is no loop to set a timer on
    reported = [msg.SUBMIT, "t", "ns", "t", "s", 0, 0, None, False, False, "failed", False, None, None, None]
    shard.receive(reported)
    shard.receive([msg.ACK, "t", False])
    assert [message[0] for message in sent] == [msg.CLOSED]
    shard.receive([msg.BODY, "t", "{}"])
    assert not shard._bodies


def test_removals_that_have_not_begun_when_the_shard_ends_leave_nothing_behind() -> None:
    """Python would warn of a coroutine that nobody awaited, and warnings fail the tests."""
    sent: list[msg.Message] = []

    async def removal_and_end() -> None:
        shard = Shard(SETTINGS, sent.append, sent.append)
        await shard.start()
        shard.receive([msg.SUBMIT, "t", "ns", "t", "s", 0, 0, "uid", True, False, "failed", False, None, None, None])
        shard.receive([msg.ACK, "t", False])
        await shard.end(0.0)

    asyncio.run(removal_and_end())
    gc.collect()
    assert msg.CLOSED not in [message[0] for message in sent]
