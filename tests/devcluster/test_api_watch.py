"""Watches: order, selectors, resuming, bookmarks, streaming lists, expiry, ends."""

from __future__ import annotations

import pytest

from devcluster_api import MERGE, PROTOBUF, DevApi, until
from shard_executor.devcluster.process import DevClusterProcess

STREAMING = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}


def test_every_write_is_seen_once_and_in_order(api: DevApi) -> None:
    with api.watch(resourceVersion=api.version()) as watch:
        written = [api.create("a"), api.label("a", step="1"), api.create("b"), api.set_status("a", phase="Running")]
        events = watch.take(4)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "ADDED", "MODIFIED"]
    assert [event["object"] for event in events] == written


def test_a_deletion_is_marked_first(api: DevApi) -> None:
    api.create("a")
    with api.watch(resourceVersion=api.version()) as watch:
        answer = api.delete("a").json
        marked, deleted = watch.take(2)
    assert (marked["type"], deleted["type"]) == ("MODIFIED", "DELETED")
    assert "deletionTimestamp" in marked["object"]["metadata"]
    assert deleted["object"]["metadata"]["resourceVersion"] == answer["metadata"]["resourceVersion"]


def test_a_watch_replays_what_came_after_its_version(api: DevApi) -> None:
    version = api.create("a")["metadata"]["resourceVersion"]
    api.label("a", step="1")
    api.delete("a")
    with api.watch(resourceVersion=version) as watch:
        api.create("live")
        assert watch.words(4) == ["MODIFIED a", "MODIFIED a", "DELETED a", "ADDED live"]


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
def test_without_a_version_it_begins_with_what_there_is(api: DevApi, query: dict[str, str]) -> None:
    api.create("b")
    api.create("a")
    with api.watch(**query) as watch:
        assert watch.words(2) == ["ADDED a", "ADDED b"]
        api.label("b", step="1")
        assert watch.words(1) == ["MODIFIED b"]


def test_a_write_that_changes_nothing_makes_no_event(api: DevApi) -> None:
    api.create("a", labels={"step": "1"})
    with api.watch(resourceVersion=api.version()) as watch:
        before = api.get("a").json["metadata"]["resourceVersion"]
        assert api.label("a", step="1")["metadata"]["resourceVersion"] == before
        api.label("a", step="2")
        assert watch.take(1)[0]["object"]["metadata"]["labels"] == {"step": "2"}


