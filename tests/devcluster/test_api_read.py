"""Lists: selectors, pages, versions, forms."""

from __future__ import annotations

import pytest

from devcluster_api import JSON, PROTOBUF, DevApi
from shard_executor.devcluster import protobuf
from shard_executor.devcluster.process import DevClusterProcess

PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=x", "ab"),
        ("app!=x", "cd"),
        ("app in (x, y)", "abc"),
        ("app notin (x)", "cd"),
        ("app", "abc"),
        ("!app", "d"),
        ("app=x,try!=1", "b"),
        ("empty=", "c"),
        ("", "abcd"),
    ],
)
def test_label_selectors(api: DevApi, selector: str, names: str) -> None:
    api.create("b", labels={"app": "x", "try": "2"})
    api.create("a", labels={"app": "x", "try": "1"})
    api.create("d")
    api.create("c", labels={"app": "y", "empty": ""})
    assert api.names(labelSelector=selector) == list(names)


def test_field_selectors(api: DevApi) -> None:
    api.create("a")
    api.running("b")
    assert api.names(fieldSelector="status.phase=Running") == ["b"]
    assert api.names(fieldSelector="spec.nodeName=") == ["a"]
    assert api.names(fieldSelector="metadata.name!=a,status.phase!=Failed") == ["b"]


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "app in ("},
        {"labelSelector": "=x"},
        {"fieldSelector": "spec.bogus=1"},
        {"limit": "many"},
        {"continue": "garbage"},
        {"resourceVersion": "abc"},
    ],
)
def test_bad_parameters(api: DevApi, query: dict[str, str]) -> None:
    answer = api.call("GET", api.pods, **query)
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_pages_are_one_snapshot(api: DevApi) -> None:
    names = [f"p{number}" for number in range(5)]
    for name in names:
        api.create(name)
    first = api.list(limit=2)
    assert first["metadata"]["remainingItemCount"] == 3
    api.create("p00")
    api.delete("p4")
    second = api.list(limit=2, **{"continue": first["metadata"]["continue"]})
    third = api.list(limit=2, **{"continue": second["metadata"]["continue"]})
    seen = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert seen == names
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {
        first["metadata"]["resourceVersion"]
    }
    assert "continue" not in third["metadata"]


def test_a_page_after_compaction_is_expired_and_offers_a_fresh_token(api: DevApi, cluster: DevClusterProcess) -> None:
    for name in "abc":
        api.create(name)
    token = api.list(limit=1)["metadata"]["continue"]
    cluster.fault("compact")
    answer = api.call("GET", api.pods, limit=1, **{"continue": token})
    assert (answer.status, answer.reason) == (410, "Expired")
    fresh = answer.json["metadata"]["continue"]
    assert api.names(**{"continue": fresh}) == ["b", "c"]


def test_exact_and_future_versions(api: DevApi) -> None:
    version = api.create("a")["metadata"]["resourceVersion"]
    api.create("b")
    assert api.names(resourceVersion=version, resourceVersionMatch="Exact") == ["a"]
    assert api.names(resourceVersion=version, resourceVersionMatch="NotOlderThan") == ["a", "b"]
    answer = api.call("GET", api.pods, resourceVersion=10**15)
    assert (answer.status, answer.headers["Retry-After"]) == (504, "1")
    assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_metadata_only(api: DevApi) -> None:
    api.create("a", labels={"app": "x"})
    listed = api.call("GET", api.pods, accept=PARTIAL).json
    assert listed["kind"] == "PartialObjectMetadataList"
    assert listed["items"][0]["metadata"]["labels"] == {"app": "x"}
    assert "spec" not in listed["items"][0]


def test_a_protobuf_pod_holds_what_the_json_pod_holds(api: DevApi) -> None:
    spec = {
        "containers": [
            {
                "name": "base",
                "image": "task:1",
                "args": ["run", "ä <&>"],
                "env": [{"name": "A", "value": "1"}],
                "resources": {"limits": {"cpu": "1"}},
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    api.create("a", spec, labels={"b": "2", "a": "1"})
    api.set_status("a", phase="Failed", containerStatuses=[_ended("base", -1)])
    answer = api.call("GET", api.path("a"), accept=PROTOBUF)
    assert answer.headers["Content-Type"] == PROTOBUF
    assert answer.body == protobuf.envelope("v1", "Pod", protobuf.encode("Pod", api.get("a").json))
    decoded = protobuf.decode_envelope(answer.body)
    assert decoded["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == -1
    assert decoded["spec"]["containers"][0]["args"] == ["run", "ä <&>"]


def test_protobuf_bodies_are_read(api: DevApi) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "base", "image": "task:1"}]}}
    body = protobuf.envelope("v1", "Pod", protobuf.encode("Pod", pod))
    answer = api.call("POST", api.pods, body, content_type=PROTOBUF)
    assert answer.status == 201
    assert answer.json["spec"]["containers"][0]["image"] == "task:1"


def test_refusals_follow_the_accepted_form(api: DevApi) -> None:
    status = protobuf.decode_envelope(api.call("GET", api.path("nope"), accept=PROTOBUF).body)
    assert (status["kind"], status["reason"], status["code"]) == ("Status", "NotFound", 404)
    assert api.call("GET", api.pods, accept="image/png").status == 406
    assert api.call("GET", api.pods, accept=f"text/html, {JSON};q=0.1").status == 200


def test_a_table_has_the_columns_of_kubectl(api: DevApi) -> None:
    api.running("a")
    table = api.call("GET", api.pods, accept=TABLE).json
    names = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert names == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:4] == ["a", "0/1", "Running", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def _ended(name: str, code: int) -> dict[str, object]:
    state = {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": "2024-01-01T00:00:00Z"}}
    return {"name": name, "ready": False, "restartCount": 0, "image": "task:1", "imageID": "", "state": state}
