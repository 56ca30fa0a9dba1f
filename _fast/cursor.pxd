"""The bounded cursor: the only thing that walks over bytes from the network.

A fallible function here or in the decoders cannot raise, it runs without the GIL: it returns -1 and leaves the
reason and the place in the cursor's `Fault`. The class on top turns that into a Python exception or record.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp


cdef struct Fault:
    const char* reason
    const uint8_t* at


cdef struct Cursor:
    const uint8_t* at
    const uint8_t* end
    Fault* fault          # shared by a cursor and those cut out of it


cdef struct Span:
    const uint8_t* at
    size_t size
    bint escaped          # JSON text that holds a backslash


cdef inline int fail(Cursor* cursor, const char* reason) noexcept nogil:
    cursor.fault.reason = reason
    cursor.fault.at = cursor.at
    return -1


cdef inline size_t left(const Cursor* cursor) noexcept nogil:
    return <size_t>(cursor.end - cursor.at)


cdef inline Cursor within(const Cursor* cursor, const Span* span) noexcept nogil:
    """A cursor over `span`, which lies inside the bytes of `cursor`."""
    cdef Cursor inner
    inner.at = span.at
    inner.end = span.at + span.size
    inner.fault = cursor.fault
    return inner


cdef inline bint is_text(const Span* span, const char* text, size_t size) noexcept nogil:
    return span.size == size and memcmp(span.at, text, size) == 0


# --- protobuf: tags, varints, length-delimited fields (https://protobuf.dev/programming-guides/encoding/)

cdef int read_long_varint(Cursor* cursor, uint64_t* value) noexcept nogil


cdef inline int read_varint(Cursor* cursor, uint64_t* value) noexcept nogil:
    if cursor.at < cursor.end and cursor.at[0] < 0x80:
        value[0] = cursor.at[0]
        cursor.at += 1
        return 0
    return read_long_varint(cursor, value)


cdef inline int read_tag(Cursor* cursor, uint64_t* tag) noexcept nogil:
    """Field number times 8 plus wire type, in the 32 bits protobuf allows."""
    if read_varint(cursor, tag) < 0:
        return -1
    if tag[0] < 8 or tag[0] >> 32:
        return fail(cursor, b"field number out of range")
    return 0


cdef inline int read_bytes(Cursor* cursor, Span* span) noexcept nogil:
    cdef uint64_t size = 0
    if read_varint(cursor, &size) < 0:
        return -1
    if size > left(cursor):
        return fail(cursor, b"length beyond the enclosing end")
    span.at = cursor.at
    span.size = <size_t>size
    span.escaped = False
    cursor.at += size
    return 0


cdef inline int skip_field(Cursor* cursor, uint64_t tag) noexcept nogil:
    cdef uint64_t number = 0
    cdef Span span
    cdef int wire = <int>(tag & 7)
    if wire == 2:
        return read_bytes(cursor, &span)
    if wire == 0:
        return read_varint(cursor, &number)
    if wire == 1 or wire == 5:
        if left(cursor) < (8 if wire == 1 else 4):
            return fail(cursor, b"fixed-width field cut off")
        cursor.at += 8 if wire == 1 else 4
        return 0
    return fail(cursor, b"wire type out of use")
