"""Runs that are taken up again after a kill or Ctrl-C, through the real command.

Tasks leave a mark each time they begin, so that what ran how often is seen and not believed.
"""

from __future__ import annotations

import json
import signal

import pytest

from command import LIMIT, Workplace, interrupt_when, run_command, stop, task_of, until, write_tasks
from shard_executor.devcluster.process import DevClusterProcess

TEMPLATE = """
kind: Pod
metadata: {labels: {team: data}}
spec:
  terminationGracePeriodSeconds: 3
  containers: [{name: base, image: tools}]
"""


# ---- the parent is killed


def test_a_killed_run_goes_on_with_another_number_of_shards_and_repeats_nothing(here):
    here.list(
        *(here.task(f"ended{n}") for n in range(3)),
        *(here.gated(f"running{n}") for n in range(4)),
        *(here.task(f"later{n}") for n in range(3)),
    )
    options = ["--run-id", "killed", "--results", "out.jsonl", "--parallelism", "4"]
    process = here.start(*options, "--shards", "1")
    here.until_ran(*(f"running{n}" for n in range(4)))
    until(lambda: len(here.lines()) == 3, "three results")
    here.kill(process)
    before = here.uids()
    here.open_gate()
    result = here.run(*options, "--shards", "3", "-o", "json")
    assert result.returncode == 0, result.stderr
    assert "; taken up again: 3 had ended, 4 had a pod\n" in result.stderr
    assert set(here.ran().values()) == {1}
    results = here.results()
    assert len(results) == 10
    assert {name: results[name]["uid"] for name in before} == before
    assert {record["tries"] for record in results.values()} == {1}
    summary = json.loads(result.stdout)
    assert (summary["succeeded"], summary["ended_earlier"], summary["shards"], summary["retried"]) == (10, 3, 3, 0)


def test_killed_again_and_again_it_ends_with_every_task_run_once(here):
    here.list(*(here.task(f"t{n}", "sleep 0.3") for n in range(40)))
    options = ["--run-id", "again", "--results", "out.jsonl", "--parallelism", "8"]
    for number, shards in enumerate(("1", "3", "2")):
        process = here.start(*options, "--shards", shards)
        until(lambda number=number: len(here.ran()) >= 8 * (number + 1), "some more have begun")
        here.kill(process)  # and at once the next, whose predecessor's shards may still be there
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    assert here.ran() == {f"t{n}": 1 for n in range(40)}
    assert here.states() == {f"t{n}": "succeeded" for n in range(40)}


def test_pods_that_were_pending_when_the_parent_was_killed_are_followed(tmp_path):
    with DevClusterProcess(["--capacity", "2"]) as small:
        here = Workplace(tmp_path, small)
        here.list(*(here.gated(f"t{n}") for n in range(5)))
        process = here.start("--run-id", "pending")
        until(lambda: len(here.ran()) == 2 and len(here.pods()) == 5, "two running and three pending")
        before = here.uids()
        here.kill(process)
        here.open_gate()
        result = here.run("--run-id", "pending", "--results", "out.jsonl", "--shards", "1")
        assert result.returncode == 0, result.stderr
        assert "0 had ended, 5 had a pod" in result.stderr
        assert {name: record["uid"] for name, record in here.results().items()} == before
        assert here.ran() == {f"t{n}": 1 for n in range(5)}
        here.leaves_nothing()


def test_killed_while_a_task_waits_for_its_retry_it_keeps_the_wait_and_the_count(here):
    here.list(here.task("a", f"date +%s.%N >> {here.folder}/times; exit 1"))
    options = ["--run-id", "retry", "--results", "out.jsonl", "--retries", "1", "--retry-delay", "5"]
    process = here.start(*options)
    here.until_logged("again in ")
    here.kill(process)
    result = here.run(*options)
    assert result.returncode == 1, result.stderr
    assert here.ran() == {"a": 2}
    first, second = map(float, (here.folder / "times").read_text().split())
    assert second - first >= 2.5  # half of the delay at least
    record = here.results()["a"]
    assert (record["state"], record["tries"]) == ("failed", 2)
    assert "0 had ended" in result.stderr


