"""executor/core imports nothing that does IO, reads a clock or logs: parsed, not trusted."""

import ast
from pathlib import Path

import pytest

import shard_executor.core

CORE = Path(shard_executor.core.__file__).parent
ALLOWED = {
    "__future__",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "heapq",
    "math",
    "random",
    "re",
    "typing",
}
ALLOWED_PACKAGES = ("shard_executor.core", "shard_executor._fast")
# Doors to IO that need no import.
FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


def modules():
    return sorted(CORE.rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "shard_executor.core" if node.level else node.module
            if base in ALLOWED or not base.startswith("shard_executor"):
                yield base, node.lineno
            else:
                # `from shard_executor import x` names the module in its list.
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def allowed(name):
    return name in ALLOWED or any(name == package or name.startswith(package + ".") for package in ALLOWED_PACKAGES)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_core_imports_only_data_modules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{path.name}:{line}: {name}" for name, line in imported(tree) if not allowed(name)] == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_core_calls_no_io(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [
        f"{path.name}:{node.lineno}: {node.func.id}()"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS
    ]
    assert called == []


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("import time", ["time"]),
        ("from asyncio import sleep", ["asyncio"]),
        ("import collections, logging", ["logging"]),
        ("from shard_executor import shard", ["shard_executor.shard"]),
        ("from shard_executor.shard.api import Api", ["shard_executor.shard.api.Api"]),
        ("from shard_executor.core.faults import Fault", []),
        ("from . import faults", []),
    ],
)
def test_the_check_itself_sees_through_each_form_of_import(source, refused):
    assert [name for name, _ in imported(ast.parse(source)) if not allowed(name)] == refused
