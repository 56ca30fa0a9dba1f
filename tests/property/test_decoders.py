"""Both decoders against the oracle, and against each other."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_data import STREAMS, recorded
from oracle import encode, wire
from oracle.model import Model, json_events, protobuf_events, replay, told
from oracle.project import parse
from oracle.strategies import pods
from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, PodTable
from shard_executor.core.failures import FailureClass, judge

EVENTS = st.lists(st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), pods()), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**32)


def tell(stream, form, **bins):
    table = PodTable(**bins)
    table.open_stream(form)
    result = [told(item) for item in table.feed(stream)]
    assert table.end_stream() == 0
    table.validate()
    return result, table


def rows(model):
    return {uid: (pod.version, pod.phase, pod.deleting) for uid, pod in model.rows.items()}


def table_rows(table):
    return {uid: table.get(uid) for uid in table.uids()}


@settings(max_examples=500, deadline=None)
@given(EVENTS, SEEDS, st.sampled_from([(0, 256), (0, 100), (17, 256)]))
def test_generated_json_is_read_as_the_oracle_reads_it(events, seed, bins):
    rng = random.Random(seed)
    stream = b"".join(encode.json_event(kind, encode.json_pod(pod, rng), rng) for kind, pod in events)
    model = Model(*bins)
    expected = replay(json_events_by_line(stream), model)
    found, table = tell(stream, FORMAT_JSON, bin_lo=bins[0], bin_hi=bins[1])
    assert found == expected
    assert table_rows(table) == rows(model)


def json_events_by_line(stream):
    """Not str.splitlines: generated text holds other line ends unescaped."""
    for line in stream.split(b"\n")[:-1]:
        event = parse(line)
        yield event["type"], event["object"]


@settings(max_examples=500, deadline=None)
@given(EVENTS, SEEDS, st.sampled_from([(0, 256), (0, 100), (17, 256)]))
def test_generated_protobuf_is_read_as_the_oracle_reads_it(events, seed, bins):
    rng = random.Random(seed)
    stream = b"".join(
        encode.protobuf_event(kind, "Pod", encode.message(pod, wire.POD, rng), rng) for kind, pod in events
    )
    model = Model(*bins)
    expected = replay(protobuf_events(stream), model)
    found, table = tell(stream, FORMAT_PROTOBUF, bin_lo=bins[0], bin_hi=bins[1])
    assert found == expected
    assert table_rows(table) == rows(model)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_one_pod_reads_the_same_in_both_formats(events):
    as_json = b"".join(encode.json_event(kind, encode.json_pod(pod)) for kind, pod in events)
    as_protobuf = b"".join(encode.protobuf_event(kind, "Pod", encode.message(pod, wire.POD)) for kind, pod in events)
    assert tell(as_json, FORMAT_JSON)[0] == tell(as_protobuf, FORMAT_PROTOBUF)[0]


@pytest.mark.parametrize("form", [FORMAT_JSON, FORMAT_PROTOBUF], ids=["json", "protobuf"])
def test_a_container_that_could_not_be_started_has_no_start(form):
    """As a kubelet with containerd reports a command that does not exist: the start is Unix time 0."""
    state = {"exitCode": 128, "reason": "StartError", "message": 'exec: "nope": not found'}
    times = {"startedAt": "1970-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z"}
    containers = [{"name": "base", "state": {"terminated": state | times}}]
    pod = {
        "metadata": {"uid": "u", "resourceVersion": "1"},
        "status": {"phase": "Failed", "containerStatuses": containers},
    }
    stream = encode.json_event("ADDED", encode.json_pod(pod))
    if form == FORMAT_PROTOBUF:
        stream = encode.protobuf_event("ADDED", "Pod", encode.message(pod, wire.POD))
    table = PodTable()
    table.open_stream(form)
    (change,) = table.feed(stream)
    (container,) = change.status().containers
    assert (container.started_at, container.finished_at) == (None, 1767225605.0)
    verdict = judge(change.phase, change.deleting, change.status())
    assert (verdict.began, verdict.failure_class, verdict.exit_code) == (False, FailureClass.START_ERROR, 128)


@settings(max_examples=300, deadline=None)
@given(pods(), pods(), SEEDS)
def test_a_change_is_told_exactly_when_something_observable_differs(first, second, seed):
    """Across formats too: the state of a row does not depend on how its pod was written."""
    rng = random.Random(seed)
    for version, pod in enumerate((first, second), 1):
        pod["metadata"] |= {"uid": "same", "resourceVersion": str(version)}
        pod["metadata"].get("labels", {}).pop("shard-executor/bin", None)
    model, table = Model(), PodTable()
    for pod in (first, second):
        expected = model.event("MODIFIED", pod)
        if rng.random() < 0.5:
            table.open_stream(FORMAT_JSON)
            changes = table.feed(encode.json_event("MODIFIED", encode.json_pod(pod, rng), rng))
        else:
            table.open_stream(FORMAT_PROTOBUF)
            raw = encode.message(pod, wire.POD, rng)
            changes = table.feed(encode.protobuf_event("MODIFIED", "Pod", raw, rng))
        assert [told(change) for change in changes] == expected


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_tell_the_same_in_both_formats_and_as_the_oracle(name):
    as_json, json_table = tell(recorded(f"{name}.json.watch"), FORMAT_JSON)
    as_protobuf, protobuf_table = tell(recorded(f"{name}.pb.watch"), FORMAT_PROTOBUF)
    if name == "watchlist":  # the two were opened one after the other: compare what both saw
        both = [[item for item in found if item[0] == "change"] for found in (as_json, as_protobuf)]
        common = {item[2:6] for item in both[0]} & {item[2:6] for item in both[1]}
        assert len(common) > 40
        assert [i for i in both[0] if i[2:6] in common] == [i for i in both[1] if i[2:6] in common]
    else:
        assert as_json == as_protobuf
        assert table_rows(json_table) == table_rows(protobuf_table)
    assert as_json == replay(json_events(recorded(f"{name}.json.watch")))
    assert as_protobuf == replay(protobuf_events(recorded(f"{name}.pb.watch")))
    assert len(as_json) > 20


def test_recorded_lists_tell_the_same_in_both_formats_and_as_the_oracle():
    model = Model()
    expected = [item for pod in parse(recorded("list.json"))["items"] for item in model.event("MODIFIED", pod)]
    for name, form in (("list.json", FORMAT_JSON), ("list.pb", FORMAT_PROTOBUF)):
        table = PodTable()
        meta, changes = table.apply_list(recorded(name), form)
        assert [told(change) for change in changes] == expected
        assert table_rows(table) == rows(model)
        assert (meta.resource_version, meta.continue_token, meta.remaining) == (50644, "", None)


def test_a_list_in_pages_fills_the_table_as_the_whole_list_does():
    whole, pages = PodTable(), PodTable()
    whole.apply_list(recorded("list.json"), FORMAT_JSON)
    first, _ = pages.apply_list(recorded("list-page1.pb"), FORMAT_PROTOBUF)
    again, _ = PodTable().apply_list(recorded("list-page1.json"), FORMAT_JSON)
    assert (first.remaining, len(pages)) == (again.remaining, 40)
    assert first.remaining == 70
    assert first.continue_token
    second, _ = pages.apply_list(recorded("list-page2.json"), FORMAT_JSON)
    assert second.continue_token == ""
    assert table_rows(pages) == table_rows(whole)


def test_a_streaming_list_ends_with_its_bookmark_in_both_formats():
    streams = {("watchlist.json.watch", FORMAT_JSON): 50644, ("watchlist.pb.watch", FORMAT_PROTOBUF): 50646}
    for (name, form), version in streams.items():
        found, _ = tell(recorded(name), form)
        marks = [item for item in found if item[0] == "bookmark"]
        assert marks[0] == ("bookmark", version, True)
        assert not any(end for _, _, end in marks[1:])
        assert len(marks) > 2
