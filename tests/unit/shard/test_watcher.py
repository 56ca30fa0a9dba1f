"""shard.watcher against a scripted server: requests as sent, changes as handed on, in both formats."""

import asyncio
import gzip
from pathlib import Path

import pytest

from api_session import run
from fake_api import HANG, PROTOBUF, PROTOBUF_WATCH, Reply, Stream
from pod_bytes import bookmark, end_of_list, event, pod, pod_list, proto_event, proto_list, uid_of
from watch_session import WatchSession

CORPUS = Path(__file__).parents[2] / "corpus"


def test_the_requests_as_they_are_sent():
    async def scenario():
        stream = Stream(end_of_list(50), event("BOOKMARK", bookmark(77)))
        async with WatchSession(stream, HANG, selector="a in (1,2),b!=c") as session:
            await session.until(lambda: session.watcher.synced)
            await stream.end()
            await session.fake.wait_for_requests(2)
            first, second = session.fake.requests
            assert first.path == "/api/v1/namespaces/default/pods"
            assert first.headers["accept"] == "application/vnd.kubernetes.protobuf, application/json"
            assert first.headers["accept-encoding"] == "identity"
            assert 240 <= int(first.query.pop("timeoutSeconds")) <= 300
            assert first.query == {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "labelSelector": "a in (1,2),b!=c",
                "sendInitialEvents": "true",
                "resourceVersionMatch": "NotOlderThan",
            }
            second.query.pop("timeoutSeconds")
            assert second.query == {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "labelSelector": "a in (1,2),b!=c",
                "resourceVersion": "77",
            }

    run(scenario())


def test_all_namespaces_without_selector():
    async def scenario():
        async with WatchSession(HANG, namespace=None) as session:
            await session.fake.wait_for_requests(1)
            assert session.fake.requests[0].path == "/api/v1/pods"
            assert "labelSelector" not in session.fake.requests[0].query

    run(scenario())


def test_paged_list_requests():
    async def scenario():
        replies = Reply(body=pod_list(0, pod("a", 3), token="x y/+")), Reply(body=pod_list(9, pod("b", 4)))
        async with WatchSession(*replies, HANG, streaming_lists=False, page_size=1) as session:
            await session.until_asked("page", "page:x y/+", "watch@9")
            assert session.fake.requests[0].query == {"limit": "1"}
            assert session.fake.requests[1].query == {"limit": "1", "continue": "x y/+"}
            assert session.said == ["ADDED a Pending", "ADDED b Pending", "synced"]
            assert session.api.calls["LIST", "200"] == 2

    run(scenario())


@pytest.mark.parametrize("protobuf", [False, True])
def test_a_life_through_a_streaming_list(protobuf):
    async def scenario():
        encode = proto_event if protobuf else event
        stream = Stream(content_type=PROTOBUF_WATCH if protobuf else "application/json")
        async with WatchSession(stream) as session:
            await stream.send(encode("ADDED", pod("a", 900)) + encode("ADDED", pod("b", 20, "Running")))
            await session.until_said("ADDED a Pending", "ADDED b Running")
            assert not session.watcher.synced
            await stream.send(encode("BOOKMARK", bookmark(1000, end=True)))
            await session.until(lambda: session.watcher.synced)
            await stream.send(encode("MODIFIED", pod("a", 1001, "Succeeded")))
            await stream.send(encode("DELETED", pod("b", 1002, "Running", deleting=True)))
            await session.until_said(
                "ADDED a Pending",
                "ADDED b Running",
                "synced",
                "MODIFIED a Succeeded",
                "DELETED b Running",
            )
            assert session.table.uids() == [uid_of("a")]
            assert session.watcher.state == "watching"
            assert session.watcher.health == "ok"
            assert session.watcher.last_event_at > 0
            assert 0 < session.watcher.list_started_at <= session.times[0]

    run(scenario())


@pytest.mark.parametrize("protobuf", [False, True])
def test_a_paged_list_of_either_format(protobuf):
    async def scenario():
        pods = [pod("a", 3), pod("b", 4, "Failed")]
        body = proto_list(9, *pods) if protobuf else pod_list(9, *pods)
        reply = Reply(body=body, content_type=PROTOBUF if protobuf else "application/json")
        async with WatchSession(reply, HANG, streaming_lists=False) as session:
            await session.until_asked("page", "watch@9")
            assert session.said == ["ADDED a Pending", "ADDED b Failed", "synced"]

    run(scenario())


def test_every_cut_of_the_stream_gives_the_same_changes():
    async def scenario():
        data = event("ADDED", pod("a", 5)) + end_of_list(50) + event("MODIFIED", pod("a", 60, "Running"))
        for size in (1, 7, 64, 1000):
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            async with WatchSession(Stream(*pieces)) as session:
                await session.until(lambda session=session: len(session.said) == 3)
                # In one read, the changes come before the completed list is announced.
                assert sorted(session.said) == ["ADDED a Pending", "MODIFIED a Running", "synced"]

    run(scenario())


