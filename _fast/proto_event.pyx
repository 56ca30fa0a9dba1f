"""Decodes watch events and pods written as protobuf, by field number; `spec` and `managedFields` are jumped over.

Field numbers: generated.proto of k8s.io/apimachinery (meta/v1, runtime) and k8s.io/api (core/v1). Tags below are
field number * 8 + wire type. A known field of another wire type is a fault, an unknown one of a legal type is
skipped. A field that occurs twice counts as protobuf has it: the last scalar, merged messages, appended lists; a
second `metadata` or `status` in one pod is refused, no server writes that.
"""

from libc.stdint cimport uint64_t

from shard_executor._fast.cursor cimport (
    Cursor,
    Span,
    fail,
    is_text,
    read_bytes,
    read_tag,
    skip_field,
    within,
)
from shard_executor._fast.event cimport (
    BAD_FRAME,
    BAD_OBJECT,
    EVENT_BOOKMARK,
    EVENT_ERROR,
    EVENT_UNKNOWN,
    LABEL_OTHER,
    SEED_LABEL,
    SEED_MESSAGE,
    SEED_REASON,
    Context,
    Event,
    Sink,
    clear_metadata,
    clear_status,
    event_type,
    finish_pod,
    label_role,
    may_be_wanted,
    phase_value,
    take_label,
    text_hash,
    uid_key,
    unsigned_value,
)
from shard_executor._fast.proto_list cimport proto_unwrap
from shard_executor._fast.proto_status cimport proto_condition, proto_container, proto_time


