"""docs/airflow-options.md says what the option table says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from shard_executor.airflow.option_table import AIRFLOW_OPTIONS, OWN, STOCK

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def option_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("option_tables", DOCS / "option_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_table_of_each_section(option_tables: ModuleType) -> None:
    text = option_tables.PAGE.read_text(encoding="utf-8")
    assert text == option_tables.filled(text), "python docs/option_tables.py writes them anew"
    for section, table in option_tables.tables().items():
        assert table in text, section
    assert option_tables.tables().keys() == {STOCK, OWN}


def test_the_page_names_what_is_read_elsewhere(option_tables: ModuleType) -> None:
    text = option_tables.PAGE.read_text(encoding="utf-8")
    for section, options in AIRFLOW_OPTIONS.items():
        for option in options:
            assert f"| `[{section}] {option.key}` |" in text


def test_a_cell_breaks_no_table(option_tables: ModuleType) -> None:
    for table in option_tables.tables().values():
        rows = table.splitlines()
        assert len({row.count("|") for row in rows}) == 1
