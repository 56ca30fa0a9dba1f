"""core.watch: the ordinary life of a watch, its rules of versions, and what is wrong about the driver's events.

Faults have their own file, tests/faults/test_watch_table.py.
"""

import random

import pytest

from shard_executor.core import watch_types as wt
from shard_executor.core.faults import Fault, FaultInfo
from shard_executor.core.watch import STORY_LENGTH, Watch
from shard_executor.core.watch_policy import COLUMNS, POLICY
from watch_script import Script, listed, listing, paging, watching


def test_streaming_list_then_the_same_stream_is_the_watch():
    script = Script().start()
    assert script.actions == [wt.BeginReplace(), wt.OpenWatch(None, True, 270, 30.0)]
    script.opened()
    assert script.delay() == 30.0
    assert script.received(version=0).actions == []
    assert not script.watch.synced
    assert script.received(end_version=120, version=0).kinds() == ["CommitReplace"]
    assert script.watch.synced
    assert script.watch.version == 120
    assert script.delay() == 120.0
    assert script.take() == ["list"]


def test_no_version_is_taken_from_initial_events():
    script = listing().opened().received(version=900)
    assert script.watch.version is None
    script.received(end_version=120)
    assert script.watch.version == 120


def test_events_behind_the_end_bookmark_in_the_same_read_count():
    script = listing().opened().received(end_version=120, version=125)
    assert script.watch.version == 125


def test_bookmarks_and_events_move_the_version_forward_only():
    script = watching(50)
    for version, expected in ((60, 60), (55, 60), (0, 60), (61, 61)):
        assert script.received(version=version).actions == []
        assert script.watch.version == expected


def test_paged_list_asks_for_no_version_and_watches_from_the_lists_version():
    script = paging()
    assert script.actions == [wt.BeginReplace(), wt.ListPage("", 500, 60.0)]
    script.page(version=0, token="a").page(version=0, token="b").page(version=77)
    assert script.kinds() == ["CommitReplace", "OpenWatch"]
    assert script.take() == ["page:a", "page:b", "watch@77"]
    assert script.opened().watch.state is wt.WatchState.WATCHING


def test_every_list_is_consistent_and_tells_when_it_began():
    script = listing().after(3).opened().received(end_version=50)
    assert script.watch.list_started_at == 1000.0
    script.after(10).received(version=66).give(wt.RelistRequested("test"))
    assert script.take() == ["list"]  # without a version
    assert script.watch.list_started_at == 1000.0
    script.after(3).opened().received(end_version=70)
    assert script.watch.list_started_at == 1013.0


def test_watch_timeouts_are_spread_over_240_to_300_seconds():
    asked = set()
    for seed in range(200):
        actions = Watch(random.Random(seed)).step(wt.Started(), 0.0)
        asked.add(next(action.timeout_seconds for action in actions if isinstance(action, wt.OpenWatch)))
    assert min(asked) >= 240
    assert max(asked) <= 300
    assert len(asked) > 30


def test_shards_start_one_after_the_other():
    delays = [wt.start_delay(shard) for shard in range(4)]
    assert delays == [0.0, 0.25, 0.5, 0.75]
    assert wt.start_delay(10_000) == 5.0
    script = Script(start_delay=0.5).start()
    assert script.take() == []
    assert script.delay() == 0.5
    script.wait()
    assert script.take() == ["list"]


def test_an_early_tick_does_nothing():
    script = Script(start_delay=0.5).start().after(0.1)
    assert script.give(wt.Tick()).actions == []
    assert watching().give(wt.Tick()).kinds() == []
    assert listed().give(wt.Tick()).actions == []


def test_the_idle_limit_is_moved_lazily_and_not_on_every_read():
    script = watching()
    for _ in range(50):
        assert script.after(2.0).received(version=0).actions == []
    assert script.wait() <= 120.0
    assert script.take() == []  # the tick only looked and asked for a later one
    assert script.delay() > 0


