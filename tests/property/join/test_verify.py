"""The verifier against the oracle: they agree on any events in any order; and it finds what is wrong."""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.audit.history import History, Joined, LogEvent
from streams.audit.verify import Emitted, Verdict, verify
from streams.events import WAITING
from streams.join.step import Move, PartitionState, Rules, ShardState, Step, outcome_entry, prediction_entry
from tests.property.join.oracle import Oracle
from tests.property.join.steps import often

WINDOW, KEEP, TICK = 100, 50, 7
NAMES = ["p:0", "p:1", "o:0", "o:1"]

absent = st.sampled_from([("", 0), ("0", 0), ("-0.5", 1)])
policies = st.builds(
    lambda absent, at_close, reduce, most, slack, ages, early: Rules(
        WINDOW,
        KEEP,
        slack,
        10**13,
        int(at_close),
        absent[0],
        reduce if at_close else "first",
        most,
        absent[1],
        ages,
        early,
    ),
    absent,
    st.booleans(),
    st.sampled_from(["first", "last", "sum", "list"]),
    st.sampled_from([2, 64, 64]),
    st.integers(0, 60),
    st.sampled_from([(), (20, 60)]),
    st.sampled_from([1, 1_000_000]),
)


class Turn(NamedTuple):
    """One step: a partition, its events (id, time, label), or a claim that it is idle, or the end of the feed."""

    tp: int
    events: list[tuple[int, int, int]]
    idle: bool = False
    ending: bool = False


seldom = st.sampled_from([False] * 7 + [True])
events = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 700), st.integers(0, 2)), max_size=5)
turns = st.lists(st.builds(Turn, st.integers(0, 3), events, seldom, seldom), max_size=25)
calm = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=40
)


class World:
    """An oracle that takes steps, and the log that they leave."""

    def __init__(self, rules: Rules, idle_ms: int) -> None:
        self.rules, self.idle_ms = rules, idle_ms
        self.ended_ms: int | None = None
        self.names = list(NAMES)
        self.oracle = Oracle({tp: PartitionState(-1, 0, -1, 0, 0) for tp in NAMES})
        self.log: list[LogEvent] = []
        self.clock = self.stepped = 0

    def take(self, turn: Turn) -> None:
        self.clock += TICK
        tp, at = self.names[turn.tp], self.oracle.partitions[self.names[turn.tp]]
        step = Step(str(self.clock), self.rules)
        if turn.ending:
            self.ended_ms, self.oracle.ending = self.ended_ms or self.clock, True
            step.moves = [Move(tp, at.next, at.next, ended=1) for tp, at in self.oracle.partitions.items()]
        elif turn.idle or turn.events:
            step.moves = [self._move(step, tp, at.next, [] if turn.idle else turn.events)]
        self.oracle.step(step, self.clock - self.stepped)
        self.stepped = self.clock if self.oracle.token == step.token else self.stepped

    def _move(self, step: Step, tp: str, start: int, events: list[tuple[int, int, int]]) -> Move:
        outcomes = tp.startswith("o")
        for n, (number, t, label) in enumerate(events):
            key = f"id:{number}"
            lists: list[list[Any]] = [step.which, step.ids, step.times, step.items, step.bodies]
            make = (
                outcome_entry(key, t, str(label), WINDOW + KEEP) if outcomes else prediction_entry(key, t, "{}", WINDOW)
            )
            for column, value in zip(lists, (1, key, t, *make), strict=True):
                column.append(value)
            self.log.append(LogEvent(tp, start + n, self.clock, key, t, str(label) if outcomes else None))
        move = Move(tp, start, start + len(events), records=len(events), outcomes=int(outcomes), idle=int(not events))
        move.t_ms, move.recent = max((t for _, t, _ in events), default=-1), often(t for _, t, _ in events)
        return move

    def rest(self) -> None:
        """Let the due windows close."""
        for _ in range(30):
            self.take(Turn(0, []))

    def samples(self) -> list[tuple[int, Emitted]]:
        rows = [json.loads(body) for _, body in self.oracle.samples]
        return [(n, Emitted(row["id"], row["revision"], row["kind"], row["label"])) for n, row in enumerate(rows, 1)]

    def verdict(self, samples: list[tuple[int, Emitted]]) -> Verdict:
        o = self.oracle
        shard = ShardState(
            o.seq, o.chain, o.watermark, 0, "", 0, o.ending, len(o.windows), 0, 0, o.count, o.partitions
        )  # fmt: skip
        history = History(Joined([shard], self.rules, self.idle_ms, self.ended_ms), self.log)
        waiting = {key for key, entry in o.entries.items() if entry.state == "waiting"}
        return verify(history, samples, waiting)


