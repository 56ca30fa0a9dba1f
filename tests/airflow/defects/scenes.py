"""Situations in which the provider's KubernetesExecutor is known to go wrong, for whatever executor is configured.

Each scene drives the executor as the scheduler does and returns what could be seen from outside; it judges nothing.
Runs in a process of its own, in the environment of a home: ``python -P scenes.py SCENE URL TOKEN RESULT``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driving.driver import Driver, Pauses, counted_queries
from shard_executor.devcluster.process import DevClusterProcess

_SOON = 20.0  # seconds for what takes one or two
_REFUSED_SECONDS = 2.5  # that deletions of finished pods are refused
_PODS = "/api/v1/namespaces/default/pods"
_EXECUTORS = "namespaces/default/pods"  # path of the executors' requests; the stand-in's are cluster-wide


class Stage:
    """A driver, the cluster it works on, and what scenes need of both."""

    def __init__(self, url: str, token: str) -> None:
        self.driver = Driver(pauses=Pauses(loop=0.01, idle=0.05))
        self.cluster = DevClusterProcess()  # not started: only its calls, to a cluster that runs already
        self.cluster.url, self.cluster.token = url, token or None
        self.uids: set[str] = set()

    def begin(self, tasks: int) -> None:
        """A scheduler with so many queued task instances, its executor started."""
        self.driver.make_job()
        self.driver.make_tasks(tasks)
        self.driver.start()

    def pods(self) -> list[dict[str, Any]]:
        """All pods; remembers who they were."""
        found = self.cluster.call("GET", _PODS)["items"]
        self.uids.update(pod["metadata"]["uid"] for pod in found)
        return found

    def phases(self) -> list[str]:
        return sorted(pod["status"].get("phase", "") for pod in self.pods())

    def requests(self, what: str) -> int:
        """How many requests of a kind the cluster has carried out, such as ``delete pods``."""
        return int(self.cluster.stats()["requests"].get(what, 0))

    def until(self, reached: Callable[[], bool], seconds: float = _SOON) -> bool:
        """Beats until something is so; False where the time is up."""
        return self.driver.beat_until(reached, seconds)

    def all_ended(self, tasks: int) -> Callable[[], bool]:
        return lambda: len(self.driver.ended) == tasks

    def ends(self) -> dict[str, list[str]]:
        """Map index -> the ends that were reported for it."""
        return {str(index): ends for index, ends in sorted(self.driver.ended.items())}


def silence(stage: Stage) -> dict[str, Any]:
    """A pod fails before its task begins and is kept; its successor runs the task, and the watch stays silent for
    longer than a request may take."""
    stage.begin(1)
    driver = stage.driver
    driver.queue()
    first = stage.until(lambda: stage.phases() == ["Running"])
    stage.cluster.fault("oom")
    second = first and stage.until(lambda: stage.phases() == ["Failed", "Running"])
    driver.write_state(0, "running")
    watches = stage.requests("watch pods")
    stage.until(stage.all_ended(1), 7.0)
    early = stage.ends()
    driver.write_state(0, "success")
    stage.until(stage.all_ended(1))
    return {
        "relaunched": second,
        "ends_while_it_ran": early,
        "ends": stage.ends(),
        "watches": stage.requests("watch pods") - watches,
    }


def poison(stage: Stage) -> dict[str, Any]:
    """Pods with all labels of the executor's own, but annotations that make no sense of them."""
    stage.begin(5)
    stage.driver.queue(indexes=[0])
    stage.until(lambda: bool(stage.pods()))
    own = stage.pods()[0]
    for number, notes in enumerate(({}, {"run_id": "x"}, {"dag_id": "x", "task_id": "x", "try_number": "many"})):
        # A name that comes first wherever pods are sorted.
        metadata = {"name": f"a-poison-{number}", "labels": own["metadata"]["labels"], "annotations": notes}
        stage.cluster.call("POST", _PODS, {"metadata": metadata, "spec": {"containers": [{"name": "x", "image": "x"}]}})
    stage.driver.queue(indexes=[1, 2, 3, 4])
    watches = stage.requests("watch pods")
    stage.until(stage.all_ended(5), 12.0)
    return {"ends": stage.ends(), "watches": stage.requests("watch pods") - watches}


