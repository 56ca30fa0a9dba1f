"""Takes a list answered as JSON apart: its metadata, and where each item lies.

Everything outside the items is checked here, before any item is applied to a table.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from shard_executor._fast.cursor cimport Cursor, Span, fail
from shard_executor._fast.cursor cimport is_text
from shard_executor._fast.event cimport Context, ListHead, Spans, push_span, unsigned_value
from shard_executor._fast.json_lex cimport (
    enter,
    make_plain,
    next_item,
    next_key,
    peek,
    read_integer,
    read_text,
    skip_null,
    skip_value,
)


cdef int _head(Cursor* cursor, Context* context, ListHead* head) noexcept nogil:
    cdef Span key, text
    cdef bint first = True
    cdef int more
    memset(head, 0, sizeof(head[0]))
    more = enter(cursor, c"{")
    while more > 0:
        more = next_key(cursor, context, &first, &key)
        if more <= 0:
            break
        if is_text(&key, b"resourceVersion", 15):
            if read_text(cursor, &text) < 0 or (text.escaped and make_plain(cursor, context, &text) < 0):
                return -1
            if text.size > 0 and unsigned_value(&text, &head.version) < 0:
                return fail(cursor, b"the list's resourceVersion is no 64-bit number")
        elif is_text(&key, b"continue", 8):
            if read_text(cursor, &head.continue_token) < 0:
                return -1
        elif is_text(&key, b"remainingItemCount", 18):
            peek(cursor)
            head.remaining_known = not skip_null(cursor)
            if head.remaining_known and read_integer(cursor, &head.remaining) < 0:
                return -1
        elif skip_value(cursor) < 0:
            return -1
    return more


cdef int _items(Cursor* cursor, Spans* items) noexcept nogil:
    cdef Span item
    cdef bint first = True
    cdef int more = enter(cursor, c"[")
    items.count = 0
    item.escaped = False
    while more > 0:
        more = next_item(cursor, &first)
        if more <= 0:
            break
        peek(cursor)
        item.at = cursor.at
        if skip_value(cursor) < 0:
            return -1
        item.size = <size_t>(cursor.at - item.at)
        if push_span(items, item) < 0:
            return fail(cursor, b"out of memory")
    return more


cdef int json_list(Cursor* cursor, Context* context, ListHead* head, Spans* items) noexcept nogil:
    cdef Span key, kind
    cdef bint first = True
    cdef int more
    if peek(cursor) != c"{":
        return fail(cursor, b"a list was expected")
    cursor.at += 1
    while True:
        more = next_key(cursor, context, &first, &key)
        if more < 0:
            return -1
        if more == 0:
            break
        if is_text(&key, b"metadata", 8):
            more = _head(cursor, context, head)
        elif is_text(&key, b"items", 5):
            more = _items(cursor, items)
        elif is_text(&key, b"kind", 4):
            more = read_text(cursor, &kind)
            if more == 0 and not (is_text(&kind, b"PodList", 7) or is_text(&kind, b"List", 4) or kind.size == 0):
                return fail(cursor, b"the body is no list of pods")
        else:
            more = skip_value(cursor)
        if more < 0:
            return -1
    if peek(cursor) != -1:
        return fail(cursor, b"bytes behind the list")
    return 0
