"""The installed package as a user meets it: light imports, types, the command, and a build that is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shard_executor

PACKAGE = Path(shard_executor.__file__).parent


def fast_folder() -> Path:
    """Where `shard_executor._fast` lies: beside the package in an editable install, inside it otherwise."""
    found = importlib.util.find_spec("shard_executor._fast")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(next(iter(found.submodule_search_locations)))


def python(code: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-W", "error", "-c", code],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "module",
    ["shard_executor", "shard_executor.cli", "shard_executor.supervisor.credentials", "shard_executor.shard.driver"],
)
def test_importing_pulls_in_neither_airflow_nor_kubernetes(module: str) -> None:
    code = (
        f"import sys, importlib; loaded = importlib.import_module({module!r})\n"
        "names = set(getattr(loaded, '__all__', ())) - {'ShardExecutor'}  # that one is for Airflow\n"
        "for name in names: getattr(loaded, name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'airflow', 'kubernetes'}))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = shard_executor.nonsense


def test_the_version_is_the_same_everywhere() -> None:
    assert importlib.metadata.version("shard-executor") == shard_executor.__version__


def test_the_command_is_installed_and_starts() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="shard-executor")
    assert callable(entry.load())
    command = Path(sys.executable).parent / "shard-executor"
    done = subprocess.run([str(command), "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert shard_executor.__version__ in done.stdout


def test_type_checkers_find_the_annotations_and_the_declarations() -> None:
    assert (PACKAGE / "py.typed").is_file()
    held = {path.name for path in fast_folder().iterdir()}
    assert {"keys.pyi", "table.pyi", "rows.pxd"} <= held


def test_a_missing_build_says_how_to_build(tmp_path: Path) -> None:
    compiled = shutil.ignore_patterns("*.so", "__pycache__")
    copy = tmp_path / "shard_executor"
    shutil.copytree(PACKAGE, copy, ignore=compiled)
    shutil.copytree(fast_folder(), copy / "_fast", ignore=compiled, dirs_exist_ok=True)
    # Without site, so that the finder of an editable install does not fill the gap.
    done = python("import shard_executor._fast.table", "-S", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ImportError" in done.stderr
    assert "pip install" in last
