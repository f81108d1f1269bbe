"""The join's script against an oracle in plain Python, step by step, and at its limits."""

from typing import cast

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.audit.equations import equations
from streams.errors import StoreRefused, StoreWentBack
from streams.join.step import RECENT, Move, Rules, ShardState
from streams.join.store import Store
from tests.property.join.steps import (
    AHEAD,
    KEEP,
    NAMES,
    REAL,
    RULES,
    TPS,
    WINDOW,
    Plan,
    agree,
    all_read,
    blank,
    fresh,
    plans_,
    policies,
    shard_step,
    slacks,
)


@settings(REAL, max_examples=200)
@given(plans=plans_, slack=slacks, rules=policies, live=st.booleans())
def test_the_script_does_what_the_oracle_does(
    embedded_store: Store, plans: list[Plan], slack: int, rules: Rules, live: bool
) -> None:
    agree(embedded_store, plans, slack, rules, live=live)


def filled(store: Store, pairs: int, t: int) -> tuple[str, ShardState]:
    """A feed with so many predictions at `t`, and an outcome for every second one, in one step."""
    feed = fresh(store)
    state = store.shard(feed, 0)
    events = [(0, f"id:{n}", t, 0) for n in range(pairs)] + [(1, f"id:{n}", t + 1, 1) for n in range(0, pairs, 2)]
    return feed, store.step(feed, 0, shard_step(events, 0, 1, state))


def passed(store: Store, feed: str, t: int, rules: Rules = RULES) -> ShardState:
    """Move every partition's time to `t`."""
    state = store.shard(feed, 0)
    step = blank(0, rules)
    step.moves = [
        Move(name, state.partitions[name].next, state.partitions[name].next, t_ms=t, recent=[t] * RECENT)
        for name in NAMES
    ]
    return store.step(feed, 0, step)


def test_a_step_closes_and_drops_a_bounded_number_and_says_what_is_left(embedded_store: Store) -> None:
    t = 1_700_000_000_123
    feed, state = filled(embedded_store, 1_300, t)
    assert (state.counters["joined"], state.counters["waiting"], state.windows, state.markers) == (650, 650, 1_300, 650)
    state = passed(embedded_store, feed, t + WINDOW + 1)
    assert (state.watermark_ms, state.windows, state.due) == (t + WINDOW + 1, 1_300 - 256, 256)
    while state.due:
        before, state = state, embedded_store.step(feed, 0, blank(0))
        assert before.windows - state.windows <= 256
    assert (state.windows, state.counters["unlabelled"], state.markers) == (0, 650, 1_300)
    state = passed(embedded_store, feed, t + WINDOW + KEEP + 2)
    assert (state.markers, state.due) == (1_300 - 512, 512)
    while state.due:
        state = embedded_store.step(feed, 0, blank(0))
    assert state.markers == 0


def test_a_flood_of_outcomes_of_unknown_ids_is_bounded(embedded_store: Store) -> None:
    rules, feed = replace(RULES, most_early=100), fresh(embedded_store)
    flood = [(1, f"id:{n}", 50, 1) for n in range(1_000)]
    state = embedded_store.step(feed, 0, shard_step(flood, 0, 1, embedded_store.shard(feed, 0), rules))
    assert (state.counters["early"], state.counters["early_refused"], state.windows) == (100, 900, 100)
    assert [(one.counter, one.example) for one in state.missed] == [("early_refused", "id:999")]
    asked = [(0, f"id:{n}", 40, 0) for n in range(60)] + flood
    state = embedded_store.step(feed, 0, shard_step(asked, 0, 1, state, rules))
    assert (state.counters["joined"], state.counters["early"]) == (60, 100)
    assert [one.holds for one in equations({**state.counters, "seq": state.seq})] == [True] * 4


def test_a_step_marks_a_bounded_number_and_says_what_is_left(embedded_store: Store) -> None:
    t, rules = 1_700_000_000_123, RULES.marking([20, 30])
    feed, state = filled(embedded_store, 1_300, t)
    assert passed(embedded_store, feed, t + 10, rules).due == 0
    state = passed(embedded_store, feed, t + 31, rules)
    assert (state.due, state.counters["marked"]) == (512, 256)  # every second of 256 still waits, at each of two ages
    while state.due:
        before, state = state, embedded_store.step(feed, 0, blank(0, rules))
        assert state.counters["marked"] - before.counters["marked"] <= 512
    assert (state.counters["marked"], state.windows) == (1_300, 1_300)


def test_a_marked_prediction_waits_as_before(embedded_store: Store) -> None:
    rules = Rules(WINDOW, KEEP, 0, AHEAD, at_close=1).marking([20])
    feed, events = fresh(embedded_store), [(0, "id:0", 1_000, 0), (0, "id:1", 1_000, 0), (1, "id:1", 1_030, 1)]
    embedded_store.step(feed, 0, shard_step(events, 0, 1, embedded_store.shard(feed, 0), rules))
    state = passed(embedded_store, feed, 1_025, rules)
    if state.due:
        state = embedded_store.step(feed, 0, blank(0, rules))
    assert state.counters["marked"] == 2
    waiting = [(one.id, one.state) for one in embedded_store.waiting(feed, 0, 9)]
    assert waiting == [("id:0", "prediction"), ("id:1", "prediction with its outcome")]


def test_marks_go_on_where_windows_closed_before_they_reached_an_age(embedded_store: Store) -> None:
    feed, rules = fresh(embedded_store), RULES.marking([20])
    asked = shard_step([(0, f"id:{n}", 1_000, 0) for n in range(3)], 0, 1, embedded_store.shard(feed, 0), rules)
    state = embedded_store.step(feed, 0, asked)
    embedded_store.close_feed(feed, 0)
    state = embedded_store.step(feed, 0, all_read(state, 0, rules))
    assert (state.windows, state.counters["marked"]) == (0, 0)
    state = embedded_store.step(feed, 0, shard_step([(0, "id:9", 1_500, 0)], 0, 1, state, rules))
    assert passed(embedded_store, feed, 1_521, rules).counters["marked"] == 1


