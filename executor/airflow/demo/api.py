"""Airflow's REST API as the demo and the tests use it: one token, JSON in and out, waits with limits."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from shard_executor.airflow.demo.component import DemoError

Json = dict[str, Any]
T = TypeVar("T")
TERMINAL = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})  # of task instances
_PAUSE = 0.4  # seconds between questions while something is awaited; each costs the API server some milliseconds
_PAGE = 100  # the most that [api] maximum_page_limit allows by default


class ApiFault(DemoError):
    """The API server refused a request, or could not be reached (status 0)."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def wait_for(
    question: Callable[[], T | None], what: str, seconds: float, *, check: Callable[[], None] | None = None
) -> T:
    """Asks until the answer is true in the sense of Python, and returns it.

    Args:
        question: asked again and again.
        what: for the error: "<what> did not come within ...".
        seconds: the limit.
        check: called before each question; raises if waiting makes no sense any more.

    Raises:
        DemoError: after the limit.
    """
    deadline = time.monotonic() + seconds
    while True:
        if check is not None:
            check()
        answer = question()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise DemoError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(_PAUSE)


class AirflowApi:
    """A user of the REST API (version 2 of it, as from Airflow 3.0). Constructing asks nothing.

    Args:
        url: of the API server, without a path.
        user, password: as the simple auth manager knows them.
        timeout: seconds for one request.
    """

    def __init__(self, url: str, user: str, password: str, *, timeout: float = 30.0) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._timeout = timeout
        self._token: str | None = None

    def call(self, method: str, path: str, body: Json | None = None, **query: Any) -> Json:
        """One request below ``/api/v2``.

        Raises:
            ApiFault: a refusal, or no connection.
        """
        if self._token is None:
            self._token = str(self._send("POST", "/auth/token", self._login)["access_token"])
        pairs = [(name, value) for name, value in query.items() if value is not None]
        tail = f"?{urllib.parse.urlencode(pairs, doseq=True)}" if pairs else ""
        return self._send(method, f"/api/v2{path}{tail}", body)

    def healthy(self, *parts: str) -> bool:
        """Whether these parts, such as scheduler, dag_processor or triggerer, beat; False while nobody answers."""
        try:
            answer = self.call("GET", "/monitor/health")
        except ApiFault as fault:
            if fault.status not in (0, 503):
                raise
            return False
        return all((answer.get(part) or {}).get("status") == "healthy" for part in ("metadatabase", *parts))

    def jobs(self, kind: str, *, alive: bool | None = None) -> list[Json]:
        """The job rows of a kind, such as SchedulerJob or TriggererJob."""
        return list(self.call("GET", "/jobs", job_type=kind, is_alive=alive, limit=_PAGE)["jobs"])

    def dag(self, dag_id: str) -> Json | None:
        """A DAG, None while it is not known."""
        try:
            return self.call("GET", f"/dags/{dag_id}")
        except ApiFault as fault:
            if fault.status != 404:
                raise
            return None

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Begins a run; returns its id."""
        body: Json = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> Json:
        """A run."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}")

    def tasks(self, dag_id: str, run_id: str) -> list[Json]:
        """The task instances of a run, ordered by task and map index."""
        found: list[Json] = []
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances"
        while True:
            page = self.call("GET", path, limit=_PAGE, offset=len(found))
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return sorted(found, key=lambda task: (task["task_id"], task["map_index"]))

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Json:
        """One task instance.

        Raises:
            DemoError: there is none.
        """
        for task in self.tasks(dag_id, run_id):
            if task["task_id"] == task_id and task["map_index"] == map_index:
                return task
        raise DemoError(f"run {run_id} of {dag_id} has no task {task_id}[{map_index}]")

    def tries(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[Json]:
        """All tries of a task instance, the present one last."""
        middle = "" if map_index < 0 else f"/{map_index}"
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}{middle}/tries"
        found = self.call("GET", path)["task_instances"]
        return sorted(found, key=lambda task: int(task["try_number"]))

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> list[str]:
        """The lines of a task's log, sources included, each as text."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index, full_content="true")["content"]
        return [line if isinstance(line, str) else json.dumps(line) for line in content]

    def events(self, dag_id: str, run_id: str) -> list[Json]:
        """The audit log of a run, oldest first."""
        query: Json = {"dag_id": dag_id, "run_id": run_id, "limit": _PAGE, "order_by": "id"}
        return list(self.call("GET", "/eventLogs", **query)["event_logs"])

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clears task instances, running ones too."""
        body: Json = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": list(task_ids)}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def _send(self, method: str, path: str, body: Json | None) -> Json:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                words = error.read().decode(errors="replace")[:2000]
            raise ApiFault(error.code, f"{method} {path}: HTTP {error.code} {words}") from error
        except OSError as error:
            raise ApiFault(0, f"{method} {path}: {error}") from error
        answer: Json = json.loads(text) if text else {}
        return answer


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
