"""Applies decoded events to the rows and notes down, in C memory, what the caller has to be told."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shard_executor._fast.cursor cimport Span
from shard_executor._fast.event cimport Context, Event, Spans
from shard_executor._fast.frames cimport Frame, Frames
from shard_executor._fast.rows cimport Rows


cdef enum:               # what a record tells
    TELL_CHANGE = 0
    TELL_BOOKMARK = 1
    TELL_STATUS = 2
    TELL_UNDECODABLE = 3

cdef enum:               # kinds of change
    KIND_ADDED = 0
    KIND_MODIFIED = 1
    KIND_DELETED = 2
    KIND_GONE = 3

cdef enum:               # answers of run_stream and apply_items
    RUN_DONE = 0
    RUN_BROKEN = -1      # Table.reason and Table.offset say why and where
    RUN_NO_MEMORY = -2


cdef struct Record:
    int tell
    int kind
    int phase
    bint deleting
    bint kept            # its spans point into the frame kept across feeds
    uint64_t version
    uint64_t offset
    const char* reason
    Span uid
    Span name
    Span namespace
    Span labels
    Span annotations
    Span status          # TELL_STATUS: the Status object


cdef struct Counts:
    uint64_t events
    uint64_t changed
    uint64_t unchanged
    uint64_t stale
    uint64_t foreign
    uint64_t undecodable
    uint64_t bookmarks
    uint64_t bytes


cdef struct Table:
    Rows rows
    Context context
    Counts counts
    int bin_low
    int bin_high
    uint32_t generation
    bint quiet           # count changes, note nothing down
    Record* records
    size_t record_count
    size_t record_room
    Frame kept_frame     # the one frame a feed's records may point into besides its bytes
    const char* reason
    uint64_t offset


cdef int run_stream(Table* table, Frames* frames) noexcept nogil
cdef int apply_items(Table* table, const Spans* items, const uint8_t* body, int format) noexcept nogil
cdef void forget_records(Table* table) noexcept nogil
