"""The chaos of the demo without a cluster: its plan, what it does and counts, and how it judges the outcome."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command import until
from shard_executor.cli.chaos import COUNTS, Chaos, ChaosError
from shard_executor.cli.chaos_plan import EVERY_KIND, FEWEST, KILL, MOST, MOST_OF, PROMISED, plan, steps_for
from shard_executor.cli.chaos_report import Ends, ShardFigures, Took, audit, audit_words, done_words, took_words
from shard_executor.cli.hashing import Group
from shard_executor.devcluster.fault_kinds import KINDS
from shard_executor.devcluster.process import DevClusterError
from shard_executor.supervisor import ShardStats

SEEDS = range(200)


# ---- the plan


def test_a_plan_is_a_function_of_its_seed():
    assert plan(7, 30) == plan(7, 30)
    assert len({str(plan(seed, 30)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("steps", [FEWEST, 20, MOST])
def test_the_promised_kinds_come_first_in_every_plan(steps):
    orders = set()
    for seed in SEEDS:
        made = plan(seed, steps)
        assert len(made) == steps
        opening = tuple(step.kind for step in made[: len(PROMISED)])
        orders.add(opening)
        assert sorted(opening) == sorted(PROMISED)
        assert (opening[0], made[0].at) == ("lost-response", 0.0)
        assert made[len(PROMISED) - 1].at <= 0.2
        places = [step.at for step in made]
        assert places == sorted(places)
        assert 0 <= places[0] <= places[-1] < 1
    assert len(orders) == 6


def test_a_long_plan_has_every_kind_and_not_too_much_of_what_slows_down():
    for seed in SEEDS:
        kinds = Counter(step.kind for step in plan(seed, MOST))
        assert kinds.keys() == set(EVERY_KIND)
        assert all(kinds[kind] <= most for kind, most in MOST_OF.items())


def test_the_cluster_knows_every_step():
    for seed in SEEDS:
        for step in plan(seed, MOST):
            if step.kind == KILL:
                assert 0 <= step.arguments["which"] <= 1
                continue
            kind = KINDS[step.kind]
            kind.check(step.arguments)
            if kind.rule:  # they never run out by time, so that each of their hits is counted
                assert step.arguments["count"] >= 1
                assert "seconds" not in step.arguments
            assert (step.lasts > 0) == (step.kind in ("drain", "lose-node"))
            assert step.lasts > step.arguments.get("gc_seconds", 0) or not step.lasts


def test_a_longer_job_gets_more_steps():
    assert [steps_for(tasks) for tasks in (1, 120, 400, 100_000)] == [FEWEST, FEWEST, 20, MOST]


# ---- carrying it out


class Cluster:
    """Answers as the development cluster would; `strikes` is what each rule has hit, -1 for used up."""

    def __init__(self, *, strikes: int = -1, pods: int = 3, empty: int = 0) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.cleared = 0
        self.rules: list[dict[str, Any]] = []
        self.fails: Exception | None = None
        self.started = 5  # processes of pods
        self._strikes = strikes
        self._pods = pods
        self._empty = empty  # so many answers about pods and watches are empty first
        self._names = 0

    def fault(self, kind: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((kind, arguments))
        if self.fails is not None:
            raise self.fails
        if KINDS[kind].rule:
            rule = {"id": len(self.calls), "kind": kind, "hits": self._strikes}
            self.rules.append(rule)
            return {**rule, "hits": 0}
        if kind == "recover-node":
            return {"kind": kind, "node": arguments["node"]}
        nothing = self._empty > 0
        self._empty -= 1
        names = [] if nothing else [f"default/p{self._names + number}" for number in range(self._pods)]
        self._names += len(names)
        if kind in ("cut-watches", "compact"):
            return {"kind": kind, "watches": 0 if nothing else 2}
        return {"kind": kind, "pods": names, "node": f"dev-node-{len(self.calls)}"}

    def clear_faults(self) -> dict[str, Any]:
        self.cleared += 1
        return {}

    def stats(self) -> dict[str, Any]:
        active = [] if self._strikes < 0 else self.rules
        return {"kubelet": {"started": self.started}, "faults": active}

    def kinds(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.calls)


@pytest.fixture
def victims():
    """Three processes that wait to be killed."""
    processes = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(3)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def alive(processes):
    return lambda: [process.pid for process in processes if process.poll() is None]


def carried_out(cluster: Cluster, pids=list, *, seed: int = 3, steps: int = FEWEST, **more: Any) -> Chaos:
    """A chaos whose plan has been carried out to its end."""
    chaos = Chaos(cluster, pids, seed=seed, steps=steps, **{"progress": lambda: 1.0, "patience": 0.5, **more})
    chaos.plan = [replace(step, pause=0.0, lasts=min(step.lasts, 0.1)) for step in chaos.plan]
    chaos.start()
    nodes = sum(step.lasts > 0 for step in chaos.plan)
    wanted = len(chaos.plan) - sum(step.kind == KILL for step in chaos.plan) + nodes
    try:
        until(lambda: sum(cluster.kinds().values()) >= wanted, "every step")
    finally:
        chaos.end()
    return chaos


def test_every_step_is_carried_out_and_counted(victims):
    cluster = Cluster()
    chaos = carried_out(cluster, alive(victims), steps=20)
    kinds = Counter(step.kind for step in chaos.plan)
    report = chaos.report()
    assert chaos.performed == kinds
    assert report["steps"] == {"planned": 20, "performed": 20}
    assert report["did_not_happen"] == []
    assert report["pods_evicted"] == 3 * kinds["evict"]
    assert report["pods_drained"] == 3 * kinds["drain"]
    assert report["nodes_lost"] == kinds["lose-node"]
    assert report["watches_cut"] >= 2 * (kinds["cut-watches"] + kinds["compact"])
    assert report["shards_killed"] == sum(process.wait(10) == -signal.SIGKILL for process in victims if process.poll())
    assert len(chaos.disrupted) == 3 * sum(kinds[k] for k in ("evict", "preempt", "pressure", "drain", "lose-node"))
    assert set(COUNTS) <= report.keys()
    assert cluster.cleared >= 1


def test_nodes_come_back():
    cluster = Cluster()
    carried_out(cluster, list, steps=20, seed=1)
    taken = [n for n, (kind, _) in enumerate(cluster.calls, 1) if kind in ("drain", "lose-node")]
    back = [arguments["node"] for kind, arguments in cluster.calls if kind == "recover-node"]
    assert sorted(back) == sorted(f"dev-node-{number}" for number in taken)
    assert back


def test_rules_are_counted_by_what_they_struck_and_not_by_what_was_asked_for(victims):
    chaos = carried_out(Cluster(strikes=1), alive(victims))
    rules = [step for step in chaos.plan if step.kind == "lost-response"]
    assert chaos.report()["create_answers_lost"] == len(rules)
    used_up = carried_out(Cluster(), alive(victims))
    assert used_up.report()["create_answers_lost"] == sum(step.arguments["count"] for step in rules)


def test_what_did_not_happen_is_said():
    chaos = carried_out(Cluster(strikes=0))
    assert chaos.report()["did_not_happen"] == ["shards_killed", "create_answers_lost"]
    assert chaos.performed[KILL] == 0


def test_a_step_that_meets_nothing_is_tried_again(victims):
    cluster = Cluster(empty=3)
    chaos = carried_out(cluster, alive(victims))
    assert chaos.report()["did_not_happen"] == []
    assert cluster.kinds()["evict"] + cluster.kinds()["cut-watches"] >= 2 + 3


def test_only_rules_are_there_before_a_pod_runs_and_the_rest_waits_for_the_job_to_come_that_far():
    cluster, looks = Cluster(), []
    cluster.started = 0
    made = plan(3, FEWEST)
    share = made[2].at
    due = [step.kind for step in made[:3] if step.kind != KILL]
    more = {"progress": lambda: share, "look": lambda: looks.append(1), "patience": 0.0}
    chaos = Chaos(cluster, list, seed=3, steps=FEWEST, **more)
    chaos.start()
    until(lambda: len(looks) > 5, "it looks around")
    assert [kind for kind, _ in cluster.calls] == ["lost-response"]
    cluster.started = 1
    until(lambda: len(cluster.calls) == len(due), "what is due")
    seen = len(looks)
    until(lambda: len(looks) > seen + 10, "it goes on looking")
    chaos.end()
    assert [kind for kind, _ in cluster.calls] == due


def test_a_job_that_is_stopped_is_disturbed_no_more_and_everything_is_undone():
    cluster, stopped = Cluster(), threading.Event()
    chaos = Chaos(cluster, list, seed=3, steps=FEWEST, progress=lambda: 0.0, halted=stopped.is_set)
    chaos.start()
    until(lambda: cluster.calls, "the first step")
    stopped.set()
    until(lambda: cluster.cleared, "everything undone before the end")
    calls = list(cluster.calls)
    chaos.end()
    assert cluster.calls == calls


def test_a_cluster_that_fails_fails_the_chaos():
    cluster = Cluster()
    cluster.fails = DevClusterError("POST /devcluster/faults: HTTP 500")
    chaos = Chaos(cluster, list, seed=3, steps=FEWEST, progress=lambda: 1.0)
    chaos.plan = [step for step in chaos.plan if step.kind != KILL]
    chaos.start()
    until(lambda: cluster.calls, "the first step")
    with pytest.raises(ChaosError, match=r"proves nothing: POST /devcluster/faults: HTTP 500") as caught:
        chaos.end()
    assert caught.value.exit_code == 3
    chaos.end()  # a second time does nothing


def test_a_mistake_in_the_thread_does_not_vanish():
    called = threading.Event()

    def broken() -> list[int]:
        called.set()
        raise ZeroDivisionError("a mistake")

    chaos = Chaos(Cluster(), broken, seed=3, steps=FEWEST, progress=lambda: 1.0)
    chaos.start()
    assert called.wait(10)
    with pytest.raises(ZeroDivisionError):
        chaos.end()


def test_an_end_without_a_start_does_nothing():
    cluster = Cluster()
    Chaos(cluster, list, seed=3, steps=FEWEST, progress=lambda: 1.0).end()
    assert cluster.cleared == 0


def test_a_process_that_has_just_ended_is_no_victim(victims):
    gone = victims[0]
    gone.kill()
    gone.wait()
    chaos = carried_out(Cluster(), lambda: [gone.pid] if not os.path.exists(f"/proc/{gone.pid}") else [])
    assert chaos.report()["shards_killed"] == 0


# ---- what it took


def stats(shard: int, pid: int, **more: Any) -> ShardStats:
    return ShardStats(shard, pid, True, 0, **more)


def test_figures_of_killed_shards_are_kept():
    figures = ShardFigures()
    figures.look([stats(0, 10, watch={"lists": 2, "relist:expired": 1}, calls={"create 409": 2})])
    figures.look([stats(0, 10, watch={"lists": 3, "relist:expired": 2}, calls={"create 409": 3})])
    figures.look([stats(0, 0), stats(1, 11, watch={"relist:undecodable": 1})])
    figures.look([stats(0, 12, watch={"relist:expired": 1}, calls={"create 409": 1}), stats(1, 11)])
    assert figures.relists() == {"expired": 3, "undecodable": 1}
    assert figures.calls("create 409") == 4


# ---- exactly once


def completed(group: Group, *runs: str) -> None:
    """Writes the log of a task's runs as its pods do; `a-1/2` is pod a-1 with another uid than usual."""
    pods = [run.partition("/") for run in runs]
    group.runs.write_text("".join(f"{pod} /tmp/cluster/uid-{pod}{more}/work\n" for pod, _, more in pods))


