"""A scheduler's process and all it started: what each of them is, and what CPU they have used."""

from __future__ import annotations

from collections import Counter

import psutil


def role_of(process: psutil.Process, root: int) -> str:
    """``scheduler`` for the process with the id `root`, the module's name for one that runs a module, else ``fork``.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    if process.pid == root:
        return "scheduler"
    words = process.cmdline()
    return words[words.index("-m") + 1].rpartition(".")[2] if "-m" in words else "fork"


def cpu_by_role(root: psutil.Process) -> dict[str, float]:
    """Seconds of CPU of a process and all below it by what they are, those that have ended included."""
    used: Counter[str] = Counter()
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            role = role_of(process, root.pid)
        except psutil.NoSuchProcess:
            continue  # it has ended; its parent's children_* has it
        used[role] += times.user + times.system + times.children_user + times.children_system
    return dict(used)
