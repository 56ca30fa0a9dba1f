"""Plain values the compiled core hands out; they hold no reference to the bytes they came from."""

from dataclasses import dataclass
from typing import Final

FORMAT_JSON: Final = 0
FORMAT_PROTOBUF: Final = 1

ADDED: Final = 0
MODIFIED: Final = 1
DELETED: Final = 2
GONE: Final = 3

PHASE_UNKNOWN: Final = 0
PHASE_PENDING: Final = 1
PHASE_RUNNING: Final = 2
PHASE_SUCCEEDED: Final = 3
PHASE_FAILED: Final = 4


class DecodeError(ValueError):
    """The stream or list body cannot be read any further.

    `offset` counts bytes from the stream's or body's beginning; `reason` says what was wrong there.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} (byte {offset})")
        self.reason = reason
        self.offset = offset

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, int]]:
        return (DecodeError, (self.reason, self.offset))


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A BOOKMARK event: the version a later watch may resume from."""

    resource_version: int
    initial_events_end: bool
    """The bookmark that ends a streaming list (annotation k8s.io/initial-events-end, KEP-3157)."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """An ERROR event: the server's Status object. Empty text and 0 stand for what it left out."""

    code: int
    reason: str
    message: str
    retry_after: int | None
    """Seconds, or None."""
    causes: tuple[str, ...]
    """The causes' reasons, such as ResourceVersionTooLarge."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """One object in a good frame that could not be read; `offset` as in DecodeError."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class ListMeta:
    """What a list says of itself. `resource_version` is 0 and `continue_token` empty where it says nothing."""

    resource_version: int
    continue_token: str
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of status.conditions."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container's status. Times are Unix seconds; None too where the server says 1970, kubelet's word for never."""

    name: str
    state: str
    """waiting, running, terminated or empty."""
    reason: str
    message: str
    exit_code: int | None
    """None unless terminated."""
    signal: int | None
    started_at: float | None
    finished_at: float | None
    restart_count: int
    ready: bool


@dataclass(frozen=True, slots=True)
class PodStatusView:
    """The part of a pod's status the executor looks at. `start_time` in Unix seconds."""

    reason: str
    message: str
    start_time: float | None
    conditions: tuple[Condition, ...]
    init_containers: tuple[ContainerView, ...]
    containers: tuple[ContainerView, ...]


def stream_status(status: object) -> StreamStatus:
    """A StreamStatus of a decoded Status object (meta/v1); members of another type than they should have are left out.

    Raises ValueError if `status` is no JSON object.
    """
    if not isinstance(status, dict):
        raise ValueError("a Status is an object")
    details = status.get("details")
    if not isinstance(details, dict):
        details = {}
    causes = details.get("causes")
    return StreamStatus(
        code=_integer(status.get("code")),
        reason=_string(status.get("reason")),
        message=_string(status.get("message")),
        retry_after=_integer(details.get("retryAfterSeconds")) or None,
        causes=tuple(
            _string(cause.get("reason"))
            for cause in (causes if isinstance(causes, list) else ())
            if isinstance(cause, dict)
        ),
    )


def _string(value: object) -> str:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else ""


def _integer(value: object) -> int:
    """An int32; 0 for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
        return value
    return 0
