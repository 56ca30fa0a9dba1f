"""Faults on pods, nodes and images, carried out on both kubelets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from kubelet_helpers import conditions, ended, finished, pod, record, running, started, until, waits_with
from shard_executor.devcluster.errors import ApiError
from shard_executor.devcluster.fault_actions import FaultActions
from shard_executor.devcluster.fault_kinds import KINDS
from shard_executor.devcluster.faults import Faults
from shard_executor.devcluster.kubelet import OUTCOME
from shard_executor.devcluster.nodes import schedulable
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.sim_kubelet import SimKubelet
from shard_executor.devcluster.sim_outcomes import SimSettings
from shard_executor.devcluster.store import Store

KUBELETS = ["process", "simulated"]


@asynccontextmanager
async def cluster(kind: str, **options):
    """A store, its recorded changes, and the actions on a running kubelet."""
    store = Store()
    seen = record(store)
    if kind == "process":
        kubelet = ProcessKubelet(store, **options)
    else:
        kubelet = SimKubelet(store, SimSettings((0, 0), (0, 0), stop_seconds=0.0), **{"nodes": 1, **options})
    actions = FaultActions(store, kubelet, Faults(store))
    async with started(kubelet):
        yield store, seen, actions
        await actions.end()


def sleeper(name: str, **more):
    """A pod that runs until something stops it, on either kubelet."""
    return pod(name, "sleep", "600", annotations={OUTCOME: "hang"}, **more)


@pytest.mark.parametrize("kubelet", KUBELETS)
@pytest.mark.parametrize(
    ("fault", "reason"), [("evict", "EvictionByEvictionAPI"), ("preempt", "PreemptionByScheduler"), ("delete", None)]
)
def test_pods_that_are_disrupted_from_outside(kubelet, fault, reason):
    async def scenario():
        async with cluster(kubelet) as (store, seen, actions):
            store.create("pods", sleeper("a"))
            await running(store, "a")
            assert actions.apply({"kind": fault, "name": "a", "grace": 5}) == {"kind": fault, "pods": ["default/a"]}
            await until(lambda: seen[-1][0] == "DELETED")
            last = seen[-1][1]
            assert ended(last)["exitCode"] == 143
            assert conditions(last).get("DisruptionTarget", {}).get("reason") == reason

    asyncio.run(scenario())


@pytest.mark.parametrize("kubelet", KUBELETS)
def test_pods_that_are_disrupted_on_their_node(kubelet):
    async def scenario():
        async with cluster(kubelet) as (store, _, actions):
            for name in ("a", "b", "c"):
                store.create("pods", sleeper(name, labels={"team": "red" if name == "b" else "blue"}))
                await running(store, name)
            assert actions.apply({"kind": "oom", "selector": "team=red"})["pods"] == ["default/b"]
            assert ended(await finished(store, "b"))["reason"] == "OOMKilled"
            assert actions.apply({"kind": "pressure", "count": 1})["pods"] == ["default/a"]
            assert (await finished(store, "a"))["status"]["reason"] == "Evicted"
            assert store.get("pods", "default", "c")["status"]["phase"] == "Running"

    asyncio.run(scenario())


@pytest.mark.parametrize("kubelet", KUBELETS)
def test_a_drained_node_takes_no_pods_until_it_recovers(kubelet):
    async def scenario():
        async with cluster(kubelet) as (store, seen, actions):
            store.create("pods", sleeper("a"))
            await running(store, "a")
            assert actions.apply({"kind": "drain", "grace": 5}) == {
                "kind": "drain",
                "node": "dev-node-0",
                "pods": ["default/a"],
            }
            await until(lambda: seen[-1][0] == "DELETED")
            assert conditions(seen[-1][1])["DisruptionTarget"]["reason"] == "EvictionByEvictionAPI"
            assert not schedulable(store.get("nodes", "", "dev-node-0"))
            store.create("pods", sleeper("b"))
            await asyncio.sleep(0)
            assert "nodeName" not in store.get("pods", "default", "b")["spec"]
            assert await actions.clear() == {"rules": 0, "nodes": ["dev-node-0"]}
            await running(store, "b")

    asyncio.run(scenario())


@pytest.mark.parametrize("kubelet", KUBELETS)
@pytest.mark.parametrize(
    ("manner", "phase", "reason", "disruption"),
    [
        ("unknown", "Unknown", "NodeLost", None),
        ("taint", "Running", None, "DeletionByTaintManager"),
        ("gc", "Failed", None, "DeletionByPodGC"),
    ],
)
def test_a_lost_node(kubelet, manner, phase, reason, disruption):
    async def scenario():
        async with cluster(kubelet) as (store, seen, actions):
            store.create("pods", sleeper("a"))
            await running(store, "a")
            actions.apply({"kind": "lose-node", "manner": manner, "gc_seconds": 0.05})
            node = store.get("nodes", "", "dev-node-0")
            assert {taint["effect"] for taint in node["spec"]["taints"]} == {"NoSchedule", "NoExecute"}
            ready = next(entry for entry in node["status"]["conditions"] if entry["type"] == "Ready")
            assert ready["status"] == "Unknown"
            await until(lambda: seen[-1][0] == "DELETED")
            last = seen[-1][1]
            assert "running" in last["status"]["containerStatuses"][0]["state"]
            assert (last["status"]["phase"], last["status"].get("reason")) == (phase, reason)
            assert conditions(last).get("DisruptionTarget", {}).get("reason") == disruption

    asyncio.run(scenario())


@pytest.mark.parametrize("kubelet", KUBELETS)
def test_a_node_that_comes_back_carries_out_deletions(kubelet):
    async def scenario():
        async with cluster(kubelet) as (store, seen, actions):
            store.create("pods", sleeper("a", terminationGracePeriodSeconds=1))
            await running(store, "a")
            actions.apply({"kind": "lose-node", "manner": "taint", "gc_seconds": -1})
            pending = store.get("pods", "default", "a")
            assert pending["metadata"]["deletionGracePeriodSeconds"] == 1
            actions.apply({"kind": "recover-node", "node": "dev-node-0"})
            await until(lambda: seen[-1][0] == "DELETED")
            assert ended(seen[-1][1])["exitCode"] == 143
            assert schedulable(store.get("nodes", "", "dev-node-0"))

    asyncio.run(scenario())


@pytest.mark.parametrize("kubelet", KUBELETS)
def test_images_of_the_next_pods_cannot_be_pulled(kubelet):
    async def scenario():
        async with cluster(kubelet) as (store, _, actions):
            actions.apply({"kind": "image-error", "selector": "team=red", "count": 1, "message": "no space left"})
            store.create("pods", pod("blue", "true", labels={"team": "blue"}))
            store.create("pods", pod("red", "true", labels={"team": "red"}))
            status = await waits_with(store, "red", "ErrImagePull")
            assert status["state"]["waiting"]["message"] == "no space left"
            store.create("pods", pod("red2", "true", labels={"team": "red"}))
            for name in ("blue", "red2"):
                assert (await finished(store, name))["status"]["phase"] == "Succeeded"
            await waits_with(store, "red", "ImagePullBackOff")
            assert await actions.clear() == {"rules": 1, "nodes": []}

    asyncio.run(scenario())


def test_a_named_pod_must_exist():
    async def scenario():
        async with cluster("simulated") as (_, _, actions):
            with pytest.raises(ApiError, match='pods "nobody" not found'):
                actions.apply({"kind": "evict", "name": "nobody"})
            assert actions.apply({"kind": "evict"}) == {"kind": "evict", "pods": []}

    asyncio.run(scenario())


def test_every_action_of_the_table_is_there():
    async def scenario():
        async with cluster("simulated") as (_, _, actions):
            for kind in KINDS.values():
                given = {argument.name: "dev-node-0" for argument in kind.arguments if argument.required}
                assert actions.apply({"kind": kind.name, **given})["kind"] == kind.name

    asyncio.run(scenario())
