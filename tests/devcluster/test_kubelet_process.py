"""Real processes: exit codes, phases, statuses, environment, init containers, restarts, capacity, images."""

from __future__ import annotations

import asyncio
import base64
import os

import pytest

from kubelet_helpers import conditions, ended, finished, log, pod, record, running, started, until, waits_with
from shard_executor.devcluster.launcher import Pauses
from shard_executor.devcluster.pods import delete_pod
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.store import Store

QUICK = Pauses(restart=0.05, restart_limit=0.2, pull=0.05, pull_limit=0.1, pull_report=0.02, retry=0.02)


def test_phases_and_status_of_a_life():
    async def scenario():
        store = Store()
        seen = record(store)
        async with started(ProcessKubelet(store)):
            store.create("pods", pod("a", "sh", "-c", "exit 3"))
            found = await finished(store, "a")
        assert [new["status"]["phase"] for _, new in seen] == ["Pending", "Pending", "Pending", "Running", "Failed"]
        state = ended(found)
        assert (state["exitCode"], state["reason"]) == (3, "Error")
        assert state["startedAt"] <= state["finishedAt"]
        assert state["containerID"].startswith("containerd://")
        assert found["spec"]["nodeName"] == "dev-node-0"
        assert found["status"]["qosClass"] == "Burstable"
        assert found["status"]["podIP"] == found["status"]["podIPs"][0]["ip"]
        running_then = conditions(seen[3][1])
        assert {kind: entry["status"] for kind, entry in running_then.items()} == {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "Ready": "True",
            "ContainersReady": "True",
            "PodScheduled": "True",
        }
        assert conditions(found)["Ready"]["reason"] == "PodFailed"
        waiting = seen[2][1]["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "ContainerCreating"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$$$", 137), ("kill -15 $$$$", 143)], ids=str
)
def test_exit_codes(command, code):
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            store.create("pods", pod("a", "sh", "-c", command))
            found = await finished(store, "a")
        assert ended(found)["exitCode"] == code
        assert found["status"]["phase"] == ("Succeeded" if code == 0 else "Failed")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"command": ["no-such-command"]}, 'exec: "no-such-command": executable file not found in $PATH'),
        ({"command": ["/no/such/file"]}, 'exec: "/no/such/file": stat /no/such/file: no such file or directory'),
        ({"command": ["/etc"]}, 'exec: "/etc": is a directory'),
        ({"command": ["true"], "workingDir": "/no/such"}, 'chdir to cwd ("/no/such")'),
        ({}, "no command specified"),
    ],
    ids=["name", "path", "directory", "cwd", "nothing"],
)
def test_a_container_that_cannot_start(container, words):
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            store.create("pods", pod("a", container=container))
            found = await finished(store, "a")
        state = ended(found)
        assert (state["exitCode"], state["reason"]) == (128, "StartError")
        assert words in state["message"]
        assert found["status"]["phase"] == "Failed"

    asyncio.run(scenario())


def test_environment_and_expansion():
    env = [
        {"name": "PLAIN", "value": "one"},
        {"name": "JOINED", "value": "$(PLAIN)-two $$(PLAIN) $(UNKNOWN)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "UID_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app/x']"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['n']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "CONFIG", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
    ]
    script = 'printf "%s\\n" "$1" "$JOINED" "$NAME" "$SPACE" "$UID_" "$LABEL" "$NOTE" "$NODE" "$IP" "$SECRET" "$CONFIG"'
    script += '; echo "${ABSENT-unset}" "$ALL_k" "$HOSTNAME" "${LEAK-unset}"'

    async def scenario():
        store = Store()
        metadata = {"namespace": "default"}
        secret = {"k": base64.b64encode(b"hidden").decode()}
        store.create(
            "secrets", {"kind": "Secret", "apiVersion": "v1", "metadata": {**metadata, "name": "s"}, "data": secret}
        )
        store.create(
            "configmaps",
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {**metadata, "name": "c"}, "data": {"k": "v"}},
        )
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            container = {
                "command": ["sh", "-c", script],
                "args": ["-", "$(PLAIN)"],
                "env": env,
                "envFrom": [{"prefix": "ALL_", "configMapRef": {"name": "c"}}],
            }
            created = store.create("pods", pod("a", container=container, labels={"app/x": "L"}, annotations={"n": "N"}))
            found = await finished(store, "a")
            text = (await log(kubelet, "a")).decode().splitlines()
        assert found["status"]["phase"] == "Succeeded"
        uid, node, ip = created["metadata"]["uid"], found["spec"]["nodeName"], found["status"]["podIP"]
        assert text == [
            *["one", "one-two $(PLAIN) $(UNKNOWN)", "a", "default", uid, "L", "N", node, ip, "hidden", "v"],
            "unset v a unset",
        ]

    os.environ["LEAK"] = "from the cluster's own environment"
    try:
        asyncio.run(scenario())
    finally:
        del os.environ["LEAK"]


def test_a_missing_secret_holds_the_container_until_it_is_there():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store, pauses=QUICK)):
            env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
            store.create("pods", pod("a", container={"command": ["sh", "-c", 'test "$X" = hi'], "env": env}))
            status = await waits_with(store, "a", "CreateContainerConfigError")
            assert status["state"]["waiting"]["message"] == 'secret "late" not found'
            metadata = {"name": "late", "namespace": "default"}
            store.create("secrets", {"metadata": metadata, "data": {"k": base64.b64encode(b"hi").decode()}})
            assert (await finished(store, "a"))["status"]["phase"] == "Succeeded"

    asyncio.run(scenario())


