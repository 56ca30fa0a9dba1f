"""`shard-executor doctor` as a user runs it, on development clusters that lack one thing after the other."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml

from command import Terminal, run_command
from fake_api import FakeApi, Reply
from shard_executor.cli.permissions import LEAST, Need
from shard_executor.devcluster.process import DevClusterProcess

SIMULATED = ("--kubelet", "simulated")
TEMPLATE = "apiVersion: v1\nkind: Pod\nspec:\n  containers: [{name: base}]\n"


@pytest.fixture(scope="module")
def cluster():
    with DevClusterProcess(SIMULATED) as started:
        yield started


@pytest.fixture
def healthy(cluster):
    """The module's cluster; afterwards its faults are undone and nothing may have been created."""
    yield cluster
    cluster.clear_faults()
    assert cluster.stats()["pods"] == 0


def doctor(cluster, tmp_path, *arguments):
    return run_command("doctor", "--kubeconfig", str(cluster.kubeconfig), *arguments, cwd=tmp_path)


def report(cluster, tmp_path, *arguments):
    """The JSON report and its checks by name, a list each."""
    result = doctor(cluster, tmp_path, "-o", "json", *arguments)
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["exit_code"] == result.returncode
    checks: dict[str, list[dict]] = {}
    for check in found["checks"]:
        checks.setdefault(check["check"], []).append(check)
    assert found["problems"] == sum(check["state"] == "problem" for check in found["checks"])
    for check in found["checks"]:
        assert bool(check["next"]) == (check["state"] in ("warning", "problem")), check
    return found, checks


def test_a_cluster_that_is_fit(tmp_path, healthy):
    result = doctor(healthy, tmp_path)
    assert result.returncode == 0, result.stderr
    first, *lines, last = result.stdout.splitlines()
    assert first.startswith("http://127.0.0.1:")
    assert first.endswith("namespace default")
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    names = [line.split()[1] for line in lines]
    assert list(dict.fromkeys(names)) == [
        *("server", "version", "clock", "account", "permission", "namespace", "quota", "lists", "watches", "shards")
    ]
    assert "with streaming lists, in protobuf" in result.stdout
    assert last == "nothing is in the way of a run; 0 warnings"
    assert "\x1b" not in result.stdout
    assert healthy.token not in result.stdout


def test_on_a_terminal_the_states_have_colours(tmp_path, healthy):
    terminal = Terminal("doctor", "--kubeconfig", str(healthy.kubeconfig), cwd=tmp_path)
    assert terminal.wait() == 0
    assert "\x1b[32mok" in terminal.shown


@pytest.mark.parametrize("permission", LEAST, ids=str)
def test_each_missing_permission_is_named_with_what_mends_it(tmp_path, permission):
    with DevClusterProcess([*SIMULATED, "--deny", f"{permission.verb}:{permission.resource}"]) as cluster:
        found, checks = report(cluster, tmp_path)
        text = doctor(cluster, tmp_path)
    (bad,) = [check for check in checks["permission"] if check["state"] != "ok"]
    essential = permission.need is Need.RUN
    assert bad["state"] == ("problem" if essential else "warning")
    assert bad["message"] == f"may not {permission}: {permission.without}"
    assert bad["next"] == f"its Role needs the rule {permission.rule}"
    assert len(checks["permission"]) == len(LEAST)
    assert found["exit_code"] == int(essential)
    grant, bind = found["granting_commands"]
    assert grant.startswith(
        f"kubectl create role shard-executor -n default --verb={permission.verb} --resource={permission.resource} "
    )
    assert "--serviceaccount=default:devcluster " in bind
    assert (text.returncode, grant in text.stdout, bind in text.stdout) == (int(essential), True, True)
    assert checks["lists"][0]["state"] == ("skipped" if permission.verb == "list" else "ok")
    assert checks["watches"][0]["state"] == ("skipped" if permission.verb == "watch" else "ok")


def test_a_server_without_streaming_lists_will_do(tmp_path):
    with DevClusterProcess([*SIMULATED, "--no-watch-list"]) as cluster:
        found, checks = report(cluster, tmp_path)
    assert found["exit_code"] == 0
    assert checks["watches"][0]["facts"] == {"streaming_lists": False}
    assert "without streaming lists (422)" in checks["watches"][0]["message"]


def test_an_account_that_may_only_see_pods_will_do(tmp_path):
    with DevClusterProcess([*SIMULATED, "--deny", "*:namespaces", "--deny", "*:resourcequotas"]) as cluster:
        found, checks = report(cluster, tmp_path)
    assert found["exit_code"] == 0
    assert checks["namespace"][0]["state"] == checks["quota"][0]["state"] == "skipped"


def test_a_namespace_that_is_not_there(tmp_path, healthy):
    found, checks = report(healthy, tmp_path, "-n", "jobs")
    assert (found["exit_code"], found["problems"]) == (1, 1)
    assert checks["namespace"][0]["message"] == "'jobs' does not exist"
    assert checks["namespace"][0]["next"].startswith("kubectl create namespace jobs")
    assert "quota" not in checks


