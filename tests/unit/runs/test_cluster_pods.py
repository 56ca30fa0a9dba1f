"""Old pods on a scripted server: what is repeated and when, what is awaited, what is told of those that stay."""

from __future__ import annotations

import asyncio
import json

import pytest

from fake_api import FakeApi, Reply
from shard_executor.core.credentials import Credentials
from shard_executor.runs.cluster_pods import Cleared, clear_pods, find_pods
from shard_executor.runs.resume import FoundPod

POD = FoundPod("jobs", "p", "u", "run/a/0", 0)


def shown(uid="u", phase="Running", **meta):
    annotations = {"shard-executor/submission": "run/a/0", "shard-executor/attempt": "0"}
    known = {"name": "p", "namespace": "jobs", "uid": uid, "resourceVersion": "5", "annotations": annotations}
    return {"metadata": known | meta, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}


def listed(*pods):
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": list(pods)}
    return Reply(body=json.dumps(body).encode())


def refusal(code, reason, **headers):
    return Reply(code, json.dumps({"kind": "Status", "reason": reason, "message": "no"}).encode(), headers=headers)


def against(script, work):
    async def play():
        async with FakeApi(*script) as fake:
            found = await asyncio.to_thread(work, Credentials(host=fake.host))
            return found, [(request.method, request.query.get("labelSelector")) for request in fake.requests]

    return asyncio.run(play())


def clear(script, limit=20.0, delete=(), awaited=()):
    beats = []
    found, asked = against(
        script,
        lambda to: clear_pods(to, "mine", delete, awaited=awaited, limit=limit, beat=lambda: beats.append(1)),
    )
    assert beats
    return found, asked


LIST, DELETE = ("GET", "shard-executor/instance=mine"), ("DELETE", None)


def test_a_pod_that_cannot_be_read_is_left_out(caplog):
    broken = shown()
    broken["metadata"]["resourceVersion"] = "many"
    found, _ = against([listed(broken, shown("v"))], lambda to: find_pods(to, ["jobs"], "mine"))
    assert [pod.uid for pod in found] == ["v"]
    assert "a pod in namespace jobs cannot be read: " in caplog.text


def test_a_refused_removal_is_repeated():
    found, asked = clear([refusal(429, "TooManyRequests", **{"Retry-After": "1"}), Reply()], delete=[POD])
    assert (found, asked) == (Cleared(), [DELETE, DELETE])


def test_a_permission_that_is_missing_is_told_at_once():
    found, asked = clear([refusal(403, "Forbidden")], delete=[POD])
    assert (found.refused, asked) == ({"u": ("jobs/p", "Forbidden: no")}, [DELETE])


def test_a_retry_after_beyond_the_limit_is_not_awaited():
    found, asked = clear([refusal(429, "TooManyRequests", **{"Retry-After": "100"})], delete=[POD])
    assert (found.refused, asked) == ({"u": ("jobs/p", "TooManyRequests: no")}, [DELETE])


def test_only_pods_of_this_instance_are_looked_at_until_the_awaited_one_has_gone():
    found, asked = clear([Reply(), listed(shown()), refusal(500, "InternalError"), listed(shown("v"))], awaited=[POD])
    assert (found, asked) == (Cleared(), [DELETE, LIST, LIST, LIST])


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_an_awaited_pod_that_has_ended_is_told_as_it_is_now(phase):
    found, _ = clear([Reply(), listed(shown(phase=phase))], awaited=[POD])
    assert [(pod.finished, pod.succeeded) for pod in found.there] == [(True, phase == "Succeeded")]
    assert found.holds == {}


def test_what_holds_a_pod_is_told():
    held = shown(deletionTimestamp="2026-01-31T12:00:00Z", finalizers=["example.com/hold"])
    found, _ = clear([Reply(), listed(held), Reply(body=json.dumps(held).encode())], limit=0.0, awaited=[POD])
    assert [pod.uid for pod in found.there] == ["u"]
    words = "being deleted since 2026-01-31T12:00:00Z, on node n1, held by finalizers example.com/hold"
    assert found.holds == {"u": words}
