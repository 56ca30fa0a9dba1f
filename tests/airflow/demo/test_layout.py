"""The configuration of the demo's Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from shard_executor.airflow.demo.layout import HomeSettings, Layout


def layout(folder: Path, **more: object) -> Layout:
    return Layout(folder, folder / "kubeconfig", 8080, HomeSettings(**more))  # type: ignore[arg-type]


def test_nothing_of_the_users_own_airflow_or_cluster_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__SMTP__SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("AIRFLOW_CONN_PRODUCTION", "postgres://user:secret@production/db")
    monkeypatch.setenv("KUBECONFIG", "/somewhere/production")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com")
    env = layout(tmp_path).environment()
    assert env["AIRFLOW_HOME"] == str(tmp_path)
    assert env["AIRFLOW__CORE__EXECUTOR"] == "shard_executor.ShardExecutor"
    assert not {"AIRFLOW__SMTP__SMTP_HOST", "AIRFLOW_CONN_PRODUCTION", "KUBECONFIG"} & set(env)
    assert "127.0.0.1" in env["NO_PROXY"]


def test_a_components_options_win_over_the_settings_and_those_over_the_defaults(tmp_path: Path) -> None:
    chosen = layout(tmp_path, options={"scheduler.job_heartbeat_sec": "7", "core.parallelism": "9"})
    env = chosen.environment({"core.parallelism": "3"})
    assert (env["AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC"], env["AIRFLOW__CORE__PARALLELISM"]) == ("7", "3")


def test_workers_know_neither_database_nor_keys(tmp_path: Path) -> None:
    chosen = layout(tmp_path, variables={"GREETING": "hello"})
    chosen.write()
    (container,) = chosen.pod_template()["spec"]["containers"]  # type: ignore[index]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert env["GREETING"] == "hello"
    assert env["AIRFLOW_HOME"] != str(tmp_path)
    secret = {"AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"}
    assert secret <= set(chosen.environment())
    assert not secret & set(env)
    assert (tmp_path / "passwords.json").stat().st_mode & 0o77 == 0
