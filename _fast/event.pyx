"""Reads the few values both formats write as text, and keeps the growing arrays of a status view."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

from shard_executor._fast.cursor cimport Cursor, Span, fail, is_text

cdef extern from "uuid_text.h" nogil:
    bint sx_uuid(const uint8_t* at, uint64_t* high, uint64_t* low)


cdef int want_scratch(Context* context, size_t size) noexcept nogil:
    """Room for `size` bytes of unescaped text; -1 when memory is out."""
    cdef uint8_t* grown
    if size <= context.scratch_size:
        return 0
    grown = <uint8_t*>realloc(context.scratch, size)
    if grown == NULL:
        return -1
    context.scratch = grown
    context.scratch_size = size
    return 0


cdef void free_context(Context* context) noexcept nogil:
    free(context.scratch)
    context.scratch = NULL
    context.scratch_size = 0


cdef int _bin_value(const Span* text) noexcept nogil:
    """The label's value as written by us: "0" to "255" without leading zeros, anything else is not ours."""
    cdef int number = 0
    cdef Py_ssize_t i
    if text.size < 1 or text.size > 3 or (text.size > 1 and text.at[0] == c"0"):
        return BIN_INVALID
    for i in range(<Py_ssize_t>text.size):
        if text.at[i] < c"0" or text.at[i] > c"9":
            return BIN_INVALID
        number = number * 10 + text.at[i] - c"0"
    return number if number < 256 else BIN_INVALID


cdef int label_role(const Context* context, const Span* name) noexcept nogil:
    """What a label that passed may_be_wanted is to us; `name` is free of escapes."""
    cdef size_t i
    cdef const LabelRule* rule
    if is_text(name, <const char*>context.bin_label.at, context.bin_label.size):
        return LABEL_BIN
    for i in range(context.rule_count):
        rule = &context.rules[i]
        if name.size < rule.name.size or (name.size > rule.name.size and not rule.prefix):
            continue
        if memcmp(name.at, rule.name.at, rule.name.size) == 0:
            return LABEL_OBSERVED
    return LABEL_OTHER


cdef void take_label(Event* event, int role, uint64_t name_hash, const Span* value) noexcept nogil:
    if role == LABEL_BIN:
        event.bin = _bin_value(value)
    event.label_state += text_hash(value, name_hash)


cdef int finish_pod(Cursor* cursor, Event* event) noexcept nogil:
    """Checks what every pod must have and sums up its observable state."""
    if event.wrong_kind:
        return fail(cursor, b"the object is no Pod")
    if event.uid.size == 0:
        return fail(cursor, b"metadata.uid is missing")
    if not event.version_known:
        return fail(cursor, b"metadata.resourceVersion is missing")
    event.state = (
        event.label_state + event.condition_state + event.init_state + event.container_state
        + event.reason_state + event.message_state
        + element_seed(SEED_PHASE, 0, event.deleting, event.phase) * <uint64_t>0x9e3779b97f4a7c15
    )
    return 0


cdef int phase_value(const Span* text) noexcept nogil:
    if is_text(text, b"Pending", 7):
        return 1
    if is_text(text, b"Running", 7):
        return 2
    if is_text(text, b"Succeeded", 9):
        return 3
    if is_text(text, b"Failed", 6):
        return 4
    return 0


cdef int event_type(const Span* text) noexcept nogil:
    if is_text(text, b"MODIFIED", 8):
        return EVENT_MODIFIED
    if is_text(text, b"ADDED", 5):
        return EVENT_ADDED
    if is_text(text, b"DELETED", 7):
        return EVENT_DELETED
    if is_text(text, b"BOOKMARK", 8):
        return EVENT_BOOKMARK
    if is_text(text, b"ERROR", 5):
        return EVENT_ERROR
    return EVENT_UNKNOWN


cdef int unsigned_value(const Span* text, uint64_t* number) noexcept nogil:
    """Decimal digits only, at most 2**64 - 1; -1 for anything else, the empty text too."""
    cdef uint64_t value = 0
    cdef uint64_t digit
    cdef size_t i
    if text.size < 1:
        return -1
    for i in range(text.size):
        if text.at[i] < c"0" or text.at[i] > c"9":
            return -1
        digit = text.at[i] - c"0"
        if value > (<uint64_t>0xffffffffffffffff - digit) // 10:
            return -1
        value = value * 10 + digit
    number[0] = value
    return 0


cdef bint uid_key(const Span* uid, uint64_t* high, uint64_t* low) noexcept nogil:
    """Sixteen bytes for a uid. True where it is no UUID in lower-case hyphenated spelling and had to be hashed."""
    if uid.size == 36 and sx_uuid(uid.at, high, low):
        return False
    high[0] = sx_hash(uid.at, uid.size, 11)
    low[0] = sx_hash(uid.at, uid.size, 13)
    return True


cdef int push_span(Spans* spans, Span span) noexcept nogil:
    cdef Span* grown
    if spans.count == spans.room:
        grown = <Span*>realloc(spans.items, (spans.room * 2 + 64) * sizeof(Span))
        if grown == NULL:
            return -1
        spans.items = grown
        spans.room = spans.room * 2 + 64
    spans.items[spans.count] = span
    spans.count += 1
    return 0


cdef int push_condition(Sink* sink, const ConditionFields* fields) noexcept nogil:
    cdef ConditionFields* grown
    if sink.condition_count == sink.condition_room:
        grown = <ConditionFields*>realloc(sink.conditions, (sink.condition_room * 2 + 8) * sizeof(ConditionFields))
        if grown == NULL:
            return -1
        sink.conditions = grown
        sink.condition_room = sink.condition_room * 2 + 8
    sink.conditions[sink.condition_count] = fields[0]
    sink.condition_count += 1
    return 0


cdef int push_container(Sink* sink, const ContainerFields* fields) noexcept nogil:
    cdef ContainerFields* grown
    if sink.container_count == sink.container_room:
        grown = <ContainerFields*>realloc(sink.containers, (sink.container_room * 2 + 4) * sizeof(ContainerFields))
        if grown == NULL:
            return -1
        sink.containers = grown
        sink.container_room = sink.container_room * 2 + 4
    sink.containers[sink.container_count] = fields[0]
    sink.container_count += 1
    return 0


cdef void drop_containers(Sink* sink, bint init) noexcept nogil:
    """Forgets one of the two lists: it is written a second time in the same status."""
    cdef size_t i
    cdef size_t kept = 0
    for i in range(sink.container_count):
        if sink.containers[i].init != init:
            sink.containers[kept] = sink.containers[i]
            kept += 1
    sink.container_count = kept


cdef void free_sink(Sink* sink) noexcept nogil:
    free(sink.conditions)
    free(sink.containers)
    sink.conditions = NULL
    sink.containers = NULL
