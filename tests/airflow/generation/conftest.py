"""Pod factories, each with a builder process of its own where a test changes what that process sees."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{os.environ['AIRFLOW_HOME']}/airflow.db")
sys.path.insert(0, str(Path(__file__).parent))

import pytest
from generation_cases import PLAIN_TEMPLATE, settings_of

from shard_executor.airflow.generation import PodFactory


@pytest.fixture(scope="session")
def shared_factory():
    """Without a template and without a hook: requests bring their templates."""
    factory = PodFactory(settings_of())
    yield factory
    factory.end()


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text(PLAIN_TEMPLATE)
    return str(path)


@pytest.fixture
def make_factory():
    """Makes factories that are ended with the test."""
    made = []

    def make(**fields):
        factory = PodFactory(settings_of(**fields))
        made.append(factory)
        return factory

    yield make
    for factory in made:
        factory.end()


@pytest.fixture
def local_settings(tmp_path, monkeypatch):
    """Gives builder processes started from now on an airflow_local_settings of this text."""

    def put(text):
        home = tmp_path / "home"
        (home / "config").mkdir(parents=True, exist_ok=True)
        (home / "config" / "airflow_local_settings.py").write_text(text)
        monkeypatch.setenv("AIRFLOW_HOME", str(home))

    return put
