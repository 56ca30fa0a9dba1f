"""Takes protobuf envelopes and list bodies apart: the list's metadata, and where each item lies.

Everything outside the items is checked here, before any item is applied to a table.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memset

from shard_executor._fast.cursor cimport (
    Cursor,
    Span,
    fail,
    is_text,
    left,
    read_bytes,
    read_tag,
    read_varint,
    skip_field,
    within,
)
from shard_executor._fast.event cimport ListHead, Spans, push_span, unsigned_value


cdef int proto_unwrap(Cursor* cursor, Span* kind, Span* raw) noexcept nogil:
    """The envelope around a whole object: `k8s`, a zero byte, and runtime.Unknown {typeMeta = 1, raw = 2}."""
    cdef uint64_t tag = 0
    cdef Span text
    cdef Cursor inner
    kind.at = cursor.at
    kind.size = 0
    kind.escaped = False
    raw[0] = kind[0]
    if left(cursor) < 4 or memcmp(cursor.at, b"k8s\0", 4) != 0:
        return fail(cursor, b"the object does not begin with k8s and a zero byte")
    cursor.at += 4
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x0a:
            if read_bytes(cursor, &text) < 0:
                return -1
            inner = within(cursor, &text)
            while inner.at < inner.end:
                if read_tag(&inner, &tag) < 0:
                    return -1
                if tag == 0x12:
                    if read_bytes(&inner, kind) < 0:
                        return -1
                elif tag >> 3 == 2:
                    return fail(&inner, b"type: wrong wire type")
                elif skip_field(&inner, tag) < 0:
                    return -1
        elif tag == 0x12:
            if read_bytes(cursor, raw) < 0:
                return -1
        elif tag >> 3 < 3:
            return fail(cursor, b"envelope: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int _list_head(Cursor* cursor, ListHead* head) noexcept nogil:
    """ListMeta {resourceVersion = 2, continue = 3, remainingItemCount = 4}, the cursor over it alone."""
    cdef uint64_t tag = 0
    cdef uint64_t number = 0
    cdef Span text
    while cursor.at < cursor.end:
        if read_tag(cursor, &tag) < 0:
            return -1
        if tag == 0x12:
            if read_bytes(cursor, &text) < 0:
                return -1
            if text.size > 0 and unsigned_value(&text, &head.version) < 0:
                return fail(cursor, b"the list's resourceVersion is no 64-bit number")
        elif tag == 0x1a:
            if read_bytes(cursor, &head.continue_token) < 0:
                return -1
        elif tag == 0x20:
            if read_varint(cursor, &number) < 0:
                return -1
            head.remaining = <int64_t>number
            head.remaining_known = True
        elif 2 <= tag >> 3 <= 4:
            return fail(cursor, b"list metadata: wrong wire type")
        elif skip_field(cursor, tag) < 0:
            return -1
    return 0


cdef int proto_list(Cursor* cursor, ListHead* head, Spans* items) noexcept nogil:
    """An enveloped PodList {metadata = 1, items = 2}: its metadata, and where each item lies."""
    cdef uint64_t tag = 0
    cdef Span kind, raw, text
    cdef Cursor inner, metadata
    memset(head, 0, sizeof(head[0]))
    if proto_unwrap(cursor, &kind, &raw) < 0:
        return -1
    if kind.size > 0 and not is_text(&kind, b"PodList", 7):
        return fail(cursor, b"the body is no list of pods")
    inner = within(cursor, &raw)
    items.count = 0
    while inner.at < inner.end:
        if read_tag(&inner, &tag) < 0:
            return -1
        if tag == 0x12:
            if read_bytes(&inner, &text) < 0:
                return -1
            if push_span(items, text) < 0:
                return fail(&inner, b"out of memory")
        elif tag == 0x0a:
            if read_bytes(&inner, &text) < 0:
                return -1
            metadata = within(&inner, &text)
            if _list_head(&metadata, head) < 0:
                return -1
        elif tag >> 3 < 3:
            return fail(&inner, b"list: wrong wire type")
        elif skip_field(&inner, tag) < 0:
            return -1
    return 0
