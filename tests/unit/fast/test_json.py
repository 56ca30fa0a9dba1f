"""JSON's corners: escapes, nulls, wrong types, duplicates, order, damage."""

import json
import random

import pytest

from pods_as_text import UID, body, line, open_table, pod
from shard_executor._fast import FORMAT_JSON, Bookmark, DecodeError, PodTable, StreamStatus, Undecodable
from shard_executor._fast.json_lex import container_end


def only(items):
    assert len(items) == 1
    return items[0]


def raw(metadata="", status="{}", more=""):
    pod = f'{{"metadata":{{"uid":"u","resourceVersion":"1"{metadata}}},"status":{status}{more}}}'
    text = f'{{"type":"ADDED","object":{pod}}}'
    return text.encode("utf-8", "surrogatepass") + b"\n"


def annotation(escaped):
    return only(open_table().feed(raw(f',"annotations":{{"a":"{escaped}"}}'))).annotations()["a"]


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\u003c\u003E\u0026", "<>&"),
        (r"\"\\\/\b\f\n\r\t", '"\\/\b\f\n\r\t'),
        (r"\u0000x", "\0x"),
        (r"\ud83d\ude80", "\U0001f680"),
        (r"\uD83D\uDE80!", "\U0001f680!"),
        (r"\ud83d", "\ufffd"),
        (r"\ude80\ud83d", "\ufffd\ufffd"),
        (r"\ud83dx\ude80", "\ufffdx\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\ud83d\ud83d\ude80", "\ufffd\U0001f680"),
        (r"\x", "\ufffd"),
        (r"\u12g4", "\ufffd12g4"),
        (r"\u123", "\ufffd123"),
        ("é\u2028\u00e9", "é\u2028é"),
        ("\ud800", "\ufffd\ufffd\ufffd"),
        ("tab\there", "tab\there"),
    ],
)
def test_text(escaped, text):
    assert annotation(escaped) == text


def test_escaped_keys_and_values_are_those_they_stand_for():
    stream = (
        rb'{"\u0074ype":"\u0041DDED","obj\u0065ct":{"m\u0065tadata":{"\u0075id":"\u0061b","resourceV\u0065rsion":"\u0031\u0032",'
        rb'"nam\u0065":"\u006e","labels":{"shard-executor\u002fbin":"\u0037","airflow-worker":"\u0078"}},'
        rb'"status":{"phase":"\u0052unning"}}}' + b"\n"
    )
    change = only(open_table(bin_lo=7, bin_hi=8).feed(stream))
    assert (change.uid, change.name, change.resource_version, change.phase) == ("ab", "n", 12, 2)
    assert change.labels() == {"shard-executor/bin": "7", "airflow-worker": "x"}


def test_an_escaped_uid_finds_the_same_row():
    table = open_table()
    table.feed(line("ADDED", pod("ab", 1)))
    assert table.feed(raw().replace(b'"u"', rb'"\u0061b"').replace(b'"1"', b'"2"')) != []
    assert table.uids() == ["ab"]
    table.begin_replace()
    assert only(table.commit_replace()).uid == "ab"


def test_escaped_names_survive_in_the_row():
    table = open_table()
    table.feed(raw(r',"name":"n\u00e9","namespace":"\"q\""').replace(b'"u"', rb'"\u0061b"'))
    table.begin_replace()
    gone = only(table.commit_replace())
    assert (gone.uid, gone.name, gone.namespace) == ("ab", "né", '"q"')


@pytest.mark.parametrize("status", ["null", "{}", '{"conditions":null,"containerStatuses":null,"phase":null}'])
def test_null_is_absent(status):
    change = only(open_table().feed(raw(',"labels":null,"annotations":null,"deletionTimestamp":null', status)))
    assert (change.phase, change.deleting, change.labels(), change.annotations()) == (0, False, {}, {})
    assert change.status().conditions == ()


