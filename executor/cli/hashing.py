"""The demo's job: SHA-256 of every file of a folder, in pods of a few files each, and the check of what they found."""

from __future__ import annotations

import hashlib
import math
import os
import stat
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from shard_executor.cli.errors import CommandError
from shard_executor.pods.task import TaskSpec

AIMED_PODS = 1000  # enough to see the machinery work, few enough for a small machine
AIMED_UNDER_CHAOS = 2500  # so that the job lasts long enough to be disturbed in every way
_SKIPPED_FOLDERS = frozenset({b"__pycache__", b"site-packages", b"dist-packages"})
# xargs reads the names from a file: any name works, and no list is too long. -z keeps sha256sum from escaping names.
# The result appears under its name only when it is complete; until then the file is the pod's own (its host name is its
# name), since two pods of a task may run at a time where the cluster has lost one. The last words name the pod and
# its folder on the development cluster, which is that of its uid: a pod that nobody knows of may get a namesake.
_SCRIPT = """part="$2.$HOSTNAME"
xargs -0 sha256sum -z -- < "$1" > "$part" && mv "$part" "$2" && echo "$HOSTNAME $PWD" >> "$3"
"""


def standard_library() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def regular_files(folder: Path, *, skip_packages: bool) -> list[bytes]:
    """Every regular file below a folder, sorted, as the bytes of its path; links are not followed.

    Args:
        folder: where to look.
        skip_packages: leave out caches and installed packages (for the standard library).

    Raises:
        CommandError: the folder does not exist or cannot be listed.
    """

    def fail(fault: OSError) -> NoReturn:
        raise CommandError(f"{os.fsdecode(fault.filename)}: {fault.strerror or fault}") from fault

    found = []
    for place, folders, names in os.walk(os.fsencode(folder.resolve()), onerror=fail):
        if skip_packages:
            folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        for name in names:
            path = os.path.join(place, name)
            try:
                regular = stat.S_ISREG(os.lstat(path).st_mode)
            except OSError as fault:
                fail(fault)
            if regular:
                if not os.access(path, os.R_OK):
                    raise CommandError(f"file {os.fsdecode(path)}: no permission to read it")
                found.append(path)
    return sorted(found)


@dataclass(slots=True)
class Group:
    """The files of one pod, and where its list, its result and the log of its runs lie."""

    task_id: str
    files: Sequence[bytes]
    listing: Path
    result: Path
    runs: Path

    def completed_by(self) -> list[tuple[str, str]]:
        """Name and uid of the pods that ran the command to its end, one for each time."""
        try:
            lines = self.runs.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [(name, Path(place).parent.name) for name, _, place in (line.partition(" ") for line in lines)]


def make_groups(files: Sequence[bytes], size: int | None, work: Path, *, aim: int = AIMED_PODS) -> list[Group]:
    """Cuts files into groups of `size` (by default so that there are at most `aim`) and writes their lists.

    Args:
        files: paths as bytes.
        size: files in a group; None chooses.
        work: an existing folder; gets the subfolders `lists`, `results` and `runs`.
        aim: how many groups there are at most where `size` is None.
    """
    size = size or max(1, math.ceil(len(files) / aim))
    lists, results, runs = (work / name for name in ("lists", "results", "runs"))
    for folder in (lists, results, runs):
        folder.mkdir()
    groups = []
    for number, start in enumerate(range(0, len(files), size), 1):
        name = f"sha256-{number:05}"
        group = Group(name, files[start : start + size], lists / name, results / name, runs / name)
        group.listing.write_bytes(b"".join(path + b"\0" for path in group.files))
        groups.append(group)
    return groups


def task_of(group: Group) -> TaskSpec:
    """The task that hashes a group. On the development cluster a pod's command runs on this machine."""
    return TaskSpec(
        group.task_id,
        image="coreutils",
        command=["sh", "-c", _SCRIPT, "sh", str(group.listing), str(group.result), str(group.runs)],
        labels={"app": "sha256"},
    )


@dataclass(slots=True)
class Check:
    """What the comparison found. `differences` names each file whose hash is missing, wrong or not asked for."""

    compared: int = 0
    size: int = 0
    differences: list[str] = field(default_factory=list)


def compare(groups: Sequence[Group]) -> Check:
    """Compares what the pods wrote with hashes computed here, file by file."""
    check = Check()
    for group in groups:
        by_pod = _parse(group.result)
        for path in group.files:
            shown = os.fsdecode(path)
            found = by_pod.pop(path, None)
            check.compared += 1
            try:
                with open(path, "rb") as file:
                    direct = hashlib.file_digest(file, "sha256").hexdigest()
                    check.size += file.tell()
            except OSError as fault:
                check.differences.append(f"{shown}: cannot be read any more: {fault.strerror or fault}")
                continue
            if found is None:
                check.differences.append(f"{shown}: no hash from {group.task_id}")
            elif found != direct:
                check.differences.append(f"{shown}: {group.task_id} says {found}, computed here {direct}")
        check.differences += [f"{os.fsdecode(path)}: {group.task_id} was not asked for it" for path in by_pod]
    return check


def _parse(result: Path) -> dict[bytes, str]:
    try:
        content = result.read_bytes()
    except FileNotFoundError:
        return {}  # its task has not succeeded; each of its files counts as a difference
    lines = [line for line in content.split(b"\0") if line]
    return {path: digest.decode("ascii", "replace") for digest, _, path in (line.partition(b"  ") for line in lines)}
