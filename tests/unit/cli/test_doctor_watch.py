"""Doctor's look at lists and watches, against servers that answer in every way there is."""

from __future__ import annotations

import asyncio

import pytest

from fake_api import PROTOBUF, FakeApi, Reply, Stream
from shard_executor.cli.doctor_report import State
from shard_executor.cli.doctor_watch import check_lists, check_shards, check_streaming
from shard_executor.core.credentials import Credentials
from shard_executor.shard.api import Api

LIST = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}'
MARK = (
    b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7",'
    b'"annotations":{"k8s.io/initial-events-end":"true"}}}}\n'
)
BOOKMARK = MARK.replace(b',"annotations":{"k8s.io/initial-events-end":"true"}', b"")
DISABLED = (
    b'{"type":"ERROR","object":{"kind":"Status","code":500,'
    b'"message":"a watch stream was requested but the required storage feature RequestWatchProgress is disabled"}}\n'
)


def status(code, message):
    return Reply(code, b'{"kind":"Status","apiVersion":"v1","code":%d,"message":"%s"}' % (code, message))


def ask(check, *script):
    async def scenario():
        async with FakeApi(*script) as fake:
            api = Api(Credentials(host=fake.host))
            await api.start()
            try:
                return await check(api, "jobs"), fake.requests
            finally:
                await api.end()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reply", "state", "words"),
    [
        (Reply(200, LIST), State.WARNING, "in JSON"),
        (Reply(200, b"<html>", "text/html"), State.PROBLEM, "(text/html) is no list of pods"),
        (Reply(200, b"not protobuf", PROTOBUF), State.PROBLEM, "is no list of pods"),
        (status(403, b"forbidden"), State.SKIPPED, "may not list pods"),
        (status(503, b"no etcd"), State.PROBLEM, "503 no etcd"),
    ],
)
def test_lists(reply, state, words):
    check, requests = ask(check_lists, reply)
    assert (check.state, words in check.message) == (state, True), check
    assert requests[0].query == {"limit": "1"}


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Stream(MARK), State.OK, "with streaming lists, in JSON"),
        (Stream(BOOKMARK, MARK[:20], MARK[20:]), State.OK, "with streaming lists"),
        (status(422, b"sendInitialEvents is forbidden"), State.OK, "without streaming lists (422)"),
        (status(400, b"what is that"), State.OK, "without streaming lists (400)"),
        (Stream(DISABLED, then="end"), State.OK, "without streaming lists (500)"),
        (Stream(BOOKMARK, then="end"), State.WARNING, "ended it before the end of the initial events"),
        (Stream(b"<html>\n"), State.PROBLEM, "cannot be read"),
        (status(403, b"forbidden"), State.SKIPPED, "may not watch pods"),
        (Reply(429, b"Too many requests", "text/plain"), State.WARNING, "429 Too many requests"),
        (status(500, b"boom"), State.PROBLEM, "500 boom"),
    ],
)
def test_watches(answer, state, words):
    check, requests = ask(check_streaming, answer)
    assert (check.state, words in check.message) == (state, True), check
    assert requests[0].query["sendInitialEvents"] == "true"
    assert requests[0].query["labelSelector"].startswith("shard-executor/instance=shard-executor.doctor-")


def test_a_stream_that_says_nothing_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr("shard_executor.cli.doctor_watch.STREAM_LIMIT", 0.2)
    check, _ = ask(check_streaming, Stream(BOOKMARK))
    assert check.state is State.WARNING
    assert "no end of the initial events within 0.2 s" in check.message


def test_shards_are_few():
    check = check_shards()
    assert check.state is State.OK
    assert 1 <= check.facts["shards"] <= min(2, check.facts["cpus"])
