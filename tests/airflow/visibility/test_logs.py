"""The log of a task while its pod runs, read as Airflow's API server reads it."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shard_executor.airflow.logs import selector_of, streaming_task_log, task_log

SLEEP = "exec sleep 300"


def lines_of(options: Any, ti: Any, try_number: int = 1) -> tuple[list[str], list[str]]:
    messages, logs = task_log(options, ti, try_number)
    return messages, logs[0].split("\n")


def test_a_running_pods_log(place: Any, ti: Any, until: Any, tmp_path: Path) -> None:
    """While it runs: what it has written so far, and more the next time."""
    go = tmp_path / "go"
    script = f"echo one; echo two; while [ ! -e {go} ]; do sleep 0.05; done; echo three; {SLEEP}"
    place.pod("running", ti, "sh", "-c", script)
    until(lambda: lines_of(place.options, ti)[1] == ["one", "two"], "the first lines")
    assert task_log(place.options, ti, 1)[0] == [
        "Attempting to fetch logs from pod worker-1 through kube API",
        "Found logs through kube API",
    ]
    go.touch()
    until(lambda: lines_of(place.options, ti)[1] == ["one", "two", "three"], "the line that came later")


def test_streams_are_generators_of_lines(place: Any, ti: Any, until: Any) -> None:
    place.pod("streams", ti, "sh", "-c", f"echo one; echo two; {SLEEP}")
    until(lambda: "two" in task_log(place.options, ti, 1)[1][0], "its lines")
    _, streams = streaming_task_log(place.options, ti, 1)
    assert [inspect.isgenerator(stream) for stream in streams] == [True]
    assert list(streams[0]) == ["one", "two"]


def test_a_stream_that_nobody_reads_to_its_end(place: Any, ti: Any, until: Any) -> None:
    place.pod("unread", ti, "sh", "-c", f"seq 1 1000; {SLEEP}")
    until(lambda: "1000" in task_log(place.options, ti, 1)[1][0], "its lines")
    _, [stream] = streaming_task_log(place.options, ti, 1)
    next(stream)
    stream.close()
    assert list(stream) == []


def test_only_the_last_lines_are_asked_for(place: Any, ti: Any, until: Any) -> None:
    place.pod("lines", ti, "sh", "-c", f"seq 1 50; {SLEEP}")
    until(lambda: lines_of(place.with_options(running_pod_log_lines=3), ti)[1] == ["48", "49", "50"], "three lines")


def test_any_bytes_and_escape_codes(place: Any, ti: Any, until: Any) -> None:
    script = rf"printf 'caf\303\251 \377\376 \033[31mred\033[0m\r\n\033[1mbold\033[0m\n'; {SLEEP}"
    place.pod("bytes", ti, "sh", "-c", script)
    until(lambda: lines_of(place.options, ti)[1] == ["café \ufffd\ufffd red", "bold"], "what it printed")


def test_any_scheduler_may_own_the_pod(place: Any, ti: Any, until: Any) -> None:
    """The label names the scheduler that adopted it, which need not be the one that queued the task."""
    assert ti.queued_by_job_id != 17
    place.pod("adopted", ti, "sh", "-c", f"echo mine; {SLEEP}")
    until(lambda: lines_of(place.options, ti)[1] == ["mine"], "its line")


@pytest.mark.parametrize("map_index", [-1, 3])
def test_identifiers_that_are_no_label_values(place: Any, ti: Any, until: Any, map_index: int) -> None:
    ti.dag_id, ti.task_id, ti.run_id, ti.map_index = "Größe/日本", "t" * 250, "scheduled__2026+x:y", map_index
    place.pod(f"labels-{map_index + 1}", ti, "sh", "-c", f"echo found {map_index}; {SLEEP}")
    until(lambda: lines_of(place.options, ti)[1] == [f"found {map_index}"], "its line")


def test_each_try_has_its_own_pod(place: Any, ti: Any, until: Any) -> None:
    place.pod("try-1", ti, "sh", "-c", f"echo first; {SLEEP}", try_number=1)
    place.pod("try-2", ti, "sh", "-c", f"echo second; {SLEEP}", try_number=2)
    until(lambda: lines_of(place.options, ti, 1)[1] == ["first"], "the first try's line")
    until(lambda: lines_of(place.options, ti, 2)[1] == ["second"], "the second try's line")


def test_of_several_pods_the_newest_that_is_alive(place: Any, ti: Any, until: Any) -> None:
    """As after a deferral, where the pod of the first part was kept, and after a pod that was launched again."""
    first, second = {"shard-executor/attempt": "1"}, {"shard-executor/attempt": "10"}
    place.pod("z-alive-earlier", ti, "sh", "-c", SLEEP, annotations={"shard-executor/attempt": "9"})
    place.pod("b-alive", ti, "sh", "-c", f"echo alive; {SLEEP}", annotations=second)
    place.pod("c-over", ti, "sh", "-c", "echo over", annotations=first, until_phase="Succeeded")
    until(lambda: lines_of(place.options, ti)[1] == ["alive"], "the living pod's line")
    messages = task_log(place.options, ti, 1)[0]
    assert messages[1].startswith(
        "Found 3 pods of this try; reading the newest that is alive, default/b-alive (others:"
    )
    assert "z-alive-earlier" in messages[1]
    assert "c-over" in messages[1]


def test_a_pod_of_this_executor_or_task_instance_comes_first(place: Any, ti: Any, until: Any) -> None:
    other = {"shard-executor/instance": "other.default"}
    own = {"shard-executor/instance": place.options.instance}
    place.pod("own-of-another-id", ti, "sh", "-c", f"echo no; {SLEEP}", labels={**own, "ti_id": "another"})
    place.pod("own", ti, "sh", "-c", f"echo own; {SLEEP}", labels={**own, "ti_id": ti.id})
    place.pod("x-other", ti, "sh", "-c", f"echo other; {SLEEP}", labels={**other, "ti_id": ti.id})
    until(lambda: lines_of(place.options, ti)[1] == ["own"], "the own pod's line")
    renamed = place.with_options(instance="renamed.default")
    until(lambda: lines_of(renamed, ti)[1] != [""], "the line of one of them")


@pytest.mark.parametrize("namespace", ["default", "second", "third"])
def test_every_watched_namespace_is_looked_at(place: Any, ti: Any, until: Any, namespace: str) -> None:
    place.pod(f"here-{namespace}", ti, "sh", "-c", f"echo {namespace}; {SLEEP}", namespace=namespace)
    listed = place.with_options(namespaces=("default", "second", "third"))
    until(lambda: lines_of(listed, ti)[1] == [namespace], "its line")
    anywhere = place.with_options(all_namespaces=True)
    assert lines_of(anywhere, ti)[1] == [namespace]


def test_an_override_names_the_namespace(place: Any, ti: Any, until: Any) -> None:
    from kubernetes.client import models as k8s

    place.pod("overridden", ti, "sh", "-c", f"echo second; {SLEEP}", namespace="second")
    assert "no pod of this try in default" in task_log(place.options, ti, 1)[0][-1]
    for override in (
        k8s.V1Pod(metadata=k8s.V1ObjectMeta(namespace="second")),
        {"metadata": {"namespace": "second"}},
    ):
        ti.executor_config = {"pod_override": override}
        until(lambda: lines_of(place.options, ti)[1] == ["second"], "its line")


@pytest.mark.parametrize("config", [None, {}, {"pod_override": None}, {"pod_override": {}}, {"pod_override": "x"}, "x"])
def test_odd_executor_configs_mean_the_configured_namespace(place: Any, ti: Any, config: Any) -> None:
    ti.executor_config = config
    assert "no pod of this try in default (labels dag_id=" in task_log(place.options, ti, 1)[0][-1]


def test_a_pod_that_waits_says_what_for(place: Any, ti: Any) -> None:
    place.pod("waits", ti, "sh", "-c", SLEEP, until_phase="Pending", nodeSelector={"no": "such"})
    until_words = task_log(place.options, ti, 1)
    assert until_words[1] == [""]
    assert until_words[0][-1].startswith("Pod default/waits has not started")


def test_a_pod_without_output(place: Any, ti: Any) -> None:
    place.pod("silent", ti, "sh", "-c", SLEEP)
    assert task_log(place.options, ti, 1) == (
        [
            "Attempting to fetch logs from pod worker-1 through kube API",
            "Pod default/silent has written nothing yet",
        ],
        [""],
    )


def test_no_cluster(place: Any, ti: Any, tmp_path: Path) -> None:
    text = Path(place.options.kubeconfig).read_text()
    port = place.cluster.url.rpartition(":")[2]
    (tmp_path / "kubeconfig").write_text(text.replace(f":{port}", ":1"))
    for options in (
        place.with_options(kubeconfig=str(tmp_path / "kubeconfig")),
        place.with_options(kubeconfig=str(tmp_path / "missing")),
        place.with_options(client_factory="no.such.factory"),
    ):
        messages, logs = task_log(options, ti, 1)
        assert logs == [""]
        assert len(messages) == 2 or options.client_factory
        assert "Reading from k8s pod logs failed: " in messages[-1]


def test_the_options_of_airflow(place: Any, ti: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.configuration import conf

    from shard_executor.airflow.options import read_options

    monkeypatch.setenv("AIRFLOW__KUBERNETES_EXECUTOR__IN_CLUSTER", "False")
    monkeypatch.setenv("AIRFLOW__KUBERNETES_EXECUTOR__CONFIG_FILE", str(place.options.kubeconfig))
    monkeypatch.setenv("AIRFLOW__KUBERNETES_EXECUTOR__RUNNING_POD_LOG_LINES", "1")
    place.pod("configured", ti, "sh", "-c", f"echo one; echo two; {SLEEP}")
    until(lambda: lines_of(read_options(conf), ti)[1] == ["two"], "the last line")


# ---- a scripted client, for what a real API server hardly ever does


class Refusal(Exception):
    """As the kubernetes client's ApiException."""

    def __init__(self, status: int, reason: str, body: str | None) -> None:
        super().__init__(f"({status})\nReason: {reason}\nHTTP response headers: ...")
        self.status, self.reason, self.body = status, reason, body


