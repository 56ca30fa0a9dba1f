"""Tests that need Airflow: a home of their own for the whole process, before anything imports airflow."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_HOME = tempfile.mkdtemp(prefix="shard-executor-airflow-tests-")
for _name in [name for name in os.environ if name.upper().startswith(("AIRFLOW", "_AIRFLOW"))]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__HOSTNAME_CALLABLE"] = "socket.gethostname"
os.environ["AIRFLOW__LOGGING__COLORED_CONSOLE_LOG"] = "False"


def pytest_configure(config: pytest.Config) -> None:
    """Airflow and what it imports warn: that is no failure of the tests here."""
    config.addinivalue_line("filterwarnings", "default")


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_database():
    """The tables of Airflow in the SQLite file of the tests' home, for tests within this process."""
    from airflow.utils import db

    db.initdb()
