"""Decodes watch events and pods written as JSON."""

from shard_executor._fast.cursor cimport Cursor
from shard_executor._fast.event cimport Context, Event, Sink


cdef int json_watch(Cursor* cursor, Context* context, Event* event) noexcept nogil
cdef int json_pod(Cursor* cursor, Context* context, Event* event) noexcept nogil
cdef int json_metadata(Cursor* cursor, Context* context, Event* event) noexcept nogil
cdef int json_status(Cursor* cursor, Context* context, Event* event, Sink* sink) noexcept nogil
