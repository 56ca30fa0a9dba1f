"""Simulated pods: each outcome's shapes, draws that repeat, annotations, deletions, lost nodes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from kubelet_helpers import conditions, ended, finished, log, pod, record, running, started, until, waits_with
from shard_executor.devcluster.kubelet import EXIT_CODE, OUTCOME, RUN_SECONDS, Disruption
from shard_executor.devcluster.pods import delete_pod
from shard_executor.devcluster.sim_kubelet import SimKubelet
from shard_executor.devcluster.sim_outcomes import OUTCOMES, SimSettings
from shard_executor.devcluster.store import Store

QUICK = SimSettings(start_seconds=(0.0, 0.01), run_seconds=(0.0, 0.01), stop_seconds=0.0, gc_seconds=0.01)


def of(outcome: str, **more: str):
    return {OUTCOME: outcome, **more}


def test_three_writes_make_a_life():
    async def scenario():
        store = Store()
        seen = record(store)
        kubelet = SimKubelet(store, QUICK)
        async with started(kubelet):
            store.create("pods", pod("a", "true"))
            found = await finished(store, "a")
            assert b"default/a base: simulated, ok" in await log(kubelet, "a")
        assert [new["status"]["phase"] for _, new in seen] == ["Pending", "Pending", "Running", "Succeeded"]
        assert seen[1][1]["spec"]["nodeName"] == "dev-node-0"
        assert ended(found) == {**ended(found), "exitCode": 0, "reason": "Completed"}
        assert found["status"]["podIP"].startswith("10.")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outcome", "phase", "code", "container_reason", "reason"),
    [
        ("ok", "Succeeded", 0, "Completed", None),
        ("fail", "Failed", 1, "Error", None),
        ("oom", "Failed", 137, "OOMKilled", None),
        ("evict", "Failed", 137, "Error", "Evicted"),
        ("initfail", "Failed", 128, "StartError", None),
        ("deadline", "Failed", 137, "Error", "DeadlineExceeded"),
    ],
)
def test_outcomes_that_finish(outcome, phase, code, container_reason, reason):
    async def scenario():
        store = Store()
        async with started(SimKubelet(store, QUICK)):
            store.create("pods", pod("a", annotations=of(outcome)))
            found = await finished(store, "a")
        assert found["status"]["phase"] == phase
        assert (ended(found)["exitCode"], ended(found)["reason"]) == (code, container_reason)
        assert found["status"].get("reason") == reason

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outcome", "disruption", "last_phase"),
    [
        ("preempt", "PreemptionByScheduler", "Failed"),
        ("drain", "EvictionByEvictionAPI", "Failed"),
        ("deleted", None, "Running"),
        ("nodelost", None, "Unknown"),
    ],
)
def test_outcomes_that_end_in_deletion(outcome, disruption, last_phase):
    async def scenario():
        store = Store()
        seen = record(store)
        async with started(SimKubelet(store, QUICK)):
            store.create("pods", pod("a", annotations=of(outcome)))
            await until(lambda: seen[-1][0] == "DELETED")
        last = seen[-1][1]
        assert last["metadata"]["deletionGracePeriodSeconds"] == 0
        assert last["status"]["phase"] == last_phase
        assert conditions(last).get("DisruptionTarget", {}).get("reason") == disruption
        if outcome == "nodelost":
            assert last["status"]["reason"] == "NodeLost"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outcome", "reason"), [("imagepull", "ImagePullBackOff"), ("cfgerr", "CreateContainerConfigError")]
)
def test_outcomes_that_wait(outcome, reason):
    async def scenario():
        store = Store()
        async with started(SimKubelet(store, QUICK)):
            store.create("pods", pod("a", annotations=of(outcome)))
            await waits_with(store, "a", reason)
            delete_pod(store, "default", "a")
            await until(lambda: store.find("pods", "default", "a") is None)

    asyncio.run(scenario())


def test_a_failing_init_container():
    async def scenario():
        store = Store()
        async with started(SimKubelet(store, QUICK)):
            init = [{"name": "init", "image": "busybox"}]
            store.create("pods", pod("a", annotations=of("initfail"), initContainers=init))
            status = (await finished(store, "a"))["status"]
        assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 2
        assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}

    asyncio.run(scenario())


def test_annotations_decide():
    async def scenario():
        store = Store()
        async with started(SimKubelet(store, SimSettings((0, 0), (600, 600), mix={"hang": 1.0}))):
            store.create("pods", pod("a", annotations={EXIT_CODE: "42", RUN_SECONDS: "0.01"}))
            assert ended(await finished(store, "a"))["exitCode"] == 42
            store.create("pods", pod("b", annotations={OUTCOME: "nonsense", EXIT_CODE: "0", RUN_SECONDS: "0"}))
            assert (await finished(store, "b"))["status"]["phase"] == "Succeeded"

    asyncio.run(scenario())


def test_a_mix_is_drawn_the_same_way_again():
    async def scenario():
        store = Store()
        mix = {"fail": 0.2, "oom": 0.1, "evict": 0.1}
        settings = SimSettings((0, 0), (0, 0), mix=mix, seed=7)
        async with started(SimKubelet(store, settings)):
            for index in range(300):
                store.create("pods", pod(f"p{index:03}"))
            return [
                (ended(found)["exitCode"], found["status"].get("reason"))
                for index in range(300)
                for found in [await finished(store, f"p{index:03}")]
            ]

    first, second = asyncio.run(scenario()), asyncio.run(scenario())
    assert first == second
    counts = Counter(first)
    assert 150 < counts[0, None] < 210
    assert min(counts[1, None], counts[137, None], counts[137, "Evicted"]) > 10


def test_a_deletion_ends_a_running_pod():
    async def scenario():
        store = Store()
        seen = record(store)
        async with started(SimKubelet(store, QUICK)):
            store.create("pods", pod("a", annotations=of("hang")))
            await running(store, "a")
            delete_pod(store, "default", "a")
            await until(lambda: seen[-1][0] == "DELETED")
        assert ended(seen[-1][1])["exitCode"] == 143

    asyncio.run(scenario())


def test_a_pod_that_ends_by_itself_while_it_is_deleted_goes():
    async def scenario():
        store = Store()
        seen = record(store)
        async with started(SimKubelet(store, SimSettings((0, 0), (0.05, 0.05), stop_seconds=0.2))):
            store.create("pods", pod("a"))
            await running(store, "a")
            delete_pod(store, "default", "a")
            await until(lambda: seen[-1][0] == "DELETED")
        assert ended(seen[-1][1])["exitCode"] == 0

    asyncio.run(scenario())


def test_disruptions():
    async def scenario():
        store = Store()
        kubelet = SimKubelet(store, QUICK)
        async with started(kubelet):
            for kind in ("oom", "pressure"):
                store.create("pods", pod(kind, annotations=of("hang")))
                await running(store, kind)
                kubelet.disrupt("default", kind, Disruption(kind))
            assert ended(await finished(store, "oom"))["reason"] == "OOMKilled"
            found = await finished(store, "pressure")
            assert conditions(found)["DisruptionTarget"]["message"] == "The node was low on resource: memory."

    asyncio.run(scenario())


def test_a_lost_node_holds_its_pods():
    async def scenario():
        store = Store()
        kubelet = SimKubelet(store, SimSettings((0, 0), (0.05, 0.05)), nodes=1)
        async with started(kubelet):
            store.create("pods", pod("a"))
            await running(store, "a")
            kubelet.lose_node("dev-node-0")
            await until(lambda: kubelet.stats()["timers"] == 0)
            assert store.get("pods", "default", "a")["status"]["phase"] == "Running"
            kubelet.recover_node("dev-node-0")
            assert (await finished(store, "a"))["status"]["phase"] == "Succeeded"

    asyncio.run(scenario())


def test_a_later_timer_of_one_pod_holds_up_no_other():
    """More pods than one batch of timers, whose starts are due at once and whose ends are far off."""
    settings = SimSettings(start_seconds=(0.1, 0.1), run_seconds=(600.0, 600.0), stop_seconds=0.0, gc_seconds=0.01)

    async def scenario():
        store = Store()
        async with started(SimKubelet(store, settings)):
            names = [f"p{number}" for number in range(500)]
            for name in names:
                store.create("pods", pod(name, "true"))
            await until(lambda: all(store.get("pods", "default", n)["status"]["phase"] == "Running" for n in names))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "wrong", [{"mix": {"no-such": 0.1}}, {"mix": {"fail": 0.7, "oom": 0.7}}, {"run_seconds": (2, 1)}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"mix|run_seconds"):
        SimSettings(**wrong)


def test_every_outcome_is_described():
    assert all(OUTCOMES.values())
