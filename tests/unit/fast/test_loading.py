"""The compiled core is what is loaded, or nothing."""

import importlib.machinery
import subprocess
import sys
from pathlib import Path

import pytest

from shard_executor import _fast

MODULES = ("apply", "change", "cursor", "event", "frames", "json_event", "json_lex", "json_list", "json_status", "keys",
           "proto_event", "proto_list", "proto_status", "rows", "table", "told")  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_each_module_is_a_compiled_extension(name):
    module = __import__(f"shard_executor._fast.{name}", fromlist=["__file__"])
    assert module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    assert isinstance(module.__loader__ or module.__spec__.loader, importlib.machinery.ExtensionFileLoader)


def test_every_source_is_in_that_list():
    sources = {path.stem for path in Path(_fast.__file__).parent.glob("*.pyx")}
    assert not sources or sources == set(MODULES)  # a wheel carries no .pyx


def test_a_missing_build_says_how_to_build(tmp_path):
    package = tmp_path / "shard_executor"
    (package / "_fast").mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("__init__.py", "views.py"):
        (package / "_fast" / name).write_bytes(Path(_fast.__file__).with_name(name).read_bytes())
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import shard_executor._fast"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "setup.py build_ext --inplace" in done.stderr
    assert "ImportError: the compiled core of shard-executor cannot be loaded" in done.stderr


def test_public_names_are_there():
    for name in _fast.__all__:
        assert hasattr(_fast, name)
