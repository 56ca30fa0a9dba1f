"""What both decoders fill in: one event, and on demand the details of a pod's status."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from shard_executor._fast.cursor cimport Cursor, Span

cdef extern from "mix.h" nogil:
    uint64_t sx_hash(const uint8_t* at, size_t size, uint64_t seed)


cdef enum:
    FORMAT_JSON_ = 0
    FORMAT_PROTOBUF_ = 1

cdef enum:
    EVENT_ADDED = 0
    EVENT_MODIFIED = 1
    EVENT_DELETED = 2
    EVENT_BOOKMARK = 3
    EVENT_ERROR = 4
    EVENT_UNKNOWN = 5

cdef enum:
    BIN_MISSING = -1
    BIN_INVALID = -2

cdef enum:
    STATE_NONE = 0
    STATE_WAITING = 1
    STATE_RUNNING = 2
    STATE_TERMINATED = 3

cdef enum:      # seeds that keep equal texts in different places apart
    SEED_LABEL = 1
    SEED_REASON = 2
    SEED_MESSAGE = 3
    SEED_PHASE = 4
    SEED_CONDITION = 5
    SEED_INIT = 6
    SEED_CONTAINER = 7

cdef enum:      # what a label is to us
    LABEL_OTHER = 0
    LABEL_OBSERVED = 1
    LABEL_BIN = 2

cdef enum:      # a decoder's answer besides 0
    BAD_FRAME = -1     # the stream cannot be trusted any more
    BAD_OBJECT = -2    # this object cannot be read, the next frame can


cdef struct LabelRule:
    Span name
    bint prefix


cdef struct Context:             # what a decoder needs besides bytes
    Span bin_label
    LabelRule* rules             # which labels count besides
    size_t rule_count
    uint8_t first_bytes[256]     # 1 where a rule or the bin label begins with that byte
    uint8_t* scratch             # room to unescape text
    size_t scratch_size


cdef struct Event:
    int type
    Span object                  # the embedded object, unread, of a BOOKMARK or ERROR event
    bint wrong_kind              # the object says it is no Pod
    Span uid
    Span name
    Span namespace
    Span labels                  # JSON: the labels' object; protobuf: the whole metadata
    Span annotations             # likewise
    Span status                  # the whole status
    Span reason                  # of the status
    Span message
    bint version_known
    bint deleting
    int phase
    int bin
    uint64_t label_state         # sums of hashes: the order of fields on the wire does not matter
    uint64_t condition_state
    uint64_t init_state
    uint64_t container_state
    uint64_t reason_state        # of the status
    uint64_t message_state
    uint64_t version
    uint64_t uid_high
    uint64_t uid_low
    bint uid_hashed              # the uid is no UUID in its usual spelling
    uint64_t state               # hash of everything observable, filled in by finish_pod


cdef struct Moment:
    int64_t seconds              # since 1970, UTC
    int32_t nanos
    bint known


cdef struct ConditionFields:
    Span type
    Span status
    Span reason
    Span message


cdef struct StateFields:
    bint present
    Span reason
    Span message
    int32_t exit_code
    int32_t signal
    Moment started
    Moment finished


cdef struct ContainerFields:
    bint init
    Span name
    int state_kind
    StateFields state
    int32_t restarts
    bint ready


cdef struct Sink:                # details of one status, collected only when a view is asked for
    ConditionFields* conditions
    size_t condition_count
    size_t condition_room
    ContainerFields* containers
    size_t container_count
    size_t container_room
    Moment start


cdef struct Spans:
    Span* items
    size_t count
    size_t room


cdef struct ListHead:
    uint64_t version
    Span continue_token
    int64_t remaining
    bint remaining_known


cdef inline uint64_t text_hash(const Span* text, uint64_t seed) noexcept nogil:
    """`text` is free of escapes."""
    return sx_hash(text.at, text.size, seed)


cdef inline bint may_be_wanted(const Context* context, const Span* label) noexcept nogil:
    """A quick no for most labels; `label` is free of escapes."""
    return label.size > 0 and context.first_bytes[label.at[0]] != 0


cdef inline uint64_t element_seed(int group, uint64_t index, int kind, int32_t number) noexcept nogil:
    """The seed for one condition's or container's texts: its list, place, state and exit code."""
    return (<uint64_t>group << 56) ^ (<uint64_t>kind << 52) ^ (index << 32) ^ <uint64_t><uint32_t>number


cdef inline void clear_metadata(Event* event) noexcept nogil:
    event.uid.size = 0
    event.name.size = 0
    event.namespace.size = 0
    event.labels.size = 0
    event.annotations.size = 0
    event.version_known = False
    event.deleting = False
    event.bin = BIN_MISSING
    event.label_state = 0


cdef inline void clear_status(Event* event) noexcept nogil:
    event.reason.size = 0
    event.message.size = 0
    event.phase = 0
    event.condition_state = 0
    event.init_state = 0
    event.container_state = 0
    event.reason_state = 0
    event.message_state = 0


cdef int want_scratch(Context* context, size_t size) noexcept nogil
cdef int label_role(const Context* context, const Span* name) noexcept nogil
cdef void take_label(Event* event, int role, uint64_t name_hash, const Span* value) noexcept nogil
cdef int finish_pod(Cursor* cursor, Event* event) noexcept nogil
cdef int phase_value(const Span* text) noexcept nogil
cdef int event_type(const Span* text) noexcept nogil
cdef int unsigned_value(const Span* text, uint64_t* number) noexcept nogil
cdef bint uid_key(const Span* uid, uint64_t* high, uint64_t* low) noexcept nogil
cdef int push_span(Spans* spans, Span span) noexcept nogil
cdef int push_condition(Sink* sink, const ConditionFields* fields) noexcept nogil
cdef int push_container(Sink* sink, const ContainerFields* fields) noexcept nogil
cdef void drop_containers(Sink* sink, bint init) noexcept nogil
cdef void free_sink(Sink* sink) noexcept nogil
cdef void free_context(Context* context) noexcept nogil
