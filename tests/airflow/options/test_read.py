"""Options: read as the KubernetesExecutor reads them, checked, and refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from shard_executor.airflow.options import OptionError, Options, read_options
from shard_executor.supervisor.config import default_shards


class Conf:
    """Airflow's configuration as far as it is asked."""

    def __init__(self, **values: str) -> None:
        self.values = {tuple(name.split("__", 1)): value for name, value in values.items()}

    def get(self, section: str, key: str, *, fallback: Any = None) -> Any:
        return self.values.get((section, key), fallback)


def read(team_name: str | None = None, alias: str | None = None, common: Any = None, **values: str) -> Options:
    return read_options(Conf(**values), team_name=team_name, alias=alias, common=common)


def test_defaults() -> None:
    options = read()
    assert (options.parallelism, options.namespace, options.namespaces) == (32, "default", ())
    assert not options.all_namespaces
    assert options.kube_image is None
    assert options.delete_worker_pods
    assert not options.delete_worker_pods_on_failure
    assert options.excluded_container_reasons == {"Error"}
    assert "ErrImagePull" in options.fatal_reasons
    assert (options.pod_launch_failure_retries, options.task_publish_max_retries) == (1, 0)
    assert options.in_cluster
    assert options.request_timeout == 30.0
    assert options.create_timeout == options.task_queued_timeout == 600.0
    assert options.shards == default_shards()
    assert options.window == (8, 1, 64)
    assert options.instance == "airflow.default"
    assert options.notes == ()


def test_the_image_needs_both_parts() -> None:
    assert read(kubernetes_executor__worker_container_repository="apache/airflow").kube_image is None
    image = read(
        kubernetes_executor__worker_container_repository="apache/airflow",
        kubernetes_executor__worker_container_tag="3.3.2",
    ).kube_image
    assert image == "apache/airflow:3.3.2"


def test_several_namespaces() -> None:
    listed = "kubernetes_executor__multi_namespace_mode_namespace_list"
    only_list = read(**{listed: "a,b"})
    assert (only_list.namespaces, only_list.all_namespaces) == ((), False)
    mode = {"kubernetes_executor__multi_namespace_mode": "True", "kubernetes_executor__namespace": "airflow"}
    assert read(**mode).all_namespaces
    both = read(**mode, **{listed: " a, b ,,a,airflow"})
    assert (both.namespace, both.namespaces, both.all_namespaces) == ("airflow", ("a", "b"), False)


def test_an_empty_namespace_is_the_default_one() -> None:
    assert read(kubernetes_executor__namespace="").namespace == "default"


@pytest.mark.parametrize("text", ["t", "TRUE", "1", "True # for now"])
def test_airflows_spellings_of_true(text: str) -> None:
    assert read(kubernetes_executor__delete_worker_pods_on_failure=text).delete_worker_pods_on_failure


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("kubernetes_executor__delete_worker_pods", "yes", "True or False"),
        ("kubernetes_executor__namespace", "Team_A", "names of namespaces"),
        ("kubernetes_executor__task_publish_max_retries", "-2", "a whole number of at least -1"),
        ("kubernetes_executor__pod_launch_failure_retries", "two", "a whole number of at least -1"),
        ("kubernetes_executor__running_pod_log_lines", "0", "a whole number of at least 1"),
        ("kubernetes_executor__tcp_keep_idle", "soon", "a whole number"),
        ("kubernetes_executor__worker_pods_creation_batch_size", "", "a whole number"),
        ("kubernetes_executor__api_client_retry_configuration", "[1]", "a JSON object"),
        ("kubernetes_executor__kube_client_request_args", "{", "a JSON object"),
        ("kubernetes_executor__kube_client_request_args", '{"_request_timeout": [1, 2, 3]}', "_request_timeout"),
        ("kubernetes_executor__kube_client_request_args", '{"_request_timeout": true}', "_request_timeout"),
        ("kubernetes_executor__kube_client_request_args", '{"_request_timeout": 0}', "_request_timeout"),
        ("kubernetes_executor__kube_client_request_args", '{"dry_run": "All"}', "dry_run"),
        ("kubernetes_executor__delete_option_kwargs", '{"grace_period": 3}', "grace_period_seconds"),
        ("kubernetes_executor__delete_option_kwargs", '{"grace_period_seconds": -1}', "at least 0"),
        ("kubernetes_executor__delete_option_kwargs", '{"grace_period_seconds": true}', "whole number"),
        ("kubernetes_executor__delete_option_kwargs", '{"propagation_policy": "Now"}', "Foreground"),
        ("kubernetes_executor__delete_option_kwargs", '{"preconditions": {}}', "uid"),
        ("kubernetes_executor__delete_option_kwargs", '{"dry_run": "All"}', "dry_run"),
        ("core__parallelism", "0", "at least 1"),
        ("shard_executor__deployment", "", "at most 32 characters"),
        ("shard_executor__deployment", "my airflow", "letters, digits"),
        ("shard_executor__shards", "257", "from 0 to 256"),
        ("shard_executor__shards", "many", "from 0 to 256"),
        ("shard_executor__disruption_policy", "retry", "'fail' or 'resubmit'"),
        ("shard_executor__create_timeout", "nan", "a number of at least 0"),
        ("shard_executor__adoption_timeout", "600", "from 0.1 to 60"),
        ("shard_executor__metrics_interval", "0", "from 0.1 to 3600"),
    ],
)
def test_a_wrong_value_is_refused_in_words(name: str, value: str, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(**{name: value})
    section, key = name.split("__", 1)
    assert (caught.value.section, caught.value.key) == (section, key)
    words = str(caught.value)
    assert f"[{section}] {key}" in words
    assert f"AIRFLOW__{section.upper()}__{key.upper()}" in words
    assert allowed in words
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("text", "seconds"), [("12.5", 12.5), ("[10, 50]", 60.0), ("null", 30.0)])
def test_the_clients_request_timeout(text: str, seconds: float) -> None:
    options = read(kubernetes_executor__kube_client_request_args=f'{{"_request_timeout": {text}}}')
    assert options.request_timeout == seconds