def test_killed_while_ctrl_c_deletes_pods_that_are_still_there_they_go_on(here, cluster):
    here.list(here.gated("a"), here.gated("b"))
    options = ["--run-id", "refused", "--results", "out.jsonl"]
    process = here.start(*options)
    here.until_ran("a", "b")
    cluster.fault("refuse-delete", code=403)
    process.send_signal(signal.SIGINT)
    here.until_logged("stopping: ")
    here.kill(process)
    before = here.uids()
    cluster.clear_faults()
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"a": 1, "b": 1}
    assert {name: record["uid"] for name, record in here.results().items()} == before


@pytest.mark.parametrize("way", ["second Ctrl-C", "killed"])
def test_left_while_its_pods_are_being_deleted_it_waits_for_them_and_runs_their_tasks_anew(here, way):
    (here.folder / "pod.yaml").write_text(TEMPLATE)
    stubborn = f"trap 'stopped=1' TERM; while [ ! -e {here.folder}/gate ]; do sleep 0.1; done; exit ${{stopped:-0}}"
    here.list(here.task("a", stubborn), here.task("b", stubborn))
    options = ["--run-id", "leaving", "--template", "pod.yaml", "--results", "out.jsonl"]
    process = here.start(*options)
    here.until_ran("a", "b")
    until(lambda: all(pod["status"]["phase"] == "Running" for pod in here.pods()), "both running")
    process.send_signal(signal.SIGINT)
    until(lambda: all("deletionTimestamp" in pod["metadata"] for pod in here.pods()), "both being deleted")
    if way == "killed":
        here.kill(process)
    else:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT)
        assert process.returncode == 130
        words = here.log.read_text()
        assert "leaving at once: pods that are still there stay; take the run up again with: shard-executor " in words
    assert len(here.pods()) == 2
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"a": 2, "b": 2}  # stopped by the user, so from the beginning, without --retries
    assert {(record["state"], record["tries"]) for record in here.results().values()} == {("succeeded", 2)}


def test_a_delete_of_ctrl_c_that_comes_to_the_server_after_the_run_was_taken_up_uses_no_retry(here, cluster):
    here.list(here.gated("a"))
    options = ["--run-id", "late", "--results", "out.jsonl"]
    process = here.start(*options)
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "running")
    cluster.fault("drop", verb="delete")
    process.send_signal(signal.SIGINT)
    here.until_logged("stopping: ")
    here.kill(process)
    cluster.clear_faults()
    uid = here.uids()["a"]
    process = here.start(*options)
    here.until_logged("taken up again: 0 had ended, 1 had a pod")
    until(lambda: "1 running" in here.log.read_text(), "followed")
    here.delete("a")
    here.open_gate()
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0, here.log.read_text()
    assert "again in 0 s (interrupted): " in here.log.read_text()
    record = here.results()["a"]
    assert (record["state"], record["tries"], here.ran()) == ("succeeded", 2, {"a": 2})
    assert record["uid"] != uid


def held_run(here, cluster, then):
    """A run whose one pod was being deleted when its process died; a finalizer holds the pod."""
    (here.folder / "pod.yaml").write_text(TEMPLATE.replace("{labels:", "{finalizers: [example.com/hold], labels:"))
    here.list(here.task("a", then))
    options = ["--run-id", "held", "--template", "pod.yaml", "--results", "out.jsonl"]
    process = here.start(*options)
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "running")
    cluster.fault("lost-response", verb="delete")
    process.send_signal(signal.SIGINT)
    until(lambda: "deletionTimestamp" in here.pods()[0]["metadata"], "being deleted")
    here.kill(process)
    cluster.clear_faults()
    return options


def let_go(here, cluster):
    """Takes the finalizers off every pod."""
    for pod in here.pods():
        pod["metadata"]["finalizers"] = []
        cluster.call("PUT", f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}", pod)
    until(lambda: not here.pods(), "the pods gone")