def test_a_requested_relist_waits_for_its_spacing_and_closes_the_stream():
    script = listing().opened().received(end_version=50)
    script.give(wt.RelistRequested("doubt"))
    assert script.take() == []
    assert script.delay() == 5.0
    script.give(wt.RelistRequested("again"))
    script.wait()
    assert script.kinds() == ["CloseStream", "BeginReplace", "OpenWatch"]
    assert script.take() == ["list"]
    assert script.watch.counters["relist:doubt"] == 1
    assert script.watch.counters["relist:again"] == 0


def test_a_relist_requested_while_backing_off_replaces_the_watch():
    script = listed().fail(Fault.UNAVAILABLE)
    script.give(wt.RelistRequested("doubt"))
    script.after(20.0).give(wt.Tick())
    assert script.take() == ["page"]


def test_a_relist_requested_while_listing_follows_that_list():
    script = paging()
    script.give(wt.RelistRequested("doubt"))
    script.page(50).opened()
    assert script.take() == ["watch@50"]
    assert script.wait() == 0.0
    assert script.take() == ["page"]


def test_an_undecodable_object_is_skipped_and_a_relist_follows_at_a_bounded_rate():
    script = watching()
    script.received(undecodable=1, version=60)
    assert script.kinds() == []
    assert script.watch.state is wt.WatchState.WATCHING
    assert script.delay() == 5.0
    script.wait()
    assert script.take() == ["list"]
    # The same object again, in the list that it caused: not before five minutes.
    script.opened().received(undecodable=1, end_version=61)
    relists = 0
    for _ in range(100):
        script.after(10.0).received(undecodable=1, version=script.watch.version + 1)
        for request in script.take():
            relists += request.startswith("list")
            script.opened().received(undecodable=1, end_version=script.watch.version + 1)
    assert 2 <= relists <= 4
    assert script.watch.counters["relist:undecodable"] == relists + 1
    assert script.watch.counters["undecodable"] > 100


def test_an_undecodable_object_in_a_page_schedules_a_relist_too():
    script = paging().page(50, undecodable=2)
    script.opened()
    assert script.delay() == 5.0
    assert script.watch.counters["undecodable"] == 2


def test_a_list_with_an_undecodable_object_sweeps_nothing():
    script = watching(50)
    script.give(wt.RelistRequested("x"))
    script.opened().received(undecodable=1).received(end_version=60)
    assert script.kinds() == ["AbortReplace"]
    assert script.watch.version == 60
    assert script.watch.list_started_at == 1000.0
    assert script.wait() == 5.0
    assert script.take() == ["list", "list"]
    script.opened().received(undecodable=1, end_version=70)  # in the same read as the end
    assert script.kinds() == ["AbortReplace"]
    assert script.watch.counters["unswept"] == 2


def test_the_first_list_completes_even_with_an_undecodable_object():
    script = listing().opened().received(undecodable=1, end_version=60)
    assert script.kinds() == ["CommitReplace"]
    assert script.watch.synced


def test_a_history_that_went_back_is_forgotten_and_listed_again():
    script = watching(5000)
    script.fail(Fault.TOO_LARGE_VERSION)
    script.wait()
    assert script.take() == ["list"]
    assert script.opened().received(end_version=40).kinds() == ["CommitReplace", "ForgetRows"]
    assert script.watch.version == 40
    script.give(wt.Tick())
    assert script.take() == ["list"]
    assert script.opened().received(end_version=41).kinds() == ["CommitReplace"]
    assert script.watch.counters["rewound"] == 1


def test_three_silent_watches_cause_a_list():
    script = watching().received(version=60)
    for _ in range(4):
        script.wait()
        if script.watch.state is wt.WatchState.LISTED:
            script.opened()
    assert script.take() == ["watch@60", "watch@60", "watch@60"]
    script.wait()
    assert script.take() == ["list"]
    assert script.watch.counters["relist:silent"] == 1


