"""The requests for single pods: what is sent, and what each answer of an API server says about the pod."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api_session import Session
from fake_api import DROP, Reply
from shard_executor.core import actions as act
from shard_executor.core import events as ev
from shard_executor.core.credentials import Credentials
from shard_executor.core.failures import Stage
from shard_executor.core.faults import Fault
from shard_executor.shard.pod_requests import PodRequests
from shard_executor.shard.settings import ShardSettings

# As kube-apiserver 1.36 words them.
OTHER_UID = (
    'Operation cannot be fulfilled on Pod "t-0": the UID in the precondition (u) does not match the UID in record '
    "(v). The object might have been deleted and then recreated"
)
OTHER_UID_IN_STORAGE = (
    'Operation cannot be fulfilled on pods "t-0": StorageError: invalid object, Code: 4, Key: /registry/pods/ns/t-0, '
    "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, UID in object meta: v"
)
MODIFIED = (
    'Operation cannot be fulfilled on pods "fluid-guid-0": the object has been modified; '
    "please apply your changes to the latest version and try again"
)
IMMUTABLE = 'Pod "t-0" is invalid: metadata.uid: Invalid value: "u": field is immutable'


def settings(**fields: Any) -> ShardSettings:
    values: dict[str, Any] = {
        "shard": 1,
        "shards": 2,
        "bins": (128, 256),
        "parent_pid": 1,
        "instance": "tests",
        "owner": "tests",
        "namespaces": ("ns",),
        "credentials": Credentials(host="http://127.0.0.1:1"),
        "log_tail_lines": 20,
        "request_timeout": 10.0,
        "beat_interval": 1.0,
        "window": (1, 1, 1),
    }
    return ShardSettings(**{**values, **fields})


def refusal(status: int, reason: str, message: str) -> Reply:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return Reply(status, json.dumps(body).encode())


def answers(
    *script: Any, method: str, action: Any, arguments: tuple[Any, ...] = (), **more: Any
) -> tuple[Any, list[Any]]:
    """What a request comes to on a server that answers by the script, and what the server was sent."""

    async def ask() -> tuple[Any, list[Any]]:
        async with asyncio.timeout(30), Session(*script) as (api, fake):
            requests = PodRequests(api, timeout=10.0, log_lines=20, selects=settings().selects, **more)
            return await getattr(requests, method)(action, *arguments), list(fake.requests)

    return asyncio.run(ask())


def remove(reply: Any, keep: bool = False) -> ev.Removed | ev.RemoveFailed:
    found, _ = answers(reply, method="remove", action=act.RemovePod("k", "ns", "t-0", "u", keep))
    assert isinstance(found, ev.Removed | ev.RemoveFailed)
    return found


@pytest.mark.parametrize("message", [OTHER_UID, OTHER_UID_IN_STORAGE])
def test_a_conflict_on_the_uid_says_that_our_pod_is_gone(message: str) -> None:
    assert remove(refusal(409, "Conflict", message)) == ev.Removed("k", True)


@pytest.mark.parametrize("keep", [False, True])
def test_any_other_conflict_is_a_refusal_whatever_the_pod_is_called(keep: bool) -> None:
    found = remove(refusal(409, "Conflict", MODIFIED), keep)
    assert isinstance(found, ev.RemoveFailed)
    assert found.info.fault is Fault.CONFLICT


def test_a_mark_that_would_change_a_uid_says_that_our_pod_is_gone() -> None:
    assert remove(refusal(422, "Invalid", IMMUTABLE), keep=True) == ev.Removed("k", True)
    assert isinstance(remove(refusal(422, "Invalid", "metadata.labels: Invalid value"), keep=True), ev.RemoveFailed)


def test_a_pod_that_is_not_there_is_gone() -> None:
    assert remove(refusal(404, "NotFound", 'pods "t-0" not found')) == ev.Removed("k", True)


def test_a_delete_names_the_uid_and_its_answer_says_whether_the_pod_is_gone() -> None:
    gone = {"kind": "PartialObjectMetadata", "metadata": {"name": "t-0", "deletionGracePeriodSeconds": 0}}
    action = act.RemovePod("k", "ns", "t-0", "u")
    found, (request,) = answers(Reply(200, json.dumps(gone).encode()), method="remove", action=action)
    assert found == ev.Removed("k", True)
    assert (request.method, request.path, request.query) == ("DELETE", "/api/v1/namespaces/ns/pods/t-0", {"uid": "u"})
    held = {**gone, "metadata": {**gone["metadata"], "finalizers": ["example.com/f"]}}  # type: ignore[dict-item]
    assert remove(Reply(200, json.dumps(held).encode())) == ev.Removed("k", False)
    assert remove(Reply(200, b'{"kind":"Status","metadata":null,"status":"Success"}')) == ev.Removed("k", False)
    found, _ = answers(DROP, DROP, method="remove", action=action)  # a delete is sent again by the client itself
    assert isinstance(found, ev.RemoveFailed)


def pod(bin_number: str = "200", attempt: str = "2", **labels: str) -> bytes:
    metadata = {
        "name": "t-2",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "7",
        "labels": {"shard-executor/instance": "tests", "shard-executor/bin": bin_number, **labels},
        "annotations": {"shard-executor/submission": "s", "shard-executor/attempt": attempt},
    }
    return json.dumps({"kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}).encode()


@pytest.mark.parametrize(
    ("body", "same", "selected"),
    [
        (pod(), True, True),
        (pod(attempt="1"), False, True),
        (pod(bin_number="3"), True, False),
        (pod(airflow_executor_done="True"), True, False),
        (pod(**{"shard-executor/instance": "another"}), True, False),
    ],
    ids=["ours", "another-attempt", "another-bin", "marked-as-done", "another-instance"],
)
def test_a_read_says_whose_the_pod_is_and_whether_the_watch_shows_it(body: bytes, same: bool, selected: bool) -> None:
    action = act.ReadPod("t", "ns", "t-2", 2)
    found, _ = answers(Reply(200, body), method="read", action=action, arguments=("s",))
    assert (found.uid, found.attempt, found.same, found.selected) == ("u", 2, same, selected)


def test_a_read_that_fails_says_of_which_attempt() -> None:
    action = act.ReadPod("t", "ns", "t-2", 2)
    found, _ = answers(refusal(403, "Forbidden", "no"), method="read", action=action, arguments=("s",))
    assert (type(found), found.attempt) == (ev.ReadFailed, 2)
    found, _ = answers(refusal(404, "NotFound", "no"), method="read", action=action, arguments=("s",))
    assert found == ev.PodRead("t", None, attempt=2)


def test_a_proxys_404_does_not_say_that_a_pod_is_gone() -> None:
    page = Reply(404, b"<html><title>404 page not found</title></html>", "text/html")
    found, _ = answers(page, method="read", action=act.ReadPod("t", "ns", "t-2", 2), arguments=("s",))
    assert isinstance(found, ev.ReadFailed)
    assert isinstance(remove(page), ev.RemoveFailed)


def test_with_one_shard_a_pod_needs_no_bin() -> None:
    only = settings(shards=1, bins=(0, 256))
    assert only.selects({"shard-executor/instance": "tests"})
    assert not settings().selects({"shard-executor/instance": "tests"})


# ---- delete options


def test_delete_options_go_in_the_body_with_our_precondition() -> None:
    theirs = {"gracePeriodSeconds": 5, "propagationPolicy": "Background", "preconditions": {"resourceVersion": "1"}}
    action = act.RemovePod("k", "ns", "t-0", "u")
    _, (request,) = answers(Reply(), method="remove", action=action, delete_options=theirs)
    assert request.query == {}
    assert json.loads(request.body) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 5,
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
    }


# ---- adoption

MARKS = ({"airflow-worker": "17"}, {"shard-executor/submission": "s"})
ADOPT = act.AdoptPod("t", "ns", "their-pod", "u", MARKS, 2)


def test_a_pod_is_adopted_by_one_patch_with_its_uid_and_the_answer_is_what_it_is_now() -> None:
    found, (request,) = answers(Reply(200, pod()), method="adopt", action=ADOPT)
    assert (found.ticket, found.attempt, found.deleting, found.verdict.stage) == ("t", 2, False, Stage.RUNNING)
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/ns/pods/their-pod")
    assert request.headers["content-type"] == "application/merge-patch+json"
    assert json.loads(request.body) == {
        "metadata": {
            "uid": "u",
            "labels": {"airflow-worker": "17"},
            "annotations": {"shard-executor/submission": "s"},
        }
    }


@pytest.mark.parametrize(
    ("reply", "gone"),
    [
        (refusal(404, "NotFound", 'pods "their-pod" not found'), True),
        (refusal(422, "Invalid", IMMUTABLE), True),
        (refusal(409, "Conflict", OTHER_UID), True),
        (refusal(409, "Conflict", MODIFIED), False),
        (refusal(422, "Invalid", "metadata.labels: Invalid value"), False),
        (refusal(429, "TooManyRequests", "later"), False),
        (refusal(403, "Forbidden", "no"), False),
        (Reply(404, b"<html>404 page not found</html>", "text/html"), False),
        (Reply(200, b"{}"), False),
        (Reply(200, b'{"kind":"Pod","metadata":{"uid":"v","resourceVersion":"7","name":"p"}}'), False),
    ],
    ids=["not-found", "other-uid", "precondition", "modified", "labels", "429", "403", "proxy", "no-pod", "other-pod"],
)
def test_a_refused_patch_says_whether_the_pod_is_gone(reply: Reply, gone: bool) -> None:
    found, _ = answers(reply, method="adopt", action=ADOPT)
    assert (type(found), found.attempt, found.gone) == (ev.AdoptFailed, 2, gone)


# ---- the selector


def test_every_label_of_the_selector_is_asked_for_and_looked_at() -> None:
    ours = settings(shards=1, bins=(0, 256), selector={"airflow-worker": "17"})
    assert ours.label_selector() == "airflow-worker=17,shard-executor/instance=tests,airflow_executor_done!=True"
    labels = {"shard-executor/instance": "tests", "airflow-worker": "17"}
    assert ours.selects(labels)
    assert not ours.selects({**labels, "airflow-worker": "18"})
    assert not ours.selects({"shard-executor/instance": "tests"})
    assert not ours.selects({**labels, "airflow_executor_done": "True"})
