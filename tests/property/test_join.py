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

from streams.errors import StoreBehind, StoreRefused
from streams.step import Move, Rules, ShardState, Step, asked, told
from streams.store import Store
from tests.property.oracle import Oracle

WINDOW, KEEP, AHEAD = 100, 50, 10**13
TPS = [("p", 0), ("o", 0), ("o", 1)]
NAMES = ["p:0", "o:0", "o:1"]
FEEDS, TOKENS = itertools.count(), itertools.count()
REAL = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


RULES = Rules(WINDOW, KEEP, 0, AHEAD)
SLACK = Rules(WINDOW, KEEP, 10_000, AHEAD)


class Part(NamedTuple):
    """One partition's part of a step: how far off its start is, an idle claim instead of events, and the events."""

    tp: int
    stale: int
    idle: bool
    events: list[tuple[int, int, int]]  # id, time, label


class Plan(NamedTuple):
    """A step to be: its parts, whether the feed ends before it with all read, and whether it is sent twice."""

    parts: list[Part]
    closing: bool
    twice: bool


seldom = st.sampled_from([False] * 7 + [True])
edges = st.integers(0, 12).map(lambda n: n * KEEP)  # where windows and markers end exactly
near = st.one_of(edges, edges, st.integers(0, 400), st.integers(0, 4_000))
event = st.tuples(st.integers(0, 5), near, st.integers(0, 2))
part = st.builds(Part, st.integers(0, 2), st.sampled_from([0] * 8 + [1, -1]), seldom, st.lists(event, max_size=8))
plan = st.builds(Plan, st.lists(part, max_size=3, unique_by=lambda p: p.tp), seldom, seldom)
plans_ = st.lists(plan, max_size=14)
slacks = st.one_of(st.sampled_from([0, 50]), st.integers(0, 60))
absent = st.sampled_from([("", 0), ("0", 0), ("-0.5", 1)])  # the negative's label, and whether late ones correct it
policies = st.builds(
    lambda absent, at_close, reduce, most: Rules(
        WINDOW, KEEP, 0, AHEAD, int(at_close), absent[0], reduce if at_close else "first", most, absent[1]
    ),
    absent,
    st.booleans(),
    st.sampled_from(["first", "last", "sum", "list"]),
    st.sampled_from([1, 2, 64]),
)


def fresh(store: Store, shards: int = 1) -> str:
    feed = f"{__name__}{next(FEEDS)}"  # this module is imported under two names
    store.create(feed, shards, TPS)
    return feed


def blank(slack: int, rules: Rules = RULES) -> Step:
    return Step(f"{next(TOKENS):032x}", replace(rules, slack_ms=slack))


def add(step: Step, key: str, t: int, label: int = 0) -> None:
    """Add an event to the last move."""
    step.which.append(len(step.moves))
    step.ids.append(key)
    step.times.append(t)
    r = step.rules
    outcome = step.moves[-1].outcomes
    both = told(key, t, str(label), r.window_ms + r.keep_ms) if outcome else asked(key, t, "{}", r.window_ms)
    step.items.append(both[0])
    step.bodies.append(both[1])


def all_read(state: ShardState, slack: int, rules: Rules = RULES) -> Step:
    """Say that every partition has been read to its end."""
    step = blank(slack, rules)
    step.moves = [Move(name, at.next, at.next, ended=1) for name, at in state.positions.items()]
    return step


def make(state: ShardState, plan: Plan, slack: int, rules: Rules = RULES, names: Sequence[str] = NAMES) -> Step:
    """Make a step from where the shard stands, each part off by `stale`, with one hole behind its events."""
    if plan.closing:
        return all_read(state, slack, rules)
    step = blank(slack, rules)
    for tp, stale, idle, events in plan.parts:
        start = max(0, state.positions[names[tp]].next + stale)
        move = Move(names[tp], start, start, idle=int(idle), outcomes=int(names[tp].startswith("o")))
        step.moves.append(move)
        if not idle:
            move.end, move.records, move.holes = start + len(events) + 1, len(events), 1
            move.last, move.crc = (move.end - 2, 7) if events else (-1, 0)
            move.t = max((t for _, t, _ in events), default=-1)
            for key, t, label in events:
                add(step, f"id:{key}", t, label)
    return step


def balanced(state: ShardState) -> None:
    """The audit's equations within one shard."""
    c = state.counters
    assert c["predictions"] == c["opened"] + c["prediction_duplicate"] + c["prediction_too_late"]
    assert c["opened"] == c["joined"] + c["negative"] + c["unlabelled"] + c["waiting"]
    settled = c["used"] + c["late"] + c["orphan"]
    assert c["outcomes"] == settled + c["early"] + c["outcome_duplicate"] + c["outcome_too_late"] + c["capped"]
    assert state.seq == c["joined"] + c["negative"] + c["corrected"]
    assert sum(at.records for at in state.positions.values()) == c["predictions"] + c["outcomes"]