@pytest.mark.parametrize(
    ("script", "event"),
    [
        (Script, wt.WatchOpened()),
        (Script, wt.PageListed(5, "")),
        (listing, wt.Started()),
        (paging, wt.WatchOpened()),
        (listed, wt.PageListed(5, "")),
        (listed, wt.Received()),
        (watching, wt.WatchOpened()),
        (lambda: watching().error(Fault.THROTTLED), wt.Received()),
        (lambda: watching().error(Fault.THROTTLED), wt.Failed(FaultInfo(Fault.TIMEOUT))),
    ],
)
def test_an_event_the_state_cannot_have_is_an_error_that_tells_the_story(script, event):
    script = script()
    with pytest.raises(wt.WatchError) as caught:
        script.give(event)
    assert repr(event) in str(caught.value)
    if script.steps:
        assert "-> " in str(caught.value)


def test_the_story_is_bounded():
    script = watching()
    for _ in range(200):
        script.after(2.0).ended().opened()
    assert len(script.watch.story().splitlines()) == STORY_LENGTH


def test_the_table_knows_every_fault_in_every_state_with_something_at_risk():
    assert set(POLICY) == {(state, fault) for state in COLUMNS for fault in Fault}


def test_states_with_something_at_risk_are_all_but_empty_and_backing_off():
    assert set(COLUMNS) == set(wt.WatchState) - {wt.WatchState.EMPTY, wt.WatchState.BACKING_OFF}


def test_events_and_actions_have_no_dict_and_do_not_change():
    for kind in (*wt.Event.__args__, *wt.Action.__args__):
        assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
        assert kind.__dataclass_params__.frozen


def test_random_life_keeps_the_rules():
    """Any order of events that a driver can give leaves the machine valid, waiting or with one request in flight."""
    for seed in range(60):
        rng = random.Random(seed)
        script = Script().start()
        for _ in range(60):
            script.after(rng.choice([0.0, 0.3, 2.0, 40.0]))
            state = script.watch.state
            if rng.random() < 0.1:
                script.give(rng.choice([wt.RelistRequested("x"), wt.CredentialsReplaced(), wt.Tick()]))
            elif state is wt.WatchState.BACKING_OFF:
                script.wait()
            elif rng.random() < 0.3:
                if state is wt.WatchState.INITIAL_WATCH and script.wake is None:
                    script.fail(rng.choice(list(Fault)), retry_after=rng.choice([None, 1.0, 40.0]))
                else:
                    script.fail(rng.choice(list(Fault)))
            elif state is wt.WatchState.LISTING_PAGE:
                script.page(rng.choice([0, 50, 60]), rng.choice(["", "t"]), rng.choice([0, 1]))
            elif state is wt.WatchState.LISTED or script.wake is None:
                script.opened()
            else:
                script.give(
                    rng.choice(
                        [
                            wt.Received(version=rng.randint(40, 300)),
                            wt.Received(end_version=70),
                            wt.Received(undecodable=1),
                            wt.Received(versionless=1),
                            wt.StreamEnded(),
                            wt.StreamEnded(7),
                            wt.Tick(),
                        ]
                    )
                )
            in_flight = script.watch.state not in (wt.WatchState.EMPTY, wt.WatchState.BACKING_OFF)
            assert in_flight or script.wake is not None


def test_a_stream_that_got_somewhere_is_asked_for_again_soon_however_often_it_breaks():
    script = watching(50).fail(Fault.DISCONNECTED).opened()  # an old stream is opened again without a delay
    delays = []
    for version in range(60, 70):
        script.received(version=version).fail(Fault.DISCONNECTED)
        delays.append(script.wait())
        script.opened()
    assert delays == [0.8] * 10
    delays = []
    for _ in range(3):  # nothing comes any more
        script.fail(Fault.DISCONNECTED)
        delays.append(script.wait())
        script.opened()
    assert delays == [1.6, 3.2, 6.4]


def test_what_asks_for_a_list_keeps_its_place_in_the_backoff():
    script = watching(50)
    delays = []
    for version in (60, 70, 80):
        script.received(version=version).error(Fault.EXPIRED)
        delays.append(script.wait())
        script.opened().received(end_version=version)
    assert delays == [0.8, 1.6, 3.2]
