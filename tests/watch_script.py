"""Drives core.watch by hand: an injected clock, randomness without chance, and the requests it makes, written short.

A request reads "list" (a streaming list), "page" or "page:TOKEN" (a paged list; "whole" without a limit), "watch@50".
Delays are the seconds from a WakeAt to now.
"""

import random

from shard_executor.core import watch_types as wt
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.watch import Watch


class Steady(random.Random):
    """The lowest delay of each range and a watch timeout of 270 s."""

    def random(self) -> float:
        return 0.0

    def randint(self, low: int, high: int) -> int:
        assert low <= 270 <= high
        return 270


class Script:
    """One watch and its clock. Every step validates the machine."""

    def __init__(self, **settings):
        self.watch = Watch(Steady(), wt.WatchSettings(**settings))
        self.now = 1000.0
        self.wake = None
        self.actions = []
        self.requests = []
        self.steps = 0

    def give(self, event):
        self.actions = self.watch.step(event, self.now)
        self.watch.validate()
        self.steps += 1
        assert self.steps < 5000, "the machine runs in circles"
        for action in self.actions:
            if isinstance(action, wt.WakeAt):
                self.wake = action.at
            elif isinstance(action, (wt.ListPage, wt.OpenWatch)):
                self.requests.append(short(action))
        return self

    def start(self):
        return self.give(wt.Started())

    def fail(self, fault, *, status=0, retry_after=None, message=""):
        return self.give(wt.Failed(FaultInfo(fault, status, "", message, retry_after)))

    def error(self, fault, *, retry_after=None):
        """An ERROR event in the stream."""
        return self.give(wt.Received(error=FaultInfo(fault, 0, "", "", retry_after)))

    def opened(self):
        return self.give(wt.WatchOpened())

    def received(self, **fields):
        return self.give(wt.Received(**fields))

    def ended(self, leftover=0):
        return self.give(wt.StreamEnded(leftover))

    def page(self, version=50, token="", undecodable=0):
        return self.give(wt.PageListed(version, token, undecodable))

    def after(self, seconds):
        self.now += seconds
        return self

    def delay(self):
        """Seconds until the machine wants to be woken."""
        assert self.wake is not None, "nothing is waited for"
        return round(self.wake - self.now, 6)

    def wait(self):
        """Let the time pass that the machine asked for, and wake it."""
        delay = self.delay()
        self.now = self.wake
        self.give(wt.Tick())
        return delay

    def kinds(self):
        return [type(action).__name__ for action in self.actions if not isinstance(action, wt.WakeAt)]

    def take(self):
        """The requests since the last take."""
        out, self.requests = self.requests, []
        return out


def short(action):
    if isinstance(action, wt.ListPage):
        name = "page" if action.limit else "whole"
        return f"{name}:{action.token}" if action.token else name
    name = "list" if action.initial else "watch"
    return name if action.version is None else f"{name}@{action.version}"


def listing(**settings):
    """A streaming list, requested and not yet answered."""
    script = Script(**settings).start()
    assert script.take() == ["list"]
    return script


def paging():
    """A paged list, its first page requested."""
    script = Script(streaming_lists=False).start()
    assert script.take() == ["page"]
    return script


def listed(version=50):
    """A completed paged list, the watch requested and not yet answered."""
    script = paging().page(version)
    assert script.take() == [f"watch@{version}"]
    return script


def watching(version=50, **settings):
    """An open watch at `version`, after a streaming list, ten seconds old."""
    script = listing(**settings).opened().received(end_version=version).after(10.0)
    assert script.watch.state is wt.WatchState.WATCHING
    return script


__all__ = ["Fault", "Script", "Steady", "listed", "listing", "paging", "watching"]