cdef int proto_entry(Cursor* cursor, Span* key, Span* value) noexcept nogil:
    """One entry of a string map, the cursor over the entry alone."""
    cdef uint64_t tag = 0
    key.size = 0
    key.escaped = False
    key.at = cursor.at
    value[0] = key[0]
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, key) < 0:
                return -1
        elif tag == 0x12:
            if read_bytes(cursor, value) < 0:
                return -1
        elif tag >> 3 < 3:
            return fail(cursor, b"map entry: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef inline bint _other_label(const Context* context, const Span* entry) noexcept nogil:
    """A quick look at an entry as servers write it, key and value of less than 128 bytes each and nothing else: true
    if its key's first byte already says that nobody looks at that label."""
    cdef size_t key
    if entry.size < 5 or entry.at[0] != 0x0a or entry.at[1] == 0 or context.first_bytes[entry.at[2]] != 0:
        return False
    key = entry.at[1]
    return key < 0x80 and key + 4 <= entry.size and entry.at[key + 2] == 0x12 and entry.at[key + 3] < 0x80 \
        and key + 4 + entry.at[key + 3] == entry.size


cdef int _label(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    cdef Span entry, key, value
    cdef Cursor inner
    cdef int role
    if read_bytes(cursor, &entry) < 0:
        return -1
    if _other_label(context, &entry):
        return 0
    inner = within(cursor, &entry)
    if proto_entry(&inner, &key, &value) < 0:
        return -1
    if may_be_wanted(context, &key):
        role = label_role(context, &key)
        if role != LABEL_OTHER:
            take_label(event, role, text_hash(&key, SEED_LABEL), &value)
    return 0


cdef int _metadata(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """ObjectMeta, the cursor over it alone."""
    cdef uint64_t tag = 0
    cdef Span text
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x5a:                                      # labels
            if _label(cursor, context, event) < 0:
                return -1
        elif tag == 0x0a:                                    # name
            if read_bytes(cursor, &event.name) < 0:
                return -1
        elif tag == 0x1a:                                    # namespace
            if read_bytes(cursor, &event.namespace) < 0:
                return -1
        elif tag == 0x2a:                                    # uid
            if read_bytes(cursor, &event.uid) < 0:
                return -1
            event.uid_hashed = uid_key(&event.uid, &event.uid_high, &event.uid_low)
        elif tag == 0x32:                                    # resourceVersion
            if read_bytes(cursor, &text) < 0:
                return -1
            event.version_known = text.size > 0
            if event.version_known and unsigned_value(&text, &event.version) < 0:
                return fail(cursor, b"metadata.resourceVersion is no 64-bit number")
        elif tag == 0x4a:                                    # deletionTimestamp, a message; empty: the zero time
            if read_bytes(cursor, &text) < 0:
                return -1
            event.deleting = event.deleting or text.size > 0
        elif (tag & 7) != 2 and ((tag >> 3) in (1, 3, 5, 6, 9, 11, 12)):
            return fail(cursor, b"metadata: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_status(Cursor* cursor, Event* event, Sink* sink) noexcept nogil:
    """PodStatus, the cursor over it alone. Collects its details too where `sink` is not NULL."""
    cdef uint64_t tag = 0
    cdef uint64_t conditions = 0
    cdef uint64_t containers = 0
    cdef uint64_t inits = 0
    cdef Span text
    cdef Cursor inner
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x12:                                      # conditions
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if proto_condition(&inner, conditions, &event.condition_state, sink) < 0:
                return -1
            conditions += 1
        elif tag == 0x42:                                    # containerStatuses
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if proto_container(&inner, False, containers, &event.container_state, sink) < 0:
                return -1
            containers += 1
        elif tag == 0x52:                                    # initContainerStatuses
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if proto_container(&inner, True, inits, &event.init_state, sink) < 0:
                return -1
            inits += 1
        elif tag == 0x0a:                                    # phase
            if read_bytes(cursor, &text) < 0:
                return -1
            event.phase = phase_value(&text)
        elif tag == 0x1a:                                    # message
            if read_bytes(cursor, &event.message) < 0:
                return -1
            event.message_state = text_hash(&event.message, SEED_MESSAGE) if event.message.size > 0 else 0
        elif tag == 0x22:                                    # reason
            if read_bytes(cursor, &event.reason) < 0:
                return -1
            event.reason_state = text_hash(&event.reason, SEED_REASON) if event.reason.size > 0 else 0
        elif tag == 0x3a:                                    # startTime
            if proto_time(cursor, &sink.start if sink != NULL else NULL, sink != NULL) < 0:
                return -1
        elif (tag & 7) != 2 and ((tag >> 3) in (1, 2, 3, 4, 7, 8, 10)):
            return fail(cursor, b"status: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_pod(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """A bare Pod message, the cursor over it alone."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    cdef bint metadata_seen = False
    cdef bint status_seen = False
    clear_metadata(event)
    clear_status(event)
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &text) < 0:
                return -1
            if metadata_seen:
                return fail(cursor, b"metadata occurs twice")
            metadata_seen = True
            inner = within(cursor, &text)
            if _metadata(&inner, context, event) < 0:
                return -1
            event.labels = text
            event.annotations = text
        elif tag == 0x1a:
            if read_bytes(cursor, &text) < 0:
                return -1
            if status_seen:
                return fail(cursor, b"status occurs twice")
            status_seen = True
            event.status = text
            inner = within(cursor, &text)
            if proto_status(&inner, event, NULL) < 0:
                return -1
        elif tag >> 3 == 1 or tag >> 3 == 3:
            return fail(cursor, b"pod: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return finish_pod(cursor, event)


cdef int _bookmark(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """Reads the metadata only, which every kind of object has as its field 1."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    clear_metadata(event)
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if _metadata(&inner, context, event) < 0:
                return -1
            event.annotations = text
        elif skip_field(cursor, tag) < 0:
            return -1
    if not event.version_known:
        return fail(cursor, b"the bookmark's metadata.resourceVersion is missing")
    return 0


cdef int _object(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """The embedded object, the cursor over its RawExtension {raw = 1} alone."""
    cdef uint64_t tag = 0
    cdef Span whole, kind, raw
    cdef Cursor inner
    whole.at = cursor.at
    whole.size = 0
    whole.escaped = False
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &whole) < 0:
                return -1
        elif tag >> 3 == 1:
            return fail(cursor, b"object: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    inner = within(cursor, &whole)
    if proto_unwrap(&inner, &kind, &raw) < 0:
        return -1
    inner = within(cursor, &raw)
    event.object = raw
    if event.type < EVENT_BOOKMARK:
        event.wrong_kind = kind.size > 0 and not is_text(&kind, b"Pod", 3)
        return proto_pod(&inner, context, event)
    if event.type == EVENT_BOOKMARK:
        return _bookmark(&inner, context, event)
    if event.type == EVENT_ERROR:
        return 0
    return fail(cursor, b"watch event of unknown type")


cdef int proto_watch(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """meta/v1 WatchEvent {type = 1, object = 2}, one frame's body. 0, BAD_OBJECT or BAD_FRAME."""
    cdef uint64_t tag = 0
    cdef Span text, extension
    cdef Cursor inner
    cdef bint object_seen = False
    event.type = EVENT_UNKNOWN
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return BAD_FRAME
        if tag == 0x0a:
            if read_bytes(cursor, &text) < 0:
                return BAD_FRAME
            event.type = event_type(&text)
        elif tag == 0x12:
            if read_bytes(cursor, &extension) < 0:
                return BAD_FRAME
            object_seen = True
        elif tag >> 3 < 3:
            fail(cursor, b"watch event: wrong wire type")
            return BAD_FRAME
        elif skip_field(cursor, tag) < 0:
            return BAD_FRAME
    if not object_seen:
        fail(cursor, b"the watch event holds no object")
        return BAD_OBJECT
    inner = within(cursor, &extension)
    return 0 if _object(&inner, context, event) == 0 else BAD_OBJECT
