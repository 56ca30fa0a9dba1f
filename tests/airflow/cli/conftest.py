"""The `airflow` command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Airflow = Callable[..., "subprocess.CompletedProcess[str]"]
LIMIT = 110.0  # seconds for one command on a busy machine


@pytest.fixture
def airflow(tmp_path: Path) -> Airflow:
    """Runs `airflow` with options given as ``section__key``, in the home that the tests share."""

    def run(*words: str, options: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environ = dict(os.environ)
        environ["AIRFLOW__CORE__EXECUTOR"] = "shard_executor.ShardExecutor"
        environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(tmp_path / "dags")
        environ["COLUMNS"] = "200"
        for name, value in (options or {}).items():
            environ[f"AIRFLOW__{name.upper()}"] = value
        command = [sys.executable, "-m", "airflow", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False)

    return run
