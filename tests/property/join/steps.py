"""Steps of the join for property tests: how they are drawn and made, and the comparison with the oracle."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.join.step import Move, Rules, ShardState, Step, outcome_entry, prediction_entry, recent
from streams.join.store import Store, StoredSample
from tests.property.join.oracle import Oracle

WINDOW, KEEP, AHEAD = 100, 50, 10**13
TPS = [("p", 0), ("o", 0), ("o", 1)]
NAMES = ["p:0", "o:0", "o:1"]
FEEDS, TOKENS = itertools.count(), itertools.count()
REAL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


RULES = Rules(WINDOW, KEEP, 0, AHEAD)
SLACK = Rules(WINDOW, KEEP, 10_000, AHEAD)


Scattered = list[tuple[int, str, int, int]]  # partition, id, time, label


class Part(NamedTuple):
    """One partition's part of a step: how far off its start is, an idle claim instead of events, and the events."""

    tp: int
    stale: int
    idle: bool
    events: list[tuple[int, int, int]]  # id, time, label


class Plan(NamedTuple):
    """A planned step: its parts, whether the feed ends before it with all read, if it is sent twice, and its marks."""

    parts: list[Part]
    closing: bool
    twice: bool
    marks: list[int]


seldom = st.sampled_from([False] * 7 + [True])
edges = st.integers(0, 12).map(lambda n: n * KEEP)  # where windows and markers end exactly
near = st.one_of(edges, edges, st.integers(0, 400), st.integers(0, 4_000))
event = st.tuples(st.integers(0, 5), near, st.integers(0, 2))
part = st.builds(Part, st.integers(0, 2), st.sampled_from([0] * 8 + [1, -1]), seldom, st.lists(event, max_size=8))
ages = st.sampled_from([[], [], [KEEP], [30, 60], [20, KEEP, WINDOW, 150]])
plan_ = st.builds(Plan, st.lists(part, max_size=3, unique_by=lambda p: p.tp), seldom, seldom, ages)
turn = st.tuples(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 40))))
flows_ = st.builds(lambda turns, ages: flow(turns, ages), st.lists(turn, max_size=14), ages)
plans_ = st.one_of(st.lists(plan_, max_size=14), flows_)
slacks = st.one_of(st.sampled_from([0, 50]), st.integers(0, 60))
absent = st.sampled_from([("", 0), ("0", 0), ("-0.5", 1)])  # the negative's label, and whether late ones correct it
policies = st.builds(
    lambda absent, at_close, reduce, most, early: Rules(
        WINDOW,
        KEEP,
        0,
        AHEAD,
        int(at_close),
        absent[0],
        reduce if at_close else "first",
        most,
        absent[1],
        most_early=early,
    ),
    absent,
    st.booleans(),
    st.sampled_from(["first", "last", "sum", "list"]),
    st.sampled_from([1, 2, 64]),
    st.sampled_from([1, 3, 1_000_000]),
)


def flow(turns: list[tuple[int, list[tuple[int, int, int]]]], ages: list[int]) -> list[Plan]:
    """Return steps that advance the time in all partitions; events (partition, id, how long ago) come late."""
    plans, now = [], 0
    for advance, events in turns:
        now += advance
        parts = [Part(tp, 0, False, [(90 + tp, now, 0)]) for tp in range(3)]
        for tp, key, ago in events:
            parts[tp].events.append((key, max(0, now - ago), tp))
        plans.append(Plan(parts, False, False, ages))
    return plans


def fresh(store: Store, shards: int = 1) -> str:
    feed = f"join{next(FEEDS)}"
    store.create(feed, shards, TPS)
    return feed


def blank(slack: int, rules: Rules = RULES) -> Step:
    return Step(f"{next(TOKENS):032x}", replace(rules, slack_ms=slack))


def often(times: Iterable[int], copies: int = 8) -> list[int]:
    """Return what a partition's recent events say where each of these times came so often; eight times is heard."""
    return recent([t for t in times for _ in range(copies)])


def add(step: Step, key: str, t: int, label: int = 0) -> None:
    """Add an event to the last move."""
    step.which.append(len(step.moves))
    step.ids.append(key)
    step.times.append(t)
    r = step.rules
    outcome = step.moves[-1].outcomes
    both = (
        outcome_entry(key, t, str(label), r.window_ms + r.keep_ms)
        if outcome
        else prediction_entry(key, t, "{}", r.window_ms)
    )
    step.items.append(both[0])
    step.bodies.append(both[1])


def all_read(state: ShardState, slack: int, rules: Rules = RULES) -> Step:
    """Return a step by which every partition was read to its end."""
    step = blank(slack, rules)
    step.moves = [Move(name, at.next, at.next, ended=1) for name, at in state.partitions.items()]
    return step


