"""The compiled core: frames, decoders for pod events and the table of pods. There is no fallback in Python."""

try:
    from shard_executor._fast.change import PodChange
    from shard_executor._fast.keys import BINS, bin_of, fnv1a64
    from shard_executor._fast.table import PodTable
except ImportError as error:
    raise ImportError(
        f"the compiled core of shard-executor cannot be loaded ({error}). Install a wheel, or build it in the source "
        "tree with 'pip install -e .' or 'python setup.py build_ext --inplace' (a C compiler and Cython are needed)"
    ) from error

from shard_executor._fast.views import (
    ADDED,
    DELETED,
    FORMAT_JSON,
    FORMAT_PROTOBUF,
    GONE,
    MODIFIED,
    PHASE_FAILED,
    PHASE_PENDING,
    PHASE_RUNNING,
    PHASE_SUCCEEDED,
    PHASE_UNKNOWN,
    Bookmark,
    Condition,
    ContainerView,
    DecodeError,
    ListMeta,
    PodStatusView,
    StreamStatus,
    Undecodable,
)

__all__ = [
    "ADDED",
    "BINS",
    "DELETED",
    "FORMAT_JSON",
    "FORMAT_PROTOBUF",
    "GONE",
    "MODIFIED",
    "PHASE_FAILED",
    "PHASE_PENDING",
    "PHASE_RUNNING",
    "PHASE_SUCCEEDED",
    "PHASE_UNKNOWN",
    "Bookmark",
    "Condition",
    "ContainerView",
    "DecodeError",
    "ListMeta",
    "PodChange",
    "PodStatusView",
    "PodTable",
    "StreamStatus",
    "Undecodable",
    "bin_of",
    "fnv1a64",
]
