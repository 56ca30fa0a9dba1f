"""Takes a list answered as JSON apart."""

from shard_executor._fast.cursor cimport Cursor
from shard_executor._fast.event cimport Context, ListHead, Spans


cdef int json_list(Cursor* cursor, Context* context, ListHead* head, Spans* items) noexcept nogil
