"""Patches, updates, deletes, bindings and evictions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from devcluster_api import JSON, MERGE, STRATEGIC, DevApi, until

JSON_PATCH = "application/json-patch+json"


def conditions(pod: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {entry["type"]: (entry["status"], entry.get("reason")) for entry in pod["status"].get("conditions", [])}


def test_a_merge_patch_removes_with_null(api: DevApi) -> None:
    api.create("a", labels={"keep": "1", "drop": "1"})
    assert api.label("a", drop=None, new="2")["metadata"]["labels"] == {"keep": "1", "new": "2"}


def test_a_strategic_patch_merges_containers_by_name(api: DevApi) -> None:
    api.create("a")
    body = {"spec": {"containers": [{"name": "base", "image": "task:2"}]}}
    pod = api.call("PATCH", api.path("a"), body, content_type=STRATEGIC).json
    assert pod["spec"]["containers"][0]["image"] == "task:2"
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "File"


def test_a_json_patch_is_all_or_nothing(api: DevApi) -> None:
    before = api.create("a", labels={"x": "1"})
    add = {"op": "add", "path": "/metadata/labels/y", "value": "2"}
    failing = {"op": "test", "path": "/metadata/labels/x", "value": "other"}
    answer = api.call("PATCH", api.path("a"), [add, failing], content_type=JSON_PATCH)
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert api.get("a").json == before
    pod = api.call("PATCH", api.path("a"), [add], content_type=JSON_PATCH).json
    assert pod["metadata"]["labels"] == {"x": "1", "y": "2"}


def test_status_and_spec_are_written_apart(api: DevApi) -> None:
    spec = api.create("a")["spec"]
    body = {"status": {"phase": "Failed"}, "metadata": {"labels": {"main": "1"}}}
    assert api.call("PATCH", api.path("a"), body, content_type=MERGE).json["status"]["phase"] == "Pending"
    body = {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}, "metadata": {"labels": {"sub": "1"}}}
    pod = api.call("PATCH", api.path("a", "status"), body, content_type=STRATEGIC).json
    assert (pod["status"]["phase"], pod["spec"]) == ("Running", spec)
    assert pod["metadata"]["labels"] == {"main": "1", "sub": "1"}


def test_conditions_merge_by_type(api: DevApi) -> None:
    api.create("a")
    api.set_status("a", conditions=[{"type": "Ready", "status": "False"}])
    pod = api.set_status("a", conditions=[{"type": "Other", "status": "True"}])
    assert conditions(pod) == {"Ready": ("False", None), "Other": ("True", None)}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"spec": {"restartPolicy": "Never"}}, 422, "spec"),
        ({"spec": {"nodeName": "n"}}, 422, "spec"),
        ({"metadata": {"uid": "other"}}, 422, "metadata.uid"),
        ({"metadata": {"name": "other"}}, 400, None),
    ],
)
def test_what_may_not_change(api: DevApi, body: dict[str, Any], status: int, field: str | None) -> None:
    before = api.create("a")
    answer = api.call("PATCH", api.path("a"), body, content_type=MERGE)
    assert answer.status == status
    if field:
        assert field in [cause["field"] for cause in answer.json["details"]["causes"]]
    assert api.get("a").json == before


def test_an_unknown_patch_type_is_refused(api: DevApi) -> None:
    api.create("a")
    assert api.call("PATCH", api.path("a"), {}, content_type=JSON).status == 415


def test_a_stale_update_is_a_conflict_and_one_without_version_is_not(api: DevApi) -> None:
    stale = api.create("a")
    api.label("a", step="1")
    answer = api.call("PUT", api.path("a"), stale)
    assert (answer.status, answer.reason) == (409, "Conflict")
    del stale["metadata"]["resourceVersion"]
    assert api.call("PUT", api.path("a"), stale).status == 200


def test_of_updates_from_one_version_one_succeeds(api: DevApi) -> None:
    base = api.create("a")

    def update(number: int) -> int:
        body = {**base, "metadata": {**base["metadata"], "labels": {"winner": str(number)}}}
        return api.call("PUT", api.path("a"), body).status

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(update, range(6))) == [200, 409, 409, 409, 409, 409]


def test_an_unscheduled_pod_goes_at_once(api: DevApi) -> None:
    api.create("a")
    pod = api.delete("a", gracePeriodSeconds=30).json
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 0
    assert api.get("a").status == 404


def test_a_running_pod_waits_and_its_grace_only_shrinks(api: DevApi) -> None:
    api.running("a")
    for query, grace in [({}, 30), ({"gracePeriodSeconds": 5}, 5), ({"gracePeriodSeconds": 500}, 5), ({}, 5)]:
        assert api.delete("a", **query).json["metadata"]["deletionGracePeriodSeconds"] == grace
    assert api.delete("a", gracePeriodSeconds=0).status == 200
    assert api.get("a").status == 404


def test_a_finished_pod_goes_at_once(api: DevApi) -> None:
    api.running("a", phase="Failed")
    assert api.delete("a").json["status"]["phase"] == "Failed"
    assert api.get("a").status == 404


def test_preconditions_guard_a_delete(api: DevApi) -> None:
    uid = api.create("a")["metadata"]["uid"]
    assert api.delete("a", uid="other").status == 409
    body = {"preconditions": {"resourceVersion": "1"}}
    assert api.call("DELETE", api.path("a"), body).status == 409
    assert api.delete("a", gracePeriodSeconds=0, uid=uid).status == 200


def test_finalizers_hold_a_pod(api: DevApi) -> None:
    with api.watch(resourceVersion=api.version()) as watch:
        api.create("a", finalizers=["example.com/hold"])
        held = api.delete("a").json
        assert api.get("a").json == held
        late = {"metadata": {"finalizers": ["example.com/hold", "example.com/late"]}}
        assert api.call("PATCH", api.path("a"), late, content_type=MERGE).status == 422
        assert api.call("PATCH", api.path("a"), {"metadata": {"finalizers": None}}, content_type=MERGE).status == 200
        assert api.get("a").status == 404
        assert watch.words(3) == ["ADDED a", "MODIFIED a", "DELETED a"]


def test_a_collection_is_deleted_by_selector(api: DevApi) -> None:
    for name, group in (("a", "1"), ("b", "1"), ("c", "2")):
        api.create(name, labels={"group": group})
    answer = api.call("DELETE", api.pods, labelSelector="group=1").json
    assert [(item["metadata"]["name"], "deletionTimestamp" in item["metadata"]) for item in answer["items"]] == [
        ("a", False),
        ("b", False),
    ]
    assert api.names() == ["c"]


def test_a_binding_sets_node_and_condition_in_one_event(api: DevApi) -> None:
    api.create("a")
    with api.watch(resourceVersion=api.version()) as watch:
        answer = api.bind("a", "far-away")
        assert (answer.status, answer.json["status"]) == (201, "Success")
        pod = watch.take(1)[0]["object"]
    assert pod["spec"]["nodeName"] == "far-away"
    assert conditions(pod)["PodScheduled"] == ("True", None)
    assert pod["status"]["phase"] == "Pending"
    assert api.bind("a").status == 409
    assert api.bind("missing").status == 404


def test_an_eviction_marks_and_then_deletes(api: DevApi) -> None:
    api.running("a")
    with api.watch(resourceVersion=api.version()) as watch:
        assert api.evict("a").status == 201
        marked, deleting = [event["object"] for event in watch.take(2)]
    assert conditions(marked)["DisruptionTarget"] == ("True", "EvictionByEvictionAPI")
    assert "deletionTimestamp" not in marked["metadata"]
    assert "deletionTimestamp" in deleting["metadata"]
    assert api.evict("missing").status == 404


def test_events_are_selected_by_what_they_are_about(api: DevApi) -> None:
    path = f"/api/v1/namespaces/{api.namespace}/events"
    for name, pod in (("a.1", "a"), ("b.1", "b")):
        involved = {"kind": "Pod", "name": pod, "namespace": api.namespace}
        event = {"metadata": {"name": name}, "involvedObject": involved, "type": "Warning", "reason": "Why"}
        assert api.call("POST", path, event).status == 201
    listed = api.call("GET", path, fieldSelector="involvedObject.name=a,type=Warning").json
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a.1"]
    assert api.call("GET", path, fieldSelector="bogus=1").status == 400


def test_a_deleted_namespace_is_gone_once_it_is_empty(api: DevApi) -> None:
    api.create("a")
    path = f"/api/v1/namespaces/{api.namespace}"
    assert api.call("DELETE", path).status == 200
    until(lambda: api.call("GET", path).status == 404, "the namespace to be gone")