def test_a_watch_resumes_from_the_last_version_and_replays_are_dropped():
    async def scenario():
        first = Stream(event("ADDED", pod("a", 5)), end_of_list(50), event("MODIFIED", pod("a", 60, "Running")))
        second = Stream(event("MODIFIED", pod("a", 60, "Running")), event("MODIFIED", pod("a", 61, "Failed")))
        async with WatchSession(first, second) as session:
            await session.until(lambda: len(session.said) == 3)
            await first.end()
            await session.until(lambda: session.said[-1] == "MODIFIED a Failed")
            assert len(session.said) == 4
            assert session.fake.short() == ["list", "watch@60"]

    run(scenario())


def test_deletions_missed_in_a_gap_are_told_as_gone():
    async def scenario():
        first = Stream(event("ADDED", pod("a", 5)) + event("ADDED", pod("b", 6)) + end_of_list(50))
        second = Stream(event("ADDED", pod("b", 70, "Succeeded")) + end_of_list(90))
        async with WatchSession(first, second) as session:
            await session.until(lambda: session.watcher.synced)
            heard = session.watcher.heard
            assert heard >= session.watcher.list_started_at
            session.watcher.relist_soon("test")
            await session.until_said(
                "ADDED a Pending",
                "ADDED b Pending",
                "synced",
                "MODIFIED b Succeeded",
                "GONE a Pending",
                "synced",
            )
            assert session.watcher.counters["relist:test"] == 1
            assert session.watcher.heard > heard
            assert session.fake.short() == ["list", "list"]

    run(scenario())


def test_a_pod_made_again_under_the_same_name_between_two_lists():
    async def scenario():
        first = Stream(event("ADDED", pod("a", 5, uid=uid_of("one"))) + end_of_list(50))
        second = Stream(event("ADDED", pod("a", 70, uid=uid_of("two"))) + end_of_list(90))
        async with WatchSession(first, second) as session:
            await session.until(lambda: session.watcher.synced)
            session.watcher.relist_soon("test")
            await session.until_said("ADDED a Pending", "synced", "ADDED a Pending", "GONE a Pending", "synced")
            assert session.table.uids() == [uid_of("two")]

    run(scenario())


def test_pods_of_other_bins_are_kept_out():
    async def scenario():
        stream = Stream(event("ADDED", pod("a", 5, bin=3)) + event("ADDED", pod("b", 6, bin=200)) + end_of_list(50))
        async with WatchSession(stream, bins=(0, 128)) as session:
            await session.until_said("ADDED a Pending", "synced")

    run(scenario())


def test_a_requested_relist_interrupts_a_quiet_watch_but_not_a_request():
    async def scenario():
        page = Reply(body=pod_list(9))
        async with WatchSession(page, Stream(), page, HANG, streaming_lists=False) as session:
            session.watcher.relist_soon("early")  # before the first request was even sent
            await session.until_asked("page", "watch@9", "page", "watch@9")
            assert session.said == ["synced", "synced"]

    run(scenario())


def test_cancelling_closes_the_stream():
    async def scenario():
        stream = Stream(end_of_list(50))
        async with WatchSession(stream) as session:
            await session.until(lambda: session.watcher.synced)
            session.task.cancel()
            await asyncio.wait_for(stream.closed.wait(), 10)

    run(scenario())


def test_an_error_of_the_owner_ends_the_watcher_and_is_not_taken_for_a_timer():
    async def scenario():
        session = WatchSession(Stream(end_of_list(50)))
        async with session:

            def broken():
                raise TimeoutError("mine")

            session.watcher._on_synced = broken
            with pytest.raises(TimeoutError, match="mine"):
                await asyncio.wait_for(asyncio.shield(session.task), 10)
            session.task = asyncio.ensure_future(asyncio.sleep(0))

    run(scenario())


@pytest.mark.parametrize("format", ["json", "pb"])
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_stream_recorded_from_a_kube_apiserver(format, size):
    """Six events of a 1.36.2 server's streaming list: two pods, the end bookmark, a deletion, a later bookmark."""

    data = gzip.decompress((CORPUS / f"streaming-list.{format}.watch.gz").read_bytes())

    async def scenario():
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        stream = Stream(*pieces, content_type=PROTOBUF_WATCH if format == "pb" else "application/json", then="end")
        # The recorded pods carry no bin, which only the shard of bin 0 lets in.
        async with WatchSession(stream, HANG) as session:
            await session.until_asked("list", "watch@50712")
            assert [words for words in session.said if words != "synced"] == [
                "ADDED etl-00020 Succeeded",
                "ADDED etl-00030 Unknown",
                "MODIFIED etl-00020 Succeeded",
                "DELETED etl-00020 Succeeded",
            ]
            assert session.watcher.synced
            assert session.table.stats()["undecodable"] == 0

    run(scenario())