def test_a_pod_that_ctrl_c_ended_and_a_finalizer_holds_is_no_failure_of_its_task(here, cluster):
    options = held_run(here, cluster, f"if [ ! -e {here.folder}/gate ]; then exec sleep 100; fi")
    until(lambda: here.pods()[0]["status"]["phase"] == "Failed", "ended by SIGTERM")
    here.open_gate()
    process = here.start(*options)
    until(here.lines, "a result")
    assert (here.states(), here.results()["a"]["tries"]) == ({"a": "succeeded"}, 2)
    assert here.ran() == {"a": 2}
    let_go(here, cluster)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def test_a_pod_that_succeeds_while_it_is_waited_for_has_the_result(here, cluster):
    options = held_run(here, cluster, f"trap '' TERM; while [ ! -e {here.folder}/gate ]; do sleep 0.1; done")
    uid = here.uids()["a"]
    process = here.start(*options)
    here.until_logged("waiting for 1 pod of the interrupted run to go")
    here.open_gate()
    until(here.lines, "a result")
    assert (here.states(), here.results()["a"]["uid"]) == ({"a": "succeeded"}, uid)
    assert here.ran() == {"a": 1}
    let_go(here, cluster)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def test_the_second_ctrl_c_before_any_pod_is_deleted_and_then_taken_up_again(here, cluster):
    here.list(here.gated("a"))
    process = here.start("--run-id", "twice")
    here.until_ran("a")
    cluster.fault("refuse-delete", code=403)
    process.send_signal(signal.SIGINT)
    interrupt_when(process, here.log, "stopping: ")
    process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "--run-id twice; or remove them with: kubectl delete pods -n default -l" in here.log.read_text()
    cluster.clear_faults()
    here.open_gate()
    result = here.run("--run-id", "twice", "--results", "out.jsonl")
    assert result.returncode == 0, result.stderr
    assert here.ran() == {"a": 1}


# ---- a stop that leaves pods to go on


def test_pods_that_were_left_are_followed_however_they_have_fared(here):
    here.list(
        here.gated("ended", "first"),
        here.gated("failed", "first", then="echo no luck; exit 9"),
        here.gated("running", "second"),
        here.gated("vanished", "never"),
    )
    options = ["--run-id", "left", "--results", "out.jsonl"]
    process = here.start(*options, "--on-interrupt", "leave")
    names = ("ended", "failed", "running", "vanished")
    here.until_ran(*names)
    until(lambda: all(pod["status"]["phase"] == "Running" for pod in here.pods()), "all running")
    stdout = stop(process)
    assert "stopped: 4 tasks: 0 succeeded, 0 failed, 4 left running; " in stdout
    assert "take it up again with: shard-executor run t.jsonl --kubeconfig kubeconfig" in stdout
    assert here.states() == dict.fromkeys(names, "left")
    before = here.uids()
    here.open_gate("first")
    until(lambda: sum(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in here.pods()) == 2, "two ended")
    here.delete("vanished")
    process = here.start(*options)
    here.until_logged("taken up again: 0 had ended, 4 had a pod")
    until(lambda: len(here.lines()) == 3, "three results")
    here.open_gate("second")
    stdout, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert here.ran() == dict.fromkeys(names, 1)  # the pod that vanished above all
    results = here.results()
    assert here.states() == {"ended": "succeeded", "failed": "failed", "running": "succeeded", "vanished": "lost"}
    assert {name: record["uid"] for name, record in results.items()} == before
    assert (results["failed"]["exit_code"], results["failed"]["log_tail"]) == (9, "no luck\n")
    assert results["vanished"]["class"] == "deleted"
    assert "lost: task 'vanished': deleted" in stdout


def test_a_pod_that_vanished_is_run_again_where_retries_allow(here):
    here.list(here.gated("a", retries=1))
    options = ["--run-id", "gone", "--results", "out.jsonl", "--retry-delay", "0.1"]
    process = here.start(*options, "--on-interrupt", "leave")
    here.until_ran("a")
    until(lambda: here.pods()[0]["status"]["phase"] == "Running", "running")
    stop(process)
    here.delete("a")
    here.open_gate()
    result = here.run(*options)
    assert result.returncode == 0, result.stderr
    assert "(retry 1): lost: task 'a': deleted" in result.stderr
    assert here.ran() == {"a": 2}
    assert here.results()["a"]["tries"] == 2


def test_tasks_whose_turn_had_not_come_are_told_apart_from_those_that_are_left(here):
    here.list(*(here.gated(f"t{n}") for n in range(6)))
    options = ["--run-id", "turns", "--parallelism", "2", "--results", "out.jsonl"]
    process = here.start(*options, "--on-interrupt", "leave", "-o", "json")
    until(lambda: len(here.ran()) == 2, "two running")
    until(lambda: [pod["status"]["phase"] for pod in here.pods()] == ["Running"] * 2, "and seen so")
    summary = json.loads(stop(process))
    assert (summary["left"], summary["not_started"], summary["stopped_by"]) == (2, 4, "SIGINT")
    assert summary["resume_with"].startswith("shard-executor run t.jsonl ")
    assert len(here.pods()) == 2
    assert {task_of(pod) for pod in here.pods()} == {name for name, state in here.states().items() if state == "left"}
    here.open_gate()
    assert here.run(*options).returncode == 0
    assert here.ran() == {f"t{n}": 1 for n in range(6)}


