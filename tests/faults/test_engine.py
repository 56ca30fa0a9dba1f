"""Faults of the cluster while tasks run: each ends once, with the right class, and no pod is left or made twice."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Run, outcome, pods, running, states, until
from shard_executor.devcluster.process import DevClusterProcess

TASKS = 60


def lives(cluster: DevClusterProcess) -> int:
    """How many pods came to an end on the simulated kubelet."""
    return int(cluster.stats()["kubelet"]["finished"])


def run_through(run: Run) -> None:
    run.submit(*(f"t{n}" for n in range(TASKS)))
    reports = run.finish()
    assert states(reports) == {"succeeded": TASKS}
    assert pods(run.cluster) == []


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("lost-response", {"probability": 0.3}),
        ("lost-response", {"verb": "delete", "probability": 0.3}),
        ("throttle", {"verb": "create", "probability": 0.3, "retry_after": 1}),
        ("throttle", {"verb": "list,watch", "count": 2}),
        ("error", {"verb": "create", "code": 500, "probability": 0.3}),
        ("error", {"verb": "create", "code": 503, "probability": 0.3, "retry_after": 1}),
        ("error", {"verb": "watch", "code": 500, "count": 2}),
        ("drop", {"verb": "create,delete", "probability": 0.2}),
        ("latency", {"ms": 150.0, "jitter_ms": 150.0}),
        ("refuse-delete", {"code": 429, "count": 30}),
        ("refuse-delete", {"code": 403, "count": 30}),
        ("refuse-delete", {"code": 500, "count": 30}),
        ("flaky-watch", {"probability": 0.2, "count": 10}),
        ("garbage-watch", {"count": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_no_fault_of_requests_or_watches_loses_or_repeats_a_task(
    simulated: DevClusterProcess, kind: str, arguments: dict[str, object]
) -> None:
    simulated.fault(kind, **arguments)
    with running(simulated) as run:
        run_through(run)
    assert lives(simulated) == TASKS


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("cut-watches", {"mode": "reset"}), ("cut-watches", {"mode": "end"}), ("compact", {"cut": True})],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_watches_that_are_cut_again_and_again_lose_nothing(
    simulated: DevClusterProcess, kind: str, arguments: dict[str, object]
) -> None:
    with running(simulated) as run:
        run.submit(*(f"t{n}" for n in range(TASKS)))
        for ends in (0, 10, 30, 50):
            run.ended(ends)
            simulated.fault(kind, **arguments)
        reports = run.finish()
    assert states(reports) == {"succeeded": TASKS}
    assert pods(simulated) == []
    assert lives(simulated) == TASKS


def test_a_stalled_watch_is_noticed_and_opened_again(simulated: DevClusterProcess) -> None:
    with running(simulated, shards=1, watch={"idle_limit": 1.0}) as run:
        until(lambda: simulated.stats()["watches"] == 1, "the watch is open")
        simulated.fault("stall-watch", count=1)
        run_through(run)
        assert run.supervisor.stats()[0].restarts == 0


def test_tasks_beyond_the_quota_wait_and_run_when_there_is_room(simulated: DevClusterProcess) -> None:
    simulated.fault("quota", pods=5)
    with running(simulated) as run:
        run.submit(*(f"t{n}" for n in range(30)))
        reports = run.finish()
        assert any("exceeded quota" in (report.message or "") for report in run.progress)
    assert states(reports) == {"succeeded": 30}


DISRUPTIONS = [
    ("evict", {}, "drained"),
    ("preempt", {}, "preempted"),
    ("pressure", {}, "evicted"),
    ("oom", {}, "oom-killed"),
    ("delete", {}, "deleted"),
    ("drain", {"grace": 0}, "drained"),
    ("lose-node", {"manner": "unknown", "gc_seconds": 0.2}, "node-lost"),
    ("lose-node", {"manner": "taint", "gc_seconds": 0.2}, "node-lost"),
    ("lose-node", {"manner": "gc", "gc_seconds": 0.2}, "node-lost"),
]


@pytest.mark.parametrize(
    ("kind", "arguments", "failure"),
    DISRUPTIONS,
    ids=[f"{k}-{'-'.join(map(str, a.values()))}" for k, a, _ in DISRUPTIONS],
)
def test_a_running_task_that_the_cluster_takes_ends_once_with_its_class(
    simulated: DevClusterProcess, kind: str, arguments: dict[str, object], failure: str
) -> None:
    with running(simulated) as run:
        run.submit("victim", annotations=outcome("ok", run_seconds="60"))
        until(lambda: [p for p in pods(simulated) if p["status"].get("phase") == "Running"], "the pod runs")
        simulated.fault(kind, **arguments)
        report = run.finish()["victim"]
    assert report.state in ("failed", "lost")
    assert report.failure_class == failure
    assert report.reason
    assert report.message
    assert pods(simulated) == []


ENDINGS = [
    ("fail", "container-error"),
    ("oom", "oom-killed"),
    ("evict", "evicted"),
    ("preempt", "preempted"),
    ("drain", "drained"),
    ("deleted", "deleted"),
    ("initfail", None),
    ("deadline", "deadline-exceeded"),
    ("nodelost", "node-lost"),
    ("imagepull", "image-error"),
    ("cfgerr", "config-error"),
]


def test_each_way_a_pod_can_end_has_its_class(simulated: DevClusterProcess) -> None:
    with running(simulated, policy={"pending_grace": 0.5}) as run:
        for kind, _ in ENDINGS:
            run.submit(kind, annotations=outcome(kind))
        reports = run.finish()
    found = {kind: reports[kind].failure_class for kind, _ in ENDINGS}
    expected = {kind: failure or "start-error" for kind, failure in ENDINGS}
    assert found == expected
    assert pods(simulated) == []


def test_a_pod_that_is_evicted_before_it_began_is_launched_again(simulated: DevClusterProcess) -> None:
    simulated.fault("image-error", count=1)
    with running(simulated) as run:
        run.submit("t")
        until(lambda: [p for p in pods(simulated) if "ErrImagePull" in str(p)], "the image cannot be pulled")
        simulated.fault("evict", grace=0)
        report = run.finish()["t"]
    assert (report.state, report.attempt) == ("succeeded", 1)
    assert pods(simulated) == []


def test_one_refused_task_fails_alone_with_the_servers_words(simulated: DevClusterProcess) -> None:
    with running(simulated) as run:
        run.submit("good")
        run.submit("bad", image=None)
        reports = run.finish()
    assert reports["good"].state == "succeeded"
    bad = reports["bad"]
    assert (bad.state, bad.failure_class, bad.reason) == ("failed", "create-refused", "Invalid")
    assert bad.message is not None
    assert "spec.containers[0].image" in bad.message


def test_a_server_without_streaming_lists_is_listed_in_pages() -> None:
    arguments = ["--kubelet", "simulated", "--no-watch-list", "--start-seconds", "0.05", "--run-seconds", "0.3"]
    with DevClusterProcess(arguments) as cluster, running(cluster, watch={"page_size": 20}) as run:
        run_through(run)
        assert cluster.stats()["requests"]["list pods"] >= 2


def going(cluster: DevClusterProcess) -> bool:
    """Whether every pod is being deleted or gone."""
    return all("deletionTimestamp" in pod["metadata"] for pod in pods(cluster))


def test_a_pod_whose_create_was_given_up_is_removed_when_the_server_is_back(simulated: DevClusterProcess) -> None:
    with running(simulated, shards=1, policy={"create_timeout": 1.0, "sweep": False}) as run:
        until(lambda: run.supervisor.stats()[0].watch.get("synced"), "the shard has listed")
        simulated.fault("error", code=503, verb="get,list,watch")
        simulated.fault("cut-watches")
        simulated.fault("lost-response", verb="create", count=1)
        run.submit("late", annotations=outcome("ok", run_seconds="600"))
        report = run.finish()["late"]
        assert (report.failure_class, report.reason) == ("create-refused", "CreateTimeout")
        simulated.clear_faults()
        assert len(pods(simulated)) == 1
        until(lambda: going(simulated), "its pod is removed")


def test_a_pod_that_is_made_again_after_its_task_has_ended_is_removed(simulated: DevClusterProcess) -> None:
    with running(simulated, policy={"sweep": False}) as run:
        run.submit("again")
        made = until(lambda: pods(simulated), "the pod is there")[0]
        assert run.finish()["again"].state == "succeeded"
        metadata = {key: made["metadata"][key] for key in ("name", "labels", "annotations")}
        metadata["annotations"] |= outcome("ok", run_seconds="600")
        spec = {key: value for key, value in made["spec"].items() if key != "nodeName"}
        late = simulated.call("POST", "/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": spec})
        assert late["metadata"]["uid"] != made["metadata"]["uid"]
        until(lambda: going(simulated), "the second one is removed")


def relabel(cluster: DevClusterProcess, pod: dict[str, Any]) -> None:
    """Gives a pod to another executor."""
    path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"
    current = cluster.call("GET", path)
    current["metadata"]["labels"]["shard-executor/instance"] = "another"
    cluster.call("PUT", path, current)


@pytest.mark.parametrize("what", ["relabelled", "deleted"])
def test_a_pod_that_a_list_lacks_after_a_gap_is_handed_over_or_has_disappeared(
    simulated: DevClusterProcess, what: str
) -> None:
    with running(simulated, shards=1) as run:
        run.submit("t", annotations=outcome("ok", run_seconds="600"))
        until(lambda: run.collect() or [r for r in run.progress if r.state == "running"], "the pod runs")
        pod = pods(simulated)[0]
        simulated.fault("error", code=503, verb="watch")
        simulated.fault("cut-watches")
        if what == "relabelled":
            relabel(simulated, pod)
        else:
            simulated.call("DELETE", f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}?gracePeriodSeconds=0")
        simulated.fault("compact")
        simulated.clear_faults()
        report = run.finish()["t"]
        left = [pod["metadata"]["uid"] for pod in pods(simulated)]
    if what == "relabelled":
        assert (report.state, report.failure_class) == ("lost", "handed-over")
        assert left == [pod["metadata"]["uid"]]
    else:
        assert (report.state, report.reason) == ("lost", "PodDisappeared")
        assert left == []
