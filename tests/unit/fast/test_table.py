"""What a PodTable tells and keeps, one rule at a time."""

import gc
import threading

import pytest

from pods_as_text import UID, body, line, open_table, pod
from shard_executor._fast import (
    ADDED,
    DELETED,
    FORMAT_JSON,
    FORMAT_PROTOBUF,
    GONE,
    MODIFIED,
    PodChange,
    PodTable,
    Undecodable,
)


def kinds(items):
    return [item.kind for item in items]


def test_a_pods_life():
    table = open_table()
    stream = (
        line("ADDED", pod(version=5))
        + line("MODIFIED", pod(version=6))
        + line("MODIFIED", pod(version=7, phase="Running"))
        + line("MODIFIED", pod(version=8, phase="Running", deletionTimestamp="2026-01-01T00:00:00Z"))
        + line("DELETED", pod(version=9, phase="Running", deletionTimestamp="2026-01-01T00:00:00Z"))
    )
    items = table.feed(stream)
    assert kinds(items) == [ADDED, MODIFIED, MODIFIED, DELETED]
    assert [(i.resource_version, i.phase, i.deleting) for i in items] == [
        (5, 1, False),
        (7, 2, False),
        (8, 2, True),
        (9, 2, True),
    ]
    assert len(table) == 0
    stats = table.stats()
    assert (stats["events"], stats["changed"], stats["unchanged"], stats["rows"]) == (5, 4, 1, 0)
    assert stats["bytes"] == len(stream)


@pytest.mark.parametrize(
    ("change", "observable"),
    [
        ({"hostIP": "1.2.3.4"}, False),
        ({"annotations": {"a": "b"}}, False),
        ({"labels": {"other": "x"}}, False),
        ({"labels": {"airflow-worker": "x"}}, True),
        ({"labels": {"airflow-worker2": "x"}}, False),
        ({"labels": {"airflow_executor_done": "True"}}, True),
        ({"labels": {"shard-executor/owner": "x"}}, True),
        ({"labels": {"shard-executor/bin": "3"}}, True),
        ({"reason": "Evicted"}, True),
        ({"message": "m"}, True),
        ({"startTime": "2026-01-01T00:00:00Z"}, False),
        ({"conditions": [{"type": "Ready"}]}, True),
        ({"containerStatuses": [{"name": "base"}]}, True),
        ({"initContainerStatuses": [{"name": "base"}]}, True),
        ({"ephemeralContainerStatuses": [{"name": "base"}]}, False),
    ],
)
def test_what_is_observable(change, observable):
    table = open_table()
    table.feed(line("ADDED", pod()))
    assert bool(table.feed(line("MODIFIED", pod(version=2, **change)))) is observable
    assert table.get(UID)[0] == 2


def container_status(**state):
    return {"containerStatuses": [{"name": "base", "state": state, "restartCount": 1}]}


