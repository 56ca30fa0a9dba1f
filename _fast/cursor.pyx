"""The cursor's one cold path: varints of more than one byte."""

from libc.stdint cimport uint8_t, uint64_t


cdef int read_long_varint(Cursor* cursor, uint64_t* value) noexcept nogil:
    """Up to ten bytes of seven bits each, the lowest first; more than 64 bits are a fault."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while shift < 70:
        if cursor.at >= cursor.end:
            return fail(cursor, b"varint cut off")
        byte = cursor.at[0]
        if shift == 63 and byte > 1:
            return fail(cursor, b"varint over 64 bits")
        cursor.at += 1
        result |= <uint64_t>(byte & 0x7f) << shift
        if byte < 0x80:
            value[0] = result
            return 0
        shift += 7
    return fail(cursor, b"varint over 64 bits")
