"""The join's script against a plain-Python oracle, step by step, and what holds for any order of the same events."""

import itertools
import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple
from zlib import crc32

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.errors import StoreRefused
from streams.step import Move, ShardState, Step
from streams.store import Store
from tests.property.oracle import Oracle

WINDOW, KEEP, AHEAD = 100, 50, 10**13
TPS = [("p", 0), ("o", 0), ("o", 1)]
NAMES = ["p:0", "o:0", "o:1"]
FEEDS, TOKENS = itertools.count(), itertools.count()
REAL = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Part(NamedTuple):
    """One partition's part of a step: how far off its start is, an idle claim instead of events, and (id, time)s."""

    tp: int
    stale: int
    idle: bool
    events: list[tuple[int, int]]


class Plan(NamedTuple):
    """A step to be: its parts, whether it closes the feed, and whether it is sent twice."""

    parts: list[Part]
    closing: bool
    twice: bool


seldom = st.sampled_from([False] * 7 + [True])
edges = st.integers(0, 12).map(lambda n: n * KEEP)  # where windows and markers end exactly
event = st.tuples(st.integers(0, 5), st.one_of(edges, edges, st.integers(0, 400), st.integers(0, 4_000)))
part = st.builds(Part, st.integers(0, 2), st.sampled_from([0] * 8 + [1, -1]), seldom, st.lists(event, max_size=8))
plan = st.builds(Plan, st.lists(part, max_size=3, unique_by=lambda p: p.tp), seldom, seldom)


def fresh(store: Store, shards: int = 1) -> str:
    feed = f"join{next(FEEDS)}"
    store.create(feed, shards, TPS)
    return feed


def blank(slack: int, closing: bool = False) -> Step:
    return Step(f"{next(TOKENS):032x}", WINDOW, KEEP, slack, AHEAD, int(closing))


def add(step: Step, key: str, t: int) -> None:
    """Add an event to the last move."""
    step.which.append(len(step.moves))
    step.ids.append(key)
    step.times.append(t)
    step.bodies.append(json.dumps({"id": key, "t": t}))


def make(state: ShardState, parts: Sequence[Part], slack: int, closing: bool = False) -> Step:
    """Make a step from where the shard stands, each part off by `stale`, with one hole behind its events."""
    step = blank(slack, closing)
    for tp, stale, idle, events in parts:
        start = max(0, state.positions[NAMES[tp]].next + stale)
        move = Move(NAMES[tp], start, start, idle=int(idle), outcomes=int(tp > 0))
        step.moves.append(move)
        if not idle:
            move.end, move.records, move.holes = start + len(events) + 1, len(events), 1
            move.last, move.crc = (move.end - 2, 7) if events else (-1, 0)
            move.t = max((t for _, t in events), default=-1)
            for key, t in events:
                add(step, f"id:{key}", t)
    return step


def balanced(state: ShardState) -> None:
    """The audit's equations within one shard."""
    c = state.counters
    assert c["predictions"] == c["opened"] + c["prediction_duplicate"] + c["prediction_too_late"]
    assert c["opened"] == c["joined"] + c["negative"] + c["unlabelled"] + c["waiting"]
    settled = c["used"] + c["late"] + c["orphan"]
    assert c["outcomes"] == settled + c["early"] + c["outcome_duplicate"] + c["outcome_too_late"]
    assert state.seq == c["joined"] + c["negative"] + c["corrected"]
    assert sum(at.records for at in state.positions.values()) == c["predictions"] + c["outcomes"]


def same(state: ShardState, oracle: Oracle, samples: list[tuple[str, bytes]]) -> None:
    assert dict(state.counters) == oracle.count
    assert (state.seq, state.chain, state.watermark_ms) == (oracle.seq, oracle.chain, oracle.watermark)
    assert dict(state.positions) == oracle.positions
    assert (state.windows, state.markers) == (len(oracle.windows), len(oracle.markers))
    assert [(entry, body.decode()) for entry, body in samples] == oracle.samples


@settings(REAL, max_examples=100)
@given(plans=st.lists(plan, max_size=14), slack=st.integers(0, 60))
def test_the_script_does_what_the_oracle_does(embedded_store: Store, plans: list[Plan], slack: int) -> None:
    feed = fresh(embedded_store)
    before = embedded_store.shard(feed, 0)
    oracle, clock_ms = Oracle(dict(before.positions)), 0
    for parts, closing, twice in plans:
        step = make(before, parts, slack, closing)
        state = embedded_store.step(feed, 0, step)
        oracle.step(step, state.now_ms - clock_ms)
        same(state, oracle, embedded_store.read(feed, 0, "0-0", 1_000))
        balanced(state)
        assert state.watermark_ms >= before.watermark_ms
        if twice:
            again = embedded_store.step(feed, 0, step)
            assert replace(again, now_ms=0, due=0) == replace(state, now_ms=0, due=0)
        clock_ms = state.now_ms if state.chain != before.chain else clock_ms
        before = state