def test_a_stop_that_deletes_uses_up_a_try_only_of_tasks_that_had_a_pod(here):
    here.list(*(here.gated(f"t{n}") for n in range(8)))
    options = ["--run-id", "tries", "--parallelism", "3", "--shards", "1", "--results", "out.jsonl"]
    process = here.start(*options)
    here.until_ran("t0", "t1", "t2")
    until(lambda: [pod["status"]["phase"] for pod in here.pods()] == ["Running"] * 3, "three running")
    stop(process)
    assert here.pods() == []
    here.open_gate()
    assert here.run(*options).returncode == 0
    tries = {name: record["tries"] for name, record in here.results().items()}
    assert tries == here.ran() == {f"t{n}": 2 if n < 3 else 1 for n in range(8)}


def test_stopped_as_soon_as_it_is_taken_up_again_it_still_knows_the_pods_that_it_leaves(here):
    here.list(*(here.gated(f"t{n}") for n in range(6)), here.task("retried", "exit 1", retries=1, priority=1))
    options = ["--run-id", "brief", "--parallelism", "3", "--shards", "1", "--results", "out.jsonl"]
    options += ["--on-interrupt", "leave", "--retry-delay", "600"]
    process = here.start(*options)
    here.until_ran("t0", "t1", "t2")
    here.until_logged("again in ")
    until(lambda: [pod["status"]["phase"] for pod in here.pods()] == ["Running"] * 3, "three running")
    here.kill(process)
    process = here.start(*options)
    here.until_logged("taken up again: 0 had ended, 3 had a pod")
    assert "3 left running, 4 not started" in stop(process)
    assert {name for name, state in here.states().items() if state == "left"} == set(here.uids()) == {"t0", "t1", "t2"}
    here.open_gate()
    process = here.start(*options)
    until(lambda: sum("succeeded" in line for line in here.lines()) == 6, "all others ended")
    assert stop(process)
    assert here.results()["retried"] == {
        "id": "retried",
        "state": "not-started",
        "message": "stopped before its next try",
    }
    assert here.ran() == {**{f"t{n}": 1 for n in range(6)}, "retried": 1}


def test_the_words_of_a_stop_are_a_command_that_works(here):
    here.list(here.task("a"), here.gated("b"))
    process = here.start("--results", "out.jsonl")
    here.until_ran("a", "b")
    until(lambda: here.lines(), "a result")
    stdout = stop(process, signal.SIGTERM)
    (line,) = [line for line in stdout.splitlines() if line.startswith("take it up again with: ")]
    program, *arguments = line.removeprefix("take it up again with: ").split()
    assert program == "shard-executor"
    here.open_gate()
    result = run_command(*arguments, cwd=here.folder)
    assert result.returncode == 0, result.stderr
    assert "taken up again: 1 had ended" in result.stderr
    assert here.ran() == {"a": 1, "b": 2}


# ---- many


def test_thousands_of_tasks_over_three_takings_up(tmp_path):
    arguments = ["--kubelet", "simulated", "--capacity", "10000", "--start-seconds", "0.05", "--run-seconds", "0.3"]
    with DevClusterProcess(arguments) as many:
        here = Workplace(tmp_path, many)
        write_tasks(here.folder / "t.jsonl", *({"id": f"t{n}"} for n in range(900)))
        options = ["--run-id", "thousands", "--results", "out.jsonl", "--parallelism", "150"]
        for number, shards in enumerate(("1", "4")):
            process = here.start(*options, "--shards", shards)
            wanted = 200 * (number + 1)
            until(lambda wanted=wanted: len(here.lines()) >= wanted, "results")
            here.kill(process)
        result = here.run(*options, "-o", "json")
        assert result.returncode == 0, result.stderr
        assert set(here.states().values()) == {"succeeded"}
        assert len(here.results()) == 900
        assert len({record["uid"] for record in here.results().values()}) == 900
        assert json.loads(result.stdout)["ended_earlier"] >= 400
        assert {record["tries"] for record in here.results().values()} == {1}
        here.leaves_nothing()
