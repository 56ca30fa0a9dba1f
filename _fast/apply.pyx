"""The hot loop, without the GIL: frames to events, events to rows, changed rows to records.

A known pod's unchanged row costs a look-up and one comparison of hashes. Nothing here makes a Python object.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from shard_executor._fast.cursor cimport Cursor, Fault, Span
from shard_executor._fast.event cimport (
    BAD_FRAME,
    BAD_OBJECT,
    BIN_MISSING,
    EVENT_BOOKMARK,
    EVENT_DELETED,
    EVENT_ERROR,
    EVENT_MODIFIED,
    FORMAT_JSON_,
    Event,
    Spans,
)
from shard_executor._fast.frames cimport Frame, Frames, next_frame
from shard_executor._fast.json_event cimport json_pod, json_watch
from shard_executor._fast.json_lex cimport peek, unescape
from shard_executor._fast.proto_event cimport proto_pod, proto_watch
from shard_executor._fast.rows cimport Row, add_row, find_row, take_row

cdef extern from "json_scan.h" nogil:
    void prefetch "SX_PREFETCH"(const uint8_t* at)

cdef enum:
    STATUS_AHEAD = 2048      # bytes at a frame's end, most of a status
    METADATA_AHEAD = 1024    # bytes at its beginning, most of what precedes managedFields
    RECORDS_TO_KEEP = 4096   # a longer array is given back once it has been drained


cdef Record* _new_record(Table* table) noexcept nogil:
    """Room for one more record, uncleared, counted only when the caller does so; NULL when memory is out."""
    cdef Record* grown
    if table.record_count == table.record_room:
        grown = <Record*>realloc(table.records, (table.record_room * 2 + 64) * sizeof(Record))
        if grown == NULL:
            return NULL
        table.records = grown
        table.record_room = table.record_room * 2 + 64
    return &table.records[table.record_count]


cdef void forget_records(Table* table) noexcept nogil:
    table.record_count = 0
    if table.record_room > RECORDS_TO_KEEP:
        free(table.records)
        table.records = NULL
        table.record_room = 0


cdef bint _is_foreign(const Table* table, const Event* event) noexcept nogil:
    """A pod without our bin label may be a stock executor's, which the shard of bin 0 adopts."""
    if event.bin == BIN_MISSING:
        return table.bin_low != 0
    return event.bin < table.bin_low or event.bin >= table.bin_high


cdef inline void _plain(Span* text, uint8_t** room) noexcept nogil:
    if text.escaped:
        text.size = unescape(text, room[0])
        text.at = room[0]
        text.escaped = False
        room[0] += text.size