@pytest.fixture
def groups(tmp_path: Path) -> list[Group]:
    made = []
    for name in ("a", "b"):
        group = Group(name, [], tmp_path / "l", tmp_path / "r", tmp_path / name)
        completed(group, f"{name}-1")
        made.append(group)
    return made


def ends_of(*records: tuple[str, str, str]) -> Ends:
    ends = Ends(2)
    ends.take({"id": name, "state": state, "pod": pod, "uid": f"uid-{pod}"} for name, state, pod in records)
    return ends


GOOD = (("a", "succeeded", "a-1"), ("b", "succeeded", "b-1"))


def test_one_result_and_one_run_each(groups):
    found = audit(groups, ends_of(*GOOD), set())
    assert (found.tasks, found.completed, found.repeated, found.problems) == (2, 2, 0, [])
    assert audit_words(found) == ["exactly once: 2 tasks, one result each, all succeeded"]


def test_a_second_run_is_legitimate_after_a_disruption_only(groups):
    completed(groups[0], "a-0", "a-1")
    assert audit(groups, ends_of(*GOOD), {"a-0"}).problems == []
    assert audit(groups, ends_of(*GOOD), {"a-0"}).repeated == 1
    (problem,) = audit(groups, ends_of(*GOOD), {"b-0"}).problems
    assert problem == "a: completed by pod a-0 (uid uid-a-0) as well, which nothing had disrupted"


