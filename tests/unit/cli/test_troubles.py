"""What a run says about requests that fail and watches that wait."""

from __future__ import annotations

from shard_executor.cli.streams import shown
from shard_executor.cli.troubles import Troubles
from shard_executor.supervisor import ShardStats


def beat(shard=0, health="ok", **calls):
    return ShardStats(
        shard, 1, True, 0, calls={name.replace("_", " "): n for name, n in calls.items()}, watch={"health": health}
    )


def test_a_healthy_run_has_no_troubles():
    troubles = Troubles()
    calls = {"create_201": 9, "create_409": 1, "delete_404": 2, "WATCH_200": 1, "WATCH_410": 1, "create_422": 3}
    assert troubles.update(0.0, [beat(**calls)]) == ""
    assert troubles.update(1.0, [beat(0), beat(1)]) == ""


def test_failures_are_counted_once_and_forgotten():
    troubles = Troubles()
    assert troubles.update(0.0, [beat(0, WATCH_refused=2), beat(1, create_503=1)]) == (
        "requests that failed in the last 10 s: 2 x watch refused, 1 x create 503"
    )
    assert "3 x watch refused" in troubles.update(5.0, [beat(0, WATCH_refused=3), beat(1, create_503=1)])
    assert troubles.update(11.0, [beat(0, WATCH_refused=3), beat(1, create_503=1)]) == (
        "requests that failed in the last 10 s: 1 x watch refused"
    )
    assert troubles.update(30.0, [beat(0, WATCH_refused=3)]) == ""


def test_a_shard_that_was_started_again_counts_from_nothing():
    troubles = Troubles()
    troubles.update(0.0, [beat(create_500=5)])
    assert troubles.update(20.0, [beat(create_500=2)]).endswith(": 2 x create 500")


def test_many_kinds_are_cut_short():
    calls = {"create_500": 4, "create_503": 3, "get_500": 2, "delete_500": 1}
    assert Troubles().update(0.0, [beat(**calls)]).endswith("4 x create 500, 3 x create 503, 2 x get 500, ...")


def test_a_watch_that_waits_for_a_person_is_named_once():
    words = Troubles().update(0.0, [beat(0, health="unauthorized: 401"), beat(1, health="unauthorized: 401")])
    assert words == "the watch of shard 0 waits: unauthorized: 401"


def test_control_characters_are_shown_as_escapes():
    assert shown("täsk\t1", 10) == "täsk\t1"
    assert shown("\x1b[31mred\x00\x9b", 20) == "\\x1b[31mred\\x00\\x9b"
    assert shown("x" * 30, 20) == "x" * 20 + "..."
