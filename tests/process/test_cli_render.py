"""`shard-executor render` as a user runs it: without a cluster, against what a run creates, and judged by a server."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from command import run_command, write_tasks
from shard_executor.devcluster.process import DevClusterProcess

TEMPLATE = """\
apiVersion: v1
kind: Pod
metadata: {labels: {team: data}}
spec:
  tolerations: [{key: batch, operator: Exists}]
  containers:
  - {name: base, env: [{name: LEVEL, value: info}]}
"""
# Text that some YAML reader would take for a number, a boolean, a date, null, a comment, or cut off.
ODD = [
    *("1e3", "0o7", "0x1F", "1_000", "12:30:45", "1.5", "-1", ".5", "y", "No", "on", "TRUE", "null", "~", "", " "),
    *("2026-01-31", "a: b", "a #b", "#c", "- x", "{a}", "[b]", "*a", "&a", "!t", "%d", "@x", "`q`", "'", '"', "\\"),
    *("\ttab", "two\nlines\n", "\u0000", "\u0085", "\u2028", "é", "😀", "<<", "=", "---", "...", "x" * 200 + " y"),
]


@pytest.fixture(scope="module")
def cluster():
    with DevClusterProcess() as started:
        yield started


@pytest.fixture
def healthy(cluster):
    """The module's cluster; afterwards nothing may have been created."""
    yield cluster
    cluster.clear_faults()
    assert cluster.stats()["pods"] == 0


def render(here, *arguments, **changes):
    """The command on a machine that knows no cluster, unless the arguments name one."""
    changes.setdefault("env", {"HOME": str(here), "PATH": "/usr/bin:/bin"})
    return run_command("render", *arguments, cwd=here, **changes)


def test_pods_without_a_cluster(tmp_path):
    write_tasks(tmp_path / "t.jsonl", {"id": "one", "command": ["true"]}, {"id": "two", "labels": {"team": "ml"}})
    (tmp_path / "pod.yaml").write_text(TEMPLATE)
    result = render(tmp_path, "t.jsonl", "--template", "pod.yaml", "--run-id", "r1")
    assert (result.returncode, result.stderr) == (0, "")
    one, two = yaml.safe_load_all(result.stdout)
    assert list(one) == ["apiVersion", "kind", "metadata", "spec"]
    assert one["metadata"]["name"].startswith("one-")
    assert one["metadata"]["namespace"] == "default"
    assert one["metadata"]["labels"]["team"] == "data"
    assert two["metadata"]["labels"]["team"] == "ml"
    assert one["metadata"]["labels"]["shard-executor/instance"] == "shard-executor.standalone-r1"
    assert one["metadata"]["annotations"] == {
        "shard-executor/submission": "r1/one/0",
        "shard-executor/attempt": "0",
    }
    assert one["spec"]["restartPolicy"] == "Never"
    assert one["spec"]["containers"][0]["command"] == ["true"]
    again = render(tmp_path, "t.jsonl", "--template", "pod.yaml", "--run-id", "r1", "-o", "json")
    listed = json.loads(again.stdout)
    assert (listed["kind"], listed["items"]) == ("List", [one, two])


FULL = {
    "id": "full",
    "retries": 3,
    "timeout": 600,
    "priority": -5,
    "namespace": "team-a",
    "service_account": "worker",
    "node_selector": {"disktype": "ssd"},
    "tolerations": [
        {"key": "batch", "operator": "Exists"},
        {"key": "gpu", "value": "a", "effect": "NoExecute", "tolerationSeconds": 30},
    ],
}


