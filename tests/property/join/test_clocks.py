"""One bad clock does not stop a feed: whatever a minority's clocks say, nothing of the others is too late by them."""

from itertools import zip_longest
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.join.step import RECENT, Move, Rules, recent
from streams.join.store import Store
from tests.property.join.steps import KEEP, NAMES, REAL, WINDOW, blank, fresh, shard_step
from tests.property.join.test_join_order import Run

TIMES = st.lists(st.integers(0, 10_000), min_size=1, max_size=400)
BURSTS = 8  # most events in a row that a wrong clock dates
lies = st.one_of(st.integers(1, 400), st.integers(-4_000, 4_000), st.just(58 * 60_000), st.integers(1, 10**9))
seeds = st.integers(0, 10**6)


class Event(NamedTuple):
    """One event; the join's other events are `Scattered`."""

    tp: int
    id: str
    t: int
    label: int


@given(times=TIMES, lie=lies, seed=seeds)
def test_a_minority_of_one_step_cannot_move_the_median(times: list[int], lie: int, seed: int) -> None:
    random = Random(seed)
    liars = random.randint(0, (len(times) - 1) // 2)
    lied = [max(times) + abs(lie)] * liars
    good = times[: len(times) - liars]
    mixed = [*good, *lied]
    random.shuffle(mixed)
    said = sorted(recent(mixed))
    assert said[(len(said) + 1) // 2 - 1] <= max(good)


@given(count=st.integers(RECENT + 1, 3_000), share=st.integers(0, 100), kept=st.integers(8, RECENT))
def test_any_part_of_what_stands_for_many_stands_for_all(count: int, share: int, kept: int) -> None:
    high = count * share // 100
    said = recent([0] * (count - high) + [1] * high)[-kept:]
    assert abs(sum(said) - kept * high / count) < 3


def lied(good: list[Event], random: Random, lie: int) -> list[Event]:
    """Add a wrong clock's events to a partition's: a third as many, in bursts, so that no 32 in a row have half."""
    events, left, t = list[Event](), 0, 0
    burst = random.randint(1, BURSTS)
    for one in good:
        events.append(one)
        left, t = left + 1, max(t, one.t)
        if left == 3 * burst:
            ahead = [max(0, t + lie + random.randint(0, 50)) for _ in range(burst)]
            events += [Event(one.tp, f"liar:{one.tp}:{len(events)}", when, 0) for when in ahead]
            left, burst = 0, random.randint(1, BURSTS)
    return events


@settings(REAL, max_examples=60)
@given(pairs=st.integers(1, 400), lie=lies, at_close=st.booleans(), size=st.integers(1, 300), seed=seeds)
def test_whatever_a_minority_s_clock_says_the_others_are_joined_as_without_it(
    embedded_store: Store, pairs: int, lie: int, at_close: bool, size: int, seed: int
) -> None:
    """No window closes earlier than by the good clocks alone, and no good event is late or too late."""
    rules, random = Rules(WINDOW, KEEP, 0, 10**13, int(at_close), "0" if at_close else ""), Random(seed)
    good: list[list[Event]] = [[], [], []]
    for n in range(pairs):
        t = n * random.randint(5, 40) if n % 7 else n * 5
        good[0].append(Event(0, f"id:{n}", t, 0))
        tp = random.randint(1, 2)
        good[tp].append(Event(tp, f"id:{n}", t + random.randint(0, WINDOW), 1))
    parts = [sorted(part, key=lambda event: event.t) for part in good]
    rows = zip_longest(*(lied(part, random, lie) for part in parts))
    events = [event for row in rows for event in row if event]
    run, newest = Run(embedded_store, 1, rules), dict.fromkeys(range(3), -1)
    for batch in (events[i : i + size] for i in range(0, len(events), size)):
        for event in batch:
            if event.id.startswith("id:"):
                newest[event.tp] = max(newest[event.tp], event.t)
        step = shard_step(list(batch), 0, 1, run.states[0], rules)
        for tp, move in enumerate(step.moves):
            move.recent = recent([event.t for event in batch if event.tp == tp])
        run._do(0, step)
        assert run.states[0].watermark_ms <= max(0, min(newest.values()))
    run.end()
    labels = {key: label for key, label in run.labels().items() if key.startswith("id:")}
    assert labels == {f"id:{n}": 1 for n in range(pairs)}


def test_a_time_after_the_store_s_clock_counts_as_that_clock(embedded_store: Store) -> None:
    """Even where it is all that is said."""
    feed = fresh(embedded_store)
    state = embedded_store.shard(feed, 0)
    ahead_ms = state.now_ms + 58 * 60_000
    step = blank(0, replace(Rules(WINDOW, KEEP, 0, 0), max_ahead_ms=3_600_000))
    step.moves = [Move(name, 0, 1, t_ms=ahead_ms, recent=[ahead_ms] * RECENT, idle=1) for name in NAMES]
    state = embedded_store.step(feed, 0, step)
    assert state.watermark_ms == state.now_ms
    assert {at.t_ms for at in state.partitions.values()} == {state.now_ms}
    assert {at.newest_ms for at in state.partitions.values()} == {ahead_ms}


@pytest.mark.parametrize("count", [1, 7, 8])
def test_a_partition_is_heard_with_its_eighth_event_or_its_silence(embedded_store: Store, count: int) -> None:
    feed = fresh(embedded_store)
    step = blank(0)
    step.moves = [Move(name, 0, count, t_ms=1_000, recent=[1_000] * count, records=count) for name in NAMES]
    state = embedded_store.step(feed, 0, step)
    assert state.watermark_ms == (1_000 if count == 8 else 0)
    step = blank(0)
    step.moves = [Move(name, count, count, idle=1) for name in NAMES]
    assert embedded_store.step(feed, 0, step).watermark_ms >= 1_000