def test_a_shard_of_an_earlier_release_is_marked_too(embedded_store: Store, embedded_redis: redis.Redis) -> None:
    feed, _ = filled(embedded_store, 2, 1_000)
    m = Store._keys(feed, 0)[0]
    counters = msgspec.msgpack.decode(cast("bytes", embedded_redis.hget(m, "counters")))
    del counters["marked"]
    embedded_redis.hset(m, "counters", msgspec.msgpack.encode(counters))
    assert embedded_store.shard(feed, 0).counters["marked"] == 0
    rules = RULES.marking([20])
    passed(embedded_store, feed, 1_010, rules)
    assert passed(embedded_store, feed, 1_021, rules).counters["marked"] == 1


def test_a_lost_shard_marks_again_only_from_where_it_was(embedded_store: Store) -> None:
    feed, rules = f"lost{id(embedded_store)}", RULES.marking([20, 30, 40])
    embedded_store.settle(feed, 0, "7-1", [], 1_030)
    embedded_store.create(feed, 1, TPS, after={0: "7-1"})
    embedded_store.step(feed, 0, shard_step([(0, "id:0", 1_000, 0)], 0, 1, embedded_store.shard(feed, 0), rules))
    state = passed(embedded_store, feed, 1_050, rules)
    assert (state.counters["restored"], state.counters["marked"], state.seq) == (7, 2, 9)


def test_a_forgotten_id_cannot_come_back(embedded_store: Store) -> None:
    feed, _ = filled(embedded_store, 2, 1_000)
    passed(embedded_store, feed, 1_000 + WINDOW + 1)
    state = passed(embedded_store, feed, 1_000 + WINDOW + KEEP + 2)
    assert state.markers == 0
    again = shard_step([(0, "id:0", 1_000, 0), (1, "id:0", 1_001, 1), (0, "id:1", 1_000, 0)], 0, 1, state)
    state = embedded_store.step(feed, 0, again)
    assert (state.counters["prediction_too_late"], state.counters["outcome_too_late"]) == (2, 1)
    assert (state.windows, state.seq) == (0, 1)


def test_a_step_without_its_shard_or_with_unwelcome_parts_is_refused_and_changes_nothing(embedded_store: Store) -> None:
    with pytest.raises(StoreRefused, match="MISSING"):
        embedded_store.step("nowhere", 0, blank(0))
    feed, state = filled(embedded_store, 4, 1_000)
    unknown, ahead = blank(0), shard_step([(0, "id:9", 2_000, 0)], 0, 1, state)
    unknown.moves = [Move("q:0", 0, 1)]
    ahead.rules = replace(RULES, max_ahead_ms=2_000 - state.now_ms - 60_000)
    for step, reason, error in ((unknown, "UNKNOWN", StoreWentBack), (ahead, "AHEAD", StoreRefused)):
        with pytest.raises(error, match=reason):
            embedded_store.step(feed, 0, step)
    assert replace(embedded_store.shard(feed, 0), now_ms=0) == replace(state, now_ms=0)


@pytest.mark.parametrize("outcome_first", [False, True])
@pytest.mark.parametrize(("after", "joined"), [(WINDOW, 1), (WINDOW + 1, 0)])
def test_an_outcome_is_on_time_up_to_the_deadline_itself(
    embedded_store: Store, outcome_first: bool, after: int, joined: int
) -> None:
    feed = fresh(embedded_store)
    events = [(0, "id:0", 1_000, 0), (1, "id:0", 1_000 + after, 1)]
    for one in reversed(events) if outcome_first else events:
        state = embedded_store.step(feed, 0, shard_step([one], 0, 1, embedded_store.shard(feed, 0)))
    assert (state.counters["joined"], state.counters["late"]) == (joined, 1 - joined)


def test_windows_and_markers_end_only_after_their_last_moment(embedded_store: Store) -> None:
    feed = fresh(embedded_store)
    latest = 1_000 + WINDOW  # the outcome's own time: its duplicates must find the marker
    events = [(0, "id:0", 1_000, 0), (1, "id:0", latest, 1), (0, "id:1", 1_000, 0)]
    embedded_store.step(feed, 0, shard_step(events, 0, 1, embedded_store.shard(feed, 0)))
    assert passed(embedded_store, feed, 1_000 + WINDOW).counters["waiting"] == 1
    assert passed(embedded_store, feed, 1_000 + WINDOW + 1).counters["waiting"] == 0
    assert passed(embedded_store, feed, latest + WINDOW + KEEP).markers == 2
    assert passed(embedded_store, feed, latest + WINDOW + KEEP + 1).markers == 0


def test_a_step_may_be_larger_than_lua_can_unpack_at_once(embedded_store: Store) -> None:
    _, state = filled(embedded_store, 5_000, 1_000)
    assert (state.counters["joined"], state.counters["waiting"], state.windows) == (2_500, 2_500, 5_000)


def test_an_idle_claim_lifts_the_largest_time_by_a_second_at_most(embedded_store: Store) -> None:
    feed = fresh(embedded_store)  # whose last step was in 1970
    step = blank(0)
    step.moves = [Move("p:0", 0, 0, t_ms=1_000, idle=1, recent=[1_000]), Move("o:0", 0, 0, idle=1)]
    state = embedded_store.step(feed, 0, step)
    assert [state.partitions[name].t_ms for name in NAMES] == [2_000, 1_000, -1]
    assert state.watermark_ms == 0
