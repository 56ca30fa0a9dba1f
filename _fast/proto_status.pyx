"""Decodes conditions and container statuses written as protobuf, and the Status of an ERROR event.

Every function gets a cursor over one message alone and reads it to its end.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from shard_executor._fast.cursor cimport Cursor, Span, fail, read_bytes, read_tag, read_varint, skip_field, within
from shard_executor._fast.event cimport (
    SEED_CONDITION,
    SEED_CONTAINER,
    SEED_INIT,
    STATE_NONE,
    STATE_RUNNING,
    STATE_TERMINATED,
    STATE_WAITING,
    ConditionFields,
    ContainerFields,
    Moment,
    Sink,
    StateFields,
    element_seed,
    push_condition,
    push_container,
    push_span,
    text_hash,
)


cdef inline int _int32(Cursor* cursor, int32_t* number) noexcept nogil:
    """int32 travels as a varint, sign-extended to 64 bits; the upper half is dropped, as protobuf says."""
    cdef uint64_t value = 0
    if read_varint(cursor, &value) < 0:
        return -1
    number[0] = <int32_t>value
    return 0


cdef int proto_condition(Cursor* cursor, uint64_t index, uint64_t* state, Sink* sink) noexcept nogil:
    """PodCondition {type = 1, status = 2, reason = 5, message = 6}."""
    cdef ConditionFields fields
    cdef uint64_t tag = 0
    cdef int answer
    memset(&fields, 0, sizeof(fields))
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            answer = read_bytes(cursor, &fields.type)
        elif tag == 0x12:
            answer = read_bytes(cursor, &fields.status)
        elif tag == 0x2a:
            answer = read_bytes(cursor, &fields.reason)
        elif tag == 0x32:
            answer = read_bytes(cursor, &fields.message)
        elif (tag & 7) != 2 and ((tag >> 3) in (1, 2, 5, 6)):
            return fail(cursor, b"condition: wrong wire type")
        else:
            answer = skip_field(cursor, tag)
        if answer < 0:
            return -1
    state[0] += text_hash(&fields.reason, text_hash(&fields.status, text_hash(
        &fields.type, element_seed(SEED_CONDITION, index, 0, 0))))
    if sink != NULL and push_condition(sink, &fields) < 0:
        return fail(cursor, b"out of memory")
    return 0


cdef int _moment(Cursor* cursor, Moment* moment) noexcept nogil:
    """Time {seconds = 1, nanos = 2}; an empty message is Go's zero time, no time for us."""
    cdef uint64_t tag = 0
    cdef uint64_t value = 0
    moment.seconds = 0
    moment.nanos = 0
    moment.known = False
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x08:
            if read_varint(cursor, &value) < 0:
                return -1
            moment.seconds = <int64_t>value
            moment.known = True
        elif tag == 0x10:
            if _int32(cursor, &moment.nanos) < 0:
                return -1
            moment.known = True
        elif tag >> 3 < 3:
            return fail(cursor, b"time: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_time(Cursor* cursor, Moment* moment, bint wanted) noexcept nogil:
    """A field of type Time; what cannot be read stands for no time."""
    cdef Span text
    cdef Cursor inner
    if read_bytes(cursor, &text) < 0:
        return -1
    if wanted:
        inner = within(cursor, &text)
        if _moment(&inner, moment) < 0:
            moment.known = False
    return 0


cdef int _state(Cursor* cursor, int kind, StateFields* fields, bint wanted) noexcept nogil:
    """ContainerStateWaiting {reason 1, message 2}, -Running {startedAt 1}, -Terminated {exitCode 1, signal 2,
    reason 3, message 4, startedAt 5, finishedAt 6}."""
    cdef uint64_t tag = 0
    cdef int answer
    if not fields.present:
        memset(fields, 0, sizeof(fields[0]))
        fields.present = True
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if kind == STATE_TERMINATED:
            if tag == 0x08:
                answer = _int32(cursor, &fields.exit_code)
            elif tag == 0x10:
                answer = _int32(cursor, &fields.signal)
            elif tag == 0x1a:
                answer = read_bytes(cursor, &fields.reason)
            elif tag == 0x22:
                answer = read_bytes(cursor, &fields.message)
            elif tag == 0x2a:
                answer = proto_time(cursor, &fields.started, wanted)
            elif tag == 0x32:
                answer = proto_time(cursor, &fields.finished, wanted)
            elif tag >> 3 < 7:
                return fail(cursor, b"terminated state: wrong wire type")
            else:
                answer = skip_field(cursor, tag)
        elif kind == STATE_WAITING:
            if tag == 0x0a:
                answer = read_bytes(cursor, &fields.reason)
            elif tag == 0x12:
                answer = read_bytes(cursor, &fields.message)
            elif tag >> 3 < 3:
                return fail(cursor, b"waiting state: wrong wire type")
            else:
                answer = skip_field(cursor, tag)
        elif tag == 0x0a:
            answer = proto_time(cursor, &fields.started, wanted)
        elif tag >> 3 == 1:
            return fail(cursor, b"running state: wrong wire type")
        else:
            answer = skip_field(cursor, tag)
        if answer < 0:
            return -1
    return 0


cdef int _states(Cursor* cursor, StateFields* states, bint wanted) noexcept nogil:
    """ContainerState {waiting = 1, running = 2, terminated = 3}; STATE_* are these field numbers."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a or tag == 0x12 or tag == 0x1a:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if _state(&inner, <int>(tag >> 3), &states[tag >> 3], wanted) < 0:
                return -1
        elif tag >> 3 < 4:
            return fail(cursor, b"container state: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_container(Cursor* cursor, bint init, uint64_t index, uint64_t* state, Sink* sink) noexcept nogil:
    """ContainerStatus {name = 1, state = 2, ready = 4, restartCount = 5}."""
    cdef StateFields states[4]
    cdef ContainerFields fields
    cdef uint64_t tag = 0
    cdef uint64_t value = 0
    cdef Span text
    cdef Cursor inner
    cdef int kind
    memset(&fields, 0, sizeof(fields))
    fields.init = init
    for kind in range(4):
        states[kind].present = False
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &fields.name) < 0:
                return -1
        elif tag == 0x12:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if _states(&inner, states, sink != NULL) < 0:
                return -1
        elif tag == 0x20:
            if read_varint(cursor, &value) < 0:
                return -1
            fields.ready = value != 0
        elif tag == 0x28:
            if _int32(cursor, &fields.restarts) < 0:
                return -1
        elif (tag >> 3) in (1, 2, 4, 5):
            return fail(cursor, b"container status: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    for kind in range(STATE_TERMINATED, STATE_NONE, -1):
        if states[kind].present:
            fields.state_kind = kind
            fields.state = states[kind]
            break
    state[0] += text_hash(&fields.state.reason, text_hash(&fields.name, element_seed(
        SEED_INIT if init else SEED_CONTAINER, index, fields.state_kind, fields.state.exit_code)))
    if sink != NULL and push_container(sink, &fields) < 0:
        return fail(cursor, b"out of memory")
    return 0


cdef int _cause(Cursor* cursor, StatusAnswer* answer) noexcept nogil:
    """StatusCause {reason = 1}."""
    cdef uint64_t tag = 0
    cdef Span reason
    reason.at = cursor.at
    reason.size = 0
    reason.escaped = False
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &reason) < 0:
                return -1
        elif tag >> 3 == 1:
            return fail(cursor, b"cause: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    if push_span(&answer.causes, reason) < 0:
        return fail(cursor, b"out of memory")
    return 0


cdef int _details(Cursor* cursor, StatusAnswer* answer) noexcept nogil:
    """StatusDetails {causes = 4, retryAfterSeconds = 5}."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x22:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if _cause(&inner, answer) < 0:
                return -1
        elif tag == 0x28:
            if read_varint(cursor, &answer.retry_after) < 0:
                return -1
        elif tag >> 3 == 4 or tag >> 3 == 5:
            return fail(cursor, b"status details: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_answer(Cursor* cursor, StatusAnswer* answer) noexcept nogil:
    """Status {message = 3, reason = 4, details = 5, code = 6}; `answer` is zeroed and its causes freed by the caller."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x1a:
            if read_bytes(cursor, &answer.message) < 0:
                return -1
        elif tag == 0x22:
            if read_bytes(cursor, &answer.reason) < 0:
                return -1
        elif tag == 0x2a:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            if _details(&inner, answer) < 0:
                return -1
        elif tag == 0x30:
            if read_varint(cursor, &answer.code) < 0:
                return -1
        elif 3 <= tag >> 3 <= 6:
            return fail(cursor, b"status: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0
