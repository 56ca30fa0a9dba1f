"""`shard-executor run` as a user runs it, on a development cluster whose pods are processes."""

from __future__ import annotations

import json
import subprocess

import psutil
import pytest

from command import COMMAND, LIMIT, Terminal, read_results, run_command, until, write_tasks
from shard_executor.devcluster.process import DevClusterProcess


@pytest.fixture
def here(tmp_path, cluster):
    """A working folder with a kubeconfig; afterwards no pod may be left."""
    (tmp_path / "kubeconfig").write_text(cluster.kubeconfig.read_text())
    yield tmp_path
    assert cluster.stats()["pods"] == 0


def run(here, *arguments, **changes):
    return run_command("run", *arguments, "--kubeconfig", "kubeconfig", cwd=here, **changes)


def test_every_task_has_one_result_line(here):
    out = here / "seen"
    tasks = [{"id": f"täsk {n}", "command": ["sh", "-c", f"echo {n} >> {out}"]} for n in range(60)]
    write_tasks(here / "t.jsonl", *tasks)
    result = run(here, "t.jsonl", "--results", "out.jsonl", "-o", "json", "--parallelism", "10")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["tasks"], summary["succeeded"], summary["failed"]) == (60, 60, 0)
    assert summary["cluster"]["version"].startswith("v1.")
    assert summary["pods_left"] == []
    assert summary["clean_up_with"] is None
    assert summary["exit_code"] == 0
    records = read_results(here / "out.jsonl")
    assert set(records) == {task["id"] for task in tasks}
    for record in records.values():
        assert record["state"] == "succeeded"
        assert record["exit_code"] == 0
        assert record["pod"].startswith("t-sk-")
        assert {"submitted", "created", "started", "finished", "reported"} <= set(record["times"])
        assert "log_tail" not in record
    assert sorted(map(int, out.read_text().split())) == list(range(60))  # each ran exactly once
    assert "running: " in result.stderr
    assert "60/60 done" in result.stderr
    assert "\x1b" not in result.stderr


def test_failures_are_explained_and_do_not_stop_the_others(here):
    write_tasks(
        here / "t.jsonl",
        {"id": "good", "command": ["true"]},
        {"id": "bad", "command": ["sh", "-c", "echo first; echo no luck >&2; exit 3"]},
        {"id": "refused", "command": ["true"], "labels": {"not a label": "x"}},
        {"id": "quantity", "command": ["true"], "resources": {"requests": {"cpu": "much"}}},
        {"id": "malformed", "image": "Not An Image", "command": ["true"]},
        {"id": "nothing", "command": ["/no/such/program"]},
    )
    result = run(here, "t.jsonl", "--results", "out.jsonl")
    assert result.returncode == 1, result.stderr
    records = read_results(here / "out.jsonl")
    assert records["good"]["state"] == "succeeded"
    assert {record["state"] for name, record in records.items() if name != "good"} == {"failed"}
    bad = records["bad"]
    assert (bad["class"], bad["exit_code"]) == ("container-error", 3)
    assert bad["log_tail"].splitlines() == ["first", "no luck"]
    for name in ("refused", "quantity"):
        assert records[name]["class"] == "create-refused"
        assert records[name]["reason"] in ("Invalid", "BadRequest")
    assert "not a label" in records["refused"]["message"]
    assert records["malformed"]["class"] == "image-error"
    assert records["malformed"]["reason"] == "InvalidImageName"
    assert "6 tasks: 1 succeeded, 5 failed" in result.stdout
    assert "2 x create-refused" in result.stdout
    assert "failed: task 'bad': container-error, Error, exit code 3" in result.stderr


def test_a_shard_goes_on_reporting_after_its_first_failure(here):
    """The next tasks end several heartbeats after the failure, which is counted in every one of them."""
    write_tasks(
        here / "t.jsonl",
        {"id": "bad", "command": ["false"]},
        *({"id": f"later{n}", "command": ["sleep", "4"]} for n in range(3)),
    )
    result = run(here, "t.jsonl", "--shards", "1", "--results", "out.jsonl")
    assert result.returncode == 1
    assert {name: record["state"] for name, record in read_results(here / "out.jsonl").items()} == {
        "bad": "failed",
        **{f"later{n}": "succeeded" for n in range(3)},
    }
    assert "has not been heard" not in result.stderr
    assert "starting it again" not in result.stderr


def test_the_summary_shows_a_failure_of_each_class(here):
    write_tasks(here / "t.jsonl", {"id": "bad", "command": ["sh", "-c", "echo no luck; exit 4"]})
    result = run(here, "t.jsonl", "--progress", "none")
    assert result.returncode == 1
    assert result.stderr == ""
    assert "failed: task 'bad': container-error, Error, exit code 4" in result.stdout
    assert "    | no luck" in result.stdout


