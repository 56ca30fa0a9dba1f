"""`shard-executor devcluster`, `devcluster fault` and `demo` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress

import pytest

from command import COMMAND, LIMIT, Terminal, read_results, run_command, until, write_tasks


@pytest.fixture
def devcluster(tmp_path):
    """The command in a folder of its own, once it says that it is up."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*COMMAND, "devcluster"], cwd=tmp_path, stdout=log, stderr=log, text=True)
    until(lambda: "Ctrl-C stops it." in (tmp_path / "log").read_text() or process.poll() is not None, "the cluster up")
    yield tmp_path, process
    if process.poll() is None:
        process.terminate()
        process.wait(LIMIT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_removes_its_kubeconfig(devcluster, number):
    folder, process = devcluster
    kubeconfig = folder / "devcluster.kubeconfig"
    assert kubeconfig.stat().st_mode & 0o077 == 0
    words = (folder / "log").read_text()
    assert f"export KUBECONFIG={kubeconfig}" in words
    write_tasks(folder / "t.jsonl", {"id": "a", "command": ["true"]})
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    result = run_command("run", "t.jsonl", cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr
    process.send_signal(number)
    assert process.wait(LIMIT) == 0
    assert "development cluster stopped" in (folder / "log").read_text()
    assert "Traceback" not in (folder / "log").read_text()
    assert not kubeconfig.exists()


def test_a_second_cluster_leaves_the_kubeconfig_of_a_running_one_alone(devcluster):
    folder, process = devcluster
    before = (folder / "devcluster.kubeconfig").read_text()
    second = run_command("devcluster", cwd=folder)
    assert second.returncode == 2
    assert "--kubeconfig devcluster.kubeconfig: is in use: the development cluster http://127.0.0.1:" in second.stderr
    assert (folder / "devcluster.kubeconfig").read_text() == before
    write_tasks(folder / "t.jsonl", {"id": "a", "command": ["true"]})
    ran = run_command("run", "t.jsonl", "--kubeconfig", "devcluster.kubeconfig", cwd=folder)
    assert ran.returncode == 0, ran.stderr  # and the process that holds its pods clears up after it
    process.kill()  # it cannot remove its kubeconfig then: the next one replaces it
    process.wait(LIMIT)
    with (folder / "log2").open("w") as log:
        third = subprocess.Popen([*COMMAND, "devcluster"], cwd=folder, stdout=log, stderr=log)
    until(lambda: "Ctrl-C stops it." in (folder / "log2").read_text() or third.poll() is not None, "the next cluster")
    third.terminate()
    assert third.wait(LIMIT) == 0


def test_a_fault_reaches_the_running_cluster(devcluster):
    folder, _ = devcluster
    marker = folder / "begun"
    write_tasks(folder / "t.jsonl", {"id": "a", "command": ["sh", "-c", f"touch {marker}; sleep 600"]})
    arguments = ["run", "t.jsonl", "--kubeconfig", "devcluster.kubeconfig", "--results", "out.jsonl"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(marker.exists, "the task under way")
    answer = run_command("devcluster", "fault", "oom", "count=1", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["kind"] == "oom"
    process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert read_results(folder / "out.jsonl")["a"]["class"] == "oom-killed"


def test_rules_are_set_and_cleared(devcluster):
    folder, _ = devcluster
    rule = run_command("devcluster", "fault", "error", "code=503", "path=/pods", "verb=create", cwd=folder)
    assert rule.returncode == 0, rule.stderr
    assert json.loads(rule.stdout)["code"] == 503
    cleared = run_command("devcluster", "fault", "--clear", cwd=folder)
    assert cleared.returncode == 0, cleared.stderr


WRONG = [
    (["devcluster", "fault"], "give a KIND, such as evict; --list shows them all"),
    (["devcluster", "fault", "evcit"], "unknown kind 'evcit'; known: latency"),
    (["devcluster", "fault", "evict", "cont=3"], "evict: unknown arguments cont; known: namespace, name"),
    (["devcluster", "fault", "evict", "count=many"], "evict: count must be int, not 'many'"),
    (["devcluster", "fault", "evict", "count"], "argument 'count': must be KEY=VALUE, such as count=3"),
    (["devcluster", "fault", "evict"], "no development cluster to talk to: "),
    (["devcluster", "--kubeconfig", "no/such/file"], "the folder no/such does not exist"),
    (["devcluster", "--kubeconfig", "own"], "--kubeconfig own: the file exists and is not a development cluster's"),
    (["devcluster", "--port", "99999"], "99999 is not in the range 0<=x<=65535"),
    (["demo", "nowhere"], "Directory 'nowhere' does not exist"),
    (["demo", "empty"], "has no files to hash"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_what_cannot_work_is_said(tmp_path, arguments, words):
    (tmp_path / "own").write_text("current-context: production\n")
    (tmp_path / "empty").mkdir()
    result = run_command(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "own").read_text() == "current-context: production\n"


def test_every_kind_of_fault_is_listed(tmp_path):
    result = run_command("devcluster", "fault", "--list", cwd=tmp_path)
    assert result.returncode == 0
    for kind in ("latency (rule)", "throttle (rule)", "evict (action)", "compact (action)", "image-error (action)"):
        assert kind in result.stdout


def test_the_demo_on_a_folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(9):
        (folder / f"f {number}").write_bytes(b"x" * number)
    result = run_command("demo", "files", "--group", "2", "-o", "json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["verified"], report["files"], report["bytes"]) == (True, 9, 36)
    assert (report["pods"], report["succeeded"], report["pods_left"]) == (5, 5, [])
    assert "9 files of " in result.stderr
    assert " in 5 pods of up to 2" in result.stderr


def test_the_demo_notices_what_differs(tmp_path):
    """A file that changes between its pod and the comparison."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "steady").write_text("x")
    (folder / "changing").symlink_to("steady")
    growing = folder / "growing"
    growing.write_text("x")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "demo", "files", "-o", "json", "--progress", "plain"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    while process.poll() is None:  # it grows all the time, so that two looks at it cannot agree
        with growing.open("a") as file:
            file.write("x")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)  # slowly: a reader must reach its end
    stdout = process.stdout.read()
    process.stdout.close()
    assert process.returncode == 1, (tmp_path / "log").read_text()
    report = json.loads(stdout)
    assert report["verified"] is False
    (difference,) = report["differences"]
    assert difference.startswith(f"{growing}: sha256-0000")


def test_ctrl_c_ends_the_demo_and_its_cluster(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(2000):
        (folder / f"f{number}").write_bytes(b"x" * number)
    terminal = Terminal("demo", "files", "--group", "1", "--parallelism", "2", cwd=tmp_path)
    terminal.read_until("running: ")
    terminal.press_ctrl_c()
    assert terminal.wait() == 130
    assert "stopped by SIGINT; nothing was compared" in terminal.shown


def test_help_is_quick_to_import_and_names_every_command(tmp_path):
    result = run_command("--help", cwd=tmp_path)
    assert result.returncode == 0
    for words in ("run", "devcluster", "demo", "Examples:", "shard-executor demo"):
        assert words in result.stdout
    probe = (
        "import sys, shard_executor.cli as c\n"
        "try: c.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'kubernetes', 'airflow', 'aiohttp', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    found = subprocess.run([COMMAND[0], "-c", probe], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert found.returncode == 0, found.stderr


def test_importing_the_package_imports_no_client(tmp_path):
    probe = (
        "import sys, shard_executor\n"
        "from shard_executor import TaskSpec\n"
        "TaskSpec('a', image='i')\n"
        "sys.exit(', '.join(sorted({'kubernetes', 'airflow', 'aiohttp'} & set(sys.modules))) or 0)\n"
    )
    found = subprocess.run([COMMAND[0], "-c", probe], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert found.returncode == 0, found.stderr