def test_delete_options_are_spelled_as_the_api_does() -> None:
    text = '{"grace_period_seconds": 10, "propagation_policy": "Background", "kind": "DeleteOptions"}'
    options = read(kubernetes_executor__delete_option_kwargs=text)
    assert options.delete_options == {"gracePeriodSeconds": 10, "propagationPolicy": "Background"}


def test_delete_options_of_the_client_are_all_known() -> None:
    client = pytest.importorskip("kubernetes.client")
    from shard_executor.airflow import request_options

    names = dict(client.V1DeleteOptions.attribute_map)
    for refused in ("api_version", "kind", "preconditions", "dry_run"):
        del names[refused]
    known = {key: field for key, (field, _) in request_options._DELETE_FIELDS.items()}
    assert names.items() <= known.items()


def test_what_has_no_effect_says_why() -> None:
    options = read(
        kubernetes_executor__worker_pods_creation_batch_size="16",
        kubernetes_executor__enable_tcp_keepalive="false",
        kubernetes_executor__kube_client_request_args='{"pretty": "true"}',
    )
    words = "\n".join(options.notes)
    assert "[kubernetes_executor] worker_pods_creation_batch_size = 16 has no effect: Pods are created beside" in words
    assert "enable_tcp_keepalive = false" in words
    assert "kube_client_request_args: pretty" in words
    assert len(options.notes) == 3
    assert read(kubernetes_executor__worker_pods_creation_batch_size="1").notes == ()


def test_the_budget_of_a_create() -> None:
    assert read(scheduler__task_queued_timeout="90").create_timeout == 90
    assert read(kubernetes_executor__task_publish_max_retries="3").create_timeout == 600
    assert read(kubernetes_executor__task_publish_max_retries="-1").create_timeout > 1e6
    set_here = read(kubernetes_executor__task_publish_max_retries="-1", shard_executor__create_timeout="30")
    assert set_here.create_timeout == 30


@pytest.mark.parametrize(
    ("own", "concurrency", "switched_on", "shards", "window"),
    [
        ("0", "16", "True", "2", (8, 1, 8)),
        ("0", "16", "False", "2", (8, 1, 64)),
        ("0", "0", "True", "2", (8, 1, 64)),
        ("10", "16", "True", "2", (5, 1, 5)),
        ("100", "16", "True", "1", (8, 1, 16)),
        ("2", "0", "False", "4", (1, 1, 1)),
        ("0", "0", "False", "4", (8, 1, 64)),
    ],
)
def test_creates_in_flight(
    own: str, concurrency: str, switched_on: str, shards: str, window: tuple[int, int, int]
) -> None:
    options = read(
        shard_executor__max_creates_in_flight=own,
        shard_executor__shards=shards,
        kubernetes_executor__pod_creation_max_concurrency=concurrency,
        kubernetes_executor__async_pod_creation=switched_on,
    )
    assert options.window == window


def test_a_team_has_its_own_options_and_the_common_deployment() -> None:
    common = Conf(shard_executor__deployment="production", scheduler__task_queued_timeout="60")
    options = read(team_name="red", common=common, kubernetes_executor__namespace="red")
    assert (options.namespace, options.deployment, options.instance) == ("red", "production", "production.red.default")
    assert (options.task_queued_timeout, options.team_name) == (60, "red")
    own = read(team_name="red", common=common, shard_executor__deployment="reds")
    assert own.deployment == "reds"
