"""One packed row per pod in C memory, found by the 16 bytes of its uid."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shard_executor._fast.cursor cimport Span


cdef struct Row:
    uint64_t uid_high
    uint64_t uid_low
    uint64_t version
    uint64_t state           # hash of everything observable
    uint8_t* names           # block of: Names, uid text where it is no UUID, namespace, name
    uint32_t generation      # of the replacement that saw it last
    uint8_t phase
    uint8_t deleting


cdef struct Names:
    uint32_t uid_size        # 0: the uid is a UUID, kept in the row's 16 bytes alone
    uint32_t namespace_size
    uint32_t name_size


cdef struct Rows:
    Row* rows                # dense, in no order
    size_t count
    size_t room
    uint32_t* slots          # open addressing, linear probing: row index + 1, 0 for a free slot
    size_t slot_count        # a power of two
    size_t name_bytes


cdef int start_rows(Rows* rows) noexcept nogil
cdef void free_rows(Rows* rows) noexcept nogil
cdef int64_t find_row(const Rows* rows, uint64_t high, uint64_t low) noexcept nogil
cdef int64_t add_row(Rows* rows, uint64_t high, uint64_t low, const Span* uid, const Span* namespace,
                     const Span* name) noexcept nogil
cdef uint8_t* take_row(Rows* rows, size_t index) noexcept nogil
cdef const char* check_rows(const Rows* rows) noexcept nogil
cdef size_t rows_memory(const Rows* rows) noexcept nogil
