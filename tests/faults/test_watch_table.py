"""What the watch does about each fault: one test per row, asserting the requests made and the seconds between them.

The rows are those of client-go's reflector and kube-rs's watcher, and what field reports add to them.
"""

import pytest

from shard_executor.core import watch_types as wt
from shard_executor.core.faults import Fault, FaultInfo
from watch_script import listed, listing, paging, watching


def test_server_closes_the_stream_at_its_timeout():
    script = watching(50).received(version=60).after(260).ended()
    assert script.kinds() == ["CloseStream", "OpenWatch"]
    assert script.take() == ["watch@60"]  # at once: no wake was asked for in between
    assert script.wake is None


def test_no_bytes_past_the_timeout_reopens_and_counts():
    script = watching(50, idle_limit=1000.0)
    assert script.wait() == 270.0  # 280 s after the opening, of which ten have passed
    assert script.take() == ["watch@50"]
    assert script.watch.counters["restart:overdue"] == 1


def test_silence_reopens_from_the_last_version_without_a_list():
    script = watching(50).received(version=60)
    assert script.wait() == 110.0  # asked for when the stream opened; the read since then moves the limit
    assert script.wait() == 10.0
    assert script.take() == ["watch@60"]
    assert script.watch.counters["restart:idle"] == 1


def test_a_bookmark_breaks_the_silence():
    script = watching(50).after(100).received(version=61)
    script.after(100).give(wt.Tick())
    assert script.take() == []
    assert script.delay() == 20.0


def test_a_very_short_watch_backs_off_and_watches_again():
    script = listed(50)
    delays = []
    for _ in range(4):
        script.opened().after(0.5).ended()
        assert script.take() == []
        delays.append(script.wait())
        assert script.take() == ["watch@50"]
    assert delays == [0.8, 1.6, 3.2, 6.4]
    assert script.watch.counters["restart:short"] == 4


def test_a_short_watch_with_progress_is_no_failure():
    script = listed(50).opened().after(0.5).received(version=51).ended()
    assert script.take() == ["watch@51"]


def test_410_in_the_stream_lists_again():
    script = watching(50).received(version=60).error(Fault.EXPIRED)
    assert script.kinds() == ["CloseStream"]
    assert script.wait() == 0.8
    assert script.kinds() == ["BeginReplace", "OpenWatch"]
    assert script.take() == ["list"]
    assert script.watch.counters["relist:expired"] == 1


def test_410_as_a_status_when_the_watch_starts_lists_again():
    script = listed(50).fail(Fault.EXPIRED, status=410)
    assert script.wait() == 0.8
    assert script.take() == ["page"]


def test_410_on_a_streaming_list_starts_it_again():
    script = watching(50).error(Fault.EXPIRED)
    script.wait()
    assert script.take() == ["list"]
    script.fail(Fault.EXPIRED, status=410)
    assert script.kinds() == ["CloseStream", "AbortReplace"]
    script.wait()
    assert script.take() == ["list"]


def test_410_again_and_again_backs_off():
    script = listed(50)
    delays = []
    for _ in range(5):
        script.fail(Fault.EXPIRED)
        delays.append(script.wait())
        script.page(50)
    assert delays == [0.8, 1.6, 3.2, 6.4, 12.8]
    assert script.take() == ["page", "watch@50"] * 5


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.REFUSED, Fault.UNAVAILABLE, Fault.TIMEOUT])
def test_throttled_or_refused_at_the_start_backs_off_without_a_list(fault):
    script = listed(50)
    delays = []
    for _ in range(4):
        script.fail(fault)
        delays.append(script.wait())
    script.opened()
    assert delays == [0.8, 1.6, 3.2, 6.4]
    assert script.take() == ["watch@50"] * 4
    assert script.watch.counters["lists"] == 1


def test_retry_after_wins_when_it_is_longer_than_the_backoff():
    script = listed(50)
    script.fail(Fault.THROTTLED, status=429, retry_after=7.0)
    assert script.wait() == 7.0
    script.fail(Fault.THROTTLED, status=429, retry_after=1.0)
    assert script.wait() == 1.6
    assert script.take() == ["watch@50"] * 2


def test_429_on_a_streaming_list_repeats_it():
    script = listing().fail(Fault.THROTTLED, retry_after=3.0)
    assert script.wait() == 3.0
    script.fail(Fault.THROTTLED)
    script.wait()
    assert script.take() == ["list", "list"]


def test_429_in_the_stream_watches_again_from_the_same_version():
    script = watching(50).received(version=60).error(Fault.THROTTLED, retry_after=4.0)
    assert script.wait() == 4.0
    assert script.take() == ["watch@60"]


def test_500_in_the_stream_keeps_the_version_until_the_patience_ends():
    script = watching(50).received(version=60)
    began = script.now
    while script.now - began < 30:
        script.error(Fault.SERVER_ERROR)
        script.wait()
        assert script.take() == ["watch@60"]
        script.opened()
    script.error(Fault.SERVER_ERROR)
    script.wait()
    assert script.take() == ["list"]
    assert script.watch.counters["relist:server-error"] == 1