def deletes(stage: Stage) -> dict[str, Any]:
    """Ten tasks succeed."""
    stage.begin(10)
    stage.driver.queue()
    stage.until(stage.all_ended(10))
    stage.until(lambda: not stage.pods())
    stage.driver.beat_for(1.0)
    return {"ends": stage.ends(), "deletes": stage.requests("delete pods"), "pods": len(stage.pods())}


def refused_deletes(stage: Stage) -> dict[str, Any]:
    """Three tasks succeed while the server throttles all deletions."""
    stage.begin(3)
    stage.cluster.fault("refuse-delete", code=429)
    seen: dict[str, Any] = {}

    def lift() -> None:
        deadline = time.monotonic() + _SOON
        while stage.phases() != ["Succeeded"] * 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(_REFUSED_SECONDS)  # what is counted is what is tried meanwhile
        rules = stage.cluster.call("GET", "/devcluster/faults")
        seen["refused"] = sum(rule["hits"] for rule in rules["rules"])
        seen["ends_while_refused"] = stage.ends()
        stage.cluster.clear_faults()

    # Beside the loop: a heartbeat may not come back before the trouble is over.
    beside = threading.Thread(target=lift)
    beside.start()
    try:
        stage.driver.queue()
        stage.until(lambda: not beside.is_alive(), 2 * _SOON)
    finally:
        beside.join()
    stage.until(stage.all_ended(3))
    stage.until(lambda: not stage.pods())
    return {**seen, "ends": stage.ends(), "pods": len(stage.pods())}


def lost_response(stage: Stage) -> dict[str, Any]:
    """A create reaches the server, its answer does not come back."""
    stage.begin(1)
    stage.cluster.fault("lost-response", count=1, path=_EXECUTORS)
    stage.driver.queue()

    def over() -> bool:
        return not stage.pods() and stage.all_ended(1)()

    stage.until(over, 12.0)
    return {"ends": stage.ends(), "pods_made": len(stage.uids), "pods": len(stage.pods())}


def transient(stage: Stage) -> dict[str, Any]:
    """Each of five tasks meets another passing trouble when its pod is created."""
    faults: list[tuple[str, dict[str, Any]]] = [
        ("error", {"code": 503}),
        ("error", {"code": 500}),
        ("throttle", {"retry_after": 1}),
        ("drop", {}),
    ]
    stage.begin(len(faults) + 1)
    for index, (kind, arguments) in enumerate(faults):
        stage.cluster.fault(kind, verb="create", path=_EXECUTORS, count=1, **arguments)
        before = stage.requests("create pods")
        stage.driver.queue(indexes=[index])
        # Until the pod is there, or the task has been given up.
        stage.until(lambda b=before, i=index: stage.requests("create pods") > b or i in stage.driver.ended)
    stage.until(stage.all_ended(len(faults)))
    stage.cluster.fault("quota", pods=0)
    stage.driver.queue(indexes=[len(faults)])
    stage.driver.beat_for(1.0)
    stage.cluster.fault("lift-quota")
    stage.until(stage.all_ended(len(faults) + 1), 40.0)
    return {"ends": stage.ends()}


def queries(stage: Stage) -> dict[str, Any]:
    """Thirty tasks have ended when the next heartbeat comes."""
    stage.begin(30)
    stage.driver.queue()
    there = stage.until(lambda: len(stage.pods()) == 30)
    stage.driver.process_events = False  # what the scheduler asks is not the executor's
    deadline = time.monotonic() + _SOON
    with counted_queries() as statements:
        while stage.phases() != ["Succeeded"] * 30 and time.monotonic() < deadline:
            time.sleep(0.05)  # without a heartbeat
        before = len(stage.driver.beats)
        stage.until(stage.all_ended(30))
    asked = [thread for thread, text in statements if text.startswith("SELECT") and "task_instance" in text]
    return {
        "all_there_at_once": there,
        "ends": stage.ends(),
        "heartbeats": len(stage.driver.beats) - before,
        "queries": len(asked),
        "queries_in_heartbeats": asked.count(threading.get_ident()),
    }


SCENES: dict[str, Callable[[Stage], dict[str, Any]]] = {
    scene.__name__: scene for scene in (silence, poison, deletes, refused_deletes, lost_response, transient, queries)
}


def main() -> None:
    name, url, token, result = sys.argv[1:]
    stage = Stage(url, token)
    try:
        seen = SCENES[name](stage)
    finally:
        if stage.driver.executor is not None:
            stage.driver.end()
    Path(result).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