def test_a_namesake_of_the_pod_counts_as_another_one(groups):
    """It was created, disrupted and removed while its shard was dead, so that nobody knew of it."""
    completed(groups[0], "a-1/2", "a-1")
    assert audit(groups, ends_of(*GOOD), {"a-1"}).problems == []
    (problem,) = audit(groups, ends_of(*GOOD), set()).problems
    assert problem == "a: completed by pod a-1 (uid uid-a-12) as well, which nothing had disrupted"


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ((*GOOD, GOOD[1]), "b: 2 results, state succeeded"),
        (GOOD[:1], "b: 0 results, state None"),
        ((GOOD[0], ("b", "failed", "b-1")), "b: 1 results, state failed"),
        ((GOOD[0], ("b", "succeeded", "b-2")), "b: succeeded by pod b-2 (uid uid-b-2), which did not complete it"),
        ((*GOOD, ("c", "succeeded", "c-1")), "c: a result of no task"),
    ],
)
def test_anything_else_is_a_problem(groups, records, problem):
    found = audit(groups, ends_of(*records), set())
    assert problem in found.problems
    assert audit_words(found)[0].startswith(f"exactly once NOT shown: {len(found.problems)} problem")


def test_a_try_that_failed_without_a_disruption_is_a_problem(groups):
    ends = ends_of(*GOOD)
    ends.failed_tries.append({"id": "a", "class": "container-error", "reason": "Error", "pod": "a-0"})
    assert audit(groups, ends, {"a-0"}).problems == []
    (problem,) = audit(groups, ends, set()).problems
    assert problem == "a: a try ended as container-error (Error) in pod a-0, which nothing had disrupted"
    ends.failed_tries.append({"id": "b", "class": "deleted", "reason": "PodDisappeared", "pod": "b-0"})
    assert ends.vanished() == 1


