"""Token files, service accounts and the private folder: what is read again, when, and what stays after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from credential_helpers import Clock, TlsServer, bundle, fetch, kubeconfig
from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credentials import CredentialError, CredentialSource
from shard_executor.supervisor.material import Material


def pod(folder: Path, ca: trustme.CA, *, token: str = "sa-one", namespace: str | None = "jobs") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_text(bundle(ca))
    if namespace:
        (folder / "namespace").write_text(namespace + "\n")
    return str(folder)


def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "token").write_text("one\n")
    source = CredentialSource(kubeconfig(tmp_path / "config", user={"tokenFile": "token"}), clock=clock)
    assert source.load().token == "one"
    (tmp_path / "token").write_text("two\n")
    clock.now += 59
    assert source.current().token == "one"
    clock.now += 2
    assert source.current().token == "two"


def test_a_clock_that_jumps_back_does_not_freeze_a_token(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "token").write_text("one")
    source = CredentialSource(kubeconfig(tmp_path / "config", user={"tokenFile": "token"}), clock=clock)
    source.load()
    (tmp_path / "token").write_text("two")
    clock.now -= 86_400
    assert source.current().token == "two"


def test_a_token_file_that_goes_leaves_the_last_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    (tmp_path / "token").write_text("one")
    source = CredentialSource(kubeconfig(tmp_path / "config", user={"tokenFile": "token"}), clock=clock)
    source.load()
    (tmp_path / "token").unlink()
    for _ in range(10):
        clock.now += 61
        assert source.current().token == "one"
    assert str(tmp_path / "token") in str(source.problem)
    assert caplog.text.count("last good ones stay in use") == 1
    with pytest.raises(CredentialError, match="cannot be read"):
        source.refresh()
    (tmp_path / "token").write_text("two")
    clock.now += 11
    assert source.current().token == "two"
    assert source.problem is None


def test_refresh_reads_the_token_file_at_once(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "token").write_text("one")
    source = CredentialSource(kubeconfig(tmp_path / "config", user={"tokenFile": "token", "token": "x"}), clock=clock)
    assert source.load().token == "one"
    (tmp_path / "token").write_text("two")
    assert source.refresh().token == "two"


def test_a_changed_kubeconfig_is_read_again_and_a_half_written_one_waits(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "config"
    source = CredentialSource(kubeconfig(path, user={"token": "one"}), clock=clock)
    source.load()
    path.write_text("clusters: [")
    clock.now += 61
    assert source.current().token == "one"
    assert "line 1" in str(source.problem)
    kubeconfig(path, user={"token": "two"})
    clock.now += 11
    assert source.current().token == "two"


def test_the_service_account_comes_last_and_rotates(tmp_path: Path) -> None:
    clock = Clock()
    ca = trustme.CA()
    folder = pod(tmp_path / "sa", ca)
    with TlsServer(ca.issue_cert("127.0.0.1")).serving() as server:
        environ = {
            "HOME": str(tmp_path),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }
        source = CredentialSource(environ=environ, service_account=folder, clock=clock)
        loaded = source.load()
        assert (loaded.host, loaded.token, loaded.namespace) == (server.url, "sa-one", "jobs")
        assert fetch(loaded) == 200
        (tmp_path / "sa" / "token").write_text("sa-two\n")
        clock.now += 61
        assert fetch(source.current()) == 200
        sent = [request["headers"]["Authorization"] for request in server.requests]
        assert sent == ["Bearer sa-one", "Bearer sa-two"]
        # A kubeconfig that turns up later does not move a running executor to another cluster.
        kubeconfig(tmp_path / ".kube" / "config", cluster={"server": "https://elsewhere:1"})
        assert source.refresh().host == server.url
        source.close()
    first = CredentialSource(environ=environ, service_account=folder)
    assert first.load().host == "https://elsewhere:1"
    first.close()


def test_an_ipv6_service_host_is_bracketed(tmp_path: Path) -> None:
    folder = pod(tmp_path / "sa", trustme.CA(), namespace=None)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    source = CredentialSource(in_cluster=True, environ=environ, service_account=folder)
    loaded = source.load()
    assert (loaded.host, loaded.namespace) == ("https://[fd00::1]:443", None)
    source.close()


def test_outside_a_pod_the_service_account_says_so(tmp_path: Path) -> None:
    source = CredentialSource(in_cluster=True, environ={}, service_account=str(tmp_path / "sa"))
    with pytest.raises(CredentialError, match=r"sa: .*Run inside a pod"):
        source.load()


def test_in_cluster_false_never_takes_the_service_account(tmp_path: Path) -> None:
    folder = pod(tmp_path / "sa", trustme.CA())
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"}
    with pytest.raises(CredentialError, match="no cluster to talk to"):
        CredentialSource(in_cluster=False, environ=environ, service_account=folder).load()


def test_an_empty_ca_is_an_error(tmp_path: Path) -> None:
    folder = pod(tmp_path / "sa", trustme.CA())
    (tmp_path / "sa" / "ca.crt").write_text("\n")
    environ = {"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"}
    with pytest.raises(CredentialError, match=r"ca\.crt"):
        CredentialSource(in_cluster=True, environ=environ, service_account=folder).load()


def test_what_is_returned_crosses_the_process_boundary(tmp_path: Path) -> None:
    source = CredentialSource(kubeconfig(tmp_path / "config", user={"token": "t"}, namespace="jobs"))
    loaded = source.load()
    assert Credentials.from_json(loaded.to_json()) == loaded
    assert loaded.namespace == "jobs"


def test_private_files_survive_a_cleaner_and_a_forked_child_and_go_at_the_end(tmp_path: Path) -> None:
    script = (
        "import os, sys, shutil\n"
        "from shard_executor.supervisor.material import Material\n"
        "material = Material()\n"
        "path = material.keep(b'secret')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
        "assert os.path.exists(path), 'the child removed it'\n"
        "os.unlink(path)\n"
        "assert material.keep(b'secret') == path\n"
        "shutil.rmtree(material.folder)\n"
        "print(material.keep(b'secret'))\n"
    )
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_material_makes_nothing_before_it_is_needed() -> None:
    material = Material()
    assert material.folder is None
    material.close()
