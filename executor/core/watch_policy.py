"""The one table of the watch: what to do about each fault in each state that has a request or a stream at risk.

Sources: client-go tools/cache/reflector.go and kube-rs kube-runtime/src/watcher.rs for the usual answers. Where they
differ: a 410 at the start of a watch re-lists like one in the stream, and a throttled request never causes a list.
"""

from __future__ import annotations

from enum import StrEnum

from shard_executor.core.faults import Fault
from shard_executor.core.watch_types import WatchState


class Policy(StrEnum):
    """How the watch goes on after a fault."""

    RETRY = "retry"  # backoff, then the same request: same page, same list, or watch from the same version
    REOPEN = "reopen"  # a watch that had worked: open it again at once, from the last version; else RETRY
    PATIENT = "patient"  # RETRY until the patience for server errors ends, then RELIST
    RELIST = "relist"  # backoff, then a list; what vanished comes out of the sweep
    RELIST_WHOLE = "relist-whole"  # RELIST without pages: this list takes longer than its tokens live
    FALL_BACK = "fall-back"  # no streaming lists on this server: page through a list at once, and remember
    CREDENTIALS = "credentials"  # ask for fresh credentials, long backoff, then RETRY
    LONG = "long"  # somebody has to mend something: long backoff, shown in health, then RETRY


_LISTING, _INITIAL, _LISTED, _WATCHING = COLUMNS = (
    WatchState.LISTING_PAGE,
    WatchState.INITIAL_WATCH,
    WatchState.LISTED,
    WatchState.WATCHING,
)
_P = Policy

_ROWS: dict[Fault, tuple[Policy, Policy, Policy, Policy]] = {
    # fault                     a page             a streaming list   opening a watch    an open watch
    Fault.EXPIRED:              (_P.RELIST_WHOLE,  _P.RELIST,         _P.RELIST,         _P.RELIST),
    Fault.THROTTLED:            (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.TOO_LARGE_VERSION:    (_P.RELIST,        _P.RELIST,         _P.RELIST,         _P.RELIST),
    Fault.UNAUTHORIZED:         (_P.CREDENTIALS,   _P.CREDENTIALS,    _P.CREDENTIALS,    _P.CREDENTIALS),
    Fault.TLS:                  (_P.CREDENTIALS,   _P.CREDENTIALS,    _P.CREDENTIALS,    _P.RETRY),
    Fault.FORBIDDEN:            (_P.LONG,          _P.LONG,           _P.LONG,           _P.LONG),
    Fault.NOT_PERMITTED:        (_P.LONG,          _P.LONG,           _P.LONG,           _P.LONG),
    Fault.QUOTA:                (_P.LONG,          _P.LONG,           _P.LONG,           _P.LONG),
    Fault.NAMESPACE_TERMINATING: (_P.LONG,         _P.LONG,           _P.LONG,           _P.LONG),
    Fault.NOT_FOUND:            (_P.LONG,          _P.LONG,           _P.LONG,           _P.LONG),
    Fault.INVALID:              (_P.LONG,          _P.FALL_BACK,      _P.RELIST,         _P.RELIST),
    Fault.FEATURE_DISABLED:     (_P.RETRY,         _P.FALL_BACK,      _P.PATIENT,        _P.PATIENT),
    Fault.SERVER_ERROR:         (_P.RETRY,         _P.RETRY,          _P.PATIENT,        _P.PATIENT),
    Fault.UNAVAILABLE:          (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.REFUSED:              (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.TIMEOUT:              (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.DISCONNECTED:         (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.REOPEN),
    Fault.PROTOCOL:             (_P.RELIST,        _P.RETRY,          _P.RETRY,          _P.RELIST),
    Fault.ALREADY_EXISTS:       (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.CONFLICT:             (_P.RETRY,         _P.RETRY,          _P.RETRY,          _P.RETRY),
    Fault.UNKNOWN:              (_P.RETRY,         _P.RETRY,          _P.PATIENT,        _P.PATIENT),
}  # fmt: skip

POLICY: dict[tuple[WatchState, Fault], Policy] = {
    (state, fault): policy for fault, row in _ROWS.items() for state, policy in zip(COLUMNS, row, strict=True)
}

# Faults after which a streaming list is suspected rather than the way to the server.
BREAKS_STREAMING = frozenset(
    {Fault.TOO_LARGE_VERSION, Fault.PROTOCOL, Fault.SERVER_ERROR, Fault.DISCONNECTED, Fault.UNKNOWN}
)
