"""PodChange and the views it builds on demand; both formats end in the same fields, one builder serves both."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from cpython.unicode cimport PyUnicode_DecodeUTF8

from shard_executor._fast.cursor cimport Cursor, Fault, Span, read_bytes, read_tag, skip_field, within
from shard_executor._fast.event cimport (
    STATE_TERMINATED,
    ContainerFields,
    Context,
    Event,
    Moment,
    Sink,
    free_context,
    free_sink,
    want_scratch,
)
from shard_executor._fast.json_event cimport json_status
from shard_executor._fast.json_lex cimport enter, next_key, peek, read_text, skip_value, unescape
from shard_executor._fast.proto_event cimport proto_entry, proto_status

cdef object Condition, ContainerView, PodStatusView
from shard_executor._fast.views import Condition, ContainerView, PodStatusView

cdef tuple _STATES = ("", "waiting", "running", "terminated")
cdef tuple _PHASES = ("Unknown", "Pending", "Running", "Succeeded", "Failed")
cdef tuple _KINDS = ("ADDED", "MODIFIED", "DELETED", "GONE")


cdef str text_of(const Span* text, Context* context):
    """The text as str; what is no valid UTF-8 becomes U+FFFD."""
    if text.size == 0:
        return ""
    if not text.escaped:
        return PyUnicode_DecodeUTF8(<const char*>text.at, <Py_ssize_t>text.size, b"replace")
    if want_scratch(context, text.size * 3 // 2 + 3) < 0:
        raise MemoryError()
    return PyUnicode_DecodeUTF8(<const char*>context.scratch, <Py_ssize_t>unescape(text, context.scratch), b"replace")


cdef str _text(PodChange change, const Span* text):
    cdef Context context
    if not text.escaped:
        return text_of(text, NULL)
    memset(&context, 0, sizeof(context))
    try:
        return text_of(text, &context)
    finally:
        free_context(&context)


cdef dict map_of(const Span* span, bint json, int field, Context* context):
    """A map of texts: JSON's object, or the entries under `field` of a protobuf message.

    The decoder has read the labels before, annotations it has skipped: what is not as it should be ends the map.
    """
    cdef Fault fault
    cdef Cursor cursor, inner
    cdef Span key, value
    cdef bint first = True
    cdef uint64_t tag = 0
    cdef dict result = {}
    cdef str name
    if span.size == 0:
        return result
    cursor.at = span.at
    cursor.end = span.at + span.size
    cursor.fault = &fault
    if json:
        if enter(&cursor, c"{") <= 0:
            return result
        while next_key(&cursor, context, &first, &key) > 0:
            name = text_of(&key, context)
            if peek(&cursor) == c'"' or peek(&cursor) == c"n":
                if read_text(&cursor, &value) < 0:
                    break
            else:
                if skip_value(&cursor) < 0:
                    break
                value.size = 0
            result[name] = text_of(&value, context)
        return result
    while cursor.at < cursor.end:
        if read_tag(&cursor, &tag) < 0:
            break
        if tag != <uint64_t>(field * 8 + 2):
            if skip_field(&cursor, tag) < 0:
                break
            continue
        if read_bytes(&cursor, &value) < 0:
            break
        inner = within(&cursor, &value)
        if proto_entry(&inner, &key, &value) < 0:
            break
        result[text_of(&key, context)] = text_of(&value, context)
    return result


cdef dict _map(PodChange change, const Span* span, int field):
    cdef Context context
    memset(&context, 0, sizeof(context))
    try:
        return map_of(span, change.json, field, &context)
    finally:
        free_context(&context)


cdef object _seconds(const Moment* moment):
    """Unix seconds. The epoch itself is no time: runtimes report 0 nanoseconds, which kubelet makes 1970, as the start
    of a container that could not be started (reason StartError)."""
    if not moment.known or (moment.seconds == 0 and moment.nanos == 0):
        return None
    return moment.seconds + moment.nanos / 1e9


cdef object _container(const ContainerFields* fields, Context* context):
    cdef bint ended = fields.state_kind == STATE_TERMINATED
    return ContainerView(
        text_of(&fields.name, context),
        _STATES[fields.state_kind],
        text_of(&fields.state.reason, context),
        text_of(&fields.state.message, context),
        fields.state.exit_code if ended else None,
        fields.state.signal if ended and fields.state.signal != 0 else None,
        _seconds(&fields.state.started),
        _seconds(&fields.state.finished),
        fields.restarts,
        bool(fields.ready),
    )


cdef object _status(PodChange change):
    cdef Context context
    cdef Event event
    cdef Sink sink
    cdef Fault fault
    cdef Cursor cursor
    cdef size_t i
    cdef list conditions = []
    cdef list inits = []
    cdef list containers = []
    memset(&context, 0, sizeof(context))
    memset(&event, 0, sizeof(event))
    memset(&sink, 0, sizeof(sink))
    cursor.at = change.status_span.at
    cursor.end = cursor.at + change.status_span.size
    cursor.fault = &fault
    try:
        if change.status_span.size > 0:
            if change.json:
                if json_status(&cursor, &context, &event, &sink) < 0:
                    raise MemoryError(fault.reason.decode())     # the decoder has read these bytes before
            elif proto_status(&cursor, &event, &sink) < 0:
                raise MemoryError(fault.reason.decode())
        for i in range(sink.condition_count):
            conditions.append(Condition(
                text_of(&sink.conditions[i].type, &context),
                text_of(&sink.conditions[i].status, &context),
                text_of(&sink.conditions[i].reason, &context),
                text_of(&sink.conditions[i].message, &context),
            ))
        for i in range(sink.container_count):
            (inits if sink.containers[i].init else containers).append(_container(&sink.containers[i], &context))
        return PodStatusView(
            text_of(&event.reason, &context),
            text_of(&event.message, &context),
            _seconds(&sink.start),
            tuple(conditions),
            tuple(inits),
            tuple(containers),
        )
    finally:
        free_sink(&sink)
        free_context(&context)


cdef class PodChange:
    """One row that changed. Scalars are ready; texts and details are read from the retained bytes when asked for.

    `kind` is ADDED, MODIFIED, DELETED or GONE (a re-list did not have it: last known scalars and names, no details).
    ADDED means that the table had no row, whatever the server called the event. A record keeps the whole network
    read or list body it came with alive: take what is needed and let it go. Records are made by a PodTable only.
    """

    def __init__(self) -> None:
        raise TypeError("PodChange objects are made by a PodTable")

    @property
    def uid(self) -> str:
        return _text(self, &self.uid_span)

    @property
    def name(self) -> str:
        return _text(self, &self.name_span)

    @property
    def namespace(self) -> str:
        return _text(self, &self.namespace_span)

    def labels(self) -> dict:
        """All labels; empty for GONE."""
        return _map(self, &self.labels_span, 11)

    def annotations(self) -> dict:
        """All annotations; empty for GONE."""
        return _map(self, &self.annotations_span, 12)

    def status(self):
        """The status as PodStatusView; empty for GONE."""
        return _status(self)

    def __repr__(self) -> str:
        return (
            f"<PodChange {_KINDS[self.kind]} {self.namespace}/{self.name} uid={self.uid} "
            f"version={self.resource_version} phase={_PHASES[self.phase]} deleting={bool(self.deleting)}>"
        )
