"""No process of a pod outlives the kubelet, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from kubelet_helpers import ended, finished, pod, running, started
from shard_executor.devcluster.process_kubelet import ProcessKubelet
from shard_executor.devcluster.runtime import Launch, Runtime, StartError
from shard_executor.devcluster.store import Store

# A process, a background child in its group, and one that has left group and session.
SCRIPT = "sleep 600 & echo $!; setsid sleep 600 & echo $!; echo $$; wait"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def all_gone(pids: list[int]) -> bool:
    """Waits for all to end."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def pids_in(path) -> list[int]:
    """The three numbers the script prints."""
    while True:
        words = path.read_text().split() if path.exists() else []
        numbers = [int(word) for word in words if word.isdigit()]
        if len(numbers) == 3:
            return numbers
        await asyncio.sleep(0.01)


def launch(tmp_path, *argv: str) -> Launch:
    return Launch(list(argv), {"PATH": os.environ["PATH"]}, str(tmp_path), str(tmp_path / "log"))


def test_everything_ends_with_the_runtime(tmp_path):
    async def scenario():
        runtime = Runtime()
        process = await runtime.start(launch(tmp_path, "sh", "-c", SCRIPT))
        pids = await pids_in(tmp_path / "log")
        await runtime.end()
        assert await process.exited == 137
        return pids

    assert all_gone(asyncio.run(scenario()))


def test_everything_ends_when_the_kubelet_is_killed(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"""
import asyncio, os
from pathlib import Path
from shard_executor.devcluster.runtime import Launch, Runtime

async def main():
    runtime = Runtime()
    runtime.scratch = Path({str(scratch)!r})
    folder = {str(tmp_path)!r}
    launch = Launch(["sh", "-c", {SCRIPT!r}], {{"PATH": os.environ["PATH"]}}, folder, folder + "/log")
    await (await runtime.start(launch)).exited

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        pids = asyncio.run(asyncio.wait_for(pids_in(tmp_path / "log"), 20))
        assert all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait()
    assert all_gone(pids)
    deadline = time.monotonic() + 20
    while scratch.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_death_of_the_host_is_the_end_of_its_containers(tmp_path):
    async def scenario():
        store = Store()
        kubelet = ProcessKubelet(store)
        async with started(kubelet):
            created = store.create("pods", pod("a", "sh", "-c", "echo 1; echo 2; echo $$$$; exec sleep 600"))
            await running(store, "a")
            root = kubelet._services.root / created["metadata"]["uid"]
            pid = (await asyncio.wait_for(pids_in(root / "base.0.log"), 20))[2]
            os.kill(kubelet._runtime.host_pid, signal.SIGKILL)
            assert ended(await finished(store, "a"))["exitCode"] == 137
            assert all_gone([pid])
            store.create("pods", pod("b", "true"))
            assert (await finished(store, "b"))["status"]["phase"] == "Succeeded"

    asyncio.run(scenario())


def test_background_processes_end_with_the_first_process(tmp_path):
    async def scenario():
        runtime = Runtime()
        process = await runtime.start(launch(tmp_path, "sh", "-c", "sleep 600 & echo $! 1 2"))
        assert await process.exited == 0
        pid = (await pids_in(tmp_path / "log"))[0]
        await runtime.end()
        return pid

    assert all_gone([asyncio.run(scenario())])


# A child in a group of its own with a child of its own, as Airflow's supervisor and its task are.
GROUPS = """
import subprocess, sys
child = "import os, subprocess; print(os.getpid(), subprocess.Popen(['sleep', '600']).pid, 3, flush=True); os.close(1)"
child = subprocess.Popen([sys.executable, "-c", child + "; import time; time.sleep(600)"], process_group=0,
                         stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
"""


def test_other_groups_of_its_session_end_with_the_first_process(tmp_path):
    async def scenario():
        runtime = Runtime()
        log = tmp_path / "log"
        process = await runtime.start(launch(tmp_path, sys.executable, "-c", GROUPS))
        child, grandchild, _ = await pids_in(log)
        assert await process.exited == 0
        gone = await asyncio.to_thread(all_gone, [child, grandchild])  # while the runtime goes on
        await runtime.end()
        return gone

    assert asyncio.run(scenario())


def test_containers_get_default_signals_and_no_open_files(tmp_path):
    async def scenario():
        runtime = Runtime()
        script = "grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd"
        assert await (await runtime.start(launch(tmp_path, "sh", "-c", script))).exited == 0
        await runtime.end()

    asyncio.run(scenario())
    words = [line.split(" F ")[1] for line in (tmp_path / "log").read_text().splitlines()]
    # Signals 32 and up belong to the C library, and the test's own parent may ignore them.
    assert [int(word.split()[1], 16) & 0x7FFFFFFF for word in words[:2]] == [0, 0]
    assert words[2:] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


@pytest.mark.parametrize(
    "argv", [("x" * 300,), ("true", "a\0b"), ("true", "y" * 3_000_000)], ids=["name", "nul", "big"]
)
def test_what_cannot_be_executed_is_refused(tmp_path, argv):
    async def scenario():
        runtime = Runtime()
        with pytest.raises(StartError):
            await runtime.start(launch(tmp_path, *argv))
        assert await (await runtime.start(launch(tmp_path, "true"))).exited == 0
        await runtime.end()

    asyncio.run(scenario())
