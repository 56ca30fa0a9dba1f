"""Records and rows to Python objects: changes, bookmarks, the server's errors, undecodable objects, swept rows."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from shard_executor._fast.apply cimport KIND_GONE, TELL_BOOKMARK, TELL_CHANGE, TELL_STATUS, Record, Table
from shard_executor._fast.change cimport PodChange, map_of, text_of
from shard_executor._fast.cursor cimport Cursor, Fault, Span
from shard_executor._fast.event cimport Context, ListHead, free_context
from shard_executor._fast.proto_status cimport StatusAnswer, proto_answer
from shard_executor._fast.rows cimport Names, Row

cdef object json, Bookmark, ListMeta, StreamStatus, Undecodable, stream_status
import json

from shard_executor._fast.views import Bookmark, ListMeta, StreamStatus, Undecodable, stream_status

cdef str END_OF_INITIAL_EVENTS = "k8s.io/initial-events-end"


cdef inline void _rebase(Span* span, const uint8_t* old, const uint8_t* new) noexcept:
    if span.size > 0:
        span.at = new + (span.at - old)


cdef PodChange _change(const Record* record, bytes owner, bint is_json, const uint8_t* old):
    """`old` is where the spans' bytes lay before they were copied to `owner`, NULL if they lie there already."""
    cdef PodChange change = PodChange.__new__(PodChange)
    cdef const uint8_t* new = <const uint8_t*>PyBytes_AS_STRING(owner)
    change.kind = record.kind
    change.phase = record.phase
    change.deleting = record.deleting
    change.resource_version = record.version
    change.data = owner
    change.json = is_json
    change.uid_span = record.uid
    change.name_span = record.name
    change.namespace_span = record.namespace
    change.labels_span = record.labels
    change.annotations_span = record.annotations
    change.status_span = record.status
    if old != NULL:
        _rebase(&change.uid_span, old, new)
        _rebase(&change.name_span, old, new)
        _rebase(&change.namespace_span, old, new)
        _rebase(&change.labels_span, old, new)
        _rebase(&change.annotations_span, old, new)
        _rebase(&change.status_span, old, new)
    return change


cdef object _proto_stream_status(Table* table, const Record* record):
    cdef StatusAnswer answer
    cdef Fault fault
    cdef Cursor cursor
    cdef size_t i
    cdef list causes = []
    memset(&answer, 0, sizeof(answer))
    cursor.at = record.status.at
    cursor.end = cursor.at + record.status.size
    cursor.fault = &fault
    try:
        if proto_answer(&cursor, &answer) < 0:
            table.counts.undecodable += 1
            return Undecodable(record.offset, fault.reason.decode())
        for i in range(answer.causes.count):
            causes.append(text_of(&answer.causes.items[i], NULL))
        return StreamStatus(
            <int32_t>answer.code,
            text_of(&answer.reason, NULL),
            text_of(&answer.message, NULL),
            <int32_t>answer.retry_after or None,
            tuple(causes),
        )
    finally:
        free(answer.causes.items)


cdef object _json_stream_status(Table* table, const Record* record):
    """The one object that json.loads reads: it ends a stream, speed does not matter."""
    cdef bytes text = PyBytes_FromStringAndSize(<const char*>record.status.at, <Py_ssize_t>record.status.size)
    try:
        return stream_status(json.loads(text.decode("utf-8", "replace"), strict=False))
    except (ValueError, RecursionError):
        table.counts.undecodable += 1
        return Undecodable(record.offset, "the ERROR event's Status is no JSON object")


cdef object _other(Table* table, const Record* record, bint is_json):
    cdef dict notes
    if record.tell == TELL_BOOKMARK:
        notes = map_of(&record.annotations, is_json, 12, &table.context)
        return Bookmark(record.version, notes.get(END_OF_INITIAL_EVENTS) == "true")
    if record.tell == TELL_STATUS:
        return _json_stream_status(table, record) if is_json else _proto_stream_status(table, record)
    return Undecodable(record.offset, record.reason.decode())


cdef list told_records(Table* table, bytes data, bint is_json):
    """All records as objects, in order. The bytes of the kept frame are copied, once, if a change needs them."""
    cdef list told = []
    cdef bytes kept = None
    cdef const Record* record
    cdef size_t i
    for i in range(table.record_count):
        record = &table.records[i]
        if record.tell != TELL_CHANGE:
            told.append(_other(table, record, is_json))
        elif record.kept:
            if kept is None:
                kept = PyBytes_FromStringAndSize(
                    <const char*>table.kept_frame.at, <Py_ssize_t>table.kept_frame.size)
            told.append(_change(record, kept, is_json, table.kept_frame.at))
        else:
            told.append(_change(record, data, is_json, NULL))
    return told


cdef str uid_of(const Row* row):
    cdef const Names* sizes = <const Names*>row.names
    cdef str digits
    if sizes.uid_size > 0:
        return PyUnicode_DecodeUTF8(<const char*>row.names + sizeof(Names), sizes.uid_size, b"replace")
    digits = f"{row.uid_high:016x}{row.uid_low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


cdef PodChange told_gone(const Row* row):
    """A swept row, with a copy of its names."""
    cdef const Names* sizes = <const Names*>row.names
    cdef bytes uid = uid_of(row).encode()
    cdef bytes names = PyBytes_FromStringAndSize(
        <const char*>row.names + sizeof(Names) + sizes.uid_size,
        <Py_ssize_t>sizes.namespace_size + <Py_ssize_t>sizes.name_size)
    cdef Record record
    cdef bytes owner = uid + names
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(owner)
    memset(&record, 0, sizeof(record))
    record.kind = KIND_GONE
    record.phase = row.phase
    record.deleting = row.deleting
    record.version = row.version
    record.uid.at = at
    record.uid.size = <size_t>len(uid)
    record.namespace.at = at + len(uid)
    record.namespace.size = sizes.namespace_size
    record.name.at = record.namespace.at + sizes.namespace_size
    record.name.size = sizes.name_size
    return _change(&record, owner, False, NULL)


cdef object list_meta(ListHead* head):
    cdef Context context
    memset(&context, 0, sizeof(context))
    try:
        return ListMeta(
            head.version,
            text_of(&head.continue_token, &context),
            head.remaining if head.remaining_known else None,
        )
    finally:
        free_context(&context)
