"""Decodes watch events and pods written as protobuf."""

from shard_executor._fast.cursor cimport Cursor, Span
from shard_executor._fast.event cimport Context, Event, Sink


cdef int proto_watch(Cursor* cursor, Context* context, Event* event) noexcept nogil
cdef int proto_pod(Cursor* cursor, Context* context, Event* event) noexcept nogil
cdef int proto_status(Cursor* cursor, Event* event, Sink* sink) noexcept nogil
cdef int proto_entry(Cursor* cursor, Span* key, Span* value) noexcept nogil
