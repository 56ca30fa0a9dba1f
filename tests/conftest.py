"""Keeps every test out of the home of whoever runs it: journals and status sockets go into folders of its own."""

from __future__ import annotations

import importlib.util
import itertools

import pytest

# Airflow's tests have an environment of their own, so that the others show that nothing needs it. The folder of that
# name beside this file looks like a package too, but one without an origin.
_AIRFLOW = importlib.util.find_spec("airflow")
collect_ignore = [] if _AIRFLOW is not None and _AIRFLOW.origin is not None else ["airflow"]
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def _state_base(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, _state_base):
    """Folders that do not exist yet: whoever needs one makes it."""
    monkeypatch.setenv("SHARD_EXECUTOR_STATE_DIR", str(_state_base / str(next(_NUMBERS))))
