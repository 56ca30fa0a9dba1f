"""Logs of containers: what they hold, how they are cut, and how they grow."""

from __future__ import annotations

import asyncio
import re

import pytest

from kubelet_helpers import finished, log, pod, running, started, until
from shard_executor.devcluster.errors import ApiError
from shard_executor.devcluster.logfile import LogQuery, LogReader, LogWriter, rotated
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.store import Store


def read(path, **query):
    reader = LogReader(str(path), LogQuery(**query), now=1000.0)
    pieces = []
    while piece := reader.read():
        pieces.append(piece)
    reader.close()
    return b"".join(pieces)


def test_both_streams_in_order_and_a_last_line_without_end():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("a", "sh", "-c", "echo one; echo two >&2; echo three; printf end"))
            await finished(store, "a")
            assert await log(kubelet, "a") == b"one\ntwo\nthree\nend"
            assert await log(kubelet, "a", tail_lines=2) == b"three\nend"
            assert await log(kubelet, "a", tail_lines=0) == b""
            assert await log(kubelet, "a", limit_bytes=5) == b"one\nt"
            assert await log(kubelet, "a", since_seconds=3600) == b"one\ntwo\nthree\nend"
            stamped = (await log(kubelet, "a", timestamps=True)).splitlines()
            assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \w+", line) for line in stamped)

    asyncio.run(scenario())


def test_following_ends_with_the_container():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("a", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"))
            await running(store, "a")
            assert await log(kubelet, "a", follow=True) == b"1\n2\n3\n"

    asyncio.run(scenario())


def test_refusals():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            made = pod("two", "true")
            made["spec"]["containers"].append({"name": "other", "image": "missing/x", "command": ["true"]})
            store.create("pods", made)
            store.create("pods", pod("unbound", "true", schedulerName="mine"))
            with pytest.raises(ApiError, match="a container name must be specified for pod two"):
                await log(kubelet, "two")
            with pytest.raises(ApiError, match="container third is not valid for pod two"):
                await log(kubelet, "two", container="third")
            with pytest.raises(ApiError, match="not found"):
                await log(kubelet, "nobody")
            assert await log(kubelet, "unbound") == b""

            def pulling():
                statuses = store.get("pods", "default", "two")["status"].get("containerStatuses") or [{}, {}]
                return statuses[1].get("state", {}).get("waiting", {}).get("reason") in (
                    "ErrImagePull",
                    "ImagePullBackOff",
                )

            await until(pulling)
            with pytest.raises(
                ApiError, match=r'container "other" in pod "two" is waiting to start: (ErrImagePull|Im)'
            ):
                await log(kubelet, "two", container="other")
            with pytest.raises(ApiError, match='previous terminated container "base" in pod "two" not found'):
                await log(kubelet, "two", container="base", previous=True)

    asyncio.run(scenario())


def test_the_end_of_the_log_as_termination_message():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
            store.create("pods", pod("a", "sh", "-c", "echo reason >&2; exit 1", container=container))
            script = 'echo noise; printf words > "$DEVCLUSTER_TERMINATION_LOG"; exit 1'
            store.create("pods", pod("b", "sh", "-c", script, container=container))
            for name, message in (("a", "reason\n"), ("b", "words")):
                found = await finished(store, name)
                assert found["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == message

    asyncio.run(scenario())


def test_a_log_is_bounded_and_its_tail_spans_the_halves(tmp_path):
    path = tmp_path / "x.log"
    writer = LogWriter(str(path), limit=2_000)
    for index in range(200):
        writer.write(f"line {index}\n".encode(), 900.0)
    writer.close()
    assert path.stat().st_size + (tmp_path / rotated("x.log")).stat().st_size <= 4_000
    lines = read(path).splitlines()
    assert lines[-1] == b"line 199"
    assert lines == [f"line {index}".encode() for index in range(200 - len(lines), 200)]
    assert read(path, tail_lines=len(lines) - 1).splitlines() == lines[1:]
    assert read(path, tail_lines=3).splitlines() == lines[-3:]


def test_output_that_cannot_be_written_is_dropped(tmp_path):
    """A pod's folder goes with the pod, while its last process may still have a word to say."""
    writer = LogWriter(str(tmp_path / "gone" / "x.log"))
    writer.write(b"terminated by signal 9\n", 900.0)
    (tmp_path / "gone").mkdir()
    writer.write(b"and more", 901.0)
    writer.close()
    assert list((tmp_path / "gone").iterdir()) == []


def test_long_lines_are_split_and_joined_again(tmp_path):
    path = tmp_path / "x.log"
    writer = LogWriter(str(path))
    line = b"x" * 100_000
    writer.write(line[:70_000], 900.0)
    writer.write(line[70_000:] + b"\ny" * 2, 900.0)
    writer.close()
    assert max(map(len, path.read_bytes().splitlines())) < 20_000
    assert read(path) == line + b"\ny\ny"


def test_since_leaves_out_what_is_older(tmp_path):
    path = tmp_path / "x.log"
    writer = LogWriter(str(path))
    writer.write(b"old\n", 900.25)
    writer.write(b"new\n", 995.5)
    writer.close()
    assert read(path, since_seconds=10) == b"new\n"
    assert read(path, since_seconds=1) == b""


def test_reading_goes_on_across_a_rotation(tmp_path):
    path = tmp_path / "x.log"
    writer = LogWriter(str(path), limit=500)
    reader = LogReader(str(path), LogQuery(), 1000.0)
    got = []
    for index in range(100):
        writer.write(f"line {index}\n".encode(), 900.0)
        while piece := reader.read():
            got.append(piece)
    writer.close()
    reader.close()
    assert b"".join(got).splitlines() == [f"line {index}".encode() for index in range(100)]
