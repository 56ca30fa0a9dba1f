"""The lists inside a pod's status written as JSON: conditions and container statuses."""

from libc.stdint cimport uint64_t

from shard_executor._fast.cursor cimport Cursor
from shard_executor._fast.event cimport Context, Moment, Sink


cdef int json_conditions(Cursor* cursor, Context* context, uint64_t* state, Sink* sink) noexcept nogil
cdef int json_containers(Cursor* cursor, Context* context, bint init, uint64_t* state, Sink* sink) noexcept nogil
cdef int json_moment(Cursor* cursor, Moment* moment, bint wanted) noexcept nogil
