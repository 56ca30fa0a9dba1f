"""Bodies built just in time, through the supervisor: bounded, by priority, one for each create request."""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
from collections.abc import Callable

from engine import Run, pod_body, pods, running, states, until
from shard_executor._fast.keys import bin_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor import Submission, Supervisor

Answer = Callable[[Supervisor, str, int], None]


def provide(supervisor: Supervisor, ticket: str, attempt: int) -> None:
    supervisor.provide(ticket, pod_body(ticket))


class Builder:
    """A thread that answers what shards ask for, and remembers it. `open` lets the answers go out."""

    def __init__(self, answer: Answer = provide) -> None:
        self.asked: list[str] = []
        self.batches: list[int] = []
        self.most = 0
        self.outstanding = 0
        self.open = threading.Event()
        self.run: Run | None = None
        self._answer = answer
        self._lock = threading.Lock()
        self._wanted: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def build(self, wanted: list[tuple[str, int]]) -> None:
        with self._lock:
            self.asked += [ticket for ticket, _ in wanted]
            self.batches.append(len(wanted))
            self.outstanding += len(wanted)
            self.most = max(self.most, self.outstanding)
        for one in wanted:
            self._wanted.put(one)

    def _work(self) -> None:
        self.open.wait()
        while (one := self._wanted.get()) is not None:
            with self._lock:
                self.outstanding -= 1
            assert self.run is not None
            self._answer(self.run.supervisor, *one)

    def start(self, run: Run) -> None:
        self.run = run
        self._thread.start()

    def end(self) -> None:
        self.open.set()
        self._wanted.put(None)
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def submit(run: Run, *tickets: str, priority: int = 0) -> None:
    for ticket in tickets:
        run.supervisor.submit(
            Submission(ticket, bin_of("run", ticket), "default", ticket, f"run/{ticket}/0", priority=priority)
        )


def creates(cluster: DevClusterProcess) -> int:
    return int(cluster.stats()["requests"]["create pods"])


def test_two_thousand_tickets_are_asked_for_a_few_at_a_time_and_by_priority(simulated: DevClusterProcess) -> None:
    builder = Builder()
    with running(simulated, shards=1, window=(4, 1, 16), build=builder.build, beat_interval=0.1) as run:
        builder.start(run)
        priorities = {f"t{number}": random.Random(number).randrange(50) for number in range(2000)}
        for ticket, priority in priorities.items():
            submit(run, ticket, priority=priority)
        until(lambda: run.supervisor.stats()[0].queued == 2000, "the shard has every ticket")
        until(lambda: run.supervisor.stats()[0].asked, "it has listed its pods")
        assert run.supervisor.stats()[0].asked == len(builder.asked) == 8, "two windows"
        builder.open.set()
        assert states(run.finish()) == {"succeeded": 2000}
        builder.end()
    assert sorted(builder.asked) == sorted(priorities), "each was asked for once"
    later = [priorities[ticket] for ticket in builder.asked[8:]]
    assert later == sorted(later, reverse=True)
    assert builder.most <= 32, "never more than two of the largest windows"
    assert creates(simulated) == 2000
    assert pods(simulated) == []


def test_a_restarted_shard_asks_again_and_no_pod_is_made_twice(simulated: DevClusterProcess) -> None:
    builder = Builder()
    with running(simulated, build=builder.build) as run:
        builder.start(run)
        submit(run, *(f"t{number}" for number in range(400)))
        until(lambda: builder.outstanding, "bodies are asked for")
        os.kill(run.shard_pids()[0], signal.SIGKILL)  # what it had asked for is answered to nobody
        builder.open.set()
        run.ended(50)
        os.kill(run.shard_pids()[-1], signal.SIGKILL)
        assert states(run.finish()) == {"succeeded": 400}
        builder.end()
    assert simulated.stats()["kubelet"]["finished"] == 400, "a pod ran twice"
    assert pods(simulated) == []


def test_every_create_request_has_a_body_of_its_own(simulated: DevClusterProcess) -> None:
    builder = Builder()
    builder.open.set()
    simulated.fault("error", verb="create", code=429, count=5)
    simulated.fault("error", verb="create", code=500, count=5)
    with running(simulated, build=builder.build, beat_interval=0.1) as run:
        builder.start(run)
        submit(run, *(f"t{number}" for number in range(30)))
        assert states(run.finish()) == {"succeeded": 30}

        def requests() -> int:
            calls = [call for shard in run.supervisor.stats() for call in shard.calls.items()]
            return sum(count for name, count in calls if name.startswith("create "))

        until(lambda: requests() == len(builder.asked), "as many requests as bodies", 10.0)
        assert requests() >= 35
        builder.end()
    assert simulated.stats()["kubelet"]["finished"] == 30


def test_a_body_is_refused_or_its_ticket_revoked_and_the_others_go_on(simulated: DevClusterProcess) -> None:
    def answer(supervisor: Supervisor, ticket: str, attempt: int) -> None:
        if ticket.startswith("bad"):
            supervisor.refuse_body(ticket, "InvalidTemplate", "line 3: no such key")
        elif ticket.startswith("stale"):
            supervisor.revoke(ticket)
        elif not ticket.startswith("mute"):
            provide(supervisor, ticket, attempt)

    builder = Builder(answer)
    builder.open.set()
    policy = {"body_timeout": 5.0}
    with running(simulated, shards=1, window=(2, 1, 2), build=builder.build, policy=policy) as run:
        builder.start(run)
        for kind, count in (("mute", 4), ("bad", 10), ("stale", 10), ("good", 10)):
            submit(run, *(f"{kind}{number}" for number in range(count)))
        reports = run.finish()
        builder.end()
    assert {ticket[:-1]: (r.state, r.reason) for ticket, r in reports.items() if ticket[:-1] != "good"} == {
        "mute": ("failed", "BodyTimeout"),
        "bad": ("failed", "InvalidTemplate"),
        "stale": ("revoked", "Revoked"),
    }
    assert states(reports) == {"succeeded": 10, "failed": 14, "revoked": 10}
    assert reports["bad0"].message == "line 3: no such key"
    assert reports["bad0"].failure_class == "create-refused"
    assert creates(simulated) == 10
