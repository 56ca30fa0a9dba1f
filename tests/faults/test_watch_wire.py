"""Faults as they come over a socket: what the watcher asks for next and what it tells its owner."""

import pytest

from api_session import run
from fake_api import DROP, HANG, JSON, PROTOBUF, PROTOBUF_WATCH, Raw, Reply, Stream
from pod_bytes import bookmark, compact, end_of_list, event, expired, pod, pod_list, proto_event, status
from shard_executor.core.credentials import Credentials
from watch_session import WatchSession

LIST = pod_list(9)


def refused(code, reason, message="", content_type=JSON, **details):
    return Reply(code, compact(status(code, reason, message, **details)), content_type)


def paged(*script, **settings):
    """A session whose first request is a paged list at version 9, followed by `script`."""
    return WatchSession(Reply(body=LIST), *script, streaming_lists=False, **settings)


def test_410_inside_the_stream():
    async def scenario():
        async with paged(Stream(expired(), then="end"), Reply(body=pod_list(30)), HANG) as session:
            await session.until_asked("page", "watch@9", "page", "watch@30")
            assert session.watcher.counters["relist:expired"] == 1

    run(scenario())


def test_410_inside_a_protobuf_stream():
    async def scenario():
        gone = proto_event("ERROR", status(410, "Expired", "too old resource version: 1 (2)"))
        stream = Stream(gone, content_type=PROTOBUF_WATCH, then="end")
        async with paged(stream, Reply(body=pod_list(30)), HANG) as session:
            await session.until_asked("page", "watch@9", "page", "watch@30")

    run(scenario())


@pytest.mark.parametrize("reason", ["Expired", "Gone", ""])
def test_410_as_the_watchs_status(reason):
    async def scenario():
        async with paged(refused(410, reason), Reply(body=pod_list(30)), HANG) as session:
            await session.until_asked("page", "watch@9", "page", "watch@30")

    run(scenario())


def test_410_on_a_continue_token():
    async def scenario():
        first = Reply(body=pod_list(9, pod("a", 3), token="t"))
        replies = (first, refused(410, "Expired"), Reply(body=pod_list(12, pod("b", 4))), HANG)
        async with WatchSession(*replies, streaming_lists=False) as session:
            await session.until_asked("page", "page:t", "whole", "watch@12")
            assert session.said == ["ADDED a Pending", "ADDED b Pending", "GONE a Pending", "synced"]

    run(scenario())