class Feed(NamedTuple):
    """What happened, as sets: id → time of its prediction, id → time of its outcome; times are unique to neither."""

    predictions: dict[int, int]
    outcomes: dict[int, int]


feed_events = st.builds(
    Feed,
    st.dictionaries(st.integers(0, 40), st.integers(0, 1_000), max_size=25),
    st.dictionaries(st.integers(0, 40), st.integers(0, 1_300), max_size=25),
)


def scattered(feed: Feed, copies: int, random: Random) -> list[tuple[int, str, int]]:
    """Every event one to `copies` times as (partition, id, time), in any order, outcomes in any partition."""
    events = [(0, f"id:{key}", t) for key, t in feed.predictions.items() for _ in range(random.randint(1, copies))]
    events += [
        (random.randint(1, 2), f"id:{key}", t)
        for key, t in feed.outcomes.items()
        for _ in range(random.randint(1, copies))
    ]
    random.shuffle(events)
    return events


def shard_step(batch: list[tuple[int, str, int]], shard: int, shards: int, state: ShardState) -> Step:
    """One shard's step for a batch: it passes every position and applies its own events."""
    step = blank(slack=10_000)
    for tp, name in enumerate(NAMES):
        events = [(key, t) for of, key, t in batch if of == tp]
        own = [(key, t) for key, t in events if crc32(key.encode()) % shards == shard]
        start = state.positions[name].next
        most = max((t for _, t in events), default=-1)
        step.moves.append(Move(name, start, start + len(events), t=most, records=len(own), outcomes=int(tp > 0)))
        for key, t in own:
            add(step, key, t)
    return step


seeds = st.integers()


@settings(REAL, max_examples=100)
@given(feed=feed_events, shards=st.integers(1, 3), copies=st.integers(1, 3), size=st.integers(1, 30), seed=seeds)
def test_labels_depend_on_the_set_of_events_alone(
    embedded_store: Store, feed: Feed, shards: int, copies: int, size: int, seed: int
) -> None:
    """Any order within the slack, any duplication, batching and number of shards; then the end of the feed."""
    name = fresh(embedded_store, shards)
    states = [embedded_store.shard(name, shard) for shard in range(shards)]
    events = scattered(feed, copies, Random(seed))
    for batch in [events[i : i + size] for i in range(0, len(events), size)]:
        for shard in range(shards):
            states[shard] = embedded_store.step(name, shard, shard_step(batch, shard, shards, states[shard]))
            balanced(states[shard])
    for shard in range(shards):
        while states[shard].windows:
            states[shard] = embedded_store.step(name, shard, blank(10_000, closing=True))
            balanced(states[shard])
    for name_of in NAMES:
        at = [state.positions[name_of] for state in states]
        assert {p.next for p in at} == {sum(p.records for p in at)}
    rows = [json.loads(body) for shard in range(shards) for _, body in embedded_store.read(name, shard, "0-0", 1_000)]
    labels = {row["prediction"]["id"]: row["outcome"]["t"] for row in rows}
    assert len(rows) == len(labels)
    assert labels == {
        f"id:{key}": feed.outcomes[key]
        for key, t in feed.predictions.items()
        if key in feed.outcomes and feed.outcomes[key] <= t + WINDOW
    }
    assert sum(s.counters["unlabelled"] for s in states) == len(feed.predictions) - len(labels)


def keys(feed: str) -> list[str]:
    return [f"{{{feed}.0}}:{key}" for key in "mewgs"]


@settings(REAL, max_examples=40)
@given(
    trunk=st.lists(plan, max_size=5),
    branches=st.lists(st.lists(plan, min_size=1, max_size=5), min_size=2, max_size=3),
)
def test_equal_stream_ids_mean_equal_prefixes(
    embedded_store: Store, embedded_redis: redis.Redis, trunk: list[Plan], branches: list[list[Plan]]
) -> None:
    """The store goes back in time and on another way; no stream ID ever names two histories."""
    feed = fresh(embedded_store)
    prefixes: dict[str, tuple[bytes, ...]] = {}
    walk(embedded_store, feed, trunk, prefixes)
    saved = [embedded_redis.dump(key) for key in keys(feed)]
    for branch in branches:
        walk(embedded_store, feed, branch, prefixes)
        embedded_redis.delete(*keys(feed))
        for key, value in zip(keys(feed), saved, strict=True):
            if value is not None:
                embedded_redis.restore(key, 0, value)