def make(
    state: ShardState, plan: Plan, slack: int, rules: Rules = RULES, names: Sequence[str] = NAMES, base_ms: int = 0
) -> Step:
    """Return a step after the shard's last one: the parts start off by `stale`, with a hole after their events.

    Times count from `base_ms`; each third number of events is heard as it is, others as if each were eight.
    """
    rules = rules.marking(plan.marks)
    if plan.closing:
        return all_read(state, slack, rules)
    step = blank(slack, rules)
    for tp, stale, idle, events in plan.parts:
        start = max(0, state.partitions[names[tp]].next + stale)
        move = Move(names[tp], start, start, idle=int(idle), outcomes=int(names[tp].startswith("o")))
        step.moves.append(move)
        if not idle:
            move.end, move.records, move.holes = start + len(events) + 1, len(events), 1
            move.last, move.crc = (move.end - 2, 7) if events else (-1, 0)
            times = [base_ms + t for _, t, _ in events]
            move.t_ms, move.recent = max(times, default=-1), often(times, 8 if len(times) % 3 else 1)
            for (key, _, label), t in zip(events, times, strict=True):
                add(step, f"id:{key}", t, label)
    return step


def shard_step(
    batch: Scattered, shard: int, shards: int, state: ShardState, rules: Rules = SLACK, names: Sequence[str] = NAMES
) -> Step:
    """Return one shard's step for a batch: it passes every offset and applies its own events."""
    step = blank(rules.slack_ms, rules)
    for tp, name in enumerate(names):
        events = [event[1:] for event in batch if event[0] == tp]
        own = [event for event in events if crc32(event[0].encode()) % shards == shard]
        start = state.partitions[name].next
        most, times = max((t for _, t, _ in events), default=-1), often(t for _, t, _ in events)
        outcomes = int(name.startswith("o"))
        end, count = start + len(events), len(own)
        step.moves.append(Move(name, start, end, t_ms=most, records=count, outcomes=outcomes, recent=times))
        for key, t, label in own:
            add(step, key, t, label)
    return step


def balanced(state: ShardState) -> None:
    """Check the audit's equations within one shard."""
    c = state.counters
    assert c["predictions"] == c["opened"] + c["prediction_duplicate"] + c["prediction_too_late"]
    assert c["opened"] == c["joined"] + c["negative"] + c["unlabelled"] + c["waiting"]
    settled = c["used"] + c["late"] + c["orphan"]
    settled += c["outcome_closed"] + c["outcome_too_late"] + c["early_refused"]
    assert c["outcomes"] == settled + c["early"] + c["outcome_duplicate"] + c["capped"]
    assert state.seq == c["joined"] + c["negative"] + c["corrected"] + c["marked"]
    assert sum(at.records for at in state.partitions.values()) == c["predictions"] + c["outcomes"]


def same(state: ShardState, oracle: Oracle, samples: Sequence[StoredSample]) -> None:
    assert dict(state.counters) == oracle.count
    assert (state.seq, state.chain, state.watermark_ms) == (oracle.seq, oracle.chain, oracle.watermark)
    assert dict(state.partitions) == oracle.partitions
    assert {one.counter for one in state.missed} == oracle.missed.keys()
    for one in state.missed:
        missed = oracle.missed[one.counter]
        assert len(one.by_ms) == min(len(missed), 64)
        assert len(missed) > 64 or sorted(one.by_ms) == sorted(missed)
    assert (state.windows, state.markers) == (len(oracle.windows), len(oracle.markers))
    assert [(entry, body.decode()) for entry, body, _ in samples] == oracle.samples


def agree(store: Store, plans: list[Plan], slack: int, rules: Rules, *, live: bool) -> None:
    """Compare script and oracle after each step; `live` has half of the times after the store's clock."""
    feed = fresh(store)
    before = store.shard(feed, 0)
    base_ms = before.now_ms - 2_000 if live else 0
    oracle, clock_ms = Oracle(dict(before.partitions)), 0
    for plan in plans:
        if plan.closing:
            store.close_feed(feed, 0)
            oracle.ending, before = True, store.shard(feed, 0)
        step = make(before, plan, slack, rules, base_ms=base_ms)
        state = store.step(feed, 0, step)
        oracle.step(step, state.now_ms - clock_ms, state.now_ms)
        same(state, oracle, store.read(feed, 0, "0-0", 1_000))
        balanced(state)
        assert state.watermark_ms >= before.watermark_ms
        if plan.twice:
            again = store.step(feed, 0, step)
            assert replace(again, now_ms=0, due=0) == replace(state, now_ms=0, due=0)
        clock_ms = state.now_ms if state.chain != before.chain else clock_ms
        before = state