def same(state: ShardState, oracle: Oracle, samples: list[tuple[str, bytes]]) -> None:
    assert dict(state.counters) == oracle.count
    assert (state.seq, state.chain, state.watermark_ms) == (oracle.seq, oracle.chain, oracle.watermark)
    assert dict(state.positions) == oracle.positions
    assert (state.windows, state.markers) == (len(oracle.windows), len(oracle.markers))
    assert [(entry, body.decode()) for entry, body in samples] == oracle.samples


@settings(REAL, max_examples=200)
@given(plans=plans_, slack=slacks, rules=policies)
def test_the_script_does_what_the_oracle_does(
    embedded_store: Store, plans: list[Plan], slack: int, rules: Rules
) -> None:
    agree(embedded_store, plans, slack, rules)


def agree(store: Store, plans: list[Plan], slack: int, rules: Rules) -> None:
    feed = fresh(store)
    before = store.shard(feed, 0)
    oracle, clock_ms = Oracle(dict(before.positions)), 0
    for plan in plans:
        if plan.closing:
            store.close_feed(feed, 0)
            oracle.ending, before = True, store.shard(feed, 0)
        step = make(before, plan, slack, rules)
        state = store.step(feed, 0, step)
        oracle.step(step, state.now_ms - clock_ms)
        same(state, oracle, store.read(feed, 0, "0-0", 1_000))
        balanced(state)
        assert state.watermark_ms >= before.watermark_ms
        if plan.twice:
            again = store.step(feed, 0, step)
            assert replace(again, now_ms=0, due=0) == replace(state, now_ms=0, due=0)
        clock_ms = state.now_ms if state.chain != before.chain else clock_ms
        before = state


class Feed(NamedTuple):
    """What happened, as sets: id → time of its prediction, id → its outcomes as (time, label)."""

    predictions: dict[int, int]
    outcomes: dict[int, set[tuple[int, int]]]


def feeds(most: int) -> st.SearchStrategy[Feed]:
    """Feeds with at most so many outcomes of an id."""
    outcomes = st.sets(st.tuples(st.integers(0, 1_300), st.integers(0, 9)), min_size=1, max_size=most)
    return st.builds(
        Feed,
        st.dictionaries(st.integers(0, 40), st.integers(0, 1_000), max_size=25),
        st.dictionaries(st.integers(0, 40), outcomes, max_size=25),
    )


def expected(feed: Feed, rules: Rules) -> dict[str, object]:
    """Give id → last label, by the policy's words."""
    labels: dict[str, object] = {}
    for key, t in feed.predictions.items():
        outcomes = sorted(feed.outcomes.get(key, set()))
        on_time = [label for when, label in outcomes if when <= t + WINDOW]
        late = [label for when, label in outcomes if when > t + WINDOW]
        used = on_time or (late if rules.correct else [])
        if used:
            labels[f"id:{key}"] = {"first": used[0], "last": used[-1], "sum": sum(used), "list": used}[rules.reduce]
        elif rules.negative:
            labels[f"id:{key}"] = float(rules.negative)
    return labels


Scattered = list[tuple[int, str, int, int]]  # partition, id, time, label


def scattered(feed: Feed, copies: int, random: Random) -> tuple[Scattered, Scattered]:
    """Predictions and outcomes, every event one to `copies` times, in any order, outcomes in any partition."""
    asked = [(0, f"id:{key}", t, 0) for key, t in feed.predictions.items() for _ in range(random.randint(1, copies))]
    told = [
        (random.randint(1, 2), f"id:{key}", t, label)
        for key, outcomes in feed.outcomes.items()
        for t, label in outcomes
        for _ in range(random.randint(1, copies))
    ]
    random.shuffle(asked)
    random.shuffle(told)
    return asked, told


def shard_step(
    batch: Scattered, shard: int, shards: int, state: ShardState, rules: Rules = SLACK, names: Sequence[str] = NAMES
) -> Step:
    """One shard's step for a batch: it passes every position and applies its own events."""
    step = blank(rules.slack_ms, rules)
    for tp, name in enumerate(names):
        events = [event[1:] for event in batch if event[0] == tp]
        own = [event for event in events if crc32(event[0].encode()) % shards == shard]
        start = state.positions[name].next
        most = max((t for _, t, _ in events), default=-1)
        outcomes = int(name.startswith("o"))
        step.moves.append(Move(name, start, start + len(events), t=most, records=len(own), outcomes=outcomes))
        for key, t, label in own:
            add(step, key, t, label)
    return step


