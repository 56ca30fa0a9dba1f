"""What a failed create means for its ticket: one table from fault to policy."""

from __future__ import annotations

from enum import Enum

from shard_executor.core.faults import Fault


class LaunchPolicy(Enum):
    """RETRY and RETRY_SLOWER repeat the create after a backoff (the latter also halves the window), PARK waits for
    quota, SIGN_IN asks for fresh credentials and repeats, RETRY_BRIEFLY repeats for a short time and then fails the
    task, READ looks whose pod has the name, REFUSE fails the task at once."""

    RETRY = "retry"
    RETRY_SLOWER = "retry-slower"
    PARK = "park"
    SIGN_IN = "sign-in"
    RETRY_BRIEFLY = "retry-briefly"
    READ = "read"
    REFUSE = "refuse"


_P = LaunchPolicy

LAUNCH_POLICIES: dict[Fault, LaunchPolicy] = {
    Fault.EXPIRED: _P.RETRY,
    Fault.THROTTLED: _P.RETRY_SLOWER,
    Fault.TOO_LARGE_VERSION: _P.RETRY_SLOWER,
    Fault.UNAUTHORIZED: _P.SIGN_IN,
    Fault.FORBIDDEN: _P.REFUSE,
    # An API server that has just started denies what its authorizer has not loaded yet; so does a new RoleBinding.
    Fault.NOT_PERMITTED: _P.RETRY_BRIEFLY,
    Fault.QUOTA: _P.PARK,
    Fault.NAMESPACE_TERMINATING: _P.REFUSE,
    Fault.NOT_FOUND: _P.REFUSE,
    Fault.ALREADY_EXISTS: _P.READ,
    # Not of the pod, which does not exist yet, but of the ResourceQuota it counts against: several creates at once
    # update the same quota (apache/airflow#54777).
    Fault.CONFLICT: _P.RETRY,
    Fault.INVALID: _P.REFUSE,
    Fault.FEATURE_DISABLED: _P.RETRY_SLOWER,
    Fault.UNAVAILABLE: _P.RETRY_SLOWER,
    Fault.SERVER_ERROR: _P.RETRY_SLOWER,
    Fault.REFUSED: _P.RETRY_SLOWER,
    # The create may have reached the server. Its name is deterministic, so repeating it is safe: 409 then means that
    # it had succeeded.
    Fault.DISCONNECTED: _P.RETRY_SLOWER,
    Fault.TIMEOUT: _P.RETRY_SLOWER,
    Fault.TLS: _P.RETRY_SLOWER,
    Fault.PROTOCOL: _P.RETRY_SLOWER,
    Fault.UNKNOWN: _P.REFUSE,
}


# Faults after which the create may have reached the server all the same; gateways answer 502 and 504 for it.
UNSURE = frozenset({Fault.DISCONNECTED, Fault.TIMEOUT, Fault.PROTOCOL, Fault.UNAVAILABLE, Fault.SERVER_ERROR})


def launch_policy(fault: Fault) -> LaunchPolicy:
    """The policy for a failed create; every fault has one (a test holds the table complete)."""
    return LAUNCH_POLICIES[fault]
