"""The words and columns of kubectl for pods in all kinds of states."""

from __future__ import annotations

from typing import Any

import pytest

from shard_executor.devcluster.resources import RESOURCES
from shard_executor.devcluster.table import human_duration, table_of


def cells(status: dict[str, Any], *, inits: int = 0, **metadata: Any) -> list[Any]:
    spec = {
        "containers": [{"name": "base"}],
        "initContainers": [{"name": f"init-{number}"} for number in range(inits)],
        "nodeName": "node-1",
    }
    stamp = "2024-01-01T00:00:00Z"
    pod = {
        "metadata": {"name": "a", "namespace": "n", "creationTimestamp": stamp, **metadata},
        "spec": spec,
        "status": status,
    }
    table = table_of(RESOURCES["pods"], [pod], "None", "1")
    return table["rows"][0]["cells"]


def container(state: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [{"name": "base", "state": state, "restartCount": 0, "ready": False, **fields}]


WAITING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Pending"}, "Pending"),
        (
            {"phase": "Pending", "containerStatuses": container({"waiting": {"reason": "ImagePullBackOff"}})},
            "ImagePullBackOff",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            },
            "OOMKilled",
        ),
        (
            {"phase": "Failed", "containerStatuses": container({"terminated": {"exitCode": 3, "reason": "Error"}})},
            "Error",
        ),
        ({"phase": "Failed", "containerStatuses": container({"terminated": {"exitCode": 3}})}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": container({"terminated": {"exitCode": 9, "signal": 9}})}, "Signal:9"),
        (
            {
                "phase": "Succeeded",
                "containerStatuses": container({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            },
            "Completed",
        ),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Running", "containerStatuses": container({"running": {}}, ready=True)}, "Running"),
    ],
)
def test_the_status_word(status: dict[str, Any], word: str) -> None:
    assert cells(status)[2] == word


@pytest.mark.parametrize(
    ("init", "word"),
    [
        ([{"running": {}}, WAITING], "Init:0/2"),
        ([{"terminated": {"exitCode": 0}}, {"running": {}}], "Init:1/2"),
        ([{"terminated": {"exitCode": 1, "reason": "Error"}}, WAITING], "Init:Error"),
        ([{"waiting": {"reason": "ErrImagePull"}}, WAITING], "Init:ErrImagePull"),
    ],
)
def test_init_containers_come_first(init: list[dict[str, Any]], word: str) -> None:
    statuses = [{"name": f"init-{number}", "state": state, "restartCount": 0} for number, state in enumerate(init)]
    status = {"phase": "Pending", "initContainerStatuses": statuses, "containerStatuses": container(WAITING)}
    assert cells(status, inits=2)[2] == word


def test_a_deleted_pod_is_terminating_and_one_of_a_lost_node_unknown() -> None:
    deleting = {"deletionTimestamp": "2024-01-01T00:00:00Z"}
    assert cells({"phase": "Running"}, **deleting)[2] == "Terminating"
    assert cells({"phase": "Unknown", "reason": "NodeLost"}, **deleting)[2] == "Unknown"


def test_ready_containers_and_restarts_are_counted() -> None:
    running = container({"running": {}}, ready=True, restartCount=2)
    assert cells({"phase": "Running", "containerStatuses": running})[1:4] == ["1/1", "Running", "2"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5s"),
        (119, "119s"),
        (190, "3m10s"),
        (3600, "60m"),
        (4 * 3600, "4h"),
        (3 * 86400, "3d"),
        (400 * 86400, "400d"),
    ],
)
def test_durations(seconds: int, words: str) -> None:
    assert human_duration(seconds) == words
