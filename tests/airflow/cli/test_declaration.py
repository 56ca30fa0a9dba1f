"""Who brings which commands: Airflow refuses to start when two bring the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.executors.executor_loader import ExecutorLoader
from airflow.providers.cncf.kubernetes import get_provider_info
from airflow.providers_manager import ProvidersManager

from shard_executor.airflow import cli
from shard_executor.airflow.executor import ShardExecutor

Airflow = Callable[..., Any]


def names(groups: list[Any]) -> list[str]:
    return [group.name for group in groups]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes executors the configured ones, by name and class."""

    def configure(**executors: Any) -> None:
        listed = [SimpleNamespace(module_path=name) for name in executors]
        monkeypatch.setattr(ExecutorLoader, "get_executor_names", lambda: listed)
        monkeypatch.setattr(
            ExecutorLoader, "import_executor_cls", lambda name: (executors[name.module_path], "somewhere")
        )

    return configure


@pytest.fixture
def old_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow that takes commands from configured executors only."""
    monkeypatch.delattr(ProvidersManager, "cli_command_functions", raising=False)


class Stock:
    @staticmethod
    def get_cli_commands() -> list[Any]:
        return [SimpleNamespace(name="kubernetes")]


@pytest.mark.skipif(not hasattr(ProvidersManager, "cli_command_functions"), reason="this Airflow asks executors only")
def test_here_the_provider_brings_its_own() -> None:
    assert names(cli.provider_commands()) == ["shard-executor"]
    assert names(ShardExecutor.get_cli_commands()) == ["shard-executor"]


@pytest.mark.usefixtures("old_airflow")
def test_an_old_airflow_with_this_executor_alone_gets_both(configured: Callable[..., None]) -> None:
    configured(ours=ShardExecutor)
    assert names(ShardExecutor.get_cli_commands()) == ["shard-executor", "kubernetes"]


@pytest.mark.usefixtures("old_airflow")
def test_the_kubernetes_executor_beside_it_keeps_its_commands(configured: Callable[..., None]) -> None:
    configured(ours=ShardExecutor, theirs=Stock)
    assert names(ShardExecutor.get_cli_commands()) == ["shard-executor"]


def test_an_old_provider_under_this_airflow(monkeypatch: pytest.MonkeyPatch, configured: Callable[..., None]) -> None:
    monkeypatch.setattr(get_provider_info, "get_provider_info", lambda: {"package-name": "cncf"})
    configured(ours=ShardExecutor)
    assert names(cli.provider_commands()) == ["shard-executor", "kubernetes"]


@pytest.mark.usefixtures("old_airflow")
def test_two_of_this_executor_bring_them_once(monkeypatch: pytest.MonkeyPatch, configured: Callable[..., None]) -> None:
    configured(ours=ShardExecutor, alias=ShardExecutor)
    loading = ModuleType("airflow.cli.cli_parser")
    loading.airflow_commands = []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, loading.__name__, loading)
    for _ in range(2):
        loading.airflow_commands += ShardExecutor.get_cli_commands()
    assert names(loading.airflow_commands) == ["shard-executor", "kubernetes"]


def test_the_real_parser_takes_them(airflow: Airflow) -> None:
    both = {"core__executor": "shard_executor.ShardExecutor,KubernetesExecutor"}
    done = airflow("shard-executor", "cleanup-pods", "--help", options=both)
    assert done.returncode == 0, done.stderr
    for word in ("--dry-run", "--min-pending-minutes", "--min-completed-minutes", "--namespace", "--team"):
        assert word in done.stdout
    assert airflow("kubernetes", "cleanup-pods", "--help", options=both).returncode == 0
