"""JSON's cold paths: unescaping text, and the skip scanner's door for tests."""

from libc.stdint cimport uint8_t, uint32_t

from shard_executor._fast.cursor cimport Cursor, Span, fail
from shard_executor._fast.event cimport Context, want_scratch


cdef int _hex4(const uint8_t* at, const uint8_t* end, uint32_t* value) noexcept nogil:
    cdef uint32_t result = 0
    cdef uint8_t byte
    cdef int i
    if end - at < 4:
        return -1
    for i in range(4):
        byte = at[i]
        if c"0" <= byte <= c"9":
            result = result * 16 + byte - c"0"
        elif c"a" <= (byte | 0x20) <= c"f":
            result = result * 16 + (byte | 0x20) - c"a" + 10
        else:
            return -1
    value[0] = result
    return 0


cdef size_t _put_utf8(uint32_t code, uint8_t* out) noexcept nogil:
    if code < 0x80:
        out[0] = <uint8_t>code
        return 1
    if code < 0x800:
        out[0] = <uint8_t>(0xc0 | code >> 6)
        out[1] = <uint8_t>(0x80 | (code & 0x3f))
        return 2
    if code < 0x10000:
        out[0] = <uint8_t>(0xe0 | code >> 12)
        out[1] = <uint8_t>(0x80 | (code >> 6 & 0x3f))
        out[2] = <uint8_t>(0x80 | (code & 0x3f))
        return 3
    out[0] = <uint8_t>(0xf0 | code >> 18)
    out[1] = <uint8_t>(0x80 | (code >> 12 & 0x3f))
    out[2] = <uint8_t>(0x80 | (code >> 6 & 0x3f))
    out[3] = <uint8_t>(0x80 | (code & 0x3f))
    return 4


cdef size_t unescape(const Span* text, uint8_t* out) noexcept nogil:
    """Writes the text as UTF-8 and returns its length. `out` needs room for text.size * 3 // 2 + 3 bytes: an unknown
    escape of two bytes becomes the three of U+FFFD."""
    cdef const uint8_t* at = text.at
    cdef const uint8_t* end = text.at + text.size
    cdef size_t size = 0
    cdef uint32_t code = 0
    cdef uint32_t low = 0
    cdef uint8_t byte
    while at < end:
        if at[0] != c"\\":
            out[size] = at[0]
            size += 1
            at += 1
            continue
        at += 1
        byte = at[0] if at < end else 0
        at += 1
        if byte == c'"' or byte == c"\\" or byte == c"/":
            code = byte
        elif byte == c"n":
            code = 10
        elif byte == c"t":
            code = 9
        elif byte == c"r":
            code = 13
        elif byte == c"b":
            code = 8
        elif byte == c"f":
            code = 12
        elif byte == c"u" and _hex4(at, end, &code) == 0:
            at += 4
            if 0xd800 <= code < 0xdc00 and end - at >= 6 and at[0] == c"\\" and at[1] == c"u" \
                    and _hex4(at + 2, end, &low) == 0 and 0xdc00 <= low < 0xe000:
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                at += 6
            elif 0xd800 <= code < 0xe000:
                code = 0xfffd
        else:
            code = 0xfffd
        size += _put_utf8(code, out + size)
    return size


cdef int make_plain(Cursor* cursor, Context* context, Span* text) noexcept nogil:
    """Unescapes `text` into the scratch room, where it stays until the next text is."""
    if want_scratch(context, text.size * 3 // 2 + 3) < 0:
        return fail(cursor, b"out of memory")
    text.size = unescape(text, context.scratch)
    text.at = context.scratch
    text.escaped = False
    return 0


def container_end(bytes data not None, *, bint portable=False) -> int:
    """The index behind the container that begins `data`, -1 where it does not end. A door for tests."""
    cdef const uint8_t* start = <const uint8_t*>(<const char*>data)
    cdef const uint8_t* end = start + len(data)
    cdef const uint8_t* place
    if len(data) == 0:
        return -1
    place = sx_skip_portable(start + 1, end) if portable else sx_skip(start + 1, end)
    return -1 if place == NULL else place - start
