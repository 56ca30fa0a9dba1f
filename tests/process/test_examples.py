"""examples/README.md as a reader follows it: every command is run, in its order, and shows what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 60.0  # seconds for one block; far beyond what any of them needs
_BLOCK = re.compile(r"^```sh\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, and what they print. `...` stands for any text in a line, on a line of its own for any lines."""

    code: str
    output: str | None

    def check(self, printed: str) -> None:
        if self.output is None:
            return
        lines = [
            r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
            for line in self.output.splitlines()
        ]
        matches = re.fullmatch("".join(lines), printed) is not None
        assert matches, f"{self.code}\nprinted:\n{printed}\nnot:\n{self.output}"


def blocks(text: str) -> list[Block]:
    """The `sh` blocks of a page in their order, each with the `text` block that follows it directly."""
    found = [Block(match["code"], match["output"]) for match in _BLOCK.finditer(text)]
    assert len(found) == len(re.findall(r"^\s*```sh\b", text, re.MULTILINE)), "a block of commands is not recognised"
    return found


@pytest.fixture
def folder(tmp_path, real):
    """A copy of the examples, beside it a home of its own. Afterwards no pod is left."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    yield tmp_path / "examples"
    assert real.stats()["pods"] == 0


def test_every_command_runs_and_shows_what_the_page_says(folder, real):
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SHARD_EXECUTOR_")},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "KUBECONFIG": str(real.kubeconfig),
        "XDG_STATE_HOME": str(folder.parent / "state"),
    }
    found = blocks((EXAMPLES / "README.md").read_text())
    assert len(found) >= 5
    for block in found:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, f"{block.code}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        block.check(done.stdout)


def test_every_file_is_explained():
    text = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in files if f"]({name})" not in text} == set()


def test_a_difference_is_seen():
    (block,) = blocks("```sh\necho\n```\n\n```text\na ... c\n...\nd\n```\n")
    block.check("a b c\nx\ny\nd\n")
    for printed in ("a b d\nd\n", "a b c\nd\ne\n", "a b c\n"):
        with pytest.raises(AssertionError):
            block.check(printed)