def test_yaml_on_standard_input_with_templates(here):
    (here / "pod.yaml").write_text(
        "kind: Pod\nmetadata: {labels: {team: data}}\nspec:\n  containers:\n"
        "  - name: base\n    image: tools\n    env: [{name: A, value: template}, {name: B, value: template}]\n"
    )
    text = f"""
- id: plain
  command: [sh, -c, 'echo "$A $B" > {here}/plain']
- id: own
  command: [sh, -c, 'echo "$A $B" > {here}/own']
  env: {{B: 7}}
  template: pod.yaml
"""
    result = run(here, "-", "--template", "pod.yaml", "--results", "-", text=text)
    assert result.returncode == 0, result.stderr
    assert {json.loads(line)["state"] for line in result.stdout.splitlines()} == {"succeeded"}
    assert (here / "plain").read_text() == "template template\n"
    assert (here / "own").read_text() == "template 7\n"
    assert "2 tasks: 2 succeeded" in result.stderr


def test_pods_that_are_kept_carry_the_run(here, cluster):
    write_tasks(here / "t.jsonl", {"id": "good", "command": ["true"]}, {"id": "bad", "command": ["false"]})
    result = run(here, "t.jsonl", "--keep-pods", "failed", "--run-id", "kept-1")
    assert result.returncode == 1
    path = "/api/v1/namespaces/default/pods"
    (pod,) = cluster.call("GET", path)["items"]
    assert pod["metadata"]["labels"]["shard-executor/instance"] == "shard-executor.standalone-kept-1"
    assert pod["metadata"]["annotations"]["shard-executor/submission"] == "kept-1/bad/0"
    cluster.call("DELETE", f"{path}/{pod['metadata']['name']}")
    until(lambda: cluster.stats()["pods"] == 0, "the kept pod deleted")


def test_two_runs_in_one_namespace_do_not_meet(here):
    for name in ("a", "b"):
        tasks = [{"id": f"t{n}", "command": ["sh", "-c", f"echo x >> {here}/{name}-{n}"]} for n in range(20)]
        write_tasks(here / f"{name}.jsonl", *tasks)
    arguments = ["--kubeconfig", "kubeconfig", "-o", "json", "--progress", "none"]
    both = [
        subprocess.Popen([*COMMAND, "run", f"{name}.jsonl", *arguments], cwd=here, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for process in both:
        stdout, _ = process.communicate(timeout=LIMIT)
        assert json.loads(stdout)["succeeded"] == 20
    assert all((here / f"{name}-{n}").read_text() == "x\n" for name in ("a", "b") for n in range(20))


def test_a_shard_that_is_killed_costs_no_task_and_runs_none_twice(here):
    tasks = [{"id": f"t{n}", "command": ["sh", "-c", f"echo x >> {here}/ran-{n}; sleep 1"]} for n in range(40)]
    write_tasks(here / "t.jsonl", *tasks)
    command = [*COMMAND, "run", "t.jsonl", "--kubeconfig", "kubeconfig", "-o", "json", "--parallelism", "20"]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: len(list(here.glob("ran-*"))) >= 5, "five tasks running")
    shards = [child for child in psutil.Process(process.pid).children() if "shard_executor.shard" in child.cmdline()]
    assert len(shards) >= 1
    shards[0].kill()
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["succeeded"] == 40
    assert "was killed by signal 9; starting it again" in stderr
    assert all((here / f"ran-{n}").read_text() == "x\n" for n in range(40))


def test_a_terminal_shows_a_live_table(here):
    write_tasks(here / "t.jsonl", *({"id": f"t{n}", "command": ["sleep", "1"]} for n in range(20)))
    terminal = Terminal("run", "t.jsonl", "--kubeconfig", "kubeconfig", "--parallelism", "10", cwd=here)
    terminal.read_until("20/20 done")
    assert terminal.wait() == 0
    for words in ("running: ", "pods/s", "shard", "queued", "restarts", "20 tasks: 20 succeeded"):
        assert words in terminal.shown
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") > 0  # the cursor is shown again


def test_a_reader_that_goes_away_leaves_no_traceback(here):
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["true"]})
    arguments = ["run", "t.jsonl", "--kubeconfig", "kubeconfig", "-o", "json", "--progress", "none"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(LIMIT) == 0
    assert stderr == b""
    process.stderr.close()


def shell(here, script):
    """Runs a line of shell in which "$@" is `shard-executor run t.jsonl` with its kubeconfig."""
    arguments = ["sh", "-c", script, "sh", *COMMAND, "run", "t.jsonl", "--kubeconfig", "kubeconfig"]
    return subprocess.run(arguments, cwd=here, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.mark.parametrize("view", ["plain", "live"])
def test_a_run_goes_on_when_nobody_reads_its_progress_any_more(here, view):
    write_tasks(here / "t.jsonl", *({"id": f"t{n}", "command": ["sleep", "1"]} for n in range(20)))
    result = shell(here, f'{{ "$@" --results out.jsonl --progress {view} 2>&1; echo $? >code; }} | head -n 1')
    assert result.stdout.startswith("run ")
    assert (here / "code").read_text() == "0\n"
    assert len(read_results(here / "out.jsonl")) == 20


def test_a_summary_that_cannot_be_written_is_an_error(here):
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["true"]})
    result = shell(here, '"$@" --progress none -o json >/dev/full')
    assert result.returncode == 3
    assert result.stderr == "error: standard output cannot be written: No space left on device\n"


