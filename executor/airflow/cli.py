"""The commands under `airflow`, declared; what they do is imported when one is called.

Every call of `airflow` loads this, so it imports no more than the command line itself has.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from airflow.cli.cli_config import (
    ARG_BUNDLE_NAME,
    ARG_DAG_ID,
    ARG_LOGICAL_DATE,
    ARG_OUTPUT_PATH,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
    positive_int,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = "shard-executor"
STOCK_GROUP = "kubernetes"
_COMMANDS = "shard_executor.airflow.cli_commands"

ARG_NAMESPACE = Arg(
    ("--namespace",), default=None, help="Namespace to clean up. Default: every namespace that the executor watches."
)
ARG_MIN_PENDING_MINUTES = Arg(
    ("--min-pending-minutes",),
    default=30,
    type=positive_int(allow_zero=False),
    help="Minutes that a pod may be pending. Default: 30, at least 5.",
)
ARG_MIN_COMPLETED_MINUTES = Arg(
    ("--min-completed-minutes",),
    default=1,
    type=positive_int(allow_zero=True),
    help="Minutes that a finished pod is left alone. Default: 1; 0 deletes it at once.",
)
ARG_DRY_RUN = Arg(("--dry-run",), help="Say what would be deleted and delete nothing.", action="store_true")
ARG_TEAM = Arg(("--team",), default=None, help="Team whose options count, where Airflow has teams.")


def provider_commands() -> list[Any]:
    """The commands, for an Airflow that takes them from providers (3.2 and later)."""
    return [_own_group(), *_stock_group()]


def get_cli_commands() -> list[Any]:
    """The commands, for an Airflow that takes them from executors. Of several such executors the first one has them."""
    vended = _being_loaded()
    return [group for group in provider_commands() if group.name not in vended]


def _own_group() -> Any:
    return GroupCommand(
        name=GROUP,
        help="Tools for the ShardExecutor",
        subcommands=(
            ActionCommand(
                name="cleanup-pods",
                help="Delete pods of tasks that have finished, were evicted or have been pending for too long",
                description=(
                    "Deletes pods of tasks that have succeeded, failed, were evicted or have been pending for too "
                    "long, those of the KubernetesExecutor and of KubernetesPodOperator included, but none of another "
                    "deployment of the ShardExecutor. Exits with 1 if something could not be listed or deleted."
                ),
                func=lazy_load_command(f"{_COMMANDS}.cleanup_pods"),
                args=(
                    ARG_NAMESPACE,
                    ARG_MIN_PENDING_MINUTES,
                    ARG_MIN_COMPLETED_MINUTES,
                    ARG_DRY_RUN,
                    ARG_TEAM,
                    ARG_VERBOSE,
                ),
            ),
            ActionCommand(
                name="generate-dag-yaml",
                help="Write the pod that each task of a DAG would get",
                description=(
                    "Writes the pod that each task of a DAG would get as a YAML file, without a cluster. "
                    "Exits with 1 if there is a task that no pod can be made for."
                ),
                func=lazy_load_command(f"{_COMMANDS}.generate_dag_yaml"),
                args=(ARG_DAG_ID, ARG_LOGICAL_DATE, ARG_BUNDLE_NAME, ARG_OUTPUT_PATH, ARG_TEAM, ARG_VERBOSE),
            ),
        ),
    )


def _stock_group() -> list[Any]:
    """The provider's own `airflow kubernetes`, where nobody else brings it: the Helm chart's clean-up calls it.

    Older Airflow and older providers bring it with the KubernetesExecutor only, which may not be configured now.
    """
    if _provider_brings_it() or any(STOCK_GROUP in _names(vend()) for vend in _other_executors()):
        return []
    try:
        from airflow.providers.cncf.kubernetes.cli.definition import get_kubernetes_cli_commands as vend
    except ImportError:
        from airflow.providers.cncf.kubernetes.executors.kubernetes_executor import KubernetesExecutor

        vend = KubernetesExecutor.get_cli_commands
    return [group for group in vend() if group.name == STOCK_GROUP]


def _provider_brings_it() -> bool:
    from airflow.providers.cncf.kubernetes.get_provider_info import get_provider_info
    from airflow.providers_manager import ProvidersManager

    return hasattr(ProvidersManager, "cli_command_functions") and bool(get_provider_info().get("cli"))


def _other_executors() -> list[Any]:
    """How the other configured executors tell their commands."""
    from airflow.executors.executor_loader import ExecutorLoader

    names = ExecutorLoader.get_executor_names
    known = inspect.signature(names).parameters
    vendors = []
    for name in names(validate_teams=False) if "validate_teams" in known else names():
        executor, _ = ExecutorLoader.import_executor_cls(name)
        if not executor.__module__.startswith("shard_executor."):
            vendors.append(executor.get_cli_commands)
    return vendors


def _being_loaded() -> set[str]:
    """The commands that Airflow's parser has collected so far, while it is being imported; it refuses duplicates."""
    parser = sys.modules.get("airflow.cli.cli_parser")
    if parser is None or hasattr(parser, "ALL_COMMANDS_DICT"):
        return set()
    return _names(getattr(parser, "airflow_commands", ()))


def _names(commands: Iterable[Any]) -> set[str]:
    return {command.name for command in commands}