def test_volumes_are_directories_shared_by_the_containers():
    async def scenario():
        store = Store()
        store.create("configmaps", {"metadata": {"name": "c", "namespace": "default"}, "data": {"file.txt": "content"}})
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            script = 'cat "$DEVCLUSTER_VOLUME_MY_DATA/x" "$DEVCLUSTER_VOLUME_CONF/file.txt"'
            made = pod("a", "sh", "-c", script)
            made["spec"]["volumes"] = [
                {"name": "my-data", "emptyDir": {}},
                {"name": "conf", "configMap": {"name": "c"}},
            ]
            prepare = ["sh", "-c", 'printf first- > "$DEVCLUSTER_VOLUME_MY_DATA/x"']
            made["spec"]["initContainers"] = [{"name": "prepare", "image": "busybox", "command": prepare}]
            store.create("pods", made)
            assert (await finished(store, "a"))["status"]["phase"] == "Succeeded"
            assert await log(kubelet, "a", container="base") == b"first-content"

    asyncio.run(scenario())


def test_a_failing_init_container_fails_the_pod():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            init = [
                {"name": "one", "image": "busybox", "command": ["true"]},
                {"name": "two", "image": "busybox", "command": ["sh", "-c", "exit 4"]},
                {"name": "three", "image": "busybox", "command": ["true"]},
            ]
            store.create("pods", pod("a", "true", initContainers=init))
            found = await finished(store, "a")
        status = found["status"]
        assert status["phase"] == "Failed"
        states = [entry["state"] for entry in status["initContainerStatuses"]]
        assert [state["terminated"]["exitCode"] for state in states[:2]] == [0, 4]
        assert "waiting" in states[2]
        assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
        assert conditions(found)["Initialized"]["message"] == "containers with incomplete status: [two three]"

    asyncio.run(scenario())


def test_several_containers_and_a_sidecar():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store)):
            made = pod("a", "true")
            made["spec"]["containers"].append({"name": "second", "image": "busybox", "command": ["sh", "-c", "exit 2"]})
            sidecar = {"name": "side", "image": "busybox", "command": ["sleep", "600"], "restartPolicy": "Always"}
            made["spec"]["initContainers"] = [sidecar]
            store.create("pods", made)
            found = await finished(store, "a")
        assert found["status"]["phase"] == "Failed"
        assert [ended(found, 0)["exitCode"], ended(found, 1)["exitCode"]] == [0, 2]
        assert found["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 143

    asyncio.run(scenario())


def test_restarts_with_back_off_until_success():
    async def scenario():
        store = Store()
        seen = record(store)
        kubelet = ProcessKubelet(store, pauses=QUICK)
        async with started(kubelet):
            script = 'n=$(cat n 2>/dev/null || echo 0); echo "run $n"; echo $((n+1)) > n; test $n -ge 3'
            store.create("pods", pod("a", "sh", "-c", script, restartPolicy="OnFailure"))
            found = await finished(store, "a")
            states = [new["status"].get("containerStatuses", [{"state": {}}])[0] for _, new in seen]
            backing_off = [status for status in states if "CrashLoopBackOff" in str(status["state"])]
            assert len(backing_off) == 2  # the first restart is immediate
            assert "restarting failed container=base pod=a_default(" in str(backing_off[0]["state"])
            assert backing_off[0]["lastState"]["terminated"]["exitCode"] == 1
            assert found["status"]["phase"] == "Succeeded"
            assert found["status"]["containerStatuses"][0]["restartCount"] == 3
            assert await log(kubelet, "a") == b"run 3\n"
            assert await log(kubelet, "a", previous=True) == b"run 2\n"

    asyncio.run(scenario())


def test_capacity_holds_pods_back_until_there_is_room():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store, capacity=2, patience=0.0)
        async with started(kubelet):
            for index in range(4):
                store.create("pods", pod(f"p{index}", "sleep", "600"))
            await running(store, "p1")

            def marked():
                found = store.get("pods", "default", "p3")
                return "conditions" in found["status"] and conditions(found)["PodScheduled"]

            condition = await until(marked)
            assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
            assert condition["message"] == "0/1 nodes are available: 1 Too many pods."
            assert "containerStatuses" not in store.get("pods", "default", "p3")["status"]
            delete_pod(store, "default", "p0", grace=1)
            assert conditions(await running(store, "p2"))["PodScheduled"]["status"] == "True"

    asyncio.run(scenario())


def test_pods_of_other_schedulers_and_nodes_are_left_alone():
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            store.create("pods", pod("other", "true", schedulerName="mine"))
            store.create("pods", pod("elsewhere", "true", nodeName="far-away"))
            store.create("pods", pod("own", "true"))
            await finished(store, "own")
            assert store.get("pods", "default", "other")["status"]["phase"] == "Pending"
            assert store.get("pods", "default", "elsewhere")["status"]["phase"] == "Pending"

    asyncio.run(scenario())


@pytest.mark.parametrize("image", ["missing/thing", "registry.example/missing/thing:1", "busybox:missing"])
def test_an_image_nobody_has(image):
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store, pauses=QUICK)):
            store.create("pods", pod("a", container={"image": image, "command": ["true"]}))
            status = await waits_with(store, "a", "ErrImagePull")
            assert status["state"]["waiting"]["message"].startswith("rpc error: code = NotFound")
            status = await waits_with(store, "a", "ImagePullBackOff")
            assert status["state"]["waiting"]["message"].startswith(f'Back-off pulling image "{image}"')
            delete_pod(store, "default", "a", grace=0)

    asyncio.run(scenario())


def test_a_malformed_image():
    async def scenario():
        store = Store()
        async with started(ProcessKubelet(store, pauses=QUICK)):
            store.create("pods", pod("a", container={"image": "Not An Image", "command": ["true"]}))
            assert await waits_with(store, "a", "InvalidImageName")

    asyncio.run(scenario())