@pytest.mark.parametrize(
    ("first", "second", "observable"),
    [
        ({"waiting": {"reason": "A"}}, {"waiting": {"reason": "B"}}, True),
        ({"waiting": {"reason": "A", "message": "x"}}, {"waiting": {"reason": "A", "message": "y"}}, False),
        ({"waiting": {}}, {"running": {}}, True),
        ({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, {"running": {}}, False),
        ({"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 1}}, True),
        ({"terminated": {"exitCode": 1, "signal": 9}}, {"terminated": {"exitCode": 1}}, False),
        ({"terminated": {"exitCode": 1}}, {"terminated": {"exitCode": 1, "reason": "Error"}}, True),
    ],
)
def test_what_is_observable_of_a_container(first, second, observable):
    table = open_table()
    table.feed(line("ADDED", pod(**container_status(**first))))
    assert bool(table.feed(line("MODIFIED", pod(version=2, **container_status(**second))))) is observable


def test_other_observed_labels():
    table = open_table(observed_labels=("team", "x/"))
    table.feed(line("ADDED", pod(labels={"airflow-worker": "1"})))
    assert not table.feed(line("MODIFIED", pod(version=2, labels={"airflow-worker": "2"})))
    assert table.feed(line("MODIFIED", pod(version=3, labels={"team": "2"})))
    assert table.feed(line("MODIFIED", pod(version=4, labels={"team": "2", "x/y": "1"})))


def test_stale_versions_are_dropped_but_a_deletion_at_the_same_version_counts():
    table = open_table()
    table.feed(line("ADDED", pod(version=10)))
    for kind, version in (("MODIFIED", 10), ("MODIFIED", 9), ("DELETED", 9), ("ADDED", 10)):
        assert table.feed(line(kind, pod(version=version, phase="Failed"))) == []
    assert table.stats()["stale"] == 4
    assert kinds(table.feed(line("DELETED", pod(version=10)))) == [DELETED]


def test_versions_beyond_63_bits():
    table = open_table()
    (change,) = table.feed(line("ADDED", pod(version=2**64 - 1)))
    assert change.resource_version == 2**64 - 1
    assert table.get(UID) == (2**64 - 1, 1, False)


def test_the_end_of_an_unknown_pod_is_told():
    table = open_table()
    assert kinds(table.feed(line("DELETED", pod()))) == [DELETED]
    assert len(table) == 0


def test_the_kind_follows_the_table_not_the_server():
    table = open_table()
    assert kinds(table.feed(line("MODIFIED", pod()))) == [ADDED]
    assert kinds(table.feed(line("ADDED", pod(version=2, phase="Failed")))) == [MODIFIED]


def test_foreign_bins():
    table = open_table(bin_lo=16, bin_hi=32)
    for label in ({}, {"shard-executor/bin": "15"}, {"shard-executor/bin": "32"}, {"shard-executor/bin": "016"},
                  {"shard-executor/bin": "+17"}, {"shard-executor/bin": ""}):  # fmt: skip
        assert table.feed(line("ADDED", pod(labels=label)) + line("DELETED", pod(version=2, labels=label))) == []
    assert (len(table), table.stats()["foreign"]) == (0, 12)
    assert len(table.feed(line("ADDED", pod(labels={"shard-executor/bin": "16"})))) == 1


def test_a_pod_that_leaves_the_bins_is_handed_over_not_deleted():
    table = open_table(bin_lo=16, bin_hi=32)
    table.feed(line("ADDED", pod(labels={"shard-executor/bin": "16"})))
    gone = {"labels": {"shard-executor/bin": "15"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    (change,) = table.feed(line("MODIFIED", pod(version=2, **gone)))
    assert (change.kind, change.deleting, len(table)) == (DELETED, False, 0)


def test_a_deletion_with_another_bin_is_still_a_deletion():
    table = open_table(bin_lo=16, bin_hi=32)
    table.feed(line("ADDED", pod(labels={"shard-executor/bin": "16"})))
    gone = {"labels": {"shard-executor/bin": "15"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    (change,) = table.feed(line("DELETED", pod(version=2, **gone)))
    assert (change.kind, change.deleting) == (DELETED, True)


def test_pods_without_bin_belong_to_bin_zero_alone():
    assert len(open_table(bin_lo=0, bin_hi=1).feed(line("ADDED", pod()))) == 1
    assert open_table(bin_lo=1, bin_hi=256).feed(line("ADDED", pod())) == []


def test_another_bin_label():
    table = open_table(bin_label="b", bin_lo=3, bin_hi=4)
    assert len(table.feed(line("ADDED", pod(labels={"b": "3"})))) == 1


def test_a_sweep_tells_what_is_gone_with_its_last_scalars_and_names():
    table = open_table()
    table.feed(
        line("ADDED", pod("a", 1, name="na", namespace="sa"))
        + line("ADDED", pod(UID, 2, "Running", name="nb", namespace="sb", deletionTimestamp="x"))
        + line("ADDED", pod("c", 3))
    )
    table.begin_replace()
    assert table.apply_list(body(pod("c", 3)), FORMAT_JSON)[1] == []
    gone = sorted(table.commit_replace(), key=lambda change: change.uid)
    assert [(g.kind, g.uid, g.name, g.namespace, g.resource_version, g.phase, g.deleting) for g in gone] == [
        (GONE, UID, "nb", "sb", 2, 2, True),
        (GONE, "a", "na", "sa", 1, 1, False),
    ]
    assert gone[0].labels() == gone[0].annotations() == {}
    assert gone[0].status().containers == ()
    assert table.uids() == ["c"]


def test_a_stale_replay_in_a_streaming_list_still_marks_the_row():
    table = open_table()
    table.feed(line("ADDED", pod("a", 5)) + line("ADDED", pod("b", 5)))
    table.begin_replace()
    assert table.feed(line("ADDED", pod("a", 5)) + line("ADDED", pod("b", 4))) == []
    assert table.commit_replace() == []
    assert len(table) == 2


def test_a_pod_created_again_under_its_name_is_another_row():
    table = open_table()
    table.feed(line("ADDED", pod("a", 5, name="same")))
    table.begin_replace()
    (change,) = table.apply_list(body(pod("b", 7, name="same")), FORMAT_JSON)[1]
    assert (change.kind, change.uid) == (ADDED, "b")
    (gone,) = table.commit_replace()
    assert (gone.kind, gone.uid, gone.name) == (GONE, "a", "same")


def test_an_aborted_list_sweeps_nothing():
    table = open_table()
    table.feed(line("ADDED", pod("a", 5)))
    table.begin_replace()
    table.apply_list(body(pod("b", 7)), FORMAT_JSON)
    table.abort_replace()
    with pytest.raises(RuntimeError):
        table.commit_replace()
    assert sorted(table.uids()) == ["a", "b"]
    table.begin_replace()
    assert sorted(gone.uid for gone in table.commit_replace()) == ["a", "b"]


def test_rows_by_uid():
    table = open_table()
    table.feed(line("ADDED", pod(UID, 5)) + line("ADDED", pod("no uuid ü", 6, "Failed")))
    assert UID in table
    assert "no uuid ü" in table
    assert UID.replace("0", "1") not in table
    assert "\ud800" not in table
    assert sorted(table.uids()) == [UID, "no uuid ü"]
    assert table.get("no uuid ü") == (6, 4, False)
    assert table.get("x") is None
    assert table.forget(UID)
    assert not table.forget(UID)
    assert kinds(table.feed(line("MODIFIED", pod(UID, 4)))) == [ADDED]


def test_upper_case_uuids_keep_their_spelling():
    upper = "ABCDEF00-0000-4000-8000-000000000001"
    table = open_table()
    table.feed(line("ADDED", pod(upper)) + line("ADDED", pod(upper.lower())))
    assert sorted(table.uids()) == [upper, upper.lower()]


def test_records_outlive_what_they_came_from():
    table = open_table()
    first = line("ADDED", pod("a", 5, labels={"k": "v"}, reason="because"))
    items = table.feed(first[:100])
    items += table.feed(first[100:] + line("ADDED", pod("b", 6, labels={"k": "w"})))
    for i in range(50):
        table.feed(line("ADDED", pod(f"x{i}", 7 + i))[:-1])
        table.feed(b"\n")
    del table
    gc.collect()
    assert [(item.uid, item.labels(), item.status().reason) for item in items] == [
        ("a", {"k": "v"}, "because"),
        ("b", {"k": "w"}, ""),
    ]


def test_apply_counts_and_tells_nothing():
    table = open_table()
    assert table.apply(line("ADDED", pod("a", 5)) + line("ADDED", pod("b", 5)) + line("MODIFIED", pod("a", 6))) == 2
    assert table.apply(b"x" * 10) == 0
    assert table.end_stream() == 10
    assert len(table) == 2


def test_memory_for_ten_thousand_rows():
    table = PodTable()
    pods = (pod(f"{i:08x}-0000-4000-8000-000000000000", 1, name=f"etl-extract-{i}-abcdef123456") for i in range(10_000))
    table.apply_list(body(*pods), FORMAT_JSON)
    assert len(table) == 10_000
    assert table.stats()["memory"] < 2_000_000
    table.validate()


def test_changes_cannot_be_made_or_altered():
    with pytest.raises(TypeError):
        PodChange()
    (change,) = open_table().feed(line("ADDED", pod()))
    with pytest.raises(AttributeError):
        change.phase = 3
    assert repr(change) == f"<PodChange ADDED n/p uid={UID} version=1 phase=Pending deleting=False>"


@pytest.mark.parametrize("options", [{"bin_lo": -1}, {"bin_hi": 257}, {"bin_lo": 5, "bin_hi": 4}, {"bin_label": ""}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="bin"):
        PodTable(**options)


def test_calls_out_of_place():
    table = PodTable()
    with pytest.raises(RuntimeError, match="open stream"):
        table.feed(b"")
    with pytest.raises(ValueError, match="7"):
        table.open_stream(7)
    with pytest.raises(ValueError, match="7"):
        table.apply_list(b"", 7)
    with pytest.raises(RuntimeError, match="begin_replace"):
        table.commit_replace()
    table.open_stream(FORMAT_PROTOBUF)
    for wrong in ("text", bytearray(b""), memoryview(b""), None):
        with pytest.raises(TypeError):
            table.feed(wrong)
    assert table.end_stream() == 0
    with pytest.raises(RuntimeError, match="open stream"):
        table.feed(b"")


def test_two_threads_at_once_get_an_error_not_a_crash():
    """Whether they meet is chance; that nothing breaks is not."""
    table = open_table()
    stream = b"".join(line("ADDED", pod(f"u{i}", i + 1)) for i in range(20_000))
    refused, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            try:
                table.uids()
                len(table)
            except RuntimeError as error:
                refused.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(3):
            try:
                table.feed(stream)
            except RuntimeError as error:
                refused.append(str(error))
    finally:
        stop.set()
        thread.join()
    assert all("two threads" in text for text in refused)
    table.validate()


def test_an_undecodable_object_does_not_touch_its_row():
    table = open_table()
    table.feed(line("ADDED", pod(version=5)))
    (item,) = table.feed(line("DELETED", pod(version="x")))
    assert isinstance(item, Undecodable)
    assert table.get(UID) == (5, 1, False)
