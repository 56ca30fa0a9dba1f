"""PodChange: one changed row, with the bytes its details are read from when they are asked for."""

from libc.stdint cimport uint64_t

from shard_executor._fast.cursor cimport Span
from shard_executor._fast.event cimport Context


cdef class PodChange:
    cdef readonly int kind
    cdef readonly int phase
    cdef readonly bint deleting
    cdef readonly uint64_t resource_version
    cdef bytes data          # holds the memory the spans point into
    cdef bint json           # the spans' text is JSON, else plain UTF-8 or protobuf
    cdef Span uid_span
    cdef Span name_span
    cdef Span namespace_span
    cdef Span labels_span
    cdef Span annotations_span
    cdef Span status_span


cdef str text_of(const Span* text, Context* context)
cdef dict map_of(const Span* span, bint json, int field, Context* context)
