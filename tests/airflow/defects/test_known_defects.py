"""Known defects of the provider's KubernetesExecutor, as tests of this one.

The same scene shows each of them in the provider's, in the release they were seen in. That half says nothing about this
project, so it is played only where SHARD_EXECUTOR_TEST_PEER is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from driving.home import OURS, STOCK

Play = Callable[..., dict[str, Any]]
SEEN_IN = "10.25.0"
the_peer = pytest.mark.skipif(
    not os.environ.get("SHARD_EXECUTOR_TEST_PEER")
    or metadata.version("apache-airflow-providers-cncf-kubernetes") != SEEN_IN,
    reason=f"the provider's own defects, seen in {SEEN_IN}: SHARD_EXECUTOR_TEST_PEER=1 plays them",
)


def succeeded(tasks: int) -> dict[str, list[str]]:
    """Every task has ended once, in success."""
    return {str(index): ["success"] for index in range(tasks)}


# A kept pod that failed before its task began, and a watch that is silent for longer than a request may take (30 s by
# default, 2 s here): a watch that begins anew at version 0 sees the old failure again and takes it for the task's.
SILENCE: dict[str, Any] = {
    "options": {"kubernetes_executor.kube_client_request_args": '{"_request_timeout": 2}'},
    "run_seconds": 12.0,
    "workers": None,
}


def test_silence_replays_nothing(play: Play) -> None:
    seen = play("silence", OURS, **SILENCE)
    assert seen["relaunched"]
    assert seen["ends_while_it_ran"] == {}
    assert seen["ends"] == succeeded(1)
    assert seen["watches"] <= 1  # one may have been due to its age


@the_peer
def test_peer_fails_a_running_task_after_silence(play: Play) -> None:
    seen = play("silence", STOCK, **SILENCE)
    assert seen["relaunched"]
    assert seen["ends_while_it_ran"] == {"0": ["failed"]}
    assert seen["watches"] >= 1


def test_a_poison_pod_stops_nothing(play: Play) -> None:
    seen = play("poison", OURS)
    assert seen["ends"] == succeeded(5)
    assert seen["watches"] <= 1


@the_peer
def test_peer_stops_at_a_poison_pod(play: Play) -> None:
    seen = play("poison", STOCK)
    assert seen["ends"] != succeeded(5)
    assert seen["watches"] >= 5


def test_a_finished_pod_is_one_result_and_one_delete(play: Play) -> None:
    seen = play("deletes", OURS)
    assert seen == {"ends": succeeded(10), "deletes": 10, "pods": 0, "workers": {"running": 10, "success": 10}}


@the_peer
def test_peer_deletes_a_finished_pod_several_times(play: Play) -> None:
    seen = play("deletes", STOCK)
    assert seen["ends"] == succeeded(10)
    assert seen["deletes"] > 10


def test_refused_deletes_do_not_spin(play: Play) -> None:
    seen = play("refused_deletes", OURS)
    assert seen["ends_while_refused"] == succeeded(3)  # results do not wait for deletions
    assert 3 <= seen["refused"] <= 60
    assert seen["ends"] == succeeded(3)
    assert seen["pods"] == 0


@the_peer
def test_peer_spins_on_refused_deletes(play: Play) -> None:
    seen = play("refused_deletes", STOCK)
    assert seen["ends_while_refused"] == {}
    assert seen["refused"] > 200


# A pod takes a second to begin: once a task runs, the provider drops the second hand-over of it, too.
LOST: dict[str, Any] = {"start_seconds": 1.0}
RETRIES = {"kubernetes_executor.task_publish_max_retries": "3"}


@pytest.mark.parametrize("options", [{}, RETRIES], ids=["defaults", "with publish retries"])
def test_a_lost_answer_makes_no_twin(play: Play, options: dict[str, str]) -> None:
    seen = play("lost_response", OURS, options=options, **LOST)
    assert seen == {"ends": succeeded(1), "pods_made": 1, "pods": 0, "workers": {"running": 1, "success": 1}}


@the_peer
def test_peer_makes_a_twin_of_a_lost_answer(play: Play) -> None:
    seen = play("lost_response", STOCK, options=RETRIES, **LOST)
    assert seen["pods_made"] == 2
    assert seen["workers"]["refused"] == 1  # the second worker was told that the task runs already


def test_a_transient_error_fails_no_task(play: Play) -> None:
    seen = play("transient", OURS)
    assert seen["ends"] == succeeded(5)


@the_peer
def test_peer_fails_a_task_at_one_transient_error(play: Play) -> None:
    seen = play("transient", STOCK)
    assert seen["ends"] == {str(index): ["failed"] for index in range(5)}


# All pods must be there before the first ends.
TOGETHER: dict[str, Any] = {
    "options": {"kubernetes_executor.worker_pods_creation_batch_size": "64"},
    "run_seconds": 6.0,
}


def test_finished_tasks_cost_one_query_a_heartbeat(play: Play) -> None:
    seen = play("queries", OURS, **TOGETHER)
    assert seen["all_there_at_once"]
    assert seen["ends"] == succeeded(30)
    assert seen["queries_in_heartbeats"] <= seen["heartbeats"]
    assert seen["queries"] < 30


@the_peer
def test_peer_asks_the_database_for_each_finished_task(play: Play) -> None:
    seen = play("queries", STOCK, **TOGETHER)
    assert seen["all_there_at_once"]
    assert seen["ends"] == succeeded(30)
    assert seen["queries_in_heartbeats"] >= 30
