"""Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second leaves at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

_SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Catches the two signals while it is entered (in the main thread). `signal` is the first one received.

    A second signal ends the process with 128 + its number without unwinding: shards notice that their parent is gone
    and stop by themselves, pods that are still there stay.

    Args:
        hint: what to do about those pods, shown as the process leaves.
    """

    def __init__(self, hint: str = "") -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._last_words = f"\nleaving at once: pods that are still there stay{'; ' + hint if hint else ''}\n".encode()
        self.live = False  # a live display has hidden the cursor

    @property
    def asked(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int | None:
        return None if self.signal is None else 128 + self.signal

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
            return
        # os.write, not print: the handler may have interrupted a write to the same buffered stream.
        try:
            os.write(2, (_SHOW_CURSOR if self.live else b"") + self._last_words)
        finally:  # a terminal that has gone does not keep the process
            os._exit(128 + number)
