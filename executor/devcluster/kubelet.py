"""What a kubelet offers to the rest of the development cluster, and the rules about logs that all kubelets share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from shard_executor.devcluster import errors
from shard_executor.devcluster.images import Images
from shard_executor.devcluster.podstatus import NODE_LOW
from shard_executor.devcluster.versions import Obj

# Annotations that steer a single pod's life in the simulated kubelet.
OUTCOME = "devcluster.shard-executor/outcome"
RUN_SECONDS = "devcluster.shard-executor/run-seconds"
EXIT_CODE = "devcluster.shard-executor/exit-code"


@dataclass(frozen=True, slots=True)
class Disruption:
    """Something a node does to a running pod.

    `kind`: ``oom`` kills a container as the kernel does when memory runs out (`container`, or the first one);
    ``pressure`` evicts the whole pod: phase Failed, reason Evicted, with `message`.
    """

    kind: str
    container: str | None = None
    message: str = NODE_LOW


class Kubelet(Protocol):
    """Runs the pods of all nodes. Constructing one starts nothing; all calls on the event loop."""

    images: Images

    @property
    def nodes(self) -> list[str]:
        """The names of its nodes."""

    def start(self) -> None:
        """Creates the nodes and takes up the pods, those that are there and all later ones."""

    async def end(self) -> None:
        """Stops everything; no process of a pod is left afterwards."""

    async def logs(
        self,
        namespace: str,
        name: str,
        *,
        container: str | None = None,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        since_seconds: int | None = None,
        previous: bool = False,
        follow: bool = False,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """The log of a container, in pieces; of a pod without a node it is empty.

        Args:
            container: may be left out if the pod has only one.
            tail_lines: only the last so many lines.
            limit_bytes: at most so many bytes.
            since_seconds: only what came in the last so many seconds.
            previous: of the run before the last restart.
            follow: goes on until the container has ended.
            timestamps: each line begins with its time.

        Raises:
            ApiError: 404 if there is no such pod, 400 if the container is unknown, ambiguous or has not started.
        """

    def disrupt(self, namespace: str, name: str, disruption: Disruption) -> None:
        """Lets something happen to a running pod.

        Raises:
            ApiError: 404 if there is no such pod, 409 if it does not run here.
        """

    def lose_node(self, node: str) -> None:
        """Cuts a node off: what happens on it is no longer reported, and deletions do not reach it."""

    def recover_node(self, node: str) -> None:
        """Reconnects a node: it reports what has happened meanwhile and carries out deletions."""

    def stats(self) -> dict[str, int]:
        """Counts by name, for people: pods, running containers, starts."""


def choose_container(pod: Obj, wanted: str | None) -> str:
    """The container whose log is meant (registry/core/pod/strategy.go LogLocation).

    Raises:
        ApiError: 400 if it is unknown, or left out where there are several.
    """
    name, spec = pod["metadata"]["name"], pod["spec"]
    main = [container["name"] for container in spec["containers"]]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in main and wanted not in init:
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(main) > 1 or init:
        words = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
        if init:
            words += f" or one of the init containers: [{' '.join(init)}]"
        raise errors.bad_request(words)
    return str(main[0])


def not_started(pod: Obj, container: str, reason: str) -> errors.ApiError:
    """400 for the log of a container that has not begun (kubelet.go validateContainerLogStatus)."""
    name = pod["metadata"]["name"]
    return errors.bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')


def no_previous(pod: Obj, container: str) -> errors.ApiError:
    """400 for the previous log of a container that was never restarted."""
    name = pod["metadata"]["name"]
    return errors.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    """A log that is already complete."""
    for piece in pieces:
        yield piece
