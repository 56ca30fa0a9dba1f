"""Decodes conditions and container statuses written as JSON: hashed always, collected where a sink is given."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from shard_executor._fast.cursor cimport Cursor, Span, fail, is_text
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
    Context,
    Moment,
    Sink,
    StateFields,
    drop_containers,
    element_seed,
    push_condition,
    push_container,
    text_hash,
)
from shard_executor._fast.json_lex cimport (
    enter,
    make_plain,
    next_item,
    next_key,
    read_bool,
    read_int32,
    read_text,
    skip_value,
)


cdef inline int _hash(Cursor* cursor, Context* context, const Span* text, uint64_t* seed) noexcept nogil:
    cdef Span plain = text[0]
    if plain.escaped and make_plain(cursor, context, &plain) < 0:
        return -1
    seed[0] = text_hash(&plain, seed[0])
    return 0


cdef int json_conditions(Cursor* cursor, Context* context, uint64_t* state, Sink* sink) noexcept nogil:
    cdef ConditionFields fields
    cdef Span key
    cdef bint first_item = True
    cdef bint first
    cdef int items, more
    cdef uint64_t index = 0
    cdef uint64_t value
    state[0] = 0
    if sink != NULL:
        sink.condition_count = 0
    items = enter(cursor, c"[")
    while items > 0:
        items = next_item(cursor, &first_item)
        if items <= 0:
            break
        more = enter(cursor, c"{")
        if more <= 0:
            return fail(cursor, b"a condition was expected")
        memset(&fields, 0, sizeof(fields))
        first = True
        while True:
            more = next_key(cursor, context, &first, &key)
            if more < 0:
                return -1
            if more == 0:
                break
            if is_text(&key, b"type", 4):
                more = read_text(cursor, &fields.type)
            elif is_text(&key, b"status", 6):
                more = read_text(cursor, &fields.status)
            elif is_text(&key, b"reason", 6):
                more = read_text(cursor, &fields.reason)
            elif is_text(&key, b"message", 7):
                more = read_text(cursor, &fields.message)
            else:
                more = skip_value(cursor)
            if more < 0:
                return -1
        value = element_seed(SEED_CONDITION, index, 0, 0)
        if _hash(cursor, context, &fields.type, &value) < 0 or _hash(cursor, context, &fields.status, &value) < 0 \
                or _hash(cursor, context, &fields.reason, &value) < 0:
            return -1
        state[0] += value
        index += 1
        if sink != NULL and push_condition(sink, &fields) < 0:
            return fail(cursor, b"out of memory")
    return items


cdef int64_t _days(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 1970-01-01 in the Gregorian calendar; years begin in March, so that leap days come last."""
    cdef int64_t y = year - (1 if month <= 2 else 0)
    cdef int64_t m = month + (12 if month <= 2 else 0) - 3
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 1 - 719468


cdef bint _number(const Span* text, size_t at, size_t digits, int64_t* number) noexcept nogil:
    cdef size_t i
    number[0] = 0
    if at + digits > text.size:
        return False
    for i in range(at, at + digits):
        if text.at[i] < c"0" or text.at[i] > c"9":
            return False
        number[0] = number[0] * 10 + text.at[i] - c"0"
    return True


cdef bint _rfc3339(const Span* text, Moment* moment) noexcept nogil:
    """2026-11-22T16:54:48Z, with fractions of a second or an offset from UTC where they are given."""
    cdef int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, zone_hour = 0, zone_minute = 0
    cdef int64_t nanos = 0
    cdef int64_t unit = 100000000
    cdef size_t at = 19
    if not (_number(text, 0, 4, &year) and _number(text, 5, 2, &month) and _number(text, 8, 2, &day)
            and _number(text, 11, 2, &hour) and _number(text, 14, 2, &minute) and _number(text, 17, 2, &second)):
        return False
    if text.at[4] != c"-" or text.at[7] != c"-" or text.at[10] | 0x20 != c"t" or text.at[13] != c":" \
            or text.at[16] != c":" or month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 \
            or second > 60:
        return False
    if at < text.size and text.at[at] == c".":
        at += 1
        while at < text.size and c"0" <= text.at[at] <= c"9":
            nanos += (text.at[at] - c"0") * unit
            unit //= 10
            at += 1
    moment.seconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    moment.nanos = <int32_t>nanos
    if at + 1 == text.size and text.at[at] | 0x20 == c"z":
        return True
    if at + 6 != text.size or (text.at[at] != c"+" and text.at[at] != c"-") or text.at[at + 3] != c":" \
            or not (_number(text, at + 1, 2, &zone_hour) and _number(text, at + 4, 2, &zone_minute)):
        return False
    moment.seconds -= (zone_hour * 60 + zone_minute) * 60 * (1 if text.at[at] == c"+" else -1)
    return True


