"""Commands of the demo's environment: started, watched, ended with everything that descends from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shard_executor.airflow.demo.api import wait_for
from shard_executor.airflow.demo.component import Component, DemoError

LIMIT = 30.0
# One child in the command's session, one in a session of its own whose parent is gone at once.
FAMILY = "sleep 600 & setsid sh -c 'sleep 600 & echo orphan' & echo ready; wait"
OWNER = """
import sys
from pathlib import Path
from shard_executor.airflow.demo.component import Component
component = Component("family", ["sh", "-c", sys.argv[2]], {"PATH": sys.argv[3]}, Path(sys.argv[1]), grace=1)
component.start()
print(component.pid, flush=True)
sys.stdin.read()
"""


def make(folder: Path, script: str, grace: float = 1.0) -> Component:
    component = Component("family", ["sh", "-c", script], dict(os.environ), folder / "family.log", grace=grace)
    component.start()
    return component


def sleepers(component: Component) -> list[psutil.Process]:
    found = [process for process in component.descendants() if process.name() == "sleep"]
    return found if len(found) == 2 else []


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_the_end_reaches_all_descendants(tmp_path: Path) -> None:
    component = make(tmp_path, FAMILY)
    found = wait_for(lambda: sleepers(component), "the sleepers", LIMIT)
    assert component.exit_code() is None
    component.end()
    wait_for(lambda: gone(found), "the end of the sleepers", LIMIT)
    component.end()  # once more is allowed


def test_a_command_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    component = make(tmp_path, "trap '' TERM; echo deaf; while :; do sleep 0.1; done", grace=0.3)
    wait_for(lambda: "deaf" in component.tail(), "its first word", LIMIT)
    main = psutil.Process(component.pid)
    component.end()
    wait_for(lambda: gone([main]), "its end", LIMIT)


def test_the_death_of_the_owner_ends_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log"), FAMILY, os.environ["PATH"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        main = psutil.Process(int(owner.stdout.readline()))

        def family() -> list[psutil.Process]:
            # the warden is the parent of the command, and of the orphan
            parent = main.parent()
            found = [] if parent is None else parent.children(recursive=True)
            return found if sum(process.name() == "sleep" for process in found) == 2 else []

        found = wait_for(family, "the sleepers", LIMIT)
        owner.kill()
    wait_for(lambda: gone(found), "the end of the sleepers", LIMIT)


def test_a_command_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    component = make(tmp_path, "echo the reason; exit 3")
    try:
        wait_for(lambda: component.exit_code() is not None, "its end", LIMIT)
        with pytest.raises(DemoError, match=r"(?s)family ended with 3; .*the reason"):
            component.check()
    finally:
        component.end()


def test_a_killed_command_leaves_its_children_to_themselves(tmp_path: Path) -> None:
    component = make(tmp_path, FAMILY)
    try:
        found = wait_for(lambda: sleepers(component), "the sleepers", LIMIT)
        component.kill()
        assert component.exit_code() == -9
        assert not gone(found)
    finally:
        component.end()
    wait_for(lambda: gone(found), "the end of the sleepers", LIMIT)


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    component = Component("nothing", [str(tmp_path / "nothing")], dict(os.environ), tmp_path / "log")
    with pytest.raises(DemoError, match=r"(?s)nothing could not be started; .*No such file"):
        component.start()
