"""shard.api against a scripted server: headers, limits, streams, faults of the transport, counters."""

import asyncio
import socket

import pytest

from api_session import Session, eventually, fault_from, run
from fake_api import DROP, HANG, Raw, Reply, Stream
from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import Fault
from shard_executor.shard.api import Api, fault_of


def test_a_request_says_what_it_is_and_nothing_more():
    async def scenario():
        async with Session(Reply(201, b'{"a":1}'), token="secret", extra_headers={"X-Extra": "1"}) as (api, fake):
            answer = await api.request(
                "POST", "/api/v1/namespaces/a/pods", query={"fieldValidation": "Ignore"}, body=b"{}", timeout=5
            )
            assert (answer.status, answer.body, answer.content_type) == (201, b'{"a":1}', "application/json")
            assert answer.headers["content-length"] == "7"
            request = fake.requests[0]
            assert (request.method, request.path, request.body) == ("POST", "/api/v1/namespaces/a/pods", b"{}")
            assert request.query == {"fieldValidation": "Ignore"}
            assert request.headers.pop("user-agent").startswith("shard-executor/")
            assert request.headers.pop("host") == f"127.0.0.1:{fake.port}"
            assert request.headers == {
                "accept": "application/json",
                "accept-encoding": "identity",
                "authorization": "Bearer secret",
                "content-length": "2",
                "content-type": "application/json",
                "x-extra": "1",
            }

    run(scenario())


def test_a_request_without_body_has_no_content_type():
    async def scenario():
        async with Session(Reply()) as (api, fake):
            await api.request("DELETE", "/x", timeout=5)
            assert "content-type" not in fake.requests[0].headers

    run(scenario())


def test_query_values_are_encoded_and_paths_kept():
    async def scenario():
        async with Session(Reply()) as (api, fake):
            selector = "a in (1,2),b!=ü&c=+%"
            await api.request("GET", "/api/v1/namespaces/a%2Fb/pods", query={"labelSelector": selector}, timeout=5)
            assert fake.requests[0].query == {"labelSelector": selector}
            assert fake.requests[0].path == "/api/v1/namespaces/a%2Fb/pods"

    run(scenario())


def test_connections_are_kept_and_limited():
    async def scenario():
        async with Session(*[Reply()] * 20, connections=2) as (api, fake):
            await asyncio.gather(*[api.request("GET", "/x", timeout=5) for _ in range(20)])
            assert fake.connections <= 2

    run(scenario())


def test_a_stream_needs_no_connection_of_the_pool():
    async def scenario():
        stream = Stream(b"hello")
        async with Session(HANG, stream, connections=1) as (api, fake):
            blocked = asyncio.ensure_future(api.request("GET", "/x", timeout=5))
            await fake.wait_for_requests(1)
            async with api.stream("/w", accept="a", connect_timeout=5) as answer:
                assert await answer.read() == b"hello"
            blocked.cancel()
            await asyncio.gather(blocked, return_exceptions=True)

    run(scenario())


def test_redirects_are_not_followed():
    async def scenario():
        async with Session(Reply(302, b"", headers={"Location": "http://127.0.0.1:1/login"})) as (api, fake):
            answer = await api.request("GET", "/x", timeout=5)
            assert answer.status == 302
            assert fault_of(answer).fault is Fault.UNKNOWN
            assert len(fake.requests) == 1

    run(scenario())


def test_a_compressed_answer_is_refused():
    async def scenario():
        gzip = {"Content-Encoding": "gzip"}
        async with Session(Reply(headers=gzip), Stream(headers=gzip), Reply()) as (api, _):
            info = await fault_from(api.request("GET", "/x", timeout=5))
            assert (info.fault, info.reason) == (Fault.PROTOCOL, "ContentEncoding")
            info = await fault_from(api.open_stream("/w", accept="a", connect_timeout=5))
            assert info.fault is Fault.PROTOCOL
            assert (await api.request("GET", "/x", timeout=5)).status == 200

    run(scenario())


def test_a_server_that_does_not_answer_times_out_by_name():
    async def scenario():
        async with Session(HANG, HANG) as (api, _):
            info = await fault_from(api.request("POST", "/x", body=b"{}", timeout=0.05))
            assert info.fault is Fault.TIMEOUT
            assert "POST /x no answer within 0.05 s" in info.message
            info = await fault_from(api.open_stream("/w", accept="a", connect_timeout=0.05))
            assert info.fault is Fault.TIMEOUT
            assert api.calls == {("POST", "timeout"): 1, ("WATCH", "timeout"): 1}

    run(scenario())