def test_the_patience_begins_anew_after_progress():
    script = watching(50)
    for version in range(60, 70):
        script.error(Fault.SERVER_ERROR)
        script.wait()
        assert script.take() == [f"watch@{script.watch.version}"]
        script.opened().after(20).received(version=version)


def test_401_asks_for_credentials_and_waits_long():
    script = listed(50).fail(Fault.UNAUTHORIZED, status=401, message="Unauthorized")
    assert script.kinds() == ["AskCredentials"]
    assert script.watch.health == "unauthorized (401): Unauthorized"
    assert script.wait() == 10.0
    script.fail(Fault.UNAUTHORIZED, status=401)
    assert script.wait() == 20.0
    script.opened()
    assert script.take() == ["watch@50"] * 2
    assert script.watch.health == "ok"


def test_fresh_credentials_cut_the_long_wait_but_do_not_spin():
    script = listed(50)
    delays = []
    for _ in range(3):
        script.fail(Fault.UNAUTHORIZED, status=401)
        script.give(wt.CredentialsReplaced())
        delays.append(script.wait())
    assert delays == [0.8, 1.6, 3.2]
    assert script.take() == ["watch@50"] * 3


def test_credentials_replaced_in_fair_weather_change_nothing():
    script = watching(50)
    assert script.give(wt.CredentialsReplaced()).actions == []
    script.error(Fault.THROTTLED, retry_after=9.0)
    script.give(wt.CredentialsReplaced())
    assert script.wait() == 9.0


def test_403_waits_long_and_shows_in_health():
    script = listing().fail(Fault.FORBIDDEN, status=403, message="pods is forbidden")
    assert script.watch.health == "forbidden (403): pods is forbidden"
    assert script.kinds() == ["CloseStream", "AbortReplace"]
    assert [script.wait(), script.fail(Fault.FORBIDDEN).wait()] == [10.0, 20.0]
    assert script.take() == ["list", "list"]
    script.opened().received(end_version=5)
    assert script.watch.health == "ok"


def test_long_waits_end_at_two_minutes():
    script = listing()
    delays = [script.fail(Fault.FORBIDDEN).wait() for _ in range(8)]
    assert delays[-1] == 80.0  # up to 120 with jitter
    assert delays == sorted(delays)


def test_an_expired_continue_token_starts_the_list_again_without_token_and_pages():
    script = paging().page(0, token="a").page(0, token="b").fail(Fault.EXPIRED, status=410)
    assert script.kinds() == ["AbortReplace"]
    assert script.wait() == 0.8
    assert script.take() == ["page:a", "page:b", "whole"]
    script.page(90).opened()
    script.give(wt.RelistRequested("x"))
    script.wait()
    assert script.take() == ["watch@90", "page"]  # pages again the next time


def test_a_page_that_failed_for_a_moment_is_asked_for_again_with_its_token():
    script = paging().page(0, token="a").fail(Fault.UNAVAILABLE, retry_after=2.0)
    assert script.kinds() == []
    assert script.wait() == 2.0
    script.fail(Fault.THROTTLED).wait()
    script.page(70)
    assert script.take() == ["page:a", "page:a", "page:a", "watch@70"]
    assert script.kinds() == ["CommitReplace", "OpenWatch"]


@pytest.mark.parametrize("script", [listed, lambda: watching(50)])
def test_too_large_a_version_waits_and_lists_without_one(script):
    script = script().fail(Fault.TOO_LARGE_VERSION, status=504, retry_after=3.0)
    assert script.wait() == 3.0
    assert script.take() in (["list"], ["page"])


def test_a_streaming_list_that_is_too_large_for_a_lagging_cache_waits_and_is_repeated():
    script = listing().fail(Fault.TOO_LARGE_VERSION, status=504, retry_after=3.0)
    assert script.wait() == 3.0
    script.opened().received(end_version=60)
    assert script.take() == ["list"]


def test_a_streaming_list_that_stays_too_large_gives_way_to_pages_once():
    script = listing()
    for _ in range(2):
        script.fail(Fault.TOO_LARGE_VERSION, retry_after=1.0).wait()
    script.page(50)
    assert script.take() == ["list", "page", "watch@50"]
    assert script.watch.streaming_lists
    script.opened().after(10).error(Fault.EXPIRED)
    script.wait()
    assert script.take() == ["list"]


@pytest.mark.parametrize("fault", [Fault.INVALID, Fault.FEATURE_DISABLED])
def test_a_server_without_streaming_lists_is_remembered(fault):
    script = listing().fail(fault, status=422)
    assert script.kinds() == ["CloseStream", "AbortReplace", "BeginReplace", "ListPage"]
    script.page(50).opened().after(10).error(Fault.EXPIRED)
    script.wait()
    assert script.take() == ["page", "watch@50", "page"]
    assert not script.watch.streaming_lists


