"""Reads what the commands that ask a cluster questions get back: objects, words, and servers out of reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from shard_executor.core.faults import Fault, FaultInfo

if TYPE_CHECKING:
    from shard_executor.core.credentials import Credentials
    from shard_executor.shard.api import Answer

REQUEST_LIMIT = 15.0  # seconds for each of the few requests; a server that needs longer is not fit to be tried
NEXT_CLUSTER = "check --kubeconfig and --context, or start a cluster on this machine with `shard-executor devcluster`"


def object_of(answer: Answer) -> Mapping[str, Any]:
    """The JSON object in an answer's body, empty if there is none."""
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def words_of(answer: Answer) -> str:
    """What a server said in refusing something, in one line."""
    from shard_executor.shard.api import fault_of

    return fault_of(answer).message


def shown_address(credentials: Credentials) -> str:
    """Scheme, host and port: a path may hold what is nobody else's business, such as a token."""
    parts = urlsplit(credentials.host)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def unreachable(credentials: Credentials, info: FaultInfo, origin: str) -> tuple[str, str]:
    """What came of asking a server that gave no answer, and what to do next."""
    address = shown_address(credentials)
    if info.fault is Fault.TLS:
        words = f"{address} ({origin}) does not pass the TLS check: {info.message}"
        return words, "check certificate-authority in the kubeconfig"
    words = "does not answer" if info.fault is Fault.TIMEOUT else "cannot be reached"
    return f"the cluster {address} ({origin}) {words}: {info.message or info.fault}", NEXT_CLUSTER