def test_where_and_how_a_pod_runs(tmp_path):
    write_tasks(tmp_path / "t.jsonl", FULL, {"id": "plain"})
    (tmp_path / "pod.yaml").write_text(TEMPLATE + "  serviceAccount: old\n  nodeSelector: {disktype: hdd, pool: a}\n")
    result = render(tmp_path, "t.jsonl", "--template", "pod.yaml", "-n", "jobs")
    assert (result.returncode, result.stderr) == (0, "")
    full, plain = yaml.safe_load_all(result.stdout)
    assert (full["metadata"]["namespace"], plain["metadata"]["namespace"]) == ("team-a", "jobs")
    assert {key: value for key, value in full["spec"].items() if key != "containers"} == {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 600,
        "serviceAccountName": "worker",
        "nodeSelector": {"disktype": "ssd", "pool": "a"},
        "tolerations": [
            {"key": "batch", "operator": "Exists"},
            {"key": "gpu", "value": "a", "effect": "NoExecute", "tolerationSeconds": 30},
        ],
    }
    comments = [line for line in result.stdout.splitlines() if line.startswith("#")]
    assert comments == ["# not part of the pod, read by shard-executor: retries 3, priority -5"]
    listed = json.loads(render(tmp_path, "t.jsonl", "--template", "pod.yaml", "-n", "jobs", "-o", "json").stdout)
    assert listed["items"] == [full, plain]


def test_templates_for_another_namespace(tmp_path):
    (tmp_path / "bound.yaml").write_text("kind: Pod\nmetadata: {namespace: bound}\n")
    write_tasks(
        tmp_path / "t.jsonl",
        {"id": "good", "namespace": "bound", "template": "bound.yaml"},
        {"id": "bad", "template": "bound.yaml"},
        {"id": "worse", "namespace": "own", "template": "bound.yaml"},
    )
    result = render(tmp_path, "t.jsonl", "-n", "jobs")
    assert (result.returncode, result.stdout) == (2, "")
    assert "t.jsonl, line 2: task 'bad': the run's namespace is 'jobs' but metadata.namespace of temp" in result.stderr
    assert "t.jsonl, line 3: task 'worse': its namespace is 'own' but metadata.namespace of template " in result.stderr
    result = render(tmp_path, "t.jsonl", "-n", "bound", "--task", "good", "--task", "bad")
    assert [pod["metadata"]["namespace"] for pod in yaml.safe_load_all(result.stdout)] == ["bound", "bound"]
    result = render(tmp_path, "t.jsonl", "-n", "jobs", "--template", "bound.yaml", "--task", "good")
    assert (result.returncode, result.stdout) == (2, "")
    assert "but the run's namespace is 'jobs': remove it from the template or use --namespace bound" in result.stderr


def test_single_tasks(tmp_path):
    write_tasks(tmp_path / "t.jsonl", *({"id": name} for name in ("a", "b", "c")))
    single = json.loads(render(tmp_path, "t.jsonl", "--task", "b", "-o", "json").stdout)
    assert (single["kind"], single["metadata"]["annotations"]["shard-executor/submission"]) == ("Pod", "render/b/0")
    several = json.loads(render(tmp_path, "t.jsonl", "--task", "c", "--task", "a", "-o", "json").stdout)
    assert [pod["metadata"]["name"][0] for pod in several["items"]] == ["a", "c"]  # in the order of the list


def test_text_stays_text_in_yaml(tmp_path):
    env = {f"V{number}": value for number, value in enumerate(ODD)}
    write_tasks(tmp_path / "t.jsonl", {"id": "odd", "env": env, "annotations": {"y": "n", "1": "2"}})
    result = render(tmp_path, "t.jsonl", encoding="utf-8")
    assert result.returncode == 0, result.stderr
    (pod,) = yaml.safe_load_all(result.stdout)
    entries = pod["spec"]["containers"][0]["env"]
    assert {entry["name"]: entry["value"] for entry in entries} == env
    assert pod["metadata"]["annotations"].items() >= {"y": "n", "1": "2"}.items()
    for value in ("1e3", "0o7", "y", "No"):  # text to PyYAML even without quotes, but not to Kubernetes' reader
        assert f'"{value}"' in result.stdout


