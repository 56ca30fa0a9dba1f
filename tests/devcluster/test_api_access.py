"""Who gets in, what is denied, TLS, discovery, kubectl."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from devcluster_api import DevApi, manifest
from shard_executor.devcluster.process import DevClusterError, DevClusterProcess

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def allowed(api: DevApi, verb: str, resource: str, subresource: str = "") -> bool:
    attributes = {"verb": verb, "resource": resource, "subresource": subresource, "namespace": api.namespace}
    answer = api.call("POST", REVIEWS, {"spec": {"resourceAttributes": attributes}})
    assert answer.status == 201
    return answer.json["status"]["allowed"]


def test_a_wrong_token_is_unauthorized(api: DevApi) -> None:
    for method, body in (("GET", None), ("POST", manifest("a"))):
        answer = api.call(method, api.pods, body, token="wrong")
        assert (answer.status, answer.reason) == (401, "Unauthorized")


def test_without_a_token_one_is_anonymous(api: DevApi) -> None:
    answer = api.call("GET", api.pods, token=None)
    assert answer.status == 403
    assert 'User "system:anonymous" cannot list resource "pods"' in answer.json["message"]
    assert api.call("GET", "/readyz", token=None).body == b"ok"
    assert api.call("GET", "/version", token=None).status == 200
    assert api.call("GET", "/devcluster/stats", token=None).status == 403


def test_the_secret_path_of_the_kubeconfig_stands_for_the_token(api: DevApi, cluster: DevClusterProcess) -> None:
    prefix = f"/with-token/{cluster.token}"
    assert api.call("GET", prefix + api.pods, token=None).status == 200
    assert api.call("GET", prefix + api.pods, token="wrong").status == 401
    assert api.call("GET", "/with-token/guess" + api.pods, token=None).status == 403


def test_denied_verbs_are_forbidden_and_reviewed_so() -> None:
    with DevClusterProcess(["--kubelet", "simulated", "--deny", "create:pods", "--deny", "get:pods/log"]) as cluster:
        api = DevApi(cluster.url, cluster.token)
        answer = api.call("POST", api.pods, manifest("a"))
        assert answer.status == 403
        assert (
            f'cannot create resource "pods" in API group "" in the namespace "{api.namespace}"'
            in answer.json["message"]
        )
        assert not allowed(api, "create", "pods")
        assert not allowed(api, "get", "pods", "log")
        assert allowed(api, "list", "pods")


def test_bad_arguments_end_the_process_with_words() -> None:
    with pytest.raises(DevClusterError, match="not VERB:RESOURCE"):
        DevClusterProcess(["--deny", "pods"]).start()


def test_an_unknown_fault_is_refused(cluster: DevClusterProcess) -> None:
    with pytest.raises(DevClusterError, match="HTTP 400"):
        cluster.fault("earthquake")


def test_discovery_names_pods_and_their_subresources(api: DevApi) -> None:
    assert api.call("GET", "/api").json["versions"] == ["v1"]
    listed = {entry["name"]: entry for entry in api.call("GET", "/api/v1").json["resources"]}
    assert set(listed["pods"]["verbs"]) >= {"create", "delete", "deletecollection", "get", "list", "patch", "watch"}
    assert listed["pods/eviction"]["group"] == "policy"
    groups = [group["name"] for group in api.call("GET", "/apis").json["groups"]]
    assert "authorization.k8s.io" in groups


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "{pods}/a/unknown", 404),
        ("GET", "/api/v1/unknowns", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", "{pods}", 405),
        ("GET", "{pods}/a/binding", 405),
    ],
)
def test_wrong_paths_and_methods(api: DevApi, method: str, path: str, status: int) -> None:
    answer = api.call(method, path.format(pods=api.pods), None if method == "GET" else {})
    assert (answer.status, answer.json["kind"]) == (status, "Status")


def test_the_log_of_a_pod_without_a_node_is_empty(api: DevApi) -> None:
    api.create("a")
    answer = api.call("GET", api.path("a", "log"))
    assert (answer.status, answer.body) == (204, b"")
    assert api.call("GET", api.path("a", "log"), container="other").status == 400
    assert api.call("GET", api.path("a", "log"), tailLines="few").status == 400
    assert api.call("GET", api.path("missing", "log")).status == 404


def test_tls_with_client_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    served, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("someone", common_name="someone")
    (tmp_path / "server.pem").write_bytes(b"".join(blob.bytes() for blob in served.cert_chain_pems))
    served.private_key_pem.write_to_path(tmp_path / "server.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    arguments = ["--kubelet", "simulated", "--tls-cert", str(tmp_path / "server.pem")]
    arguments += ["--tls-key", str(tmp_path / "server.key"), "--tls-client-ca", str(tmp_path / "ca.pem")]
    with DevClusterProcess(arguments) as cluster:
        assert cluster.url.startswith("https://127.0.0.1:")

        def status(context: ssl.SSLContext) -> int:
            connection = http.client.HTTPSConnection(cluster.url.removeprefix("https://"), timeout=15, context=context)
            try:
                connection.request("GET", "/api/v1/pods")
                return connection.getresponse().status
            finally:
                connection.close()

        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        assert status(context) == 403
        context.load_cert_chain(str(tmp_path / "client.pem"))
        assert status(context) == 200


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_applies_shows_and_deletes(api: DevApi, cluster: DevClusterProcess, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}

    def kubectl(*arguments: str, stdin: str = "") -> str:
        command = ["kubectl", "-n", api.namespace, *arguments]
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pod = json.dumps(manifest("a", labels={"app": "x"}))
    assert kubectl("apply", "-f", "-", stdin=pod) == "pod/a created\n"
    assert kubectl("apply", "-f", "-", stdin=pod) == "pod/a unchanged\n"
    header, row = kubectl("get", "pods", "-l", "app=x").splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["a", "0/1", "Pending", "0"]
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "Status:" in kubectl("describe", "pod", "a")
    assert kubectl("delete", "pod", "a") == 'pod "a" deleted\n'