@pytest.mark.parametrize(
    "damaged",
    [
        raw(',"name":5'),
        raw(',"labels":[]'),
        raw(',"labels":{"a":1}'),
        raw(',"annotations":"x"'),
        raw(',"deletionTimestamp":1'),
        raw(status='"x"'),
        raw(status='{"phase":1}'),
        raw(status='{"startTime":1}'),
        raw(status='{"conditions":{}}'),
        raw(status='{"conditions":[null]}'),
        raw(status='{"containerStatuses":[{"restartCount":1.5}]}'),
        raw(status='{"containerStatuses":[{"restartCount":2147483648}]}'),
        raw(status='{"containerStatuses":[{"restartCount":1e3}]}'),
        raw(status='{"containerStatuses":[{"ready":1}]}'),
        raw(status='{"containerStatuses":[{"state":[]}]}'),
        raw(more=',"kind":"Table"'),
        raw().replace(b'"uid":"u"', b'"uid":""'),
        raw().replace(b'"uid":"u",', b""),
        raw().replace(b'"1"', b'"x"'),
        raw().replace(b'"1"', b'""'),
        raw().replace(b'"1"', b'"18446744073709551616"'),
        raw().replace(b'"1"', b"1"),
        raw().replace(b"ADDED", b"ADDING"),
        b'{"type":"ADDED"}\n',
        b'{"type":"ADDED","object":null}\n',
        b'{"type":"ADDED","object":[]}\n',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}\n',
        b'{"type":"ERROR","object":"text"}\n',
        b'{"type":"ERROR","object":{"code":tru}}\n',
        raw().replace(b'"resource', b'resource"'),
    ],
)
def test_a_bad_object_is_told_and_the_stream_goes_on(damaged):
    table = open_table()
    good = line("ADDED", pod())
    first, bad, after = table.feed(good + damaged + line("MODIFIED", pod(version=2, phase="Failed")))
    assert isinstance(bad, Undecodable)
    assert len(good) <= bad.offset <= len(good) + len(damaged)
    assert (first.uid, after.phase) == (UID, 4)
    assert table.stats()["undecodable"] == 1


@pytest.mark.parametrize(
    "broken",
    [b"{\n", b"x\n", b"[1]\n", b'{"type":"ADDED","object":{"metadata":{}}\n', b'{"type":"ADDED","object":{"a":"x}}\n',
     b'{"type":"ADDED","object":{}}}\n', b'{"type":"ADDED" "object":{}}\n', b'{"type":"ADDED","object":{}} 5\n'],
)  # fmt: skip
def test_a_bad_frame_ends_the_stream_but_loses_nothing(broken):
    table = open_table()
    with pytest.raises(DecodeError) as caught:
        table.feed(broken)
    assert 0 <= caught.value.offset <= len(broken)
    table.open_stream(FORMAT_JSON)
    good = line("ADDED", pod())
    assert only(table.feed(good + broken + good)).uid == UID
    with pytest.raises(DecodeError) as caught:
        table.feed(b"")
    assert caught.value.offset >= len(good)
    with pytest.raises(DecodeError):
        table.end_stream()
    table.validate()


def test_a_broken_stream_is_reported_by_its_end_too():
    table = open_table()
    table.feed(line("ADDED", pod()) + b"{\n")
    with pytest.raises(DecodeError):
        table.end_stream()
    with pytest.raises(DecodeError):
        table.feed(b"")


def test_the_last_of_two_equal_members_counts():
    stream = raw(
        ',"uid":"v","labels":{"airflow-worker":"1"},"labels":{"b":"2"},"deletionTimestamp":"x","deletionTimestamp":null',
        '{"phase":"Failed","phase":"Running","conditions":[{"type":"a"}],"conditions":[],'
        '"containerStatuses":[{"name":"x"}],"containerStatuses":[{"name":"y","name":"z"}]}',
    )
    change = only(open_table().feed(stream))
    assert (change.uid, change.labels(), change.deleting, change.phase) == ("v", {"b": "2"}, False, 2)
    assert change.status().conditions == ()
    assert [container.name for container in change.status().containers] == ["z"]
    whole = raw(
        ',"deletionTimestamp":"x","labels":{"a":"1"}',
        '{"phase":"Failed"}',
        ',"metadata":{"uid":"w","resourceVersion":"3"},"status":{}',
    )
    change = only(open_table().feed(whole))
    assert (change.uid, change.deleting, change.labels(), change.phase) == ("w", False, {}, 0)


def test_the_type_may_come_after_the_object():
    stream = b'{"object":%s,"type":"DELETED"}\n' % json.dumps(pod(labels={"a": "b"})).encode()
    change = only(open_table().feed(stream))
    assert (change.kind, change.labels()) == (2, {"a": "b"})
    assert only(open_table().feed(b'{"object":{"code":410},"type":"ERROR"}\n')).code == 410