def test_closed_standard_streams_take_nothing_else_in(here):
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["true"]})
    result = shell(here, '"$@" --results out.jsonl --progress plain <&- >&-')
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert shell(here, '"$@" --results more.jsonl <&- >&- 2>&-').returncode == 0
    assert set(read_results(here / "out.jsonl")) == set(read_results(here / "more.jsonl")) == {"a"}
    result = shell(here, '"$@" --results - >&-')
    assert result.returncode == 2
    assert "--results -: standard output is closed" in result.stderr


def test_what_a_pod_writes_does_not_reach_the_terminal_as_it_is(here):
    script = "printf '\\033[2Jcleared\\n'; head -c 5000 /dev/zero | tr '\\0' x; exit 1"
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["sh", "-c", script]})
    result = run(here, "t.jsonl", "--progress", "none")
    assert result.returncode == 1
    assert "    | \\x1b[2Jcleared\n" in result.stdout
    assert f"    | {'x' * 200}...\n" in result.stdout


def test_requests_that_fail_are_shown_while_the_run_waits(here, cluster):
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["true"]})
    cluster.fault("quota", pods=0)
    with (here / "log").open("w") as log:
        command = [*COMMAND, "run", "t.jsonl", "--kubeconfig", "kubeconfig"]
        process = subprocess.Popen(command, cwd=here, stdout=log, stderr=log)
    try:
        until(lambda: "requests that failed in the last 10 s: " in (here / "log").read_text(), "the failing creates")
    finally:
        cluster.fault("lift-quota")
    assert process.wait(LIMIT) == 0
    assert "x create 403" in (here / "log").read_text()


def test_results_that_cannot_be_written_break_the_run_off_and_are_in_the_journal(here, cluster):
    write_tasks(here / "t.jsonl", *({"id": f"t{n}", "command": ["sleep", str(n % 2 * 2)]} for n in range(6)))
    result = run(here, "t.jsonl", "--results", "/dev/full", "--overwrite", "--run-id", "full")
    assert result.returncode == 3, result.stderr
    assert "No space left on device; the journal has every result so far" in result.stdout
    assert "take it up again with: shard-executor run t.jsonl" in result.stdout
    assert cluster.stats()["pods"] == 0
    again = run(here, "t.jsonl", "--results", "out.jsonl", "--run-id", "full")
    assert again.returncode == 0, again.stderr
    assert {record["state"] for record in read_results(here / "out.jsonl").values()} == {"succeeded"}


def test_results_that_nobody_has_break_the_run_off_and_keep_what_has_ended(here, cluster):
    write_tasks(here / "t.jsonl", *({"id": f"t{n}", "command": ["sleep", str(n % 2 * 600)]} for n in range(6)))
    result = run(here, "t.jsonl", "--results", "/dev/full", "--overwrite", "--journal", "none")
    assert result.returncode == 3, result.stderr
    assert "broken off: results could not be written: [Errno 28] No space left on device; the pod" in result.stdout
    assert "remove them with: kubectl delete pods -n default -l shard-executor/instance=" in result.stdout
    assert "Traceback" not in result.stderr
    path = "/api/v1/namespaces/default/pods"
    kept = cluster.call("GET", path)["items"]
    assert {pod["status"]["phase"] for pod in kept} == {"Succeeded"}
    for pod in kept:
        cluster.call("DELETE", f"{path}/{pod['metadata']['name']}")
    until(lambda: cluster.stats()["pods"] == 0, "the kept pods deleted")


def test_a_namespace_that_does_not_exist(here):
    write_tasks(here / "t.jsonl", {"id": "a", "command": ["true"]})
    result = run(here, "t.jsonl", "--namespace", "elsewhere")
    assert result.returncode == 2
    assert "namespace 'elsewhere' does not exist on http://127.0.0.1:" in result.stderr
    assert "(it has: default" in result.stderr


def test_permissions_that_are_missing(tmp_path):
    with DevClusterProcess(["--deny", "create:pods", "--deny", "watch:pods", "--deny", "get:pods/log"]) as cluster:
        write_tasks(tmp_path / "t.jsonl", {"id": "a", "command": ["true"]})
        result = run_command("run", "t.jsonl", "--kubeconfig", str(cluster.kubeconfig), cwd=tmp_path)
    assert result.returncode == 2
    assert "no permission in namespace 'default': this account (" in result.stderr
    assert "may not create, watch pods" in result.stderr
