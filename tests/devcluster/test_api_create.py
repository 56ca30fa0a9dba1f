"""Creating pods: defaults, generated names, refusals, dry runs."""

from __future__ import annotations

from typing import Any

import pytest

from devcluster_api import DevApi, manifest


def test_the_answer_is_the_stored_pod_with_its_defaults(api: DevApi) -> None:
    pod = api.create("a", labels={"app": "x"})
    assert api.get("a").json == pod
    assert int(pod["metadata"]["resourceVersion"]) > 1_000_000
    assert pod["metadata"]["uid"]
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["qosClass"] == "BestEffort"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_generated_names_differ(api: DevApi) -> None:
    body = manifest("")
    body["metadata"] = {"generateName": "task-"}
    names = {api.call("POST", api.pods, body).json["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("task-") and len(name) == 10 for name in names)


def test_a_taken_name_is_refused(api: DevApi) -> None:
    api.create("twin")
    answer = api.call("POST", api.pods, manifest("twin"))
    assert (answer.status, answer.reason) == (409, "AlreadyExists")
    assert answer.json["message"] == 'pods "twin" already exists'


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (manifest("Bad_Name"), "metadata.name", "FieldValueInvalid"),
        (manifest(""), "metadata.name", "FieldValueRequired"),
        (manifest("a", {"containers": []}), "spec.containers", "FieldValueRequired"),
        (manifest("a", labels={"key": "bad value"}), "metadata.labels", "FieldValueInvalid"),
        (manifest("a", finalizers=["short"]), "metadata.finalizers[0]", "FieldValueInvalid"),
        (manifest("a", {"restartPolicy": "Sometimes"}), "spec.restartPolicy", "FieldValueNotSupported"),
    ],
)
def test_an_invalid_pod_is_refused_with_its_field(api: DevApi, body: dict[str, Any], field: str, reason: str) -> None:
    answer = api.call("POST", api.pods, body)
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert (reason, field) in [(cause["reason"], cause["field"]) for cause in answer.json["details"]["causes"]]


@pytest.mark.parametrize(
    "body", [b"", b"pod", b'{"kind":"Pod"', {"kind": "ConfigMap"}, manifest("a", {"containers": "x"})]
)
def test_an_unreadable_body_is_a_bad_request(api: DevApi, body: Any) -> None:
    answer = api.call("POST", api.pods, body)
    assert (answer.status, answer.reason) == (400, "BadRequest")


def test_unknown_fields_are_refused_warned_of_or_dropped(api: DevApi) -> None:
    strict = api.call("POST", api.pods, manifest("s", {"bogus": 1}), fieldValidation="Strict")
    assert strict.status == 400
    assert 'unknown field "spec.bogus"' in strict.json["message"]
    warned = api.call("POST", api.pods, manifest("w", {"bogus": 1}))
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.bogus\\""'
    ignored = api.call("POST", api.pods, manifest("i", {"bogus": 1}), fieldValidation="Ignore")
    assert ignored.status == 201
    assert "Warning" not in ignored.headers
    assert "bogus" not in ignored.json["spec"]


def test_a_missing_namespace_is_not_found(api: DevApi) -> None:
    answer = api.call("POST", "/api/v1/namespaces/nowhere/pods", manifest("a"))
    assert (answer.status, answer.json["details"]) == (404, {"name": "nowhere", "kind": "namespaces"})


def test_a_dry_run_stores_nothing(api: DevApi) -> None:
    pod = api.call("POST", api.pods, manifest("a"), dryRun="All")
    assert pod.status == 201
    assert "resourceVersion" not in pod.json["metadata"]
    assert api.get("a").status == 404
    assert api.call("POST", api.pods, manifest("a"), dryRun="Some").status == 422


def test_other_content_types_are_refused(api: DevApi) -> None:
    answer = api.call("POST", api.pods, manifest("a"), content_type="text/plain")
    assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


def test_a_terminating_namespace_refuses_pods(api: DevApi) -> None:
    api.create("held", finalizers=["example.com/hold"])
    path = f"/api/v1/namespaces/{api.namespace}"
    assert api.call("DELETE", path).json["status"]["phase"] == "Terminating"
    answer = api.call("POST", api.pods, manifest("late"))
    assert (answer.status, answer.reason) == (403, "Forbidden")
    assert answer.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"


def test_a_quota_refuses_in_the_words_of_the_real_server(api: DevApi) -> None:
    quotas = f"/api/v1/namespaces/{api.namespace}/resourcequotas"
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    assert api.call("POST", quotas, quota).status == 201
    api.create("first")
    answer = api.call("POST", api.pods, manifest("second"))
    assert answer.status == 403
    assert answer.json["message"] == (
        'pods "second" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )
    api.delete("first")
    assert api.call("POST", api.pods, manifest("second")).status == 201


def test_a_body_beyond_the_limit_is_refused(api: DevApi) -> None:
    answer = api.call("POST", api.pods, manifest("a", annotations={"big": "x" * (3 * 1024 * 1024)}))
    assert (answer.status, answer.reason) == (413, "RequestEntityTooLarge")


def test_characters_survive_both_ways(api: DevApi) -> None:
    text = 'quote " backslash \\ <tag> & ü 😀 \u2028 line\nbreak'
    assert api.create("a", annotations={"note": text})["metadata"]["annotations"] == {"note": text}
    raw = api.call("GET", api.path("a")).body
    assert b"\\u003ctag\\u003e \\u0026" in raw
