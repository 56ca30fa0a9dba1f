"""What the end of the interpreter does with executors that were not shut down."""

from __future__ import annotations

import atexit
import os
from typing import Protocol


class Live(Protocol):
    """What is done to an executor here."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...
    def stop(self, wait: bool = True) -> None: ...


# Those that have started and not ended, with the process that started them. Held strongly: an executor that nobody
# refers to any more still has tasks to wait for.
_live: dict[Live, int] = {}


def watch_over(executor: Live) -> None:
    """From now on the end of the interpreter waits for it."""
    _live[executor] = os.getpid()


def let_go(executor: Live) -> None:
    """It has ended; harmless when repeated."""
    _live.pop(executor, None)


def _at_exit() -> None:
    """Waits for open tasks, as the standard library's executors do; Ctrl-C in that wait ends them."""
    mine = [executor for executor, pid in list(_live.items()) if pid == os.getpid()]
    try:
        for executor in mine:
            executor.shutdown()
    except BaseException:
        for executor in mine:
            executor.stop(wait=False)
        for executor in mine:
            executor.stop()
        raise


atexit.register(_at_exit)
