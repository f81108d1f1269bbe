"""Marks say who waited, each age once, whatever the batches, the repeated steps and the stores that went back."""

import json
from random import Random
from typing import Any, NamedTuple

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import WAITING
from streams.join.step import Rules, ShardState, Step
from streams.join.store import Store
from tests.learned import put_back, snapshot
from tests.property.join.steps import AHEAD, REAL, WINDOW, Scattered, balanced, blank, fresh, shard_step

KEEP, TICK, END = 1_000, 20, 3_000
AGES = (20, 30, 60, WINDOW)


class Case(NamedTuple):
    """A prediction's time, and how long after it its outcome comes; None: never."""

    t: int
    delay: int | None


class Played(NamedTuple):
    """One shard's samples; of the first `before` no mark was asked for, and the watermark was `since` by then."""

    rows: list[dict[str, Any]]
    before: int
    since: int


cases = st.lists(st.builds(Case, st.integers(0, 400), st.none() | st.integers(0, 150)), max_size=20)
policies = st.builds(
    lambda negative, at_close: Rules(WINDOW, KEEP, 0, AHEAD, int(at_close), negative),
    st.sampled_from(["", "0"]),
    st.booleans(),
)


def log_of(cases: list[Case]) -> Scattered:
    """Return all events by time; every partition has one each `TICK`."""
    ticks = [(tp, f"tick:{now}", now, 0) for now in range(0, END, TICK) for tp in range(3)]
    asked = [(0, f"id:{n}", case.t, 0) for n, case in enumerate(cases)]
    told = [(1 + n % 2, f"id:{n}", c.t + c.delay, 1) for n, c in enumerate(cases) if c.delay is not None]
    return sorted([*asked, *told, *ticks], key=lambda event: event[2])


class Shard:
    """A shard that is stepped, and how it was when marks were first asked for."""

    def __init__(self, store: Store, client: redis.Redis) -> None:
        self.store, self.client, self.feed = store, client, fresh(store)
        self.state = store.shard(self.feed, 0)
        self.asked: ShardState | None = None
        self.keep()

    def step(self, step: Step, times: int) -> None:
        if step.rules.marks and not self.asked:
            self.asked = self.state
        for _ in range(times):
            self.state = self.store.step(self.feed, 0, step)
        balanced(self.state)

    def keep(self) -> None:
        self.kept = self.state, self.asked, snapshot(self.client, self.feed, 0)

    def go_back(self) -> None:
        self.state, self.asked, then = self.kept
        put_back(self.client, then)

    @property
    def done(self) -> int:
        return sum(at.next for at in self.state.partitions.values())


def play(shard: Shard, log: Scattered, rules: Rules, late: int, random: Random) -> Played:
    """Join the log in steps of any size, some sent twice; the store goes back once; marks are asked for `late`."""
    back_at = random.randrange(len(log))
    while shard.done < len(log) or shard.state.due:
        now = rules.marking(AGES if shard.done >= late else ())
        batch = log[shard.done :][: random.randint(0, 60)]
        step = shard_step(batch, 0, 1, shard.state, now) if batch else blank(0, now)
        shard.step(step, random.choice([1, 1, 2]))
        if random.random() < 0.1:
            shard.keep()
        if shard.done >= back_at:
            back_at = len(log) + 1
            shard.go_back()
    rows = [json.loads(body) for _, body, _ in shard.store.read(shard.feed, 0, "0-0", 10_000)]
    return Played(rows, shard.asked.seq, shard.asked.watermark_ms) if shard.asked else Played(rows, len(rows), 2 * END)


def expected(case: Case, rules: Rules, since: int) -> list[int]:
    """Return the numbers of the ages at which a prediction is marked."""
    ending = WINDOW + (not rules.negative) if case.delay is None or case.delay > WINDOW else case.delay
    return [n for n, age in enumerate(AGES) if case.t + age >= since and age < ending]


@settings(REAL, max_examples=150)
@given(cases=cases, rules=policies, share=st.sampled_from([0.0, 0.0, 0.5, 1.0]), seed=st.integers())
def test_each_prediction_is_marked_once_at_each_age_that_it_reached_without_an_outcome(
    embedded_store: Store, embedded_redis: redis.Redis, cases: list[Case], rules: Rules, share: float, seed: int
) -> None:
    log = log_of(cases)
    played = play(Shard(embedded_store, embedded_redis), log, rules, int(len(log) * share), Random(seed))
    for n, case in enumerate(cases):
        own = [(i, row) for i, row in enumerate(played.rows) if row["id"] == f"id:{n}"]
        marks = [row for _, row in own if row["kind"] == WAITING]
        settled = [i for i, row in own if row["kind"] != WAITING]
        assert [row["kind"] for _, row in own[: len(marks)]] == [WAITING] * len(marks), "marks come first"
        in_time = not settled or settled[0] >= played.before
        assert [row["revision"] for row in marks] == (expected(case, rules, played.since) if in_time else [])
        assert [row["label_t"] - case.t for row in marks] == [AGES[row["revision"]] for row in marks]
        assert {row["t"] for row in marks} <= {case.t}
