"""What Airflow's own commands know of this package: provider, options, executor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import airflow as airflow_package
from shard_executor.airflow.option_table import OWN, OWN_OPTIONS
from shard_executor.airflow.options import read_options
from shard_executor.airflow.provider_info import get_provider_info

Airflow = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_entry_point_is_the_provider_information() -> None:
    (found,) = (
        point for point in entry_points(group="apache_airflow_provider") if point.value.startswith("shard_executor.")
    )
    assert found.load()() == get_provider_info()


def test_the_information_fits_airflows_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(airflow_package.__file__).with_name("provider_info.schema.json")
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))


def test_reading_it_imports_next_to_nothing() -> None:
    code = (
        "import sys; from shard_executor.airflow.provider_info import get_provider_info as g; g(); "
        "print(sorted({'airflow', 'kubernetes', 'aiohttp', 'yaml'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_airflow_lists_the_provider_and_the_executor(airflow: Airflow) -> None:
    providers = airflow("providers", "list", "--output", "json")
    assert providers.returncode == 0, providers.stderr
    rows = json.loads(providers.stdout[providers.stdout.index("[") :])
    assert "shard-executor" in {row["package_name"] for row in rows}
    executors = airflow("providers", "executors", "--output", "json")
    assert "shard_executor.ShardExecutor" in executors.stdout


def test_airflow_lists_every_option_with_its_default_and_words(airflow: Airflow) -> None:
    words = ("config", "list", "--section", OWN, "--defaults", "--color", "off")
    listed = airflow(*words, "--show-values")
    if "unrecognized arguments: --show-values" in listed.stderr:  # releases that always show them
        listed = airflow(*words)
    assert listed.returncode == 0, listed.stderr
    text = listed.stdout
    assert f"[{OWN}]" in text
    for option in OWN_OPTIONS:
        assert f"# {option.key} = {option.default}".rstrip() in text, option.key
        assert f"AIRFLOW__SHARD_EXECUTOR__{option.key.upper()}" in text
    assert "Name of this Airflow." in text


def test_airflow_gets_a_value_and_its_default(airflow: Airflow) -> None:
    assert airflow("config", "get-value", OWN, "disruption_policy").stdout.splitlines()[-1] == "fail"
    changed = {"shard_executor__disruption_policy": "resubmit"}
    assert airflow("config", "get-value", OWN, "disruption_policy", options=changed).stdout.splitlines()[-1] == (
        "resubmit"
    )


def test_airflows_real_configuration_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.configuration import conf
    from airflow.executors.base_executor import ExecutorConf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    assert read_options(conf).deployment == "airflow"
    monkeypatch.setenv("AIRFLOW__SHARD_EXECUTOR__DEPLOYMENT", "production")
    monkeypatch.setenv("AIRFLOW__SHARD_EXECUTOR__SHARDS", "4")
    monkeypatch.setenv("AIRFLOW__RED___KUBERNETES_EXECUTOR__NAMESPACE", "reds")
    assert read_options(ExecutorConf()).shards == 4
    team = read_options(ExecutorConf("red"), team_name="red")
    assert (team.namespace, team.instance) == ("reds", "production.red.default")
    assert read_options(ExecutorConf()).namespace == "default"
