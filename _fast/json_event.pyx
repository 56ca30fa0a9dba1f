"""Decodes watch events and pods written as JSON: one forward pass, `spec` and `managedFields` skipped unread.

Inside what is skipped only the balance of brackets is checked (json_scan.h). Of a member that occurs twice the last
one counts. Object and list members may come in any order; those of struct order, as servers write them, cost least.
"""

from libc.stdint cimport uint64_t

from shard_executor._fast.cursor cimport Cursor, Fault, Span, fail, is_text, within
from shard_executor._fast.event cimport (
    BAD_FRAME,
    BAD_OBJECT,
    BIN_MISSING,
    EVENT_BOOKMARK,
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
from shard_executor._fast.json_lex cimport (
    enter,
    make_plain,
    next_key,
    peek,
    read_text,
    skip_null,
    skip_value,
)
from shard_executor._fast.json_status cimport json_conditions, json_containers, json_moment


cdef inline int _read_plain(Cursor* cursor, Context* context, Span* raw, Span* plain) noexcept nogil:
    """The text as it stands, for later, and free of escapes until the next text is unescaped."""
    if read_text(cursor, raw) < 0:
        return -1
    plain[0] = raw[0]
    if plain.escaped:
        return make_plain(cursor, context, plain)
    return 0


cdef int _labels(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    cdef Span key, raw, value
    cdef bint first = True
    cdef int more, role
    cdef uint64_t name_hash
    event.label_state = 0
    event.bin = BIN_MISSING
    peek(cursor)
    event.labels.at = cursor.at
    event.labels.size = 0
    more = enter(cursor, c"{")
    while more > 0:
        more = next_key(cursor, context, &first, &key)
        if more <= 0:
            break
        role = label_role(context, &key) if may_be_wanted(context, &key) else LABEL_OTHER
        if role == LABEL_OTHER:
            if read_text(cursor, &raw) < 0:
                return -1
            continue
        name_hash = text_hash(&key, SEED_LABEL)
        if _read_plain(cursor, context, &raw, &value) < 0:
            return -1
        take_label(event, role, name_hash, &value)
    event.labels.size = <size_t>(cursor.at - event.labels.at)
    return more


cdef int json_metadata(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    cdef Span key, plain
    cdef bint first = True
    cdef int more
    clear_metadata(event)
    more = enter(cursor, c"{")
    while more > 0:
        more = next_key(cursor, context, &first, &key)
        if more <= 0:
            break
        if is_text(&key, b"name", 4):
            if read_text(cursor, &event.name) < 0:
                return -1
        elif is_text(&key, b"namespace", 9):
            if read_text(cursor, &event.namespace) < 0:
                return -1
        elif is_text(&key, b"uid", 3):
            if _read_plain(cursor, context, &event.uid, &plain) < 0:
                return -1
            event.uid_hashed = uid_key(&plain, &event.uid_high, &event.uid_low)
        elif is_text(&key, b"resourceVersion", 15):
            if _read_plain(cursor, context, &plain, &plain) < 0:
                return -1
            event.version_known = plain.size > 0
            if event.version_known and unsigned_value(&plain, &event.version) < 0:
                return fail(cursor, b"metadata.resourceVersion is no 64-bit number")
        elif is_text(&key, b"deletionTimestamp", 17):
            if read_text(cursor, &plain) < 0:
                return -1
            event.deleting = plain.size > 0
        elif is_text(&key, b"labels", 6):
            if _labels(cursor, context, event) < 0:
                return -1
        elif is_text(&key, b"annotations", 11):
            peek(cursor)
            event.annotations.at = cursor.at
            event.annotations.size = 0
            if not skip_null(cursor):
                if peek(cursor) != c"{":
                    return fail(cursor, b"an object was expected")
                if skip_value(cursor) < 0:
                    return -1
                event.annotations.size = <size_t>(cursor.at - event.annotations.at)
        elif skip_value(cursor) < 0:
            return -1
    return more


cdef int json_status(Cursor* cursor, Context* context, Event* event, Sink* sink) noexcept nogil:
    """Sums up the status in `event`; collects its details too where `sink` is not NULL."""
    cdef Span key, raw, plain
    cdef bint first = True
    cdef int more
    clear_status(event)
    more = enter(cursor, c"{")
    while more > 0:
        more = next_key(cursor, context, &first, &key)
        if more <= 0:
            break
        if is_text(&key, b"phase", 5):
            if _read_plain(cursor, context, &raw, &plain) < 0:
                return -1
            event.phase = phase_value(&plain)
        elif is_text(&key, b"conditions", 10):
            if json_conditions(cursor, context, &event.condition_state, sink) < 0:
                return -1
        elif is_text(&key, b"containerStatuses", 17):
            if json_containers(cursor, context, False, &event.container_state, sink) < 0:
                return -1
        elif is_text(&key, b"initContainerStatuses", 21):
            if json_containers(cursor, context, True, &event.init_state, sink) < 0:
                return -1
        elif is_text(&key, b"reason", 6):
            if _read_plain(cursor, context, &event.reason, &plain) < 0:
                return -1
            event.reason_state = text_hash(&plain, SEED_REASON) if plain.size > 0 else 0
        elif is_text(&key, b"message", 7):
            if _read_plain(cursor, context, &event.message, &plain) < 0:
                return -1
            event.message_state = text_hash(&plain, SEED_MESSAGE) if plain.size > 0 else 0
        elif is_text(&key, b"startTime", 9):
            if json_moment(cursor, &sink.start if sink != NULL else NULL, sink != NULL) < 0:
                return -1
        elif skip_value(cursor) < 0:
            return -1
    return more


cdef int json_pod(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """One Pod, the cursor before it; behind it on success."""
    cdef Span key, raw, plain
    cdef bint first = True
    cdef int more
    clear_metadata(event)
    clear_status(event)
    event.status.size = 0
    event.wrong_kind = False
    if peek(cursor) != c"{":
        return fail(cursor, b"an object was expected")
    cursor.at += 1
    while True:
        more = next_key(cursor, context, &first, &key)
        if more < 0:
            return -1
        if more == 0:
            return finish_pod(cursor, event)
        if is_text(&key, b"metadata", 8):
            if json_metadata(cursor, context, event) < 0:
                return -1
        elif is_text(&key, b"status", 6):
            peek(cursor)
            event.status.at = cursor.at
            if json_status(cursor, context, event, NULL) < 0:
                return -1
            event.status.size = <size_t>(cursor.at - event.status.at)
        elif is_text(&key, b"kind", 4):
            if _read_plain(cursor, context, &raw, &plain) < 0:
                return -1
            event.wrong_kind = plain.size > 0 and not is_text(&plain, b"Pod", 3)
        elif skip_value(cursor) < 0:
            return -1


cdef int _bookmark(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """Reads the metadata only, of the object in event.object."""
    cdef Cursor inner = within(cursor, &event.object)
    cdef Span key
    cdef bint first = True
    cdef int more
    clear_metadata(event)
    more = enter(&inner, c"{")
    while more > 0:
        more = next_key(&inner, context, &first, &key)
        if more <= 0:
            break
        if is_text(&key, b"metadata", 8):
            if json_metadata(&inner, context, event) < 0:
                return -1
        elif skip_value(&inner) < 0:
            return -1
    if more == 0 and not event.version_known:
        return fail(&inner, b"the bookmark's metadata.resourceVersion is missing")
    return more


cdef int _outer(Cursor* cursor, Context* context, Event* event, bint* in_object) noexcept nogil:
    """The watch event around the object. `in_object` tells, after a fault, whether it lies inside the object."""
    cdef Span key, raw, plain, late
    cdef bint first = True
    cdef bint decoded = False
    cdef int more
    cdef Cursor inner
    late.escaped = False
    late.at = NULL
    late.size = 0
    in_object[0] = False
    if peek(cursor) != c"{":
        return fail(cursor, b"a watch event was expected")
    cursor.at += 1
    while True:
        more = next_key(cursor, context, &first, &key)
        if more < 0:
            return -1
        if more == 0:
            break
        if is_text(&key, b"type", 4):
            if _read_plain(cursor, context, &raw, &plain) < 0:
                return -1
            event.type = event_type(&plain)
        elif is_text(&key, b"object", 6):
            peek(cursor)
            event.object.at = cursor.at
            if event.type < EVENT_BOOKMARK and not decoded:
                in_object[0] = True
                if json_pod(cursor, context, event) < 0:
                    return -1
                in_object[0] = False
                decoded = True
            else:
                if skip_value(cursor) < 0:
                    return -1
                late.at = event.object.at
                late.size = <size_t>(cursor.at - late.at)
            event.object.size = <size_t>(cursor.at - event.object.at)
        elif skip_value(cursor) < 0:
            return -1
    if peek(cursor) != -1:
        return fail(cursor, b"bytes behind the watch event")
    in_object[0] = True
    if event.object.size == 0:
        return fail(cursor, b"the watch event holds no object")
    if event.type == EVENT_UNKNOWN:
        return fail(cursor, b"watch event of unknown type")
    if event.type < EVENT_BOOKMARK and late.size > 0:
        inner = within(cursor, &late)
        return json_pod(&inner, context, event)
    if event.type == EVENT_BOOKMARK:
        return _bookmark(cursor, context, event)
    return 0


cdef int json_watch(Cursor* cursor, Context* context, Event* event) noexcept nogil:
    """One line of a watch stream. 0, BAD_OBJECT or BAD_FRAME: whether the line as a whole still balances."""
    cdef Fault unread
    cdef Cursor whole = cursor[0]
    cdef bint in_object = False
    event.type = EVENT_UNKNOWN
    if _outer(cursor, context, event, &in_object) == 0:
        return 0
    if not in_object:
        return BAD_FRAME
    whole.fault = &unread
    if skip_value(&whole) < 0 or peek(&whole) != -1:
        return BAD_FRAME
    return BAD_OBJECT
