"""A supervisor takes over the pods that a killed process left: finished, running and vanished meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import alive, parent_process, pods, running, states, until
from shard_executor.devcluster.process import DevClusterProcess

TICKETS = ("ends", "fails", "goes-on", "vanishes")


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[str]]:
    """What the pod of each ticket does; the file `go` in the folder lets those that wait for it finish."""
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    return {
        "ends": ["sh", "-c", wait],
        "fails": ["sh", "-c", f"{wait}; echo its last words; exit 4"],
        "goes-on": ["sh", "-c", f"until [ -e {tmp_path}/end ]; do sleep 0.05; done"],
        "vanishes": ["sleep", "600"],
    }


@pytest.fixture
def left(real: DevClusterProcess, commands: dict[str, list[str]], tmp_path: Path) -> dict[str, str]:
    """The uids of pods that a killed process left; one runs, two have finished since, one has been deleted."""
    script = f"""
        for ticket, command in {commands!r}.items():
            run.submit(ticket, command=command)
        while True:
            run.supervisor.wait(0.2)
            run.collect()
            if len({{r.ticket for r in run.progress if r.state == "running"}}) == {len(commands)}:
                print(*run.shard_pids(), flush=True)
                time.sleep(600)
        """
    with parent_process(str(real.kubeconfig), script) as parent:
        assert parent.stdout is not None
        shards = [int(pid) for pid in parent.stdout.readline().split()]
    until(lambda: not any(alive(pid) for pid in shards), "the shards have ended", 10.0)
    uids = {pod["metadata"]["annotations"]["shard-executor/submission"].split("/")[1]: pod for pod in pods(real)}
    (tmp_path / "go").touch()
    name = uids["vanishes"]["metadata"]["name"]
    real.call("DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")
    until(lambda: sorted(phases(real)) == ["Failed", "Running", "Succeeded"], "two have finished, one has gone")
    return {ticket: pod["metadata"]["uid"] for ticket, pod in uids.items()}


def phases(cluster: DevClusterProcess) -> list[str]:
    return [pod["status"]["phase"] for pod in pods(cluster)]


def creates(cluster: DevClusterProcess) -> int:
    """Requests to create a pod so far."""
    return int(cluster.stats()["requests"]["create pods"])


def synced(run: Any) -> bool:
    stats = run.supervisor.stats()
    return len(stats) == 2 and all(shard.watch.get("synced") for shard in stats)


@pytest.mark.parametrize("when", ["at once", "after the lists"])
def test_the_pods_of_a_killed_process_are_taken_over(
    real: DevClusterProcess, left: dict[str, str], commands: dict[str, list[str]], tmp_path: Path, when: str
) -> None:
    with running(real, policy={"sweep": False}, beat_interval=0.1) as run:
        if when == "after the lists":
            until(lambda: synced(run), "both shards have listed")
        for ticket in TICKETS:
            run.submit(ticket, command=commands[ticket], uid=left[ticket], began=True)
        run.ended(3)
        until(lambda: run.collect() or [r for r in run.progress if r.ticket == "goes-on"], "the last one is running")
        assert "goes-on" not in run.ends
        (tmp_path / "end").touch()
        reports = run.finish()
    assert {ticket: report.state for ticket, report in reports.items()} == {
        "ends": "succeeded",
        "fails": "failed",
        "goes-on": "succeeded",
        "vanishes": "lost",
    }
    assert [(r.ticket, r.state) for r in run.progress] == [("goes-on", "running")]
    assert {ticket: report.uid for ticket, report in reports.items()} == left
    assert reports["fails"].exit_code == 4
    assert (reports["fails"].log_tail or "").strip() == "its last words"
    assert reports["vanishes"].failure_class == "deleted"
    assert creates(real) == len(commands), "nothing is created again"
    assert pods(real) == []


@pytest.mark.parametrize("when", ["at once", "after the lists"])
def test_pods_whose_uid_was_not_written_down_are_found_by_their_names(
    real: DevClusterProcess, left: dict[str, str], commands: dict[str, list[str]], tmp_path: Path, when: str
) -> None:
    tickets = [ticket for ticket in TICKETS if ticket != "vanishes"]
    with running(real, policy={"sweep": False}, beat_interval=0.1) as run:
        if when == "after the lists":
            until(lambda: synced(run), "both shards have listed")
        run.submit("ends", command=commands["ends"])
        run.submit("fails", command=commands["fails"])
        run.submit("goes-on", command=commands["goes-on"])
        run.ended(2)
        (tmp_path / "end").touch()
        reports = run.finish()
    assert states(reports) == {"succeeded": 2, "failed": 1}
    assert {ticket: report.uid for ticket, report in reports.items()} == {ticket: left[ticket] for ticket in tickets}
    assert creates(real) == len(commands), "nothing is created again"
    assert pods(real) == []


def test_finished_pods_without_a_ticket_stay_or_are_swept_as_the_policy_says(
    real: DevClusterProcess, left: dict[str, str]
) -> None:
    with running(real, policy={"sweep": False}, beat_interval=0.1) as run:
        until(lambda: synced(run), "both shards have listed")
        run.submit("another")
        run.finish()
        assert sorted(phases(real)) == ["Failed", "Running", "Succeeded"]
    with running(real):
        until(lambda: phases(real) == ["Running"], "the finished ones are removed")