def test_the_in_stream_refusal_of_streaming_lists_falls_back_too():
    script = listing().opened().error(Fault.FEATURE_DISABLED)
    assert script.take() == ["page"]


def test_a_list_refused_as_invalid_waits_long_and_shows_in_health():
    script = paging().fail(Fault.INVALID, status=400, message="unable to parse requirement")
    assert script.wait() == 10.0
    assert script.take() == ["page"]
    assert "unable to parse" in script.watch.health


def test_a_stream_that_ends_before_the_end_bookmark_is_discarded():
    script = listing().opened().received().after(5).ended()
    assert script.kinds() == ["CloseStream", "AbortReplace"]
    assert not script.watch.synced
    assert script.wait() == 0.8
    assert script.kinds() == ["BeginReplace", "OpenWatch"]
    assert script.take() == ["list"]


def test_a_streaming_list_that_stalls_is_started_again():
    script = listing().opened().received()
    assert script.wait() == 30.0
    assert script.kinds() == ["CloseStream", "AbortReplace"]
    assert script.wait() == 0.8
    assert script.take() == ["list"]
    assert script.watch.counters["restart:stalled"] == 1


def test_events_that_never_end_are_no_streaming_list():
    """A server that ignores sendInitialEvents answers with an ordinary watch: busy, and without an end mark."""
    script = listing()
    for _ in range(2):
        script.opened()
        for _ in range(12):
            assert script.watch.state is wt.WatchState.INITIAL_WATCH
            script.after(10.0).received(version=400)
        assert script.kinds() == []
        script.give(wt.Tick())
        assert script.kinds() == ["CloseStream", "AbortReplace"]
        script.wait()
    assert script.take() == ["list", "page"]
    assert script.watch.counters["restart:stalled"] == 2


def test_a_bookmark_without_the_annotation_does_not_end_the_list():
    script = listing().opened().received(version=400)
    assert not script.watch.synced
    assert script.watch.state is wt.WatchState.INITIAL_WATCH


def test_an_object_without_version_lists_again():
    script = watching(50).received(versionless=1)
    assert script.kinds() == ["CloseStream"]
    assert script.wait() == 0.8
    assert script.take() == ["list"]
    assert script.watch.counters["relist:protocol"] == 1


def test_a_list_without_version_is_asked_for_again():
    script = paging().page(version=0)
    assert script.kinds() == ["AbortReplace"]
    assert script.wait() == 0.8
    assert script.take() == ["page"]


def test_an_undecodable_frame_closes_the_stream_and_lists_again():
    script = watching(50).received(version=60)
    script.give(wt.Failed(FaultInfo(Fault.PROTOCOL, message="byte 4711: frame of 3 GiB")))
    assert script.kinds() == ["CloseStream"]
    assert script.wait() == 0.8
    assert script.take() == ["list"]
    assert "4711" in script.watch.story()


def test_an_undecodable_object_leaves_the_stream_open_and_lists_later():
    script = watching(50).received(undecodable=1, version=60)
    assert script.kinds() == []
    assert script.wait() == 5.0
    assert script.take() == ["list"]


def test_a_broken_connection_after_a_working_watch_reopens_at_once():
    script = watching(50).received(version=60).fail(Fault.DISCONNECTED)
    assert script.take() == ["watch@60"]
    script.fail(Fault.REFUSED)
    assert script.wait() == 0.8


def test_a_connection_that_breaks_at_once_backs_off():
    script = listed(50).opened().after(0.2).fail(Fault.DISCONNECTED)
    assert script.wait() == 0.8
    assert script.take() == ["watch@50"]


def test_an_end_inside_a_frame_is_a_broken_connection():
    script = watching(50).received(version=60).ended(leftover=17)
    assert script.take() == ["watch@60"]
    assert script.watch.counters["fault:disconnected"] == 1


def test_a_broken_connection_in_a_streaming_list_starts_it_again():
    script = listing().opened().received().fail(Fault.DISCONNECTED)
    assert script.kinds() == ["CloseStream", "AbortReplace"]
    assert script.wait() == 0.8
    assert script.take() == ["list"]


def test_tls_failures_ask_for_credentials():
    script = listed(50).fail(Fault.TLS)
    assert script.kinds() == ["AskCredentials"]
    assert script.wait() == 10.0


def test_the_backoff_forgets_after_120_seconds_of_calm():
    script = listed(50)
    assert [script.fail(Fault.REFUSED).wait() for _ in range(3)] == [0.8, 1.6, 3.2]
    script.opened()
    for _ in range(13):
        script.after(10).received(version=script.watch.version + 1)
    script.fail(Fault.DISCONNECTED)
    script.fail(Fault.REFUSED)
    assert script.delay() == 0.8


def test_survives_many_closed_watches():
    script = listed(50)
    for version in range(51, 60):
        script.opened().after(5).received(version=version).ended()
    assert script.take() == [f"watch@{version}" for version in range(51, 60)]
    assert script.watch.counters["lists"] == 1