cdef int json_moment(Cursor* cursor, Moment* moment, bint wanted) noexcept nogil:
    """A time or null; text that is no RFC 3339 time stands for no time."""
    cdef Span text
    if read_text(cursor, &text) < 0:
        return -1
    if wanted:
        moment.known = text.size > 0 and _rfc3339(&text, moment)
    return 0


cdef int _state(Cursor* cursor, Context* context, int kind, StateFields* fields, bint wanted) noexcept nogil:
    """One of waiting, running, terminated; null leaves it absent."""
    cdef Span key
    cdef bint first = True
    cdef int more
    memset(fields, 0, sizeof(fields[0]))
    more = enter(cursor, c"{")
    if more > 0:
        fields.present = True
    while more > 0:
        more = next_key(cursor, context, &first, &key)
        if more <= 0:
            break
        if is_text(&key, b"reason", 6):
            more = read_text(cursor, &fields.reason)
        elif is_text(&key, b"message", 7):
            more = read_text(cursor, &fields.message)
        elif kind == STATE_TERMINATED and is_text(&key, b"exitCode", 8):
            more = read_int32(cursor, &fields.exit_code)
        elif kind == STATE_TERMINATED and is_text(&key, b"signal", 6):
            more = read_int32(cursor, &fields.signal)
        elif is_text(&key, b"startedAt", 9):
            more = json_moment(cursor, &fields.started, wanted)
        elif is_text(&key, b"finishedAt", 10):
            more = json_moment(cursor, &fields.finished, wanted)
        else:
            more = skip_value(cursor)
        if more < 0:
            return -1
        more = 1
    return more


cdef int _container(Cursor* cursor, Context* context, ContainerFields* fields, bint wanted) noexcept nogil:
    cdef StateFields states[4]     # by STATE_*; the strongest that is present counts
    cdef Span key
    cdef bint first = True
    cdef bint first_state
    cdef int more, kind
    if enter(cursor, c"{") <= 0:
        return fail(cursor, b"a container status was expected")
    for kind in range(4):
        states[kind].present = False
    while True:
        more = next_key(cursor, context, &first, &key)
        if more < 0:
            return -1
        if more == 0:
            break
        if is_text(&key, b"name", 4):
            more = read_text(cursor, &fields.name)
        elif is_text(&key, b"state", 5):
            for kind in range(4):
                states[kind].present = False
            first_state = True
            more = enter(cursor, c"{")
            while more > 0:
                more = next_key(cursor, context, &first_state, &key)
                if more <= 0:
                    break
                if is_text(&key, b"terminated", 10):
                    more = _state(cursor, context, STATE_TERMINATED, &states[STATE_TERMINATED], wanted)
                elif is_text(&key, b"running", 7):
                    more = _state(cursor, context, STATE_RUNNING, &states[STATE_RUNNING], wanted)
                elif is_text(&key, b"waiting", 7):
                    more = _state(cursor, context, STATE_WAITING, &states[STATE_WAITING], wanted)
                else:
                    more = skip_value(cursor)
                if more < 0:
                    return -1
                more = 1
        elif is_text(&key, b"restartCount", 12):
            more = read_int32(cursor, &fields.restarts)
        elif is_text(&key, b"ready", 5):
            more = read_bool(cursor, &fields.ready)
        else:
            more = skip_value(cursor)
        if more < 0:
            return -1
    for kind in range(STATE_TERMINATED, STATE_NONE, -1):
        if states[kind].present:
            fields.state_kind = kind
            fields.state = states[kind]
            break
    return 0


cdef int json_containers(Cursor* cursor, Context* context, bint init, uint64_t* state, Sink* sink) noexcept nogil:
    cdef ContainerFields fields
    cdef bint first_item = True
    cdef int items
    cdef uint64_t index = 0
    cdef uint64_t value
    state[0] = 0
    if sink != NULL:
        drop_containers(sink, init)
    items = enter(cursor, c"[")
    while items > 0:
        items = next_item(cursor, &first_item)
        if items <= 0:
            break
        memset(&fields, 0, sizeof(fields))
        fields.init = init
        if _container(cursor, context, &fields, sink != NULL) < 0:
            return -1
        value = element_seed(SEED_INIT if init else SEED_CONTAINER, index, fields.state_kind, fields.state.exit_code)
        if _hash(cursor, context, &fields.name, &value) < 0 \
                or _hash(cursor, context, &fields.state.reason, &value) < 0:
            return -1
        state[0] += value
        index += 1
        if sink != NULL and push_container(sink, &fields) < 0:
            return fail(cursor, b"out of memory")
    return items
