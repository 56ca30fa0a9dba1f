"""The keeper of credentials: it outlives what a source may raise, and ends when it is told to."""

from __future__ import annotations

import queue
import threading
from typing import Any, cast

import pytest

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.credential_keeper import CredentialKeeper
from shard_executor.supervisor.credentials import CredentialError, CredentialSource


class Source:
    """Gives the next of its answers for each forced renewal."""

    def __init__(self, *answers: Credentials | Exception) -> None:
        self.answers = list(answers)
        self.asked = threading.Event()

    def refresh(self) -> Credentials:
        self.asked.set()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("error", [CredentialError("the plugin failed"), OSError("no space"), KeyError("token")])
def test_a_renewal_that_fails_is_not_the_last_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shard_executor.supervisor.credential_keeper.REFRESH_INTERVAL", 0.01)
    fresh = Credentials(host="http://127.0.0.1:1", token="new")
    source = Source(error, fresh)
    found: queue.Queue[Credentials] = queue.Queue()
    keeper = CredentialKeeper(cast(CredentialSource, cast(Any, source)), found.put)
    keeper.start(Credentials(host="http://127.0.0.1:1", token="old"))
    try:
        keeper.refresh()
        assert source.asked.wait(20.0)
        keeper.refresh()
        assert found.get(timeout=20.0) is fresh
    finally:
        keeper.end(20.0)
    assert "the old ones stay in use" in caplog.text


def test_the_end_does_not_wait_for_the_pause_after_a_forced_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shard_executor.supervisor.credential_keeper.REFRESH_INTERVAL", 3600.0)
    source = Source(Credentials(host="http://127.0.0.1:1", token="new"))
    found: queue.Queue[Credentials] = queue.Queue()
    keeper = CredentialKeeper(cast(CredentialSource, cast(Any, source)), found.put)
    keeper.start(Credentials(host="http://127.0.0.1:1"))
    keeper.refresh()
    found.get(timeout=20.0)
    keeper.end(20.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "shard-executor-credentials"]
