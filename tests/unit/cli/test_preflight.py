"""cli.preflight against a scripted server: what is missing is told before anything is created."""

import asyncio
import json

import pytest

from fake_api import FakeApi, Reply
from shard_executor.cli.errors import CommandError
from shard_executor.cli.preflight import preflight
from shard_executor.core.credentials import Credentials

VERSION = Reply(200, b'{"gitVersion":"v1.36.2"}')
NAMESPACE = Reply(200, b'{"kind":"Namespace","status":{"phase":"Active"}}')


def review(allowed):
    return Reply(201, json.dumps({"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}}).encode())


def check(*script, **options):
    """What the preflight returned or complained of, and the permissions it asked about."""

    async def scenario():
        async with FakeApi(*script) as fake:
            credentials = Credentials(host=fake.host)
            try:
                result = await asyncio.to_thread(preflight, credentials, "team", "a test", **options)
            except CommandError as error:
                result = str(error)
            reviews = [json.loads(request.body) for request in fake.requests if request.method == "POST"]
            return result, sorted(review["spec"]["resourceAttributes"]["verb"] for review in reviews)

    return asyncio.run(scenario())


@pytest.mark.parametrize("keeps_pods", [False, True])
def test_the_permission_to_mark_pods_is_asked_about_where_pods_stay(keeps_pods):
    cluster, asked = check(VERSION, NAMESPACE, *[review(True)] * 20, keeps_pods=keeps_pods)
    assert cluster.version == "v1.36.2"
    assert set(asked) == {"create", "delete", "get", "list", "watch"} | ({"patch"} if keeps_pods else set())


def test_missing_permissions_are_named():
    complaint, _ = check(VERSION, NAMESPACE, *[review(False)] * 20)
    assert "may not create, delete, get, list, watch pods" in complaint


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([Reply(502, b"<title>502 Bad Gateway</title>", "text/html")], "502 Bad Gateway"),
        ([Reply(302, b"", "text/html", headers={"Location": "/login"})], "answered 302"),
        ([Reply(200, b"<html>log in</html>", "text/html")], "no Kubernetes API server"),
        ([Reply(401, b'{"kind":"Status","reason":"Unauthorized","message":"Unauthorized"}')], "log in again"),
        ([VERSION, Reply(200, b'{"status":{"phase":"Terminating"}}')], "being deleted"),
        ([VERSION, Reply(429, b"Too many requests, please try again later.", "text/plain")], "Too many requests"),
    ],
)
def test_an_unfit_server_is_told_in_its_own_words(script, words):
    complaint, asked = check(*script)
    assert words in complaint
    assert asked == []