def walk(store: Store, feed: str, plans: list[Plan], prefixes: dict[str, tuple[bytes, ...]]) -> None:
    for parts, closing, _ in plans:
        store.step(feed, 0, make(store.shard(feed, 0), parts, 0, closing))
        samples = store.read(feed, 0, "0-0", 1_000)
        for i, (entry, _) in enumerate(samples):
            prefix = tuple(body for _, body in samples[: i + 1])
            assert prefixes.setdefault(entry, prefix) == prefix


def filled(store: Store, pairs: int, t: int) -> tuple[str, ShardState]:
    """A feed with so many predictions at `t`, and an outcome for every second one, in one step."""
    feed = fresh(store)
    state = store.shard(feed, 0)
    events = [(0, f"id:{n}", t) for n in range(pairs)] + [(1, f"id:{n}", t + 1) for n in range(0, pairs, 2)]
    return feed, store.step(feed, 0, shard_step(events, 0, 1, state))


def passed(store: Store, feed: str, t: int) -> ShardState:
    """Move every partition's time to `t`."""
    state = store.shard(feed, 0)
    step = blank(0)
    step.moves = [Move(name, state.positions[name].next, state.positions[name].next, t=t) for name in NAMES]
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


def test_a_forgotten_id_cannot_come_back(embedded_store: Store) -> None:
    feed, _ = filled(embedded_store, 2, 1_000)
    passed(embedded_store, feed, 1_000 + WINDOW + 1)
    state = passed(embedded_store, feed, 1_000 + WINDOW + KEEP + 2)
    assert state.markers == 0
    again = shard_step([(0, "id:0", 1_000), (1, "id:0", 1_001), (0, "id:1", 1_000)], 0, 1, state)
    state = embedded_store.step(feed, 0, again)
    assert (state.counters["prediction_too_late"], state.counters["outcome_too_late"]) == (2, 1)
    assert (state.windows, state.seq) == (0, 1)


def test_a_step_without_its_shard_or_with_unwelcome_parts_is_refused_and_changes_nothing(embedded_store: Store) -> None:
    with pytest.raises(StoreRefused, match="MISSING"):
        embedded_store.step("nowhere", 0, blank(0))
    feed, state = filled(embedded_store, 4, 1_000)
    unknown, ahead = blank(0), shard_step([(0, "id:9", 2_000)], 0, 1, state)
    unknown.moves = [Move("q:0", 0, 1)]
    ahead.max_ahead_ms = 2_000 - state.now_ms - 60_000
    for step, reason in ((unknown, "UNKNOWN"), (ahead, "AHEAD")):
        with pytest.raises(StoreRefused, match=reason):
            embedded_store.step(feed, 0, step)
    assert replace(embedded_store.shard(feed, 0), now_ms=0) == replace(state, now_ms=0)


@pytest.mark.parametrize("outcome_first", [False, True])
@pytest.mark.parametrize(("after", "joined"), [(WINDOW, 1), (WINDOW + 1, 0)])
def test_an_outcome_is_on_time_up_to_the_deadline_itself(
    embedded_store: Store, outcome_first: bool, after: int, joined: int
) -> None:
    feed = fresh(embedded_store)
    events = [(0, "id:0", 1_000), (1, "id:0", 1_000 + after)]
    for one in reversed(events) if outcome_first else events:
        state = embedded_store.step(feed, 0, shard_step([one], 0, 1, embedded_store.shard(feed, 0)))
    assert (state.counters["joined"], state.counters["late"]) == (joined, 1 - joined)


def test_windows_and_markers_end_only_after_their_last_moment(embedded_store: Store) -> None:
    feed = fresh(embedded_store)
    latest = 1_000 + WINDOW  # the outcome's own time: its duplicates must find the marker
    events = [(0, "id:0", 1_000), (1, "id:0", latest), (0, "id:1", 1_000)]
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
    step.moves = [Move("p:0", 0, 0, t=1_000, idle=1), Move("o:0", 0, 0, idle=1)]
    state = embedded_store.step(feed, 0, step)
    assert [state.positions[name].t_ms for name in NAMES] == [2_000, 1_000, -1]
    assert state.watermark_ms == 0
