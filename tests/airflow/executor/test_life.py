"""The executor itself: what constructing, starting and ending do, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from airflow_scheduler import Cluster, Scheduler, Start, make_executor, options
from shard_executor.airflow.options import OptionError

CONSTRUCT = """
import os, threading
from shard_executor import ShardExecutor
def footprint():
    sockets = [f for f in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{f}")
               and os.readlink(f"/proc/self/fd/{f}").startswith("socket:")]
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    return sorted(t.name for t in threading.enumerate()), len(sockets), children
before = footprint()
executor = ShardExecutor()
assert footprint() == before, (before, footprint())
from types import SimpleNamespace
ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1, id="x", executor_config={},
                     queue="default", executor=None, hostname="")
print(executor.get_task_log(ti, 1))
assert footprint()[0::2] == before[0::2], (before, footprint())
executor.sync()
executor.end()
executor.end()
executor.terminate()
assert footprint()[0::2] == before[0::2]
print("nothing started")
"""


def test_constructing_starts_nothing_and_needs_no_cluster(airflow_database: None) -> None:
    """The API server constructs executors to read logs; here in a process of its own, without a cluster."""
    with options(
        {
            "kubernetes_executor.in_cluster": "False",
            "kubernetes_executor.config_file": "/nowhere/kubeconfig",
            "kubernetes_executor.pod_template_file": "/nowhere/template.yaml",
        }
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-c", CONSTRUCT], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "nothing started"


def test_the_end_leaves_pods_and_nothing_else(start: Start, cluster: Cluster) -> None:
    threads = set(threading.enumerate())
    processes = set(psutil.Process().children())
    scheduler = start()
    assert set(psutil.Process().children()) - processes
    pod = scheduler.run("stays")
    scheduler.end()
    scheduler.end()
    scheduler.executor.terminate()
    assert set(psutil.Process().children()) == processes
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("shard-executor")]
    assert cluster.only("stays")["metadata"]["uid"] == pod["metadata"]["uid"]
    scheduler.executor.heartbeat()  # a loop that goes on after the end
    scheduler.executor.revoke_task(ti=scheduler.ti("stays"))


def test_a_kubeconfig_that_is_not_there_starts_nothing(cluster: Cluster, template: Path) -> None:
    processes = set(psutil.Process().children())
    executor, given = make_executor(cluster, template, {"kubernetes_executor.config_file": "/nowhere/kubeconfig"})
    with options(given), pytest.raises(Exception, match="/nowhere/kubeconfig"):
        executor.start()
    executor.end()
    assert set(psutil.Process().children()) == processes


def test_a_wrong_option_is_named(cluster: Cluster, template: Path) -> None:
    with pytest.raises(OptionError, match=r"\[shard_executor\] disruption_policy.*'retry'.*'fail' or 'resubmit'"):
        make_executor(cluster, template, {"shard_executor.disruption_policy": "retry"})


def test_starting_twice_is_starting_once(start: Start) -> None:
    scheduler = start()
    engine = scheduler.executor._engine
    scheduler.start()
    assert scheduler.executor._engine is engine


def test_what_it_says_of_itself(scheduler: Scheduler, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.run("dumped")
    executor = scheduler.executor
    capsys.readouterr()
    executor.debug_dump()
    said = capsys.readouterr().out
    assert "dumped.work[0]" in said
    assert scheduler.cluster.only("dumped")["metadata"]["name"] in said
    assert "ShardStats" in said
    assert repr(executor) == "ShardExecutor(parallelism=100)"
    groups = executor.get_cli_commands()
    assert {command.name for group in groups for command in group.subcommands} >= {"cleanup-pods", "generate-dag-yaml"}
    scheduler.executor.revoke_task(ti=scheduler.ti("dumped"))
    scheduler.until_gone("dumped")