class Answer:
    """A log that comes in pieces and breaks where a piece is an exception."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = False

    def __iter__(self) -> Any:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed = True


class Client:
    """Lists what it was given by namespace, and reads one answer."""

    def __init__(self, pods: dict[str, Any], answer: Any = None) -> None:
        self.pods = pods
        self.answer = answer

    def list_namespaced_pod(self, namespace: str, **_: Any) -> Any:
        found = self.pods.get(namespace, [])
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(items=found)

    def read_namespaced_pod_log(self, **_: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scripted_pod(name: str, phase: str = "Running", **status: Any) -> Any:
    metadata = SimpleNamespace(
        name=name,
        namespace="default",
        labels=None,
        annotations=None,
        creation_timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        deletion_timestamp=None,
    )
    status = {"init_container_statuses": None, "container_statuses": None, "conditions": None, **status}
    return SimpleNamespace(metadata=metadata, status=SimpleNamespace(phase=phase, **status))


@pytest.fixture
def scripted(place: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(client: Client) -> Any:
        monkeypatch.setattr("shard_executor.airflow.logs.kube_client", lambda options, team_name: client)
        return place.options

    return use


def test_a_refusal_is_told_in_one_line(scripted: Any, ti: Any) -> None:
    body = '{"kind": "Status", "message": "pods is forbidden: User \\"airflow\\" cannot list"}'
    for failing in (Client({"default": Refusal(403, "Forbidden", body)}),):
        messages, logs = task_log(scripted(failing), ti, 1)
        assert messages[-1] == (
            'Reading from k8s pod logs failed: HTTP 403 Forbidden: pods is forbidden: User "airflow" cannot list'
        )
        assert logs == [""]


@pytest.mark.parametrize(
    ("body", "words"), [("<html>", "HTTP 502 Bad"), (None, "HTTP 502 Bad"), ("[1]", "HTTP 502 Bad")]
)
def test_refusals_without_a_status_object(scripted: Any, ti: Any, body: str | None, words: str) -> None:
    options = scripted(Client({"default": [scripted_pod("a")]}, Refusal(502, "Bad", body)))
    assert task_log(options, ti, 1)[0][-1] == f"Reading from k8s pod logs failed: {words}"


def test_a_namespace_that_may_not_be_listed_hides_no_other(scripted: Any, place: Any, ti: Any) -> None:
    client = Client({"default": Refusal(403, "Forbidden", None), "second": [scripted_pod("a")]}, Answer(b"line\n"))
    scripted(client)
    assert task_log(place.with_options(namespaces=("second",)), ti, 1)[1] == ["line"]
    client.pods["second"] = []
    messages = task_log(place.with_options(namespaces=("second",)), ti, 1)[0]
    assert messages[-2] == "Reading from k8s pod logs failed: HTTP 403 Forbidden"
    assert "no pod of this try in default, second" in messages[-1]


def test_an_answer_that_breaks_off(scripted: Any, ti: Any) -> None:
    answer = Answer(b"one\n", b"two\n", ConnectionResetError("reset by peer"))
    messages, logs = task_log(scripted(Client({"default": [scripted_pod("a")]}, answer)), ti, 1)
    assert messages[-1] == "Found logs through kube API"
    assert logs == ["one\ntwo\nReading from k8s pod logs failed: ConnectionResetError: reset by peer"]
    assert answer.closed


def test_a_task_instance_of_the_history_has_fewer_fields(scripted: Any) -> None:
    record = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    assert task_log(scripted(Client({"default": [scripted_pod("a")]}, Answer(b"x"))), record, 1)[1] == ["x"]


def test_a_waiting_container_says_why(scripted: Any, ti: Any) -> None:
    waiting = SimpleNamespace(reason="ImagePullBackOff", message="Back-off pulling\n image x")
    status = SimpleNamespace(state=SimpleNamespace(waiting=waiting))
    options = scripted(Client({"default": [scripted_pod("a", "Pending", container_statuses=[status])]}))
    assert task_log(options, ti, 1)[0][-1] == (
        "Pod default/a has not started: ImagePullBackOff: Back-off pulling image x"
    )


def test_a_client_factory_is_asked(place: Any, ti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.cncf.kubernetes import kube_client

    asked: list[str | None] = []

    def getter(team_name: str | None = None) -> Client:
        asked.append(team_name)
        return Client({"default": [scripted_pod("a")]}, Answer(b"made\n"))

    monkeypatch.setattr(kube_client, "_get_executor_kube_client", getter, raising=False)
    options = place.with_options(client_factory="any.factory")
    assert task_log(options, ti, 1, team_name="red")[1] == ["made"]
    assert task_log(options, ti, 1)[1] == ["made"]
    assert asked == ["red", None]


def test_a_provider_without_factories(place: Any, ti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.cncf.kubernetes import kube_client

    monkeypatch.delattr(kube_client, "_get_executor_kube_client", raising=False)
    assert "no pod of this try in default" in task_log(place.options, ti, 1, team_name="red")[0][-1]


def test_the_selector_asks_for_no_particular_scheduler(ti: Any) -> None:
    clauses = selector_of(ti, 2).split(",")
    assert "airflow-worker" in clauses
    assert "try_number=2" in clauses
    assert not any(clause.startswith(("airflow-worker=", "map_index")) for clause in clauses)
