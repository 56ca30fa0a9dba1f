"""Cuts a response body into frames: JSON lines, or protobuf messages behind a 4-byte length, across any cut."""

from libc.stdint cimport uint8_t, uint64_t

from shard_executor._fast.cursor cimport Fault


cdef enum:
    FRAME_LIMIT = 64 * 1024 * 1024     # bytes; the API server's objects end near 3 MiB


cdef struct Frames:
    int format
    uint64_t offset          # of `at` in the stream: bytes consumed, those kept included
    uint8_t* kept            # the beginning of a frame whose end has not come
    size_t kept_size
    size_t kept_room
    const uint8_t* at        # what is left of the bytes being fed
    const uint8_t* end


cdef struct Frame:
    const uint8_t* at        # the body: a line without its end, a message without its length
    size_t size
    uint64_t offset          # of the body in the stream
    bint kept                # it lies in Frames.kept, which keep_rest and the next feed write over


cdef void reset_frames(Frames* frames, int format) noexcept nogil
cdef void free_frames(Frames* frames) noexcept nogil
cdef int next_frame(Frames* frames, Frame* frame, Fault* fault) noexcept nogil
cdef int keep_rest(Frames* frames) noexcept nogil