@pytest.mark.parametrize(("pods", "state", "code"), [(0, "problem", 1), (7, "warning", 0), (5000, "ok", 0)])
def test_quotas(tmp_path, healthy, pods, state, code):
    healthy.fault("quota", pods=pods)
    try:
        found, checks = report(healthy, tmp_path)
    finally:
        healthy.fault("lift-quota")
    (quota,) = checks["quota"]
    assert (quota["state"], quota["facts"]["pods_left"], found["exit_code"]) == (state, pods, code)
    assert "devcluster-fault" in quota["message"]


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (TEMPLATE, "ok", "the server accepts its pod (dry run)"),
        (TEMPLATE + "  colour: blue\n", "warning", 'unknown field "spec.colour"'),
        (TEMPLATE + "  dnsPolicy: Sometimes\n", "problem", 'spec.dnsPolicy: Unsupported value: "Sometimes"'),
        (TEMPLATE + "  hostNetwork: maybe\n", "problem", "cannot unmarshal string"),
    ],
)
def test_the_server_judges_a_template(tmp_path, healthy, text, state, words):
    (tmp_path / "pod.yaml").write_text(text)
    found, checks = report(healthy, tmp_path, "--template", "pod.yaml")
    (template,) = checks["template"]
    assert (template["state"], words in template["message"]) == (state, True), template
    assert found["exit_code"] == int(state == "problem")


def test_a_template_beyond_the_quota_is_not_the_templates_fault(tmp_path, healthy):
    (tmp_path / "pod.yaml").write_text(TEMPLATE)
    healthy.fault("quota", pods=0)
    try:
        _, checks = report(healthy, tmp_path, "--template", "pod.yaml")
    finally:
        healthy.fault("lift-quota")
    assert checks["template"][0]["state"] == "warning"
    assert "exceeded quota" in checks["template"][0]["message"]


def test_a_connection_that_is_cut_spoils_only_its_check(tmp_path, healthy):
    healthy.fault("drop", verb="watch")
    found, checks = report(healthy, tmp_path)
    assert (found["exit_code"], found["problems"]) == (1, 1)
    assert "no whole answer came" in checks["watches"][0]["message"]
    assert checks["shards"][0]["state"] == "ok"


def test_a_busy_server_is_a_warning(tmp_path, healthy):
    healthy.fault("throttle", verb="watch")
    found, checks = report(healthy, tmp_path)
    assert found["exit_code"] == 0
    assert "429" in checks["watches"][0]["message"]


def test_credentials_that_are_refused_are_the_only_problem(tmp_path, healthy):
    config = yaml.safe_load(healthy.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "stale"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    result = run_command("doctor", "--kubeconfig", "kubeconfig", cwd=tmp_path)
    assert result.returncode == 1
    assert "refuses these credentials" in result.stdout
    assert "log in again" in result.stdout
    assert "1 problem, 0 warnings" in result.stdout


def _kubeconfig(tmp_path, url):
    config = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))


def test_a_cluster_out_of_reach_is_a_problem(tmp_path):
    _kubeconfig(tmp_path, "http://127.0.0.1:1")
    result = run_command("doctor", "--kubeconfig", "kubeconfig", cwd=tmp_path)
    assert result.returncode == 1
    assert "cannot be reached" in result.stdout
    assert "next: check --kubeconfig and --context" in result.stdout
    assert "Traceback" not in result.stderr


def test_an_old_server_with_another_time_of_day(tmp_path):
    """Shown from outside: a Date header an hour back, a version out of support, no review API."""
    version = Reply(200, b'{"gitVersion":"v1.24.3"}', headers={"Date": "Sat, 31 Jan 2026 12:00:00 GMT"})
    missing = Reply(404, b'{"kind":"Status","code":404,"message":"not found"}')

    async def scenario():
        async with FakeApi(version, version, *[missing] * 11) as fake:
            _kubeconfig(tmp_path, fake.host)
            return await asyncio.to_thread(run_command, "doctor", "--kubeconfig", "kubeconfig", cwd=tmp_path)

    result = asyncio.run(scenario())
    assert result.returncode == 1, result.stderr
    assert "warning  version     v1.24.3 is older than 1.28" in result.stdout
    assert "this machine's clock is" in result.stdout
    assert "does not answer SelfSubjectAccessReview" in result.stdout
    assert "'jobs' does not exist" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--context", "prod"], "there is no context 'prod'"),
        (["--kubeconfig", "none"], "no such file"),
        (["-n", "No_Name"], "is no namespace name"),
        (["--template", "none.yaml"], "--template: template none.yaml: no such file"),
        (["--nonsense"], "No such option"),
    ],
)
def test_bad_usage(tmp_path, arguments, words):
    _kubeconfig(tmp_path, "http://127.0.0.1:1")
    result = run_command("doctor", "--kubeconfig", "kubeconfig", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_template_of_another_namespace_is_bad_usage(tmp_path, healthy):
    (tmp_path / "pod.yaml").write_text(TEMPLATE + "metadata: {namespace: prod}\n")
    result = doctor(healthy, tmp_path, "--template", "pod.yaml")
    assert result.returncode == 2
    assert "use --namespace prod" in result.stderr


def test_without_any_kubeconfig_there_is_no_cluster(tmp_path):
    result = run_command("doctor", cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert result.returncode == 2
    assert "no cluster to talk to" in result.stderr
