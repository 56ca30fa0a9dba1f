"""Records and rows to the Python objects a caller is told with."""

from shard_executor._fast.apply cimport Table
from shard_executor._fast.change cimport PodChange
from shard_executor._fast.event cimport ListHead
from shard_executor._fast.rows cimport Row


cdef list told_records(Table* table, bytes data, bint is_json)
cdef PodChange told_gone(const Row* row)
cdef str uid_of(const Row* row)
cdef object list_meta(ListHead* head)
