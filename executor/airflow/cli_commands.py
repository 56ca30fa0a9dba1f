"""What the commands under `airflow shard-executor` do. Imported when one of them is called."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException
from airflow.utils import cli as cli_utils
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from shard_executor.airflow.cleanup import Rules, cleanup
from shard_executor.airflow.option_reader import is_namespace
from shard_executor.airflow.options import OptionError, Options, credential_source, read_options
from shard_executor.supervisor.credentials import CredentialError

FOLDER = "airflow_yaml_output"  # as the provider's command names it


@cli_utils.action_cli(check_db=False)
@providers_configuration_loaded
def cleanup_pods(args: argparse.Namespace) -> None:
    """Deletes the pods of tasks that are over. Exits with 1 if something could not be done."""
    options = _options(args.team)
    if args.namespace is not None and not is_namespace(args.namespace):
        raise SystemExit(f"--namespace: {args.namespace!r} is no name of a namespace")
    source = credential_source(options)
    try:
        credentials = source.load()
        if args.verbose:
            print(f"Signed in by {source.description} at {credentials.host}")
        summary = cleanup(
            credentials,
            _namespaces(args.namespace, options),
            Rules(
                options.deployment,
                timedelta(minutes=args.min_pending_minutes),
                timedelta(minutes=args.min_completed_minutes),
            ),
            tell=_say,
            look=_say if args.verbose else _ignore,
            clock=lambda: datetime.now(UTC),
            dry_run=args.dry_run,
            delete_options=options.delete_options,
            request_timeout=options.request_timeout,
        )
    except CredentialError as error:
        raise SystemExit(f"No access to the cluster: {error}") from error
    finally:
        source.close()
    for problem in summary.problems:
        print(problem, file=sys.stderr)
    verb = "would be deleted" if args.dry_run else "deleted"
    print(f"{summary.seen} pods of tasks looked at, {summary.deleted} {verb}, {len(summary.problems)} problems")
    if summary.problems:
        raise SystemExit(1)


@cli_utils.action_cli
@providers_configuration_loaded
def generate_dag_yaml(args: argparse.Namespace) -> None:
    """Writes the pod of each task of a DAG. Exits with 1 if there is a task that none can be made for."""
    from airflow.utils import yaml

    # Half of Airflow comes with them, which the other command does without.
    from shard_executor.airflow.dag_pods import dag_of, pods_of_dag
    from shard_executor.airflow.generation import BuildError

    options = _options(args.team)
    folder = Path(args.output_path) / FOLDER
    try:
        dag = dag_of(args.dag_id, args.bundle_name)
    except AirflowException as error:
        raise SystemExit(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, pod in pods_of_dag(dag, args.logical_date, args.bundle_name, options):
        if isinstance(pod, BuildError):
            failed += 1
            print(f"{name}: no pod can be made: {pod}", file=sys.stderr)
            continue
        path = folder / f"{name}.yml"
        path.write_text(yaml.safe_dump(pod), encoding="utf-8")
        if args.verbose:
            print(path)
    print(f"YAML output can be found at {folder}")
    if failed:
        raise SystemExit(1)


def _options(team_name: str | None) -> Options:
    try:
        options = read_options(_conf(team_name), team_name=team_name)
    except OptionError as error:
        raise SystemExit(str(error)) from error
    return options


def _conf(team_name: str | None) -> Any:
    """A team's configuration, or the global one where Airflow has no teams."""
    try:
        from airflow.executors.base_executor import ExecutorConf
    except ImportError:
        from airflow.configuration import conf

        if team_name is not None:
            raise SystemExit("--team: this Airflow has no teams") from None
        return conf
    return ExecutorConf(team_name)


def _namespaces(asked: str | None, options: Options) -> tuple[str | None, ...]:
    if asked is not None:
        return (asked,)
    return (None,) if options.all_namespaces else (options.namespace, *options.namespaces)


def _say(line: str) -> None:
    print(line, flush=True)


def _ignore(line: str) -> None:
    """For lines that only --verbose shows."""
