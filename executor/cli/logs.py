"""Log lines of the supervisor and its shards on standard error, above a live display if there is one."""

from __future__ import annotations

import logging
import sys


class _StandardError(logging.Handler):
    """Writes to whatever sys.stderr is now: a live display puts itself in its place and lifts lines above its table."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)


def set_up_logging(verbose: int) -> None:
    """Shows warnings; with `verbose` 1 also what shards say in passing, with 2 everything."""
    handler = _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("shard_executor")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