def test_the_namespace_is_the_contexts_without_asking_its_cluster(tmp_path):
    config = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"exec": {"command": "/no/such/plugin", "apiVersion": "v1"}}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    write_tasks(tmp_path / "t.jsonl", {"id": "a"})
    result = render(tmp_path, "t.jsonl", "--kubeconfig", "kubeconfig")
    assert (result.returncode, yaml.safe_load(result.stdout)["metadata"]["namespace"]) == (0, "jobs")
    result = render(tmp_path, "t.jsonl", "--kubeconfig", "kubeconfig", "-n", "other")
    assert yaml.safe_load(result.stdout)["metadata"]["namespace"] == "other"
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("contexts: 7\n")
    result = render(tmp_path, "t.jsonl")
    assert (result.returncode, yaml.safe_load(result.stdout)["metadata"]["namespace"]) == (0, "default")
    assert "warning: kubeconfig" in result.stderr


def test_what_a_server_would_refuse_is_told_without_one(tmp_path):
    write_tasks(
        tmp_path / "t.jsonl",
        {"id": "good"},
        {"id": "label", "labels": {"not a label": "x"}},
        {"id": "amount", "resources": {"requests": {"cpu": "much"}}},
    )
    (tmp_path / "pod.yaml").write_text(TEMPLATE + "  colour: blue\n")
    result = render(tmp_path, "t.jsonl", "--template", "pod.yaml")
    assert result.returncode == 1
    assert len(list(yaml.safe_load_all(result.stdout))) == 3
    assert "problem: task 'label': metadata.labels: Invalid value: \"not a label\"" in result.stderr
    assert "problem: task 'amount': quantities must match" in result.stderr
    assert "warning: task 'good' and 1 more: no Pod field 'spec.colour' is known" in result.stderr
    assert render(tmp_path, "t.jsonl", "--task", "good", "--template", "pod.yaml").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["t.jsonl", "--task", "ones"], "t.jsonl has no task of that id; did you mean 'one'?"),
        (["none.jsonl"], "no such file"),
        (["t.jsonl", "--template", "none.yaml"], "--template: template none.yaml: no such file"),
        (["t.jsonl", "--template", ""], "--template: is empty"),
        (["t.jsonl", "--run-id", "-"], "--run-id '-'"),
        (["t.jsonl", "-n", "No"], "is no namespace name"),
        (["t.jsonl", "--context", "prod"], "prod"),
        (["t.jsonl", "--kubeconfig", "none"], "no such file"),
        (["bare.jsonl"], "task 'bare': it has no image"),
        (["t.jsonl", "--dry-run", "server"], "no cluster to talk to"),
        (["t.jsonl", "--dry-run", "server", "--kubeconfig", "nobody"], "cannot be reached"),
    ],
)
def test_bad_usage(tmp_path, arguments, words):
    write_tasks(tmp_path / "t.jsonl", {"id": "one"})
    (tmp_path / "bare.jsonl").write_text('{"id": "bare"}\n')
    nobody = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    }
    (tmp_path / "nobody").write_text(json.dumps(nobody))
    result = render(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_creates_the_very_pods_that_are_shown(tmp_path, cluster):
    write_tasks(
        tmp_path / "t.jsonl",
        {"id": "täsk 1", "command": ["true"], "env": {"N": 1}, "labels": {"l": "v"}},
        {"id": "task 2", "command": ["true"], "annotations": {"a": "b"}},
    )
    (tmp_path / "pod.yaml").write_text(TEMPLATE)
    common = ("t.jsonl", "--template", "pod.yaml", "--run-id", "same", "--kubeconfig", str(cluster.kubeconfig))
    shown = json.loads(render(tmp_path, *common, "-o", "json").stdout)["items"]
    env = {**os.environ, "SHARD_EXECUTOR_STATE_DIR": str(tmp_path / "state")}
    result = run_command("run", *common, "--keep-pods", "always", cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    created = {pod["metadata"]["name"]: pod for pod in cluster.call("GET", "/api/v1/namespaces/default/pods")["items"]}
    try:
        assert set(created) == {pod["metadata"]["name"] for pod in shown}
        for pod in shown:
            found = created[pod["metadata"]["name"]]
            labels = found["metadata"]["labels"]
            assert labels.pop("airflow_executor_done") == "True"  # written when the pod was kept
            for key in ("labels", "annotations", "namespace"):
                assert found["metadata"][key] == pod["metadata"][key]
            shown_container, container = pod["spec"]["containers"][0], found["spec"]["containers"][0]
            assert {key: container[key] for key in shown_container} == shown_container
    finally:
        for name in created:
            cluster.call("DELETE", f"/api/v1/namespaces/default/pods/{name}")


def test_the_server_judges_each_pod_in_its_namespace(tmp_path, healthy):
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}
    healthy.call("POST", "/api/v1/namespaces", namespace)
    write_tasks(tmp_path / "t.jsonl", FULL, {"id": "plain"}, {"id": "lost", "namespace": "absent"})
    result = render(tmp_path, "t.jsonl", "--dry-run", "server", "--kubeconfig", str(healthy.kubeconfig))
    assert result.returncode == 1
    refusal, count = result.stderr.splitlines()
    assert refusal.startswith("server refuses: task 'lost': 404 ")
    assert '"absent" not found' in refusal
    assert count == "server accepts 2 of 3 pods (dry run)"


def test_the_server_judges(tmp_path, healthy):
    write_tasks(tmp_path / "t.jsonl", {"id": "good"}, {"id": "label", "labels": {"not a label": "x"}})
    (tmp_path / "pod.yaml").write_text(TEMPLATE + "  colour: blue\n")
    server = ("--dry-run", "server", "--kubeconfig", str(healthy.kubeconfig))
    result = render(tmp_path, "t.jsonl", *server)
    assert result.returncode == 1
    assert len(list(yaml.safe_load_all(result.stdout))) == 2
    refusal, count = result.stderr.splitlines()
    assert refusal.startswith("server refuses: task 'label': 422 Pod \"label-")
    assert 'metadata.labels: Invalid value: "not a label"' in refusal
    assert count == "server accepts 1 of 2 pods (dry run)"
    result = render(tmp_path, "t.jsonl", "--task", "good", *server)
    assert (result.returncode, result.stderr) == (0, "server accepts 1 of 1 pod (dry run)\n")
    result = render(tmp_path, "t.jsonl", "--task", "good", "--template", "pod.yaml", *server)
    assert result.returncode == 1
    assert 'strict decoding error: unknown field "spec.colour"' in result.stderr


def test_a_server_that_cannot_take_the_pods_now(tmp_path, healthy):
    write_tasks(tmp_path / "t.jsonl", *({"id": str(number)} for number in range(30)))
    healthy.fault("quota", pods=0)
    try:
        result = render(tmp_path, "t.jsonl", "--dry-run", "server", "--kubeconfig", str(healthy.kubeconfig))
    finally:
        healthy.fault("lift-quota")
    assert result.returncode == 1
    assert "server does not take now: task '0': 403 pods \"0-" in result.stderr
    assert "exceeded quota: devcluster-fault" in result.stderr
    assert "server does not take now: ... and 10 more messages" in result.stderr
    assert "server accepts 0 of 30 pods (dry run)" in result.stderr


def test_credentials_that_are_refused(tmp_path, healthy):
    config = yaml.safe_load(healthy.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "stale"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    write_tasks(tmp_path / "t.jsonl", {"id": "a"})
    result = render(tmp_path, "t.jsonl", "--dry-run", "server", "--kubeconfig", "kubeconfig")
    assert (result.returncode, result.stdout) == (2, "")
    assert "refuses these credentials" in result.stderr
