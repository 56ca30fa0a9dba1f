"""The whole way of a credential: kubeconfig, parent, shard, a TLS connection to the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from engine import Run, states, until
from shard_executor.devcluster.process import DevClusterProcess
from shard_executor.supervisor.credentials import CredentialSource

PLUGIN = """#!/bin/sh
token=$(cat %FILE%)
api=client.authentication.k8s.io/v1
echo "{\\"apiVersion\\":\\"$api\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$token\\"}}"
"""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[DevClusterProcess, Path]]:
    """A cluster that serves TLS and takes client certificates, and the folder of its authority's files."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    client = authority.issue_cert(common_name="worker", organization_name="system:masters")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    server.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    arguments = ["--kubelet", "simulated", "--start-seconds", "0.05", "--run-seconds", "0.3"]
    arguments += ["--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key")]
    arguments += ["--tls-client-ca", str(tmp_path / "ca.pem")]
    with DevClusterProcess(arguments) as cluster:
        yield cluster, tmp_path


def kubeconfig(cluster: DevClusterProcess, folder: Path, user: dict[str, Any], ca: str = "ca.pem") -> CredentialSource:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": cluster.url, "certificate-authority": str(folder / ca)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return CredentialSource(kubeconfig=str(path))


def run_three(cluster: DevClusterProcess, source: CredentialSource, meanwhile: Any = None) -> dict[str, int]:
    run = Run(cluster, credentials=source)
    run.supervisor.start()
    try:
        run.submit("a", "b", "c")
        if meanwhile is not None:
            meanwhile(run)
        return states(run.finish())
    finally:
        run.supervisor.end()
        source.close()


def test_a_client_certificate_signs_in(secured: tuple[DevClusterProcess, Path]) -> None:
    cluster, folder = secured
    user = {"client-certificate": str(folder / "client.pem"), "client-key": str(folder / "client.key")}
    assert run_three(cluster, kubeconfig(cluster, folder, user)) == {"succeeded": 3}


def test_a_refused_token_is_asked_for_again(secured: tuple[DevClusterProcess, Path]) -> None:
    cluster, folder = secured
    plugin = folder / "plugin"
    plugin.write_text(PLUGIN.replace("%FILE%", str(folder / "token")))
    plugin.chmod(0o755)
    (folder / "token").write_text("stale")
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}

    def renew(run: Run) -> None:
        until(lambda: any(s.watch.get("fault:unauthorized") for s in run.supervisor.stats()), "a watch was refused")
        assert not run.ends
        (folder / "token").write_text(str(cluster.token))

    assert run_three(cluster, kubeconfig(cluster, folder, {"exec": command}), renew) == {"succeeded": 3}


def test_a_server_that_the_authority_did_not_sign_is_not_trusted(secured: tuple[DevClusterProcess, Path]) -> None:
    cluster, folder = secured
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    source = kubeconfig(cluster, folder, {"token": str(cluster.token)}, ca="other.pem")
    run = Run(cluster, credentials=source)
    run.supervisor.start()
    try:
        run.submit("a")
        until(lambda: any(shard.watch.get("fault:tls") for shard in run.supervisor.stats()), "the handshake failed")
        assert not any(shard.calls.get("create 201") for shard in run.supervisor.stats())
    finally:
        run.supervisor.end()
        source.close()
