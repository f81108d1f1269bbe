"""Partitions added to a running feed: the script against the oracle, and the verifier on what may then happen."""

from random import Random
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.join.step import Rules, ShardState
from streams.join.store import Store
from tests.property.join import steps
from tests.property.join import test_join_order as joins
from tests.property.join import test_verify as verifies
from tests.property.join.oracle import Oracle
from tests.property.join.steps import NAMES, REAL, WINDOW, Plan
from tests.property.join.test_verify import Turn, World

ADDED = ["p:1", "o:2", "p:2"]
TPS = [("p", 1), ("o", 2), ("p", 2)]
ALL = [*NAMES, *ADDED]


class Moment(NamedTuple):
    """A planned step, before which so many partitions are added; `again`: that command is killed first."""

    plan: Plan
    added: int
    again: bool


wide = st.builds(lambda part, tp: part._replace(tp=tp), steps.part, st.integers(0, len(ALL) - 1))
plans = st.builds(Plan, st.lists(wide, max_size=4, unique_by=lambda p: p.tp), steps.seldom, steps.seldom, steps.ages)
moments = st.lists(st.builds(Moment, plans, st.sampled_from([0, 0, 0, 1, 2]), st.booleans()), max_size=14)


def grow(store: Store, feed: str, oracle: Oracle, count: int, *, again: bool) -> ShardState:
    """Add the next partitions; those that exist stay as they are."""
    have = len(oracle.partitions) - len(NAMES)
    for _ in range(1 + again):
        store.add(feed, 1, TPS[: have + count])
    state = store.shard(feed, 0)
    for tp in ADDED[have : have + count]:
        oracle.add(tp, state.chain)
    return state


@settings(REAL, max_examples=100)
@given(moments=moments, slack=steps.slacks, rules=steps.policies)
def test_the_script_does_what_the_oracle_does(
    embedded_store: Store, moments: list[Moment], slack: int, rules: Rules
) -> None:
    feed = steps.fresh(embedded_store)
    oracle, clock_ms = Oracle(dict(embedded_store.shard(feed, 0).partitions)), 0
    for plan, added, again in moments:
        before = grow(embedded_store, feed, oracle, added, again=again)
        if plan.closing:
            embedded_store.close_feed(feed, 0)
            oracle.ending, before = True, embedded_store.shard(feed, 0)
        names = ALL[: len(before.partitions)]
        parts = [part for part in plan.parts if part.tp < len(names)]
        step = steps.make(before, plan._replace(parts=parts), slack, rules, names)
        state = embedded_store.step(feed, 0, step)
        oracle.step(step, state.now_ms - clock_ms, state.now_ms)
        steps.same(state, oracle, embedded_store.read(feed, 0, "0-0", 1_000))
        steps.balanced(state)
        unheard = any(at.t_ms < 0 for at in state.partitions.values())
        assert state.watermark_ms == before.watermark_ms if unheard else state.watermark_ms >= before.watermark_ms
        clock_ms = state.now_ms if state.chain != before.chain else clock_ms


@settings(REAL, max_examples=100)
@given(feed=joins.feeds(1), rules=steps.policies, shards=joins.shards_of, size=joins.sizes, seed=st.integers())
def test_labels_depend_on_the_set_of_events_alone(
    embedded_store: Store, feed: joins.Feed, rules: Rules, shards: int, size: int, seed: int
) -> None:
    """Some ids' events move to other partitions halfway."""
    loose = replace(rules, slack_ms=10_000, most=64, most_early=1_000_000)
    run, random = joins.Run(embedded_store, shards, loose), Random(seed)
    events = [event for part in joins.scattered(feed, 2, random) for event in part]
    random.shuffle(events)
    half = len(events) // 2
    run.take(events[:half], size)
    embedded_store.add(run.name, shards, TPS)
    run.states = [embedded_store.shard(run.name, shard) for shard in run.shards]
    moved = [(random.choice([0, 3, 5] if event[0] == 0 else [1, 2, 4]), *event[1:]) for event in events[half:]]
    run.take(moved, size, ALL)
    run.end()
    assert run.labels() == joins.expected(feed, run.rules)


turns = st.lists(
    st.tuples(st.builds(Turn, st.integers(0, 6), verifies.events, steps.seldom, steps.seldom), steps.seldom),
    max_size=25,
)


TAKEN = (Turn(2, [(0, 0, 0), *[(1, 0, 0)] * 3], False, False), False)  # id 0 has the one place of early outcomes
ASKED = (Turn(0, [(1, 0, 0)], False, False), False)
LATER = (Turn(2, [(1, 0, 1), *[(1, 0, 0)] * 3], False, False), False)


@settings(max_examples=300)
@example(
    Rules(WINDOW, 50, 0, 10**13, most=2, most_early=1), [TAKEN, (Turn(0, [(1, 0, 0)], False, False), False), LATER]
)
@given(rules=verifies.policies, turns=turns)
def test_no_order_of_events_makes_a_difference_without_an_explanation(
    rules: Rules, turns: list[tuple[Turn, bool]]
) -> None:
    world, left = World(rules, idle_ms=10**9), ["p:2", "o:2", "o:3"]
    for turn, added in turns:
        if added and left:
            world.names.append(left.pop())
            world.oracle.add(world.names[-1], str(len(left)))
        world.take(turn._replace(tp=turn.tp % len(world.names)))
    verdict = world.verdict(world.samples())
    assert verdict.differences == []
    assert verdict.agreed + sum(verdict.explained.values()) == verdict.ids


def test_what_an_added_partition_brings_too_late_is_explained_by_that() -> None:
    world = World(Rules(WINDOW, 10_000, 0, 10**13, negative="0"), idle_ms=10**9)
    world.take(Turn(0, [(0, 10, 0)]))
    for tp in range(4):
        world.take(Turn(tp, [(9, 900 + tp, 0)] * 8))
    world.rest()
    world.oracle.add("o:2", "7")
    world.names.append("o:2")
    world.take(Turn(4, [(0, 15, 1)]))
    right = world.samples()
    assert [(one.id, one.kind) for _, one in right[-2:]] == [("id:0", "negative"), ("id:0", "correction")]
    verdict = world.verdict(right)
    assert (verdict.differing, verdict.explained) == (0, {"added": 1})
    world.oracle.partitions["o:2"] = replace(world.oracle.partitions["o:2"], since_ms=0)
    assert world.verdict(right).explained != {"added": 1}
