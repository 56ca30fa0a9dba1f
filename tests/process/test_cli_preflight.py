"""What the run command asks a cluster before it creates anything, against servers that answer in every wrong way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from command import run_command, write_tasks
from shard_executor.devcluster.process import DevClusterProcess

VERBS = ("create", "delete", "get", "list", "watch")


class Server:
    """A server that answers the preflight's questions as told and remembers every request."""

    def __init__(self, answers):
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body):
                path = self.path.partition("?")[0]
                outer.requests.append((self.command, path))
                found = answers.get(path, (404, {"kind": "Status", "reason": "NotFound", "message": "not found"}))
                status, content = found(body) if callable(found) else found
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                """Quiet: pytest shows what a failing test needs."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def end(self):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(answers):
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def reviews(denied=(), status=201):
    def answer(body):
        attributes = body["spec"]["resourceAttributes"]
        assert attributes["namespace"] == "jobs"
        assert attributes["resource"] == "pods"
        name = attributes["verb"] + (f"/{attributes['subresource']}" if "subresource" in attributes else "")
        return status, {"status": {"allowed": name not in denied}}

    return answer


def answers(**changes):
    """A cluster that is fine, with changes by short name."""
    good = {
        "version": (200, {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}),
        "namespace": (200, {"metadata": {"name": "jobs"}, "status": {"phase": "Active"}}),
        "namespaces": (200, {"items": [{"metadata": {"name": "default"}}, {"metadata": {"name": "prod"}}]}),
        "reviews": reviews(),
    }
    paths = {
        "version": "/version",
        "namespace": "/api/v1/namespaces/jobs",
        "namespaces": "/api/v1/namespaces",
        "reviews": "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    }
    return {paths[name]: answer for name, answer in {**good, **changes}.items()}


def status(reason, message):
    return {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message}


def run(tmp_path, url, *extra, token="t"):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    (tmp_path / "t.jsonl").write_text('{"id": "a", "image": "i"}\n')
    return subprocess.run(
        [sys.executable, "-m", "shard_executor.cli", "run", "t.jsonl", "--kubeconfig", "kubeconfig", *extra],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WRONG = [
    (
        {"version": (401, status("Unauthorized", "Unauthorized"))},
        ["refuses these credentials: Unauthorized", "log in again or check the user of this context"],
    ),
    (
        {"version": (200, "<html><title>Welcome</title></html>")},
        ["is no Kubernetes API server, or it is not ready: GET /version answered 200", "shard-executor devcluster"],
    ),
    (
        {"version": (503, "<html><title>Service Unavailable</title></html>")},
        ["or it is not ready: GET /version answered 503 Service Unavailable"],
    ),
    (
        {"namespace": (404, status("NotFound", 'namespaces "jobs" not found'))},
        ["namespace 'jobs' does not exist", "(it has: default, prod)", "kubectl create namespace jobs", "--namespace"],
    ),
    (
        {"namespace": (200, {"status": {"phase": "Terminating"}})},
        ["namespace 'jobs'", "is being deleted; give another with --namespace"],
    ),
    (
        {"namespace": (500, status("InternalError", "etcd is away"))},
        ["cannot look up namespace 'jobs'", "500 etcd is away"],
    ),
    (
        {"reviews": reviews(denied={"create", "watch"})},
        ["no permission in namespace 'jobs'", "may not create, watch pods", "create, delete, get, list, watch on pods"],
    ),
    (
        {"namespace": (403, status("Forbidden", "no")), "reviews": reviews(denied=set(VERBS))},
        ["may not create, delete, get, list, watch pods", "context 'dev'"],
    ),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_cluster_that_will_not_do_is_refused_before_anything_is_created(tmp_path, serve, changes, words):
    server = serve(answers(**changes))
    result = run(tmp_path, server.url, "--results", "out.jsonl")
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    for expected in words:
        assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert not any(path.endswith("/pods") for _, path in server.requests)
    assert not (tmp_path / "out.jsonl").exists()


def test_nobody_listens(tmp_path):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run(tmp_path, url)
    assert result.returncode == 2
    assert f"the cluster {url} (" in result.stderr
    assert "cannot be reached" in result.stderr
    assert "start a cluster on this machine with `shard-executor devcluster`" in result.stderr


def test_an_unknown_context_is_named(tmp_path):
    result = run(tmp_path, "http://127.0.0.1:1", "--context", "prod")
    assert result.returncode == 2
    assert "no cluster to talk to" in result.stderr
    assert "prod" in result.stderr
    assert "dev" in result.stderr


def test_a_template_for_another_namespace_than_its_task_is_refused_before_anything_is_created(tmp_path):
    (tmp_path / "bound.yaml").write_text("kind: Pod\nmetadata: {namespace: bound}\n")
    write_tasks(tmp_path / "t.jsonl", {"id": "a"}, {"id": "b", "template": "bound.yaml"})
    with DevClusterProcess() as cluster:
        result = run_command("run", "t.jsonl", "--kubeconfig", str(cluster.kubeconfig), cwd=tmp_path)
        assert cluster.stats()["pods"] == 0
    assert result.returncode == 2, result.stderr
    assert "t.jsonl, line 2: task 'b': the run's namespace is 'default' but metadata.namespace of temp" in result.stderr
    assert "Traceback" not in result.stderr