CORRECTED_AND_REUSED = [  # the outcome comes after its window closed early; then the forgotten id comes again
    Turn(0, [(3, 0, 0), (0, 151, 0)]),
    Turn(0, [], ending=True),
    Turn(3, [], idle=True),
    Turn(1, [(0, 151, 0)]),
    Turn(2, [(3, 0, 0), (0, 151, 0)]),
    Turn(0, [(3, 1, 0)]),
]


@settings(max_examples=400)
@given(rules=policies, turns=turns)
@example(rules=Rules(WINDOW, KEEP, 0, 10**13, negative="0", most=2), turns=CORRECTED_AND_REUSED)
def test_no_order_of_events_makes_a_difference_without_an_explanation(rules: Rules, turns: list[Turn]) -> None:
    """Late, early, idle, ended, copied or used again: the join is right, so the verifier must find no difference."""
    world = World(rules, idle_ms=0)
    for turn in turns:
        world.take(turn)
    verdict = world.verdict(world.samples())
    assert verdict.differences == []
    assert verdict.agreed + sum(verdict.explained.values()) == verdict.ids


def in_order(rules: Rules, plan: list[tuple[int, int, int, int]]) -> World:
    """A feed whose partitions are in order, each id asked once; outcomes up to two windows later."""
    world = World(rules, idle_ms=10**9)
    outcomes_at = [
        (40 * n + later, n % 2 + 2, [(n, 40 * n + later, label)]) for n, (_, _, later, label) in enumerate(plan)
    ] + [(40 * n + 5, n % 2 + 2, [(n, 40 * n + 5, label)]) for n, (_, more, _, label) in enumerate(plan) if more > 6]
    predictions_at = [(40 * n, n % 2, [(n, 40 * n, 0)]) for n in range(len(plan))]
    for _, tp, events in sorted([*predictions_at, *outcomes_at]):
        world.take(Turn(tp, events))
    for tp in range(4):
        world.take(Turn(tp, [(1_000 + tp, 40 * len(plan) + 1_000, 0)]))
    world.rest()
    return world


@settings(max_examples=100)
@given(rules=policies, plan=calm, data=st.data())
def test_a_sample_that_is_missing_doubled_or_changed_is_seen(
    rules: Rules, plan: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    world = in_order(replace(rules, most_early=1_000), plan)
    samples = world.samples()
    assert world.verdict(samples).differences == []
    labelled = [n for n, (_, one) in enumerate(samples) if one.kind != WAITING]
    assume(labelled)
    at = data.draw(st.sampled_from(labelled))
    number, one = samples[at]
    label = [*one.label, 9] if isinstance(one.label, list) else one.label + 77
    for wrong in ([], [one, one], [one._replace(label=label)], [one._replace(kind="correction")]):
        if wrong and wrong[0] == one and len(wrong) == 1:
            continue
        verdict = world.verdict([*samples[:at], *((number, each) for each in wrong), *samples[at + 1 :]])
        assert [difference.id for difference in verdict.differences] == [one.id], wrong
        assert verdict.differing == 1


def test_only_what_the_log_shows_is_explained() -> None:
    """A closed window whose outcome is on time and in order: its absence has no explanation."""
    world = in_order(Rules(WINDOW, KEEP, 0, 10**13), [(0, 0, 30, 1)] * 3)
    assert (world.verdict(world.samples()).agreed, world.verdict(world.samples()).explained) == (7, {})
    world.log.append(LogEvent("o:0", 10**6, world.clock, "id:0", 1, "1"))
    assert world.verdict(world.samples()).differing == 0, "what was not read yet does not count"


@pytest.mark.parametrize("correct", [0, 1])
def test_a_late_outcome_corrects_only_by_policy(correct: int) -> None:
    world = World(Rules(WINDOW, 10**4, 0, 10**13, negative="0", correct=correct), idle_ms=10**9)
    world.take(Turn(0, [(0, 10, 0)]))
    for tp in range(4):
        world.take(Turn(tp, [(9, 900 + tp, 0)] * 8))
    world.rest()
    world.take(Turn(2, [(0, 950, 1)]))
    right = world.samples()
    assert world.verdict(right).differing == 0
    corrected = [*right[: len(right) - correct], (len(right), Emitted("id:0", 1, "correction", 1))]
    assert world.verdict(corrected).differing == 1 - correct


@pytest.mark.parametrize("seen", [0, 1])
def test_capped_outcomes_explain_no_more_than_were_counted(seen: int) -> None:
    world = World(Rules(WINDOW, KEEP, 0, 10**13, at_close=1, reduce="list", most=1), idle_ms=10**9)
    world.take(Turn(0, [(0, 10, 0)]))
    world.take(Turn(2, [(0, 20, 1), (0, 30, 2)]))
    for tp in range(4):
        world.take(Turn(tp, [(9, 900 + tp, 0)] * 8))
    world.rest()
    world.oracle.count["capped"] *= seen
    verdict = world.verdict(world.samples())
    assert (verdict.explained["capped"], verdict.differing) == (1, 1 - seen)
    assert replace(verdict, ids=0).ids == 0
