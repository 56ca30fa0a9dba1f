"""JSON tokens over the bounded cursor: members, items, strings, numbers, values skipped unread.

Rules: a JSON `null` stands for an absent value. A string is not looked into until its text is needed; then invalid
UTF-8, lone surrogates (Go's encoding/json does the same) and escapes JSON does not know become U+FFFD, so that no
text read here can fail to be encoded again. Raw control characters in strings are let through.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

from shard_executor._fast.cursor cimport Cursor, Span, fail, left
from shard_executor._fast.event cimport Context

cdef extern from "json_scan.h" nogil:
    const uint8_t* sx_string_end(const uint8_t* at, const uint8_t* end, int* escaped)
    const uint8_t* sx_skip(const uint8_t* at, const uint8_t* end)
    const uint8_t* sx_skip_portable(const uint8_t* at, const uint8_t* end)


cdef size_t unescape(const Span* text, uint8_t* out) noexcept nogil
cdef int make_plain(Cursor* cursor, Context* context, Span* text) noexcept nogil


cdef inline int peek(Cursor* cursor) noexcept nogil:
    """The next byte that is no white space, -1 at the end; the cursor stands on it."""
    cdef uint8_t byte
    while cursor.at < cursor.end:
        byte = cursor.at[0]
        if byte > 0x20 or (byte != 0x20 and byte != 0x0a and byte != 0x0d and byte != 0x09):
            return byte
        cursor.at += 1
    return -1


cdef inline int read_string(Cursor* cursor, Span* text) noexcept nogil:
    """The cursor stands on the opening quote."""
    cdef int escaped = 0
    cdef const uint8_t* close = sx_string_end(cursor.at + 1, cursor.end, &escaped)
    if close == NULL:
        return fail(cursor, b"string without end")
    text.at = cursor.at + 1
    text.size = <size_t>(close - text.at)
    text.escaped = escaped
    cursor.at = close + 1
    return 0


cdef inline int skip_value(Cursor* cursor) noexcept nogil:
    cdef int byte = peek(cursor)
    cdef int escaped = 0
    cdef const uint8_t* place
    if byte == c"{" or byte == c"[":
        place = sx_skip(cursor.at + 1, cursor.end)
        if place == NULL:
            return fail(cursor, b"brackets do not balance")
        cursor.at = place
        return 0
    if byte == c'"':
        place = sx_string_end(cursor.at + 1, cursor.end, &escaped)
        if place == NULL:
            return fail(cursor, b"string without end")
        cursor.at = place + 1
        return 0
    place = cursor.at
    while cursor.at < cursor.end:
        byte = cursor.at[0]
        if not (c"0" <= byte <= c"9" or c"a" <= byte <= c"z" or byte == c"-" or byte == c"+" or byte == c"."
                or byte == c"E"):
            break
        cursor.at += 1
    if cursor.at == place:
        return fail(cursor, b"a value was expected")
    return 0


cdef inline bint skip_null(Cursor* cursor) noexcept nogil:
    """The cursor stands on a value's first byte; moves on and says so if it is null."""
    if left(cursor) >= 4 and cursor.at[0] == c"n" and cursor.at[1] == c"u" and cursor.at[2] == c"l" \
            and cursor.at[3] == c"l":
        cursor.at += 4
        return True
    return False


cdef inline int enter(Cursor* cursor, uint8_t bracket) noexcept nogil:
    """1: inside the object or list that was wanted; 0: null; -1: something else."""
    cdef int byte = peek(cursor)
    if byte == bracket:
        cursor.at += 1
        return 1
    if skip_null(cursor):
        return 0
    return fail(cursor, b"an object was expected" if bracket == c"{" else b"a list was expected")


cdef inline int next_key(Cursor* cursor, Context* context, bint* first, Span* key) noexcept nogil:
    """1: a member's key, free of escapes, and the cursor before its value; 0: behind the object; -1: fault."""
    cdef int byte = peek(cursor)
    if byte == c"}":
        cursor.at += 1
        return 0
    if not first[0]:
        if byte != c",":
            return fail(cursor, b"a comma was expected")
        cursor.at += 1
        byte = peek(cursor)
    first[0] = False
    if byte != c'"':
        return fail(cursor, b"a key was expected")
    if read_string(cursor, key) < 0:
        return -1
    if key.escaped and make_plain(cursor, context, key) < 0:
        return -1
    if peek(cursor) != c":":
        return fail(cursor, b"a colon was expected")
    cursor.at += 1
    return 1


cdef inline int next_item(Cursor* cursor, bint* first) noexcept nogil:
    """1: the cursor stands before an item; 0: behind the list; -1: fault."""
    cdef int byte = peek(cursor)
    if byte == c"]":
        cursor.at += 1
        return 0
    if not first[0]:
        if byte != c",":
            return fail(cursor, b"a comma was expected")
        cursor.at += 1
    first[0] = False
    return 1


cdef inline int read_text(Cursor* cursor, Span* text) noexcept nogil:
    """A string, or null for the empty text."""
    if peek(cursor) == c'"':
        return read_string(cursor, text)
    text.at = cursor.at
    text.size = 0
    text.escaped = False
    if skip_null(cursor):
        return 0
    return fail(cursor, b"a string was expected")


cdef inline int read_integer(Cursor* cursor, int64_t* number) noexcept nogil:
    """An integer of at most 18 digits, or null for 0."""
    cdef int64_t value = 0
    cdef int digits = 0
    cdef bint negative = False
    if peek(cursor) == c"-":
        negative = True
        cursor.at += 1
    elif skip_null(cursor):
        number[0] = 0
        return 0
    while cursor.at < cursor.end and c"0" <= cursor.at[0] <= c"9":
        if digits == 18:
            return fail(cursor, b"integer out of range")
        value = value * 10 + cursor.at[0] - c"0"
        digits += 1
        cursor.at += 1
    if digits == 0 or (cursor.at < cursor.end and (cursor.at[0] == c"." or cursor.at[0] == c"e"
                                                   or cursor.at[0] == c"E")):
        return fail(cursor, b"an integer was expected")
    number[0] = -value if negative else value
    return 0


cdef inline int read_int32(Cursor* cursor, int32_t* number) noexcept nogil:
    cdef int64_t value = 0
    if read_integer(cursor, &value) < 0:
        return -1
    if value > 2147483647 or value < -2147483648:
        return fail(cursor, b"integer out of range")
    number[0] = <int32_t>value
    return 0


cdef inline int read_bool(Cursor* cursor, bint* value) noexcept nogil:
    """true or false, or null for false."""
    peek(cursor)
    value[0] = False
    if skip_null(cursor):
        return 0
    if left(cursor) >= 4 and cursor.at[0] == c"t" and cursor.at[1] == c"r" and cursor.at[2] == c"u" \
            and cursor.at[3] == c"e":
        value[0] = True
        cursor.at += 4
        return 0
    if left(cursor) >= 5 and cursor.at[0] == c"f" and cursor.at[1] == c"a" and cursor.at[2] == c"l" \
            and cursor.at[3] == c"s" and cursor.at[4] == c"e":
        cursor.at += 5
        return 0
    return fail(cursor, b"true or false was expected")