cdef int64_t _insert(Table* table, const Event* event) noexcept nogil:
    """A row for a pod that has none; its number, -1 when memory is out."""
    cdef Span uid = event.uid
    cdef Span name = event.name
    cdef Span namespace = event.namespace
    cdef uint8_t* buffer = NULL
    cdef uint8_t* room
    cdef int64_t index
    if uid.escaped or name.escaped or namespace.escaped:
        buffer = <uint8_t*>malloc((uid.size + name.size + namespace.size) * 3 // 2 + 9)
        if buffer == NULL:
            return -1
        room = buffer
        _plain(&uid, &room)
        _plain(&name, &room)
        _plain(&namespace, &room)
    if not event.uid_hashed:
        uid.size = 0
    index = add_row(&table.rows, event.uid_high, event.uid_low, &uid, &namespace, &name)
    free(buffer)
    return index


cdef void _tell(Table* table, Record* record, const Event* event, int kind, bint deleting) noexcept nogil:
    table.counts.changed += 1
    if table.quiet:
        return
    record.tell = TELL_CHANGE
    record.kind = kind
    record.phase = event.phase
    record.deleting = deleting
    record.version = event.version
    record.uid = event.uid
    record.name = event.name
    record.namespace = event.namespace
    record.labels = event.labels
    record.annotations = event.annotations
    record.status = event.status
    table.record_count += 1


cdef int _apply(Table* table, const Event* event, int type, Record* record) noexcept nogil:
    """One pod's event against its row. A stale one still marks the row as seen: a replacement may replay it.

    Returns RUN_DONE or RUN_NO_MEMORY; the table is unchanged in the latter case.
    """
    cdef bint deleted = type == EVENT_DELETED
    cdef bint foreign = _is_foreign(table, event)
    cdef int64_t index = find_row(&table.rows, event.uid_high, event.uid_low)
    cdef Row* row
    if index < 0:
        if foreign:
            table.counts.foreign += 1
            return RUN_DONE
        if deleted:     # its ADDED may have been undecodable, or was forgotten: tell, the end of a pod is never noise
            _tell(table, record, event, KIND_DELETED, event.deleting)
            return RUN_DONE
        index = _insert(table, event)
        if index < 0:
            return RUN_NO_MEMORY
        _tell(table, record, event, KIND_ADDED, event.deleting)
    else:
        row = &table.rows.rows[index]
        if event.version < row.version or (event.version == row.version and not deleted):
            table.counts.stale += 1
            row.generation = table.generation
            return RUN_DONE
        if deleted or foreign:
            table.counts.foreign += foreign
            # A pod that left our bins is not being deleted as far as we are concerned: it is handed over.
            _tell(table, record, event, KIND_DELETED, event.deleting and deleted)
            free(take_row(&table.rows, <size_t>index))
            return RUN_DONE
        if row.state == event.state:
            table.counts.unchanged += 1
            row.version = event.version
            row.generation = table.generation
            return RUN_DONE
        _tell(table, record, event, KIND_MODIFIED, event.deleting)
    row = &table.rows.rows[index]
    row.version = event.version
    row.state = event.state
    row.generation = table.generation
    row.phase = <uint8_t>event.phase
    row.deleting = event.deleting
    return RUN_DONE


cdef inline uint64_t _place(const Fault* fault, const uint8_t* at, size_t size, uint64_t offset) noexcept nogil:
    """Where in the stream a fault lies; the frame's beginning if its place is not inside."""
    if fault.at >= at and fault.at <= at + size:
        return offset + <uint64_t>(fault.at - at)
    return offset


cdef void _tell_bad(Table* table, Record* record, const char* reason, uint64_t offset) noexcept nogil:
    table.counts.undecodable += 1
    if table.quiet:
        return
    record.tell = TELL_UNDECODABLE
    record.reason = reason
    record.offset = offset
    table.record_count += 1


cdef void _prefetch(const Frame* frame, const Frames* frames) noexcept nogil:
    """A protobuf frame is read at both ends, metadata and status, the kilobytes between are jumped over, which the
    processor does not foresee: it is told to fetch this frame's end and the beginning of the next."""
    cdef Py_ssize_t ahead
    for ahead in range(64, min(<Py_ssize_t>frame.size, <Py_ssize_t>STATUS_AHEAD), 64):
        prefetch(frame.at + frame.size - ahead)
    for ahead in range(0, min(frames.end - frames.at, <Py_ssize_t>METADATA_AHEAD), 64):
        prefetch(frames.at + ahead)


cdef int run_stream(Table* table, Frames* frames) noexcept nogil:
    """All whole frames in what is being fed. Records point into it and, the first at most, into the kept frame."""
    cdef Frame frame
    cdef Fault fault
    cdef Cursor cursor
    cdef Event event
    cdef Record* record
    cdef int answer
    fault.reason = b""
    fault.at = NULL
    while True:
        record = _new_record(table)
        if record == NULL:
            return RUN_NO_MEMORY
        answer = next_frame(frames, &frame, &fault)
        if answer == 0:
            return RUN_DONE
        if answer < 0:
            table.reason = fault.reason
            table.offset = frames.offset
            return RUN_NO_MEMORY if fault.reason == NULL else RUN_BROKEN
        cursor.at = frame.at
        cursor.end = frame.at + frame.size
        cursor.fault = &fault
        if frames.format == FORMAT_JSON_ and peek(&cursor) == -1:
            continue
        if frame.kept:
            table.kept_frame = frame
        table.counts.events += 1
        memset(&event, 0, sizeof(event))
        if frames.format == FORMAT_JSON_:
            answer = json_watch(&cursor, &table.context, &event)
        else:
            _prefetch(&frame, frames)
            answer = proto_watch(&cursor, &table.context, &event)
        record.kept = frame.kept
        if answer == BAD_FRAME:
            table.reason = fault.reason
            table.offset = _place(&fault, frame.at, frame.size, frame.offset)
            return RUN_BROKEN
        if answer == BAD_OBJECT:
            _tell_bad(table, record, fault.reason, _place(&fault, frame.at, frame.size, frame.offset))
        elif event.type < EVENT_BOOKMARK:
            if _apply(table, &event, event.type, record) < 0:
                return RUN_NO_MEMORY
        else:
            table.counts.bookmarks += event.type == EVENT_BOOKMARK
            record.tell = TELL_BOOKMARK if event.type == EVENT_BOOKMARK else TELL_STATUS
            record.offset = frame.offset
            record.version = event.version
            record.annotations = event.annotations
            record.status = event.object
            table.record_count += not table.quiet


cdef int apply_items(Table* table, const Spans* items, const uint8_t* body, int format) noexcept nogil:
    """A list's items, which lie in `body`, each as an event that adds or modifies."""
    cdef Fault fault
    cdef Cursor cursor
    cdef Event event
    cdef Record* record
    cdef size_t i
    cdef int answer
    fault.reason = b""
    fault.at = NULL
    for i in range(items.count):
        record = _new_record(table)
        if record == NULL:
            return RUN_NO_MEMORY
        record.kept = False
        cursor.at = items.items[i].at
        cursor.end = cursor.at + items.items[i].size
        cursor.fault = &fault
        table.counts.events += 1
        memset(&event, 0, sizeof(event))
        if format == FORMAT_JSON_:
            answer = json_pod(&cursor, &table.context, &event)
        else:
            answer = proto_pod(&cursor, &table.context, &event)
        if answer < 0:
            _tell_bad(table, record, fault.reason, _place(
                &fault, items.items[i].at, items.items[i].size, <uint64_t>(items.items[i].at - body)))
        elif _apply(table, &event, EVENT_MODIFIED, record) < 0:
            return RUN_NO_MEMORY
    return RUN_DONE