def test_leaving_a_selector_shows_the_last_matching_state(api: DevApi) -> None:
    with api.watch(resourceVersion=api.version(), labelSelector="app=x") as watch:
        api.create("a", labels={"app": "x"})
        left = api.label("a", app="y")
        api.label("a", unseen="1")
        api.label("a", app="x")
        events = watch.take(3)
    assert [event["type"] for event in events] == ["ADDED", "DELETED", "ADDED"]
    gone = events[1]["object"]
    assert gone["metadata"]["labels"] == {"app": "x"}
    assert gone["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
    assert "deletionTimestamp" not in gone["metadata"]


def test_field_selectors_have_transitions_too(api: DevApi) -> None:
    with api.watch(resourceVersion=api.version(), fieldSelector="status.phase=Pending") as watch:
        api.create("a")
        api.set_status("a", phase="Running")
        assert watch.words(2) == ["ADDED a", "DELETED a"]


def test_an_expired_version_is_one_error_and_the_end(api: DevApi, cluster: DevClusterProcess) -> None:
    version = api.create("a")["metadata"]["resourceVersion"]
    cluster.fault("compact")
    with api.watch(resourceVersion=version) as watch:
        events = list(watch)
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


def test_versions_of_an_earlier_cluster_are_expired(api: DevApi) -> None:
    with api.watch(resourceVersion=1) as watch:
        assert [event["object"]["code"] for event in watch] == [410]


def test_a_streaming_list_ends_with_a_marked_bookmark(api: DevApi) -> None:
    api.create("a")
    with api.watch(**STREAMING) as watch:
        added, mark = watch.take(2)
        assert added["type"] == "ADDED"
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        api.create("b")
        assert watch.words(1) == ["ADDED b"]


def test_streaming_lists_can_be_switched_off() -> None:
    with DevClusterProcess(["--kubelet", "simulated", "--no-watch-list"]) as older:
        api = DevApi(older.url, older.token)
        answer = api.call("GET", api.pods, watch="1", **STREAMING)
        assert (answer.status, answer.reason) == (422, "Invalid")
        assert "sendInitialEvents" in [cause["field"] for cause in answer.json["details"]["causes"]]


def test_a_bookmark_covers_writes_that_the_selector_hides(api: DevApi) -> None:
    query = {"resourceVersion": api.version(), "labelSelector": "no=match", "timeoutSeconds": 3}
    with api.watch(allowWatchBookmarks="true", **query) as watch:
        hidden = api.create("hidden")
        events = list(watch)
    assert [event["type"] for event in events] == ["BOOKMARK"]
    metadata = events[0]["object"]["metadata"]
    assert list(metadata) == ["resourceVersion"]
    assert int(metadata["resourceVersion"]) >= int(hidden["metadata"]["resourceVersion"])


def test_the_stream_ends_at_its_timeout(api: DevApi) -> None:
    with api.watch(resourceVersion=api.version(), timeoutSeconds=1) as watch:
        api.create("a")
        assert [event["type"] for event in watch] == ["ADDED"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"labelSelector": "app in"}, 400),
        ({"timeoutSeconds": "soon"}, 400),
        ({"resourceVersion": "abc"}, 500),
        ({"sendInitialEvents": "true"}, 422),
        ({"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"}, 422),
    ],
)
def test_bad_parameters_are_refused_before_the_stream(api: DevApi, query: dict[str, str], status: int) -> None:
    assert api.call("GET", api.pods, watch="1", **query).status == status


def test_a_stalled_reader_loses_nothing(api: DevApi) -> None:
    version = api.create("big")["metadata"]["resourceVersion"]
    with api.watch(resourceVersion=version) as watch:
        written = []
        for number in range(60):
            body = {"metadata": {"annotations": {"number": str(number), "filler": "x" * 60_000}}}
            patched = api.call("PATCH", api.path("big"), body, content_type=MERGE).json
            written.append(patched["metadata"]["resourceVersion"])
        seen = [event["object"]["metadata"]["resourceVersion"] for event in watch.take(60)]
    assert seen == written


def test_a_reader_that_falls_too_far_behind_is_ended_cleanly_after_a_gapless_prefix(api: DevApi) -> None:
    version = api.create("big")["metadata"]["resourceVersion"]
    filler = "x" * 200_000
    with api.watch(resourceVersion=version) as watch:
        for number in range(1_200):
            size = len(filler) if number < 100 else 1
            body = {"metadata": {"annotations": {"number": str(number), "filler": filler[:size]}}}
            assert api.call("PATCH", api.path("big"), body, content_type=MERGE).status == 200
        numbers = [int(event["object"]["metadata"]["annotations"]["number"]) for event in watch]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 1_200


def test_a_protobuf_watch_has_frames(api: DevApi) -> None:
    with api.watch(accept=f"{PROTOBUF};stream=watch", resourceVersion=api.version()) as watch:
        api.create("a")
        length = int.from_bytes(watch.response.read(4), "big")
        frame = watch.response.read(length)
    assert watch.response.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
    assert frame.startswith(b"\x0a\x05ADDED\x12")
    assert b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod" in frame


def test_a_watch_of_a_client_that_left_is_closed(api: DevApi, cluster: DevClusterProcess) -> None:
    before = cluster.stats()["watches"]
    with api.watch(resourceVersion=api.version()):
        until(lambda: cluster.stats()["watches"] == before + 1, "the watch to be open")
    until(lambda: cluster.stats()["watches"] <= before, "the watch to be closed")
