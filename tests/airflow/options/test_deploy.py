"""deploy/helm grants what is used, and sets what exists."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from shard_executor.airflow.cleanup import Rules, cleanup
from shard_executor.airflow.option_table import OWN, OWN_OPTIONS, STOCK, STOCK_OPTIONS
from shard_executor.airflow.permissions import API_SERVER, CLEANUP, SCHEDULER
from shard_executor.cli.permissions import Permission, rules_of
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor.credentials import CredentialSource

FOLDER = Path(__file__).parents[3] / "deploy" / "helm"
RBAC, VALUES = FOLDER / "rbac.yaml", FOLDER / "values.yaml"


def documents(kind: str) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all(RBAC.read_text())
    return {document["metadata"]["name"]: document for document in found if document["kind"] == kind}


@pytest.mark.parametrize(
    ("component", "permissions"),
    [("scheduler", SCHEDULER), ("api-server", API_SERVER)],
    ids=["scheduler", "api-server"],
)
def test_the_roles_grant_what_is_used_and_no_more(component: str, permissions: tuple[Permission, ...]) -> None:
    role, binding = (
        documents("Role")[f"shard-executor-{component}"],
        documents("RoleBinding")[f"shard-executor-{component}"],
    )
    assert role["rules"] == rules_of(permissions)
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    namespace = role["metadata"]["namespace"]
    assert binding["metadata"]["namespace"] == namespace
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"airflow-{component}", "namespace": namespace}]


def test_kubectl_reads_the_manifests() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine")
    command = [kubectl, "annotate", "--local", "-f", str(RBAC), "read=yes", "-o", "name"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4


def test_the_values_set_options_that_exist() -> None:
    values = yaml.safe_load(VALUES.read_text())
    assert values["executor"] == "shard_executor.ShardExecutor"
    known = {OWN: {option.key for option in OWN_OPTIONS}, STOCK: {option.key for option in STOCK_OPTIONS}}
    for section, options in values["config"].items():
        assert options.keys() <= known[section]
    for variable in yaml.safe_load(values["extraEnv"]):
        _, section, key = variable["name"].split("__")
        assert key.lower() in known[section.lower()]


def test_the_clean_up_job_calls_a_command_that_exists() -> None:
    from shard_executor.airflow.cli import provider_commands

    line = yaml.safe_load(VALUES.read_text())["cleanup"]["args"][-1].removeprefix("exec airflow ").split()
    (group,) = (group for group in provider_commands() if group.name == line[0])
    (command,) = (command for command in group.subcommands if command.name == line[1])
    flags = {flag for arg in command.args for flag in arg.flags}
    # The chart fills in the namespace, which has spaces in its braces.
    assert {word.partition("=")[0] for word in line if word.startswith("--")} <= flags


@pytest.fixture
def narrow_cluster() -> Iterator[DevClusterProcess]:
    """A cluster that refuses what the clean-up is not granted."""
    granted = {(permission.verb, permission.resource) for permission in CLEANUP}
    refused = [(verb, "pods") for verb in ("get", "watch", "patch", "update", "deletecollection")]
    assert not granted & set(refused)
    arguments = [word for verb, resource in refused for word in ("--deny", f"{verb}:{resource}")]
    with DevClusterProcess(arguments) as running:
        yield running


def test_the_clean_up_needs_no_more_than_its_permissions(narrow_cluster: DevClusterProcess) -> None:
    labels = {"dag_id": "d", "task_id": "t", "try_number": "1", "airflow_version": "3"}
    spec = {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [{"name": "base", "image": "x"}]}
    pod = {"metadata": {"name": "one", "labels": labels}, "spec": spec}
    narrow_cluster.call("POST", "/api/v1/namespaces/default/pods", pod)
    source = CredentialSource(str(narrow_cluster.kubeconfig), in_cluster=False)
    lines: list[str] = []
    try:
        summary = cleanup(
            source.load(),
            ("default",),
            Rules("airflow", timedelta(minutes=5), timedelta()),
            tell=lines.append,
            look=lines.append,
            clock=lambda: datetime.now(UTC) + timedelta(hours=1),
        )
    finally:
        source.close()
    assert (summary.deleted, summary.problems) == (1, [])