def test_times_with_fractions_and_offsets():
    def finished(text):
        status = {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "finishedAt": text}}}]}
        return only(open_table().feed(raw(status=json.dumps(status)))).status().containers[0].finished_at

    assert finished("1970-01-01T00:00:00Z") is None
    assert finished("1970-01-01T00:00:00.5Z") == 0.5
    assert finished("1970-01-01T00:00:01Z") == 1
    assert finished("2026-11-22T16:54:48Z") == 1795366488
    assert finished("2026-11-22T16:54:48.25+01:30") == 1795366488.25 - 5400
    assert finished("2024-02-29T23:59:59z") == 1709251199
    assert finished("1969-12-31T23:59:59-00:00") == -1
    for text in (
        "",
        None,
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-11-22T16:54:48",
        "2026-11-22 16:54:48Z",
        "x" * 20,
    ):
        assert finished(text) is None


def test_bookmarks_and_errors():
    table = open_table()
    mark = {"metadata": {"resourceVersion": "12", "annotations": {"k8s.io/initial-events-end": "true"}}}
    other = {"metadata": {"resourceVersion": "13", "annotations": {"k8s.io/initial-events-end": "no"}}}
    assert table.feed(line("BOOKMARK", mark) + line("BOOKMARK", other)) == [Bookmark(12, True), Bookmark(13, False)]
    status = {"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large \ud800",
              "details": {"retryAfterSeconds": 1, "causes": [{"reason": "ResourceVersionTooLarge"}, 5]}}  # fmt: skip
    assert only(table.feed(line("ERROR", status))) == StreamStatus(
        504, "Timeout", "Too large \ufffd", 1, ("ResourceVersionTooLarge",)
    )
    assert only(table.feed(line("ERROR", {"code": True, "reason": 5, "details": []}))) == StreamStatus(
        0, "", "", None, ()
    )


@pytest.mark.parametrize(
    "broken",
    [b"", b"[]", b"{", b'{"items":[{}', b'{"items":[{} {}]}', b'{"items":{}}', b'{"items":[]} x', b'{"kind":"Status"}',
     b'{"metadata":{"resourceVersion":"x"},"items":[]}', b'{"metadata":[],"items":[]}'],
)  # fmt: skip
def test_a_bad_list_changes_nothing(broken):
    table = PodTable()
    with pytest.raises(DecodeError) as caught:
        table.apply_list(broken.replace(b"{}", json.dumps(pod()).encode()), FORMAT_JSON)
    assert caught.value.offset >= 0
    assert len(table) == 0


def test_a_list_with_a_bad_item_and_white_space():
    text = json.dumps(json.loads(body(pod("a"), {"metadata": 5}, pod("b"), 7, remainingItemCount=3)), indent=2).encode()
    meta, items = PodTable().apply_list(b"\n" + text + b"\n", FORMAT_JSON)
    assert (meta.resource_version, meta.remaining) == (9, 3)
    assert [getattr(item, "uid", None) for item in items] == ["a", None, "b", None]
    assert text[items[1].offset - 1 :].startswith(b"5")
    assert PodTable().apply_list(b'{"items":null}', FORMAT_JSON)[1] == []


def plain_end(text):
    """Backslashes outside strings, which no JSON has, escape quotes as well."""
    depth, inside, escaped = 0, False, False
    for at in range(len(text)):
        byte = text[at : at + 1]
        if byte == b'"' and not escaped:
            inside = not inside
        elif byte in b"{[" and not inside:
            depth += 1
        elif byte in b"}]" and not inside:
            depth -= 1
            if depth == 0:
                return at + 1
        escaped = byte == b"\\" and not escaped
    return -1


@pytest.mark.parametrize("portable", [False, True], ids=["sse2", "portable"])
def test_both_scanners_find_the_end_of_containers(portable):
    rng = random.Random(3)
    for _ in range(6000):
        weights = rng.choice(([8, 3, 3, 3, 3, 2, 4], [40, 1, 1, 1, 1, 1, 1], [1, 0, 0, 5, 5, 3, 8]))
        text = b"{" + b"".join(rng.choices((b"x", b"{", b"}", b"[", b"]", b'"', b"\\"), weights, k=rng.randrange(300)))
        assert container_end(text, portable=portable) == plain_end(text)
    for size in range(200):
        for text in (
            b"{" + b"\\" * size + b"}",
            b'{"' + b"\\\\" * size + b'"}',
            b'{"' + b"\\" * size + b'"}',
            b"{" + b"[]" * size + b"}",
        ):
            assert container_end(text, portable=portable) == plain_end(text)
    assert container_end(b"", portable=portable) == -1
