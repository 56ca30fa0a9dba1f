"""Task keys to bins: 64-bit FNV-1a (Fowler, Noll, Vo) over the key's fields."""

from libc.stdint cimport uint8_t, uint64_t

globals().update(BINS=256)     # how many bins there are; a shard owns a range of them


def fnv1a64(bytes data not None) -> int:
    """FNV-1a of `data`, 64 bits."""
    cdef const uint8_t* at = <const uint8_t*>(<const char*>data)
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t i
    cdef uint64_t result = <uint64_t>0xcbf29ce484222325
    for i in range(size):
        result = (result ^ at[i]) * <uint64_t>0x100000001b3
    return result


def bin_of(*fields: str) -> int:
    """The bin, 0 to 255, of a task key given as its fields in order; joined by the unit separator 0x1f.

    Raises TypeError for a field that is no str, or without any field.
    """
    if not fields:
        raise TypeError("bin_of() needs at least one field")
    return fnv1a64("\x1f".join(fields).encode("utf-8", "surrogatepass")) % 256
