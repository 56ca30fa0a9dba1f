"""The rows of a pod table: dense packed rows, a hash index of row numbers, one small block of names per row."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from shard_executor._fast.cursor cimport Span

cdef enum:
    FIRST_ROOM = 64
    FIRST_SLOTS = 128


cdef inline size_t _home(const Rows* rows, uint64_t high, uint64_t low) noexcept nogil:
    """Where the search begins. UUIDs are random but for six bits; both halves still go in, others may not be."""
    cdef uint64_t mixed = (high ^ (low << 1 | low >> 63)) * <uint64_t>0x9e3779b97f4a7c15
    return <size_t>((mixed ^ mixed >> 32) & (rows.slot_count - 1))


cdef int start_rows(Rows* rows) noexcept nogil:
    """-1 when memory is out."""
    memset(rows, 0, sizeof(rows[0]))
    rows.rows = <Row*>malloc(FIRST_ROOM * sizeof(Row))
    rows.slots = <uint32_t*>calloc(FIRST_SLOTS, sizeof(uint32_t))
    rows.room = FIRST_ROOM
    rows.slot_count = FIRST_SLOTS
    return -1 if rows.rows == NULL or rows.slots == NULL else 0


cdef void free_rows(Rows* rows) noexcept nogil:
    cdef size_t i
    for i in range(rows.count):
        free(rows.rows[i].names)
    free(rows.rows)
    free(rows.slots)
    memset(rows, 0, sizeof(rows[0]))


cdef size_t _slot_of(const Rows* rows, size_t index) noexcept nogil:
    """The slot that points to row `index`, which is in the table."""
    cdef size_t slot = _home(rows, rows.rows[index].uid_high, rows.rows[index].uid_low)
    while rows.slots[slot] != index + 1:
        slot = (slot + 1) & (rows.slot_count - 1)
    return slot


cdef int64_t find_row(const Rows* rows, uint64_t high, uint64_t low) noexcept nogil:
    cdef size_t slot = _home(rows, high, low)
    cdef uint32_t index
    while True:
        index = rows.slots[slot]
        if index == 0:
            return -1
        if rows.rows[index - 1].uid_low == low and rows.rows[index - 1].uid_high == high:
            return index - 1
        slot = (slot + 1) & (rows.slot_count - 1)


cdef int _grow(Rows* rows) noexcept nogil:
    """Room for one more row, and never more than half of the slots in use."""
    cdef size_t i, slot, room
    cdef Row* grown
    cdef uint32_t* slots
    if rows.count == rows.room:
        room = rows.room + rows.room // 2
        grown = <Row*>realloc(rows.rows, room * sizeof(Row))
        if grown == NULL:
            return -1
        rows.rows = grown
        rows.room = room
    if (rows.count + 1) * 2 <= rows.slot_count:
        return 0
    if rows.slot_count > 0x40000000:
        return -1
    slots = <uint32_t*>calloc(rows.slot_count * 2, sizeof(uint32_t))
    if slots == NULL:
        return -1
    free(rows.slots)
    rows.slots = slots
    rows.slot_count *= 2
    for i in range(rows.count):
        slot = _home(rows, rows.rows[i].uid_high, rows.rows[i].uid_low)
        while slots[slot] != 0:
            slot = (slot + 1) & (rows.slot_count - 1)
        slots[slot] = <uint32_t>(i + 1)
    return 0


cdef uint8_t* _append(uint8_t* to, const Span* text) noexcept nogil:
    if text.size > 0:     # an absent text points nowhere
        memcpy(to, text.at, text.size)
    return to + text.size


cdef int64_t add_row(Rows* rows, uint64_t high, uint64_t low, const Span* uid, const Span* namespace,
                     const Span* name) noexcept nogil:
    """Adds a row for a uid that has none; the texts are free of escapes. -1 when memory is out."""
    cdef Names sizes
    cdef size_t slot
    cdef size_t total = sizeof(Names) + uid.size + namespace.size + name.size
    cdef uint8_t* names
    cdef Row* row
    if uid.size > 0x7fffffff or namespace.size > 0x7fffffff or name.size > 0x7fffffff or _grow(rows) < 0:
        return -1
    names = <uint8_t*>malloc(total)
    if names == NULL:
        return -1
    sizes.uid_size = <uint32_t>uid.size
    sizes.namespace_size = <uint32_t>namespace.size
    sizes.name_size = <uint32_t>name.size
    memcpy(names, &sizes, sizeof(sizes))
    _append(_append(_append(names + sizeof(sizes), uid), namespace), name)
    row = &rows.rows[rows.count]
    memset(row, 0, sizeof(row[0]))
    row.uid_high = high
    row.uid_low = low
    row.names = names
    slot = _home(rows, high, low)
    while rows.slots[slot] != 0:
        slot = (slot + 1) & (rows.slot_count - 1)
    rows.count += 1
    rows.slots[slot] = <uint32_t>rows.count
    rows.name_bytes += total
    return <int64_t>(rows.count - 1)


cdef uint8_t* take_row(Rows* rows, size_t index) noexcept nogil:
    """Removes a row and returns its names, which the caller frees. The last row moves into its place."""
    cdef uint8_t* names = rows.rows[index].names
    cdef const Names* sizes = <const Names*>names
    cdef size_t mask = rows.slot_count - 1
    cdef size_t hole = _slot_of(rows, index)
    cdef size_t slot = hole
    cdef size_t home
    cdef const Row* row
    rows.name_bytes -= sizeof(Names) + sizes.uid_size + sizes.namespace_size + sizes.name_size
    while True:     # close the gap: move back what was pushed beyond the hole
        slot = (slot + 1) & mask
        if rows.slots[slot] == 0:
            break
        row = &rows.rows[rows.slots[slot] - 1]
        home = _home(rows, row.uid_high, row.uid_low)
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            rows.slots[hole] = rows.slots[slot]
            hole = slot
    rows.slots[hole] = 0
    if index != rows.count - 1:
        rows.slots[_slot_of(rows, rows.count - 1)] = <uint32_t>(index + 1)
        rows.rows[index] = rows.rows[rows.count - 1]
    rows.count -= 1
    return names


cdef const char* check_rows(const Rows* rows) noexcept nogil:
    """NULL, or which invariant is broken."""
    cdef size_t i, j, used
    cdef size_t name_bytes = 0
    cdef const Names* sizes
    if rows.slot_count & (rows.slot_count - 1) or rows.slot_count < FIRST_SLOTS:
        return b"slot count is no power of two"
    if rows.count > rows.room or rows.count * 2 > rows.slot_count:
        return b"more rows than there is room for"
    used = 0
    for i in range(rows.slot_count):
        if rows.slots[i] > rows.count:
            return b"a slot points beyond the rows"
        used += rows.slots[i] != 0
    if used != rows.count:
        return b"slots in use and rows differ in number"
    for i in range(rows.count):
        if find_row(rows, rows.rows[i].uid_high, rows.rows[i].uid_low) != <int64_t>i:
            return b"a row cannot be found by its uid"
        if rows.rows[i].phase > 4 or rows.rows[i].deleting > 1:
            return b"a row's phase or deleting mark is out of range"
        if rows.rows[i].names == NULL:
            return b"a row has no names"
        sizes = <const Names*>rows.rows[i].names
        j = sizeof(Names) + sizes.uid_size + sizes.namespace_size + sizes.name_size
        name_bytes += j
    if name_bytes != rows.name_bytes:
        return b"the names' total size is off"
    return NULL


cdef size_t rows_memory(const Rows* rows) noexcept nogil:
    return rows.room * sizeof(Row) + rows.slot_count * sizeof(uint32_t) + rows.name_bytes