class Run:
    """A feed of several shards, stepped in batches."""

    def __init__(self, store: Store, shards: int, rules: Rules) -> None:
        self.store, self.shards, self.rules, self.name = store, range(shards), rules, fresh(store, shards)
        self.states = [store.shard(self.name, shard) for shard in self.shards]

    def take(self, events: Scattered, size: int, names: Sequence[str] = NAMES) -> None:
        for batch in [events[i : i + size] for i in range(0, len(events), size)]:
            for shard in self.shards:
                self._do(shard, shard_step(batch, shard, len(self.shards), self.states[shard], self.rules, names))

    def end(self) -> None:
        for shard in self.shards:
            self.store.close_feed(self.name, shard)
            while self.states[shard].windows:
                self._do(shard, all_read(self.states[shard], self.rules.slack_ms, self.rules))

    def _do(self, shard: int, step: Step) -> None:
        self.states[shard] = self.store.step(self.name, shard, step)
        balanced(self.states[shard])

    def labels(self) -> dict[str, object]:
        """Id → last label; every (id, revision) once, a correction after its negative."""
        rows = [
            json.loads(body) for shard in self.shards for _, body in self.store.read(self.name, shard, "0-0", 1_000)
        ]
        assert len({(row["id"], row["revision"]) for row in rows}) == len(rows)
        revisions: dict[str, list[int]] = {}
        for row in rows:
            revisions.setdefault(row["id"], []).append(row["revision"])
        assert all(found == list(range(len(found))) for found in revisions.values())
        return {row["id"]: row["label"] for row in rows}


shards_of, copies_of, sizes, seeds = st.integers(1, 3), st.integers(1, 3), st.integers(1, 30), st.integers()


@settings(REAL, max_examples=150)
@given(feed=st.data(), rules=policies, shards=shards_of, copies=copies_of, size=sizes, seed=seeds)
def test_labels_depend_on_the_set_of_events_alone(
    embedded_store: Store, feed: st.DataObject, rules: Rules, shards: int, copies: int, size: int, seed: int
) -> None:
    """Any order within the slack, any duplication, batching and number of shards; then the end of the feed."""
    rules = replace(rules, slack_ms=10_000, most=64)
    events = feed.draw(feeds(4 if rules.at_close else 1))
    run = Run(embedded_store, shards, rules)
    asked, told = scattered(events, copies, Random(seed))
    both = [*asked, *told]
    Random(seed).shuffle(both)
    run.take(both, size)
    run.end()
    for name in NAMES:
        at = [state.positions[name] for state in run.states]
        assert {p.next for p in at} == {sum(p.records for p in at)}
    labels = run.labels()
    assert labels == expected(events, rules)
    assert sum(s.counters["unlabelled"] for s in run.states) == len(events.predictions) - len(labels)


@settings(REAL, max_examples=100)
@given(events=feeds(1), at_close=st.booleans(), correct=st.booleans(), copies=copies_of, size=sizes, seed=seeds)
def test_an_outcome_after_its_window_corrects_the_negative(
    embedded_store: Store, events: Feed, at_close: bool, correct: bool, copies: int, size: int, seed: int
) -> None:
    """Outcomes long after all windows have closed give the labels that they would have given in time."""
    rules = Rules(WINDOW, 100_000, 2_000, AHEAD, int(at_close), "0", "first", 64, int(correct))
    run = Run(embedded_store, 2, rules)
    asked, told = scattered(events, copies, Random(seed))
    run.take(asked, size)
    run.take([(tp, "none", 9_000, 0) for tp in range(3)], 3)
    for shard in run.shards:
        while run.states[shard].due:
            run._do(shard, blank(2_000, rules))
    run.take(told, size)
    run.end()
    assert {key: label for key, label in run.labels().items() if key != "none"} == expected(events, rules)


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
    for plan in plans:
        if plan.closing:
            store.close_feed(feed, 0)
        store.step(feed, 0, make(store.shard(feed, 0), plan, 0))
        samples = store.read(feed, 0, "0-0", 1_000)
        for i, (entry, _) in enumerate(samples):
            prefix = tuple(body for _, body in samples[: i + 1])
            assert prefixes.setdefault(entry, prefix) == prefix


def filled(store: Store, pairs: int, t: int) -> tuple[str, ShardState]:
    """A feed with so many predictions at `t`, and an outcome for every second one, in one step."""
    feed = fresh(store)
    state = store.shard(feed, 0)
    events = [(0, f"id:{n}", t, 0) for n in range(pairs)] + [(1, f"id:{n}", t + 1, 1) for n in range(0, pairs, 2)]
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
    for step, reason, error in ((unknown, "UNKNOWN", StoreBehind), (ahead, "AHEAD", StoreRefused)):
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
    step.moves = [Move("p:0", 0, 0, t=1_000, idle=1), Move("o:0", 0, 0, idle=1)]
    state = embedded_store.step(feed, 0, step)
    assert [state.positions[name].t_ms for name in NAMES] == [2_000, 1_000, -1]
    assert state.watermark_ms == 0
