"""How the life of a process ends from outside: deadline, deletion, disruption, a lost node."""

from __future__ import annotations

import asyncio

from kubelet_helpers import conditions, ended, finished, pod, record, running, started, until
from shard_executor.devcluster.kubelet import Disruption
from shard_executor.devcluster.pods import delete_pod, finish_deletion
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.store import Store


def test_the_deadline_of_a_pod():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            store.create("pods", pod("a", "sleep", "600", activeDeadlineSeconds=1))
            found = await finished(store, "a")
        assert found["status"]["reason"] == "DeadlineExceeded"
        assert found["status"]["message"] == "Pod was active on the node longer than the specified deadline"
        assert ended(found)["exitCode"] == 143

    asyncio.run(scenario())


def test_deletion_lets_the_process_end_in_its_grace_period():
    async def scenario():
        store = Store()
        seen = record(store)
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("a", "sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done"))
            await running(store, "a")
            await until(lambda: kubelet.stats()["processes"])
            pieces = await kubelet.logs("default", "a", follow=True)
            assert await anext(pieces) == b"up\n"
            delete_pod(store, "default", "a", grace=30)
            await until(lambda: seen[-1][0] == "DELETED")
            await pieces.aclose()
            assert kubelet.stats()["pods"] == 0 or await until(lambda: kubelet.stats()["pods"] == 0)
        last = seen[-1][1]
        assert ended(last)["exitCode"] == 5
        assert last["status"]["phase"] == "Failed"
        graces = [new["metadata"].get("deletionGracePeriodSeconds") for _, new in seen[-4:]]
        assert graces == [30, 30, 0, 0]

    asyncio.run(scenario())


def test_deletion_kills_what_ignores_it():
    async def scenario():
        store = Store()
        seen = record(store)
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("a", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
            await running(store, "a")
            pieces = await kubelet.logs("default", "a", follow=True)
            assert await anext(pieces) == b"up\n"
            await pieces.aclose()
            delete_pod(store, "default", "a", grace=600)
            delete_pod(store, "default", "a", grace=1)  # a grace period can be shortened
            await until(lambda: seen[-1][0] == "DELETED")
        assert ended(seen[-1][1])["exitCode"] == 137

    asyncio.run(scenario())


def test_a_pod_deleted_by_force_leaves_no_process():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            created = store.create("pods", pod("a", "sleep", "600"))
            await running(store, "a")
            finish_deletion(store, "default", "a", created["metadata"]["uid"])
            await until(lambda: kubelet.stats()["exited"] == 1)
            assert kubelet.stats()["processes"] == 0

    asyncio.run(scenario())


def test_disruptions_of_a_running_pod():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            for name in ("oom", "pressure"):
                store.create("pods", pod(name, "sleep", "600"))
                await running(store, name)
                kubelet.disrupt("default", name, Disruption(name))
            killed, evicted = await finished(store, "oom"), await finished(store, "pressure")
        assert (ended(killed)["exitCode"], ended(killed)["reason"]) == (137, "OOMKilled")
        assert evicted["status"]["reason"] == "Evicted"
        assert conditions(evicted)["DisruptionTarget"]["reason"] == "TerminationByKubelet"

    asyncio.run(scenario())


def test_a_lost_node_reports_when_it_is_back():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("a", "sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 6"))
            found = await running(store, "a")
            kubelet.lose_node("dev-node-0")
            root = kubelet._services.root / found["metadata"]["uid"]
            (root / "work" / "go").touch()
            await until(lambda: kubelet.stats()["exited"] == 1)
            assert store.get("pods", "default", "a")["status"]["phase"] == "Running"
            kubelet.recover_node("dev-node-0")
            assert ended(await finished(store, "a"))["exitCode"] == 6

    asyncio.run(scenario())
