"""The demo's job under chaos: what is put beside it, what is noted meanwhile, and what is said of it afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shard_executor.cli.chaos import Chaos
from shard_executor.cli.chaos_plan import steps_for
from shard_executor.cli.chaos_report import Audit, Ends, ShardFigures, Took, audit, audit_words, done_words, took_words
from shard_executor.cli.progress import Snapshot, View
from shard_executor.core.tries import TryLimits

if TYPE_CHECKING:
    from shard_executor.cli.hashing import Group
    from shard_executor.cli.tally import Tally
    from shard_executor.core.tries import NextTry
    from shard_executor.devcluster.process import DevClusterProcess
    from shard_executor.supervisor import Supervisor

_log = logging.getLogger(__name__)
_SHOWN_LOG = 3000  # characters

NODES = 3  # one can be drained and one lost, and there is still somewhere to go
# No retries: whatever the disturbances do to a pod, it is none of its task's failures.
LIMITS = TryLimits(disruption_retries=20)


class ChaosRun:
    """Chaos beside one job.

    Args:
        cluster: the development cluster, started.
        groups: the job's tasks.
        seed: of the plan.
        halted: True once the job is being stopped.
    """

    def __init__(
        self, cluster: DevClusterProcess, groups: Sequence[Group], seed: int, halted: Callable[[], bool]
    ) -> None:
        self._cluster = cluster
        self._groups = groups
        self._seed = seed
        self._halted = halted
        self._figures = ShardFigures()
        self._took = Took()
        self._chaos: Chaos | None = None
        self._audit = Audit()
        self.ends = Ends(len(groups))

    @contextmanager
    def beside(self, supervisor: Supervisor) -> Iterator[None]:
        """Disturbs the job for as long as the context is open.

        Raises:
            ChaosError: on leaving, if the disturbances could not be carried out.
        """

        def living() -> list[int]:
            # One that has not been heard of yet is still starting: killing it again and again ends the supervisor.
            return [shard.pid for shard in supervisor.stats() if shard.alive and shard.rss_mb]

        chaos = self._chaos = Chaos(
            self._cluster,
            living,
            seed=self._seed,
            steps=steps_for(len(self._groups)),
            progress=self.ends.share,
            look=lambda: self._figures.look(supervisor.stats()),
            halted=self._halted,
        )
        chaos.start()
        try:
            yield
        finally:
            chaos.end()
            self._took.shard_restarts = sum(shard.restarts for shard in supervisor.stats())

    def view(self, view: View) -> View:
        """A view that also notes which tries are followed by another one."""
        return _Noting(view, self.ends)

    def conclude(self, tally: Tally) -> bool:
        """Judges the run once its job is over and the cluster is still up; whether each task has one result."""
        assert self._chaos is not None
        took, stats = self._took, self._cluster.stats()
        took.relists = dict(self._figures.relists().most_common())
        took.watches_opened = stats["requests"].get("watch pods", 0)
        took.creates = stats["requests"].get("create pods", 0)
        took.creates_found_existing = self._figures.calls("create 409")
        took.resubmitted, took.retried, took.vanished = tally.resubmitted, tally.retried, self.ends.vanished()
        took.commands_started = stats["kubelet"]["started"]
        self._audit = audit(self._groups, self.ends, self._chaos.disrupted)
        took.commands_completed = self._audit.completed
        if self._audit.problems and (said := self._cluster.log.read_text(errors="replace")):
            _log.warning("the development cluster said, last:\n%s", said[-_SHOWN_LOG:])
        return not self._audit.problems

    def report(self) -> dict[str, Any]:
        """For `-o json`."""
        assert self._chaos is not None
        return {
            **self._chaos.report(),
            "took": self._took.to_json(),
            "exactly_once": {"holds": not self._audit.problems, **self._audit.to_json()},
        }

    def words(self) -> list[str]:
        """For a person."""
        assert self._chaos is not None
        report = self._chaos.report()
        lines = [f"chaos (seed {self._seed}): {done_words(report)}"]
        if missing := [name.replace("_", " ") for name in report["did_not_happen"]]:
            lines.append(f"  did not happen before the job was over: {', '.join(missing)}")
        return [*lines, f"it took: {took_words(self._took, len(self._groups))}", *audit_words(self._audit)]


class _Noting:
    """Hands everything on to a view, and notes the tries that are followed by another one."""

    def __init__(self, view: View, ends: Ends) -> None:
        self.live = view.live
        self._view = view
        self._ends = ends

    def start(self) -> None:
        self._view.start()

    def update(self, snapshot: Snapshot, *, force: bool = False) -> None:
        self._view.update(snapshot, force=force)

    def failure(self, record: dict[str, Any]) -> None:
        self._view.failure(record)

    def again(self, record: dict[str, Any], following: NextTry) -> None:
        self._ends.failed_tries.append(record)
        self._view.again(record, following)

    def end(self) -> None:
        self._view.end()
