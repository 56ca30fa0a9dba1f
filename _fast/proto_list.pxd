"""Takes protobuf envelopes and list bodies apart."""

from shard_executor._fast.cursor cimport Cursor, Span
from shard_executor._fast.event cimport ListHead, Spans


cdef int proto_unwrap(Cursor* cursor, Span* kind, Span* raw) noexcept nogil
cdef int proto_list(Cursor* cursor, ListHead* head, Spans* items) noexcept nogil