def test_a_dropped_post_is_disconnected_and_not_sent_twice():
    async def scenario():
        async with Session(Reply(), DROP) as (api, fake):
            await api.request("GET", "/warm", timeout=5)
            info = await fault_from(api.request("POST", "/x", body=b"{}", timeout=5))
            assert info.fault is Fault.DISCONNECTED
            assert len(fake.requests) == 2

    run(scenario())


def test_a_get_on_a_connection_that_was_just_closed_is_sent_again():
    async def scenario():
        async with Session(Reply(), DROP, Reply(200, b"again")) as (api, _):
            await api.request("GET", "/warm", timeout=5)
            assert (await api.request("GET", "/x", timeout=5)).body == b"again"

    run(scenario())


def test_a_truncated_answer_is_disconnected():
    async def scenario():
        async with Session(Reply(200, b"x" * 100, cut=10)) as (api, _):
            assert (await fault_from(api.request("POST", "/x", body=b"", timeout=5))).fault is Fault.DISCONNECTED

    run(scenario())


def test_bytes_that_are_no_http_are_a_protocol_fault():
    async def scenario():
        async with Session(Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")) as (api, _):
            assert (await fault_from(api.request("POST", "/x", body=b"", timeout=5))).fault is Fault.PROTOCOL

    run(scenario())


def test_nobody_listening_is_refused():
    async def scenario():
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            api = Api(Credentials(host=f"http://127.0.0.1:{closed.getsockname()[1]}"))
            await api.start()
            info = await fault_from(api.request("GET", "/x", timeout=5))
            await api.end()
        assert info.fault is Fault.REFUSED
        assert api.calls == {("GET", "refused"): 1}

    run(scenario())


def test_calls_and_latency_are_counted_by_verb_and_code():
    async def scenario():
        async with Session(Reply(), Reply(404), Reply(), Stream(then="end")) as (api, _):
            await api.request("GET", "/x", timeout=5)
            await api.request("GET", "/x", timeout=5)
            await api.request("GET", "/x", timeout=5, verb="LIST")
            async with api.stream("/w", accept="a", connect_timeout=5):
                pass
            assert api.calls == {("GET", "200"): 1, ("GET", "404"): 1, ("LIST", "200"): 1, ("WATCH", "200"): 1}
            latency = api.latency["GET", "404"]
            assert latency.count == sum(latency.buckets) == 1
            assert latency.total > 0

    run(scenario())


def test_a_stream_is_read_as_it_comes_and_ends_properly():
    async def scenario():
        stream = Stream(content_type="application/json")
        async with Session(stream) as (api, _), api.stream("/w", accept="a, b", connect_timeout=5) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            for piece in (b"one", b"two"):
                await stream.send(piece)
                assert await answer.read() == piece
            await stream.end()
            assert await answer.read() == b""

    run(scenario())


def test_a_stream_that_is_cut_is_disconnected():
    async def scenario():
        broken = Stream(b"one", then="cut")
        async with Session(broken) as (api, _), api.stream("/w", accept="a", connect_timeout=5) as answer:

            async def to_the_end():
                while await answer.read():
                    pass

            assert (await fault_from(to_the_end())).fault is Fault.DISCONNECTED

    run(scenario())


def test_a_read_may_be_cancelled_without_losing_bytes():
    async def scenario():
        stream = Stream()
        async with Session(stream) as (api, _), api.stream("/w", accept="a", connect_timeout=5) as answer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await answer.read()
            await stream.send(b"late")
            assert await answer.read() == b"late"

    run(scenario())


def test_a_refused_stream_gives_its_body():
    async def scenario():
        body = b'{"kind":"Status","reason":"Expired","message":"too old","code":410}'
        async with Session(Reply(410, body)) as (api, _), api.stream("/w", accept="a", connect_timeout=5) as stream:
            assert fault_of(await stream.answer(5)).fault is Fault.EXPIRED

    run(scenario())


def test_leaving_a_stream_drops_the_connection_and_closing_twice_does_no_harm():
    async def scenario():
        stream = Stream(b"x")
        async with Session(stream) as (api, fake):
            answer = await api.open_stream("/w", accept="a", connect_timeout=5)
            answer.close()
            answer.close()
            await eventually(lambda: fake.open_connections == 0)

    run(scenario())


def test_constructing_starts_nothing_and_requests_need_a_start():
    async def scenario():
        api = Api(Credentials(host="http://127.0.0.1:1"))
        with pytest.raises(RuntimeError, match="start"):
            await api.request("GET", "/x", timeout=1)
        await api.end()

    run(scenario())
