"""The messages inside a pod's status written as protobuf, and the Status of an ERROR event."""

from libc.stdint cimport uint64_t

from shard_executor._fast.cursor cimport Cursor, Span
from shard_executor._fast.event cimport Moment, Sink, Spans


cdef struct StatusAnswer:        # meta/v1 Status
    uint64_t code
    Span reason
    Span message
    uint64_t retry_after
    Spans causes                 # their reasons


cdef int proto_condition(Cursor* cursor, uint64_t index, uint64_t* state, Sink* sink) noexcept nogil
cdef int proto_container(Cursor* cursor, bint init, uint64_t index, uint64_t* state, Sink* sink) noexcept nogil
cdef int proto_time(Cursor* cursor, Moment* moment, bint wanted) noexcept nogil
cdef int proto_answer(Cursor* cursor, StatusAnswer* answer) noexcept nogil