def test_429_in_plain_text_makes_no_list():
    async def scenario():
        busy = Reply(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8")
        async with paged(busy, busy, busy, busy, Stream()) as session:
            await session.until(lambda: session.watcher.state == "watching")
            assert session.fake.short() == ["page"] + ["watch@9"] * 5

    run(scenario())


def test_retry_after_is_heard():
    async def scenario():
        async with paged(Reply(429, b"", headers={"Retry-After": "200"})) as session:
            await session.until(lambda: session.watcher.state == "backing-off")
            assert session.watcher._wake - session.watcher._clock() > 190

    run(scenario())


@pytest.mark.parametrize("code", [422, 400])
def test_a_server_that_refuses_streaming_lists(code):
    async def scenario():
        no = refused(code, "Invalid", "sendInitialEvents: Forbidden")
        async with WatchSession(no, Reply(body=LIST), Stream(expired()), Reply(body=LIST), HANG) as session:
            await session.until_asked("list", "page", "watch@9", "page", "watch@9")

    run(scenario())


def test_a_server_that_refuses_streaming_lists_inside_the_stream():
    async def scenario():
        words = "the required storage feature RequestWatchProgress is disabled"
        stream = Stream(event("ERROR", status(500, "InternalError", words)), then="end")
        async with WatchSession(stream, Reply(body=LIST), HANG) as session:
            await session.until_asked("list", "page", "watch@9")

    run(scenario())


def test_a_streaming_list_cut_before_its_end_keeps_what_the_table_knew():
    async def scenario():
        whole = Stream(event("ADDED", pod("a", 5)) + event("ADDED", pod("b", 6)) + end_of_list(50), expired())
        half = Stream(event("ADDED", pod("b", 6)), then="cut")
        again = Stream(event("ADDED", pod("a", 5)) + event("ADDED", pod("b", 6)) + end_of_list(60))
        async with WatchSession(whole, half, again) as session:
            await session.until_said("ADDED a Pending", "ADDED b Pending", "synced", "synced")
            assert session.fake.short() == ["list", "list", "list"]

    run(scenario())


def test_401_asks_for_credentials_and_uses_the_new_ones_at_once():
    async def scenario():
        async with paged(refused(401, "Unauthorized"), Stream(), long_initial=30.0, long_ceiling=90.0) as session:
            await session.until(lambda: "unauthorized" in session.said)
            assert session.watcher.health.startswith("unauthorized (401)")
            session.api.replace_credentials(Credentials(host=session.fake.host, token="new"))
            session.watcher.credentials_replaced()
            await session.until(lambda: session.watcher.state == "watching")
            assert [r.headers["authorization"] for r in session.fake.requests][1:] == ["Bearer t", "Bearer new"]
            assert session.watcher.health == "ok"

    run(scenario())


def test_403_is_visible_in_health_and_tried_again():
    async def scenario():
        no = refused(403, "Forbidden", 'pods is forbidden: User "x" cannot list resource "pods"')
        async with WatchSession(no, no, Stream(end_of_list(5))) as session:
            await session.until(lambda: session.watcher.counters["fault:not-permitted"] == 2)
            assert "cannot list resource" in session.watcher.health
            await session.until(lambda: session.watcher.synced)
            assert session.watcher.health == "ok"

    run(scenario())


def test_a_stream_cut_inside_a_frame_goes_on_from_the_last_whole_event():
    async def scenario():
        line = event("MODIFIED", pod("a", 60, "Running"))
        first = Stream(event("ADDED", pod("a", 5)) + end_of_list(50))
        second = Stream(line)
        async with WatchSession(first, second, short_watch=0.0) as session:
            await session.until(lambda: session.watcher.synced)
            await first.send(line[:-30])
            first.cut()
            await session.until(lambda: session.said[-1] == "MODIFIED a Running")
            assert session.fake.short() == ["list", "watch@50"]

    run(scenario())


def test_a_proper_end_inside_a_frame():
    async def scenario():
        first = Stream(end_of_list(50), b'{"type":"ADDED","obj', then="end")
        async with WatchSession(first, HANG) as session:
            await session.until_asked("list", "watch@50")
            assert session.watcher.counters["fault:disconnected"] == 1

    run(scenario())


def test_connections_dropped_instead_of_an_answer():
    async def scenario():
        async with paged(DROP, DROP, DROP, DROP, Stream()) as session:
            await session.until(lambda: session.watcher.state == "watching")
            assert set(session.fake.short()[1:]) == {"watch@9"}

    run(scenario())


def test_bytes_that_are_no_http():
    async def scenario():
        async with paged(Raw(b"\x15\x03\x01\x00\x02\x02\x16"), Stream()) as session:
            await session.until(lambda: session.watcher.state == "watching")
            assert session.watcher.counters["fault:protocol"] == 1

    run(scenario())


def test_silence_reopens_from_the_last_version():
    async def scenario():
        first = Stream(end_of_list(50), event("BOOKMARK", bookmark(66)))
        async with WatchSession(first, Stream(), idle_limit=0.2) as session:
            await session.until(lambda: len(session.fake.requests) >= 2)
            assert session.fake.short()[:2] == ["list", "watch@66"]
            assert session.watcher.counters["restart:idle"] >= 1
            assert session.watcher.counters["lists"] == 1

    run(scenario())


def test_very_short_watches_back_off_without_a_list():
    async def scenario():
        short = [Stream(then="end") for _ in range(4)]
        async with paged(*short, Stream(), short_watch=5.0) as session:
            await session.until(lambda: len(session.fake.requests) == 6)
            assert session.fake.short() == ["page"] + ["watch@9"] * 5
            assert session.watcher.counters["restart:short"] == 4

    run(scenario())


def test_a_page_of_html_with_status_200():
    async def scenario():
        page = Reply(body=b"<html>please log in</html>", content_type="text/html")
        async with WatchSession(page, page, Reply(body=LIST), HANG, streaming_lists=False) as session:
            await session.until_asked("page", "page", "page", "watch@9")
        async with paged(page, Stream()) as session:
            await session.until(lambda: session.watcher.state == "watching")
            assert session.fake.short() == ["page", "watch@9", "watch@9"]

    run(scenario())


def test_a_compressed_watch_is_refused():
    async def scenario():
        gzip = Stream(headers={"Content-Encoding": "gzip"})
        async with paged(gzip, Stream()) as session:
            await session.until(lambda: session.watcher.state == "watching")
            assert session.watcher.counters["fault:protocol"] == 1

    run(scenario())


def test_an_undecodable_frame_hands_on_what_came_before_and_lists_again():
    async def scenario():
        good = event("MODIFIED", pod("a", 60, "Succeeded"))
        first = Stream(event("ADDED", pod("a", 5)) + end_of_list(50))
        second = Stream(event("ADDED", pod("a", 60, "Succeeded")) + end_of_list(70))
        async with WatchSession(first, second) as session:
            await session.until(lambda: session.watcher.synced)
            await first.send(good + b'{"type":"MODIFIED","object":}}}\n')
            await session.until_said("ADDED a Pending", "synced", "MODIFIED a Succeeded", "synced")
            assert session.watcher.counters["relist:protocol"] == 1
            assert "byte" in session.watcher.story()

    run(scenario())


def test_an_absurd_frame_length_is_a_protocol_fault():
    async def scenario():
        stream = Stream(b"\xff\xff\xff\xff rest", content_type=PROTOBUF_WATCH)
        async with paged(stream, Reply(body=pod_list(30)), HANG) as session:
            await session.until_asked("page", "watch@9", "page", "watch@30")

    run(scenario())


def test_an_undecodable_object_is_skipped_and_listed_for_later():
    async def scenario():
        bad = event("ADDED", {"kind": "Pod", "metadata": {"name": "x", "uid": 7, "resourceVersion": "8"}})
        stream = Stream(bad + event("ADDED", pod("a", 5)) + end_of_list(50))
        async with WatchSession(stream, Stream(event("ADDED", pod("a", 5)) + end_of_list(60))) as session:
            await session.until_said("ADDED a Pending", "synced", "synced")
            assert session.watcher.counters["undecodable"] == 1
            assert session.watcher.counters["relist:undecodable"] == 1

    run(scenario())


def test_an_object_without_version_lists_again():
    async def scenario():
        naked = pod("a", 5)
        del naked["metadata"]["resourceVersion"]
        async with paged(Stream(event("ADDED", naked)), Reply(body=pod_list(30)), HANG) as session:
            await session.until_asked("page", "watch@9", "page", "watch@30")
            assert session.watcher.counters["relist:protocol"] == 1

    run(scenario())


def test_a_truncated_or_broken_list_body_is_asked_for_again():
    async def scenario():
        body = pod_list(9, pod("a", 3))
        replies = (
            Reply(body=body, cut=40),
            Reply(body=body[:-20]),
            Reply(body=b"k8s\x00\x0a\xff", content_type=PROTOBUF),
            Reply(body=body),
            HANG,
        )
        async with WatchSession(*replies, streaming_lists=False) as session:
            await session.until(lambda: session.watcher.synced)
            assert session.said[-2:] == ["ADDED a Pending", "synced"]

    run(scenario())


def test_a_history_that_went_back():
    async def scenario():
        first = Stream(event("ADDED", pod("a", 4000)) + event("ADDED", pod("b", 4001)) + end_of_list(5000), expired())
        restored = event("ADDED", pod("a", 40, "Running")) + end_of_list(45)
        async with WatchSession(first, Stream(restored), Stream(restored)) as session:
            await session.until(lambda: session.said.count("synced") == 3)
            assert "GONE b Pending" in session.said
            assert session.said[-2:] == ["ADDED a Running", "synced"]
            assert session.watcher.counters["rewound"] == 1

    run(scenario())


def test_survives_a_storm_of_everything():
    async def scenario():
        storm = [
            Reply(503, b""),
            DROP,
            refused(500, "InternalError", "etcdserver: leader changed"),
            Reply(429, b""),
            refused(504, "Timeout", "Too large resource version: 9, current: 5"),
            Stream(event("ADDED", pod("a", 5)), then="cut"),
            Reply(302, b"", headers={"Location": "/login"}),
            Reply(body=b"no json at all"),
            refused(418, "Teapot"),
        ]
        whole = Reply(body=pod_list(9, pod("a", 5, "Running")))
        async with WatchSession(*storm, *[whole] * 9) as session:
            await session.until(lambda: session.watcher.synced)
            assert session.said[-2:] == ["MODIFIED a Running", "synced"] or session.said == [
                "ADDED a Running",
                "synced",
            ]

    run(scenario())