def test_a_pod_that_runs_twice_is_a_problem_whatever_happened_to_it(groups):
    completed(groups[0], "a-1", "a-1")
    assert audit(groups, ends_of(*GOOD), {"a-1"}).problems == ["a: pod a-1 (uid uid-a-1) completed it 2 times"]


def test_a_task_without_a_log_of_its_runs_is_a_problem(groups):
    groups[1].runs.unlink()
    (problem,) = audit(groups, ends_of(*GOOD), set()).problems
    assert problem.startswith("b: succeeded by pod b-1 (uid uid-b-1), which did not")


# ---- words


def test_the_summary_is_in_words():
    report = {**dict.fromkeys(COUNTS, 0), "shards_killed": 1, "watches_cut": 12, "nodes_lost": 2}
    report["pods_on_lost_nodes"] = 9
    assert done_words(report) == "1 shard killed, 12 watches cut, 2 nodes lost with 9 pods"
    assert done_words(dict.fromkeys(COUNTS, 0)) == "nothing"
    took = Took(3, {"expired": 8, "undecodable": 1}, 20, 150, 4, 11, 2, 2, 140, 130)
    assert took_words(took, 120) == (
        "3 shard restarts, at least 9 re-lists (8 expired, 1 undecodable), 20 watches opened, "
        "150 creates for 120 tasks (at least 4 found their pod there), 11 pods resubmitted, 2 retried, "
        "2 pods vanished while nobody watched, 140 commands started, 130 completed"
    )


def test_many_problems_are_cut_short(groups):
    found = audit(groups, ends_of(), set())
    found.problems *= 10
    assert audit_words(found)[-1] == "  ... and 10 more"


def test_the_share_of_what_has_ended():
    ends = ends_of(GOOD[0])
    assert ends.share() == 0.5
    assert Ends(0).share() == 0.0
