"""Cuts a response body into frames (framing rules: util/framer of k8s.io/apimachinery).

Bytes are copied only where a frame is cut by the end of a read.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

from shard_executor._fast.cursor cimport Fault
from shard_executor._fast.event cimport FORMAT_JSON_

cdef enum:
    HEADER = 4               # bytes of a protobuf frame's length, big endian
    ROOM_TO_KEEP = 1 << 20   # a larger buffer is given back after its frame


cdef void reset_frames(Frames* frames, int format) noexcept nogil:
    frames.format = format
    frames.offset = 0
    frames.kept_size = 0
    frames.at = NULL
    frames.end = NULL


cdef void free_frames(Frames* frames) noexcept nogil:
    free(frames.kept)
    frames.kept = NULL
    frames.kept_size = 0
    frames.kept_room = 0


cdef int _keep(Frames* frames, size_t size) noexcept nogil:
    """Moves `size` of the bytes being fed to the kept ones; -1 when memory is out."""
    cdef size_t room = frames.kept_size + size
    cdef uint8_t* grown
    if size == 0:
        return 0
    if room > frames.kept_room or (frames.kept_size == 0 and frames.kept_room > ROOM_TO_KEEP):
        room = room + room // 2 + 4096
        grown = <uint8_t*>realloc(frames.kept, room)
        if grown == NULL:
            return -1
        frames.kept = grown
        frames.kept_room = room
    memcpy(frames.kept + frames.kept_size, frames.at, size)
    frames.kept_size += size
    frames.at += size
    frames.offset += size
    return 0


cdef int _too_long(Frames* frames, Fault* fault) noexcept nogil:
    fault.reason = b"frame over 64 MiB"
    fault.at = frames.at
    return -1


cdef int _out_of_memory(Frames* frames, Fault* fault) noexcept nogil:
    fault.reason = NULL
    fault.at = frames.at
    return -1


cdef size_t _length(const uint8_t* at) noexcept nogil:
    return <size_t>at[0] << 24 | <size_t>at[1] << 16 | <size_t>at[2] << 8 | <size_t>at[3]


cdef int _next_line(Frames* frames, Frame* frame, Fault* fault) noexcept nogil:
    cdef size_t rest = <size_t>(frames.end - frames.at)
    cdef const uint8_t* newline = NULL
    cdef size_t size
    if rest > 0:
        newline = <const uint8_t*>memchr(frames.at, c"\n", rest)
    size = rest if newline == NULL else <size_t>(newline - frames.at)
    if frames.kept_size + size > FRAME_LIMIT:
        return _too_long(frames, fault)
    if newline == NULL:
        return 0
    if frames.kept_size > 0:
        if _keep(frames, size) < 0:
            return _out_of_memory(frames, fault)
        frame.at = frames.kept
        frame.size = frames.kept_size
        frame.offset = frames.offset - frames.kept_size
        frame.kept = True
        frames.kept_size = 0
    else:
        frame.at = frames.at
        frame.size = size
        frame.offset = frames.offset
        frame.kept = False
        frames.at += size
        frames.offset += size
    frames.at += 1
    frames.offset += 1
    return 1


cdef int _next_message(Frames* frames, Frame* frame, Fault* fault) noexcept nogil:
    cdef size_t rest = <size_t>(frames.end - frames.at)
    cdef size_t size
    if frames.kept_size > 0:
        if frames.kept_size < HEADER:
            size = min(rest, HEADER - frames.kept_size)
            if _keep(frames, size) < 0:
                return _out_of_memory(frames, fault)
            rest -= size
            if frames.kept_size < HEADER:
                return 0
        size = _length(frames.kept)
        if size > FRAME_LIMIT:
            return _too_long(frames, fault)
        if frames.kept_size - HEADER + rest < size:
            return 0
        if _keep(frames, size - (frames.kept_size - HEADER)) < 0:
            return _out_of_memory(frames, fault)
        frame.at = frames.kept + HEADER
        frame.size = size
        frame.offset = frames.offset - size
        frame.kept = True
        frames.kept_size = 0
        return 1
    if rest < HEADER:
        return 0
    size = _length(frames.at)
    if size > FRAME_LIMIT:
        return _too_long(frames, fault)
    if rest - HEADER < size:
        return 0
    frame.at = frames.at + HEADER
    frame.size = size
    frame.offset = frames.offset + HEADER
    frame.kept = False
    frames.at += HEADER + size
    frames.offset += HEADER + size
    return 1


cdef int next_frame(Frames* frames, Frame* frame, Fault* fault) noexcept nogil:
    """1: a frame; 0: its end has not come; -1: fault, without a reason when memory is out.

    At most the first frame after a feed is a kept one, and it stays in place until keep_rest.
    """
    if frames.format == FORMAT_JSON_:
        return _next_line(frames, frame, fault)
    return _next_message(frames, frame, fault)


cdef int keep_rest(Frames* frames) noexcept nogil:
    """Keeps the beginning of the next frame until more is fed; -1 when memory is out."""
    return _keep(frames, <size_t>(frames.end - frames.at))
