"""PodTable: the Python door to frames, decoders and rows. One packed row per pod, Python objects for changes only."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from shard_executor._fast.apply cimport RUN_BROKEN, RUN_DONE, Table, apply_items, forget_records, run_stream
from shard_executor._fast.change cimport PodChange
from shard_executor._fast.cursor cimport Cursor, Fault, Span
from shard_executor._fast.event cimport (
    FORMAT_JSON_,
    FORMAT_PROTOBUF_,
    LabelRule,
    ListHead,
    Spans,
    free_context,
    uid_key,
)
from shard_executor._fast.frames cimport Frames, free_frames, keep_rest, reset_frames
from shard_executor._fast.json_list cimport json_list
from shard_executor._fast.proto_list cimport proto_list
from shard_executor._fast.rows cimport Row, check_rows, find_row, free_rows, rows_memory, start_rows, take_row
from shard_executor._fast.told cimport list_meta, told_gone, told_records, uid_of

cdef object DecodeError, FORMAT_JSON, FORMAT_PROTOBUF
from shard_executor._fast.views import DecodeError, FORMAT_JSON, FORMAT_PROTOBUF
globals().update(DecodeError=DecodeError, FORMAT_JSON=FORMAT_JSON, FORMAT_PROTOBUF=FORMAT_PROTOBUF)


cdef Span _span(bytes text):
    cdef Span span
    span.at = <const uint8_t*>PyBytes_AS_STRING(text)
    span.size = <size_t>PyBytes_GET_SIZE(text)
    span.escaped = False
    return span


cdef class PodTable:
    """The pods of one shard. Not for use by several threads at once: a second one gets a RuntimeError.

    `bin_label` holds a pod's bin, "0" to "255"; pods outside [bin_lo, bin_hi) are counted as foreign and kept out,
    those without the label are let in only where bin_lo is 0. `observed_labels` are the labels whose values count as
    observable state besides the bin; a name that ends in a slash stands for all labels that begin with it.
    """

    cdef Table table
    cdef Frames frames
    cdef bytes bin_label
    cdef list rule_names
    cdef bint busy
    cdef bint streaming
    cdef bint replacing
    cdef object error

    def __cinit__(self, *, str bin_label="shard-executor/bin", int bin_lo=0, int bin_hi=256,
                  observed_labels=("airflow-worker", "airflow_executor_done", "shard-executor/")):
        cdef Py_ssize_t i
        cdef bytes name
        cdef str text
        cdef LabelRule* rule
        memset(&self.table, 0, sizeof(self.table))
        memset(&self.frames, 0, sizeof(self.frames))
        if not 0 <= bin_lo <= bin_hi <= 256:
            raise ValueError(f"bins [{bin_lo}, {bin_hi}) are not within 0 to 256")
        if not bin_label:
            raise ValueError("bin_label is empty")
        self.bin_label = bin_label.encode()
        self.rule_names = []
        for text in observed_labels:
            if text:
                self.rule_names.append(text.encode())
        self.table.bin_low = bin_lo
        self.table.bin_high = bin_hi
        self.table.generation = 1
        self.table.context.bin_label = _span(self.bin_label)
        self.table.context.first_bytes[<uint8_t>self.bin_label[0]] = 1
        self.table.context.rules = <LabelRule*>calloc(len(self.rule_names) + 1, sizeof(LabelRule))
        if self.table.context.rules == NULL or start_rows(&self.table.rows) < 0:
            raise MemoryError()
        for i in range(len(self.rule_names)):
            name = self.rule_names[i]
            rule = &self.table.context.rules[i]
            rule.name = _span(name)
            rule.prefix = name.endswith(b"/")
            self.table.context.first_bytes[<uint8_t>name[0]] = 1
        self.table.context.rule_count = <size_t>len(self.rule_names)

    def __dealloc__(self):
        forget_records(&self.table)
        free(self.table.records)
        free(self.table.context.rules)
        free_context(&self.table.context)
        free_rows(&self.table.rows)
        free_frames(&self.frames)

    cdef int _enter(self) except -1:
        if self.busy:
            raise RuntimeError("a PodTable was used by two threads at once")
        return 0

    # --- watch stream

    def open_stream(self, int format):
        """A new watch answer begins: FORMAT_JSON or FORMAT_PROTOBUF. What was left of an older one is dropped."""
        self._enter()
        if format != FORMAT_JSON_ and format != FORMAT_PROTOBUF_:
            raise ValueError(f"{format} is no stream format")
        reset_frames(&self.frames, format)
        self.streaming = True
        self.error = None

    def feed(self, bytes data not None):
        """Applies the next bytes of the stream and returns, in its order, what there is to tell.

        Raises DecodeError when the stream cannot be read any further. If frames before the bad one changed rows, they
        are returned first and the next call of feed or end_stream raises, so that no change is lost.
        """
        self._run(data)
        return self._drain(data)

    def apply(self, bytes data not None) -> int:
        """Like feed, but only counts: the number of rows that changed. For warming up and measuring."""
        cdef uint64_t before = self.table.counts.changed
        self._enter()
        self.table.quiet = True
        try:
            self._run(data)
        finally:
            self.table.quiet = False
        self._drain(data)
        return self.table.counts.changed - before

    def end_stream(self) -> int:
        """The stream has ended: how many bytes of an unfinished frame are left, 0 for a clean end."""
        self._enter()
        self._raise_error()
        self.streaming = False
        return self.frames.kept_size

    cdef int _raise_error(self) except -1:
        cdef object error = self.error
        if error is not None:
            self.streaming = False
            raise error
        return 0

    cdef int _run(self, bytes data) except -1:
        cdef int answer
        self._enter()
        self._raise_error()
        if not self.streaming:
            raise RuntimeError("feed() without an open stream")
        self.frames.at = <const uint8_t*>PyBytes_AS_STRING(data)
        self.frames.end = self.frames.at + PyBytes_GET_SIZE(data)
        self.table.counts.bytes += <uint64_t>PyBytes_GET_SIZE(data)
        self.busy = True
        with nogil:
            answer = run_stream(&self.table, &self.frames)
        self.busy = False
        if answer == RUN_BROKEN:
            self.error = DecodeError(self.table.reason.decode(), self.table.offset)
        elif answer != RUN_DONE:
            self.error = MemoryError("no memory for a pod's row or frame")
        return 0

    cdef list _drain(self, bytes data):
        """What the run noted down. Only then is the next frame's beginning kept: records may point to where it goes."""
        cdef list told
        try:
            told = told_records(&self.table, data, self.frames.format == FORMAT_JSON_)
        finally:
            forget_records(&self.table)
            if self.error is None and keep_rest(&self.frames) < 0:
                self.error = MemoryError("no memory for an unfinished frame")
            self.frames.at = NULL
            self.frames.end = NULL
        if not told:
            self._raise_error()
        return told

    # --- lists, and streaming lists

    def begin_replace(self):
        """A list begins: rows that it does not show until commit_replace are gone."""
        self._enter()
        self.table.generation += 1
        self.replacing = True

    def apply_list(self, bytes body not None, int format):
        """Applies one page, a whole body. Returns its ListMeta and a list of PodChange and Undecodable.

        Raises DecodeError, with the table unchanged, if the body as a whole cannot be read or is no list of pods.
        """
        cdef Cursor cursor
        cdef Fault fault
        cdef ListHead head
        cdef Spans items
        cdef int answer
        cdef bint is_json = format == FORMAT_JSON_
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(body)
        self._enter()
        if format != FORMAT_JSON_ and format != FORMAT_PROTOBUF_:
            raise ValueError(f"{format} is no body format")
        memset(&head, 0, sizeof(head))
        memset(&items, 0, sizeof(items))
        fault.reason = b""
        cursor.at = start
        cursor.end = start + PyBytes_GET_SIZE(body)
        cursor.fault = &fault
        fault.at = cursor.at
        self.busy = True
        try:
            with nogil:
                if is_json:
                    answer = json_list(&cursor, &self.table.context, &head, &items)
                else:
                    answer = proto_list(&cursor, &head, &items)
                if answer == 0:
                    answer = apply_items(&self.table, &items, start, format)
                    if answer < 0:
                        fault.reason = NULL
            if answer < 0 and fault.reason == NULL:
                raise MemoryError("no memory for a pod's row")
            if answer < 0:
                raise DecodeError(fault.reason.decode(), fault.at - start)
            self.table.counts.bytes += <uint64_t>PyBytes_GET_SIZE(body)
            return list_meta(&head), told_records(&self.table, body, is_json)
        finally:
            self.busy = False
            forget_records(&self.table)
            free(items.items)

    def commit_replace(self) -> list:
        """The list is complete: removes the rows it did not show and returns a PodChange of kind GONE for each."""
        cdef list gone = []
        cdef size_t i
        self._enter()
        if not self.replacing:
            raise RuntimeError("commit_replace() without begin_replace()")
        self.replacing = False
        i = self.table.rows.count
        while i > 0:     # from the end: a removed row's place is taken by the last one, which has been looked at
            i -= 1
            if self.table.rows.rows[i].generation != self.table.generation:
                gone.append(told_gone(&self.table.rows.rows[i]))
                free(take_row(&self.table.rows, i))
        self.table.counts.changed += <uint64_t>len(gone)
        return gone

    def abort_replace(self):
        """The list was not completed: what it showed stays applied, nothing is swept."""
        self._enter()
        self.replacing = False

    # --- rows

    cdef int64_t _find(self, str uid) except -2:
        cdef bytes text = uid.encode("utf-8", "surrogatepass")
        cdef Span span = _span(text)
        cdef uint64_t high = 0
        cdef uint64_t low = 0
        self._enter()
        uid_key(&span, &high, &low)
        return find_row(&self.table.rows, high, low)

    def forget(self, str uid not None) -> bool:
        """Drops a pod's row; says whether there was one. The next event of that pod is ADDED again."""
        cdef int64_t index = self._find(uid)
        if index < 0:
            return False
        free(take_row(&self.table.rows, <size_t>index))
        return True

    def get(self, str uid not None):
        """(resource version, phase, deleting) of a pod's row, or None."""
        cdef int64_t index = self._find(uid)
        cdef const Row* row
        if index < 0:
            return None
        row = &self.table.rows.rows[index]
        return (row.version, row.phase, bool(row.deleting))

    def uids(self) -> list:
        """The uids of all rows, in no order."""
        cdef list found = []
        cdef size_t i
        self._enter()
        for i in range(self.table.rows.count):
            found.append(uid_of(&self.table.rows.rows[i]))
        return found

    def __contains__(self, str uid not None) -> bool:
        return self._find(uid) >= 0

    def __len__(self) -> int:
        self._enter()
        return <Py_ssize_t>self.table.rows.count

    def stats(self) -> dict:
        """Counters since the table was made (bytes: fed and listed), and `rows`, `memory` (bytes of rows) of now."""
        self._enter()
        return {
            "events": self.table.counts.events,
            "changed": self.table.counts.changed,
            "unchanged": self.table.counts.unchanged,
            "stale": self.table.counts.stale,
            "foreign": self.table.counts.foreign,
            "undecodable": self.table.counts.undecodable,
            "bookmarks": self.table.counts.bookmarks,
            "bytes": self.table.counts.bytes,
            "rows": self.table.rows.count,
            "memory": rows_memory(&self.table.rows),
        }

    def validate(self) -> None:
        """Checks every invariant of the table. Raises AssertionError that names the broken one."""
        cdef const char* broken
        cdef size_t i
        self._enter()
        broken = check_rows(&self.table.rows)
        if broken != NULL:
            raise AssertionError(broken.decode())
        for i in range(self.table.rows.count):
            if self.table.rows.rows[i].generation > self.table.generation:
                raise AssertionError("a row was seen by a replacement to come")
        if self.table.record_count != 0 or self.table.quiet:
            raise AssertionError("records were left over")
