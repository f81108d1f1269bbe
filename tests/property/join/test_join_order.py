"""What holds for any order of the same events, any batching, and any way in which a store goes back."""

import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.join.step import Rules, Step
from streams.join.store import Store
from tests.property.join.steps import (
    AHEAD,
    NAMES,
    REAL,
    WINDOW,
    Plan,
    Scattered,
    all_read,
    balanced,
    blank,
    fresh,
    make,
    plan_,
    policies,
    shard_step,
)


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
    """Return id → last label, as the policy defines it."""
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


def scattered(feed: Feed, copies: int, random: Random) -> tuple[Scattered, Scattered]:
    """Predictions and outcomes, every event one to `copies` times, in any order, outcomes in any partition."""
    predictions = [
        (0, f"id:{key}", t, 0) for key, t in feed.predictions.items() for _ in range(random.randint(1, copies))
    ]
    outcome_events = [
        (random.randint(1, 2), f"id:{key}", t, label)
        for key, outcomes in feed.outcomes.items()
        for t, label in outcomes
        for _ in range(random.randint(1, copies))
    ]
    random.shuffle(predictions)
    random.shuffle(outcome_events)
    return predictions, outcome_events


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
        """Return id → last label; check that each (id, revision) comes once, and a correction after its negative."""
        rows = [
            json.loads(body) for shard in self.shards for _, body, _ in self.store.read(self.name, shard, "0-0", 1_000)
        ]
        assert len({(row["id"], row["revision"]) for row in rows}) == len(rows)
        revisions: dict[str, list[int]] = {}
        for row in rows:
            revisions.setdefault(row["id"], []).append(row["revision"])
        assert all(numbers == list(range(len(numbers))) for numbers in revisions.values())
        return {row["id"]: row["label"] for row in rows}


shards_of, copies_of, sizes, seeds = st.integers(1, 3), st.integers(1, 3), st.integers(1, 30), st.integers()


@settings(REAL, max_examples=150)
@given(feed=st.data(), rules=policies, shards=shards_of, copies=copies_of, size=sizes, seed=seeds)
def test_labels_depend_on_the_set_of_events_alone(
    embedded_store: Store, feed: st.DataObject, rules: Rules, shards: int, copies: int, size: int, seed: int
) -> None:
    """Any order within the slack, any duplication, batching and number of shards; then the end of the feed."""
    rules = replace(rules, slack_ms=10_000, most=64, most_early=1_000_000)
    events = feed.draw(feeds(4 if rules.at_close else 1))
    run = Run(embedded_store, shards, rules)
    predictions, outcome_events = scattered(events, copies, Random(seed))
    both = [*predictions, *outcome_events]
    Random(seed).shuffle(both)
    run.take(both, size)
    run.end()
    for name in NAMES:
        at = [state.partitions[name] for state in run.states]
        assert {p.next for p in at} == {sum(p.records for p in at)}
    labels = run.labels()
    assert labels == expected(events, rules)
    assert sum(s.counters["unlabelled"] for s in run.states) == len(events.predictions) - len(labels)


@settings(REAL, max_examples=100)
@given(events=feeds(1), at_close=st.booleans(), correct=st.booleans(), copies=copies_of, size=sizes, seed=seeds)
def test_an_outcome_after_its_window_corrects_the_negative(
    embedded_store: Store, events: Feed, at_close: bool, correct: bool, copies: int, size: int, seed: int
) -> None:
    """Outcomes that come long after all windows have closed lead to the same labels as in time."""
    rules = Rules(WINDOW, 100_000, 2_000, AHEAD, int(at_close), "0", "first", 64, int(correct))
    run = Run(embedded_store, 2, rules)
    predictions, outcome_events = scattered(events, copies, Random(seed))
    run.take(predictions, size)
    run.take([(tp, "none", 9_000, 0) for tp in range(3)], 3)
    for shard in run.shards:
        while run.states[shard].due:
            run._do(shard, blank(2_000, rules))
    run.take(outcome_events, size)
    run.end()
    assert {key: label for key, label in run.labels().items() if key != "none"} == expected(events, rules)


def keys(feed: str) -> list[str]:
    return [f"{{{feed}.0}}:{key}" for key in "mewgs"]


@settings(REAL, max_examples=40)
@given(
    trunk=st.lists(plan_, max_size=5),
    branches=st.lists(st.lists(plan_, min_size=1, max_size=5), min_size=2, max_size=3),
)
def test_equal_stream_ids_mean_equal_prefixes(
    embedded_store: Store, embedded_redis: redis.Redis, trunk: list[Plan], branches: list[list[Plan]]
) -> None:
    """The store goes back in time and goes on differently; no stream ID ever names two different samples."""
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
        for i, (entry, *_) in enumerate(samples):
            prefix = tuple(body for _, body, _ in samples[: i + 1])
            assert prefixes.setdefault(entry, prefix) == prefix
