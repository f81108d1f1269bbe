"""How much later than due windows close where one partition is ahead: they close in the order of their list.

The list is in the order of steps, so a window waits for those before it. Nothing is lost by it, and no label depends on
it; `docs/join.md` says what it costs.
"""

import json
from typing import NamedTuple

import pytest

from streams.join.step import Move, Rules, ShardState, Step, prediction_entry, recent
from streams.join.store import NOTHING, Store
from tests.property.join.steps import AHEAD, FEEDS, TOKENS

WINDOW_MS, SECOND_MS, HOUR_MS, DAY_MS = 600_000, 1_000, 3_600_000, 86_400_000
A_STEP = 300  # predictions of each partition, one a second: five minutes
T = 1_360_000_000_000
RULES = Rules(WINDOW_MS, 10 * DAY_MS, 0, AHEAD, at_close=1, negative="0")


class Late(NamedTuple):
    """How much later than due windows closed: the watermark then, minus the deadline, in ms."""

    most: int
    mean: float


def run(store: Store, ahead_ms: int, hours: int) -> tuple[Late, Late, int]:
    """Join two partitions, the second ahead; return how late the windows of each close, and the longest list."""
    feed = f"line{next(FEEDS)}"
    store.create(feed, 1, [("p", 0), ("p", 1)])
    late: dict[int, list[int]] = {0: [], 1: []}
    longest, after = 0, NOTHING
    for first in range(0, hours * 3_600, A_STEP):
        for tp, shift in ((1, ahead_ms), (0, 0)):
            state = store.step(feed, 0, predictions(tp, range(first, first + A_STEP), shift))
            while state.due:
                after = note(store, feed, state, after, late)
                state = store.step(feed, 0, Step(f"{next(TOKENS)}", RULES))
            after = note(store, feed, state, after, late)
            longest = max(longest, state.windows)
    return lateness(late[0]), lateness(late[1]), longest


def lateness(late: list[int]) -> Late:
    return Late(max(late), sum(late) / len(late))


def predictions(tp: int, numbers: range, shift: int) -> Step:
    step = Step(f"{next(TOKENS)}", RULES)
    last = T + numbers[-1] * SECOND_MS + shift
    times = [T + n * SECOND_MS + shift for n in numbers]
    step.moves = [Move(f"p:{tp}", numbers.start, numbers.stop, t_ms=last, records=len(numbers), recent=recent(times))]
    for n in numbers:
        key, t = f"{tp}.{n}", T + n * SECOND_MS + shift
        item, body = prediction_entry(key, t, "{}", WINDOW_MS)
        for values, value in ((step.which, 1), (step.times, t)):
            values.append(value)
        for texts, text in ((step.ids, key), (step.items, item), (step.bodies, body)):
            texts.append(text)
    return step


def note(store: Store, feed: str, state: ShardState, after: str, late: dict[int, list[int]]) -> str:
    """Note how late the windows were that the last step closed; return the last sample's position."""
    for entry, body, _ in store.read(feed, 0, after, 1_000):
        row = json.loads(body)
        late[int(row["id"][0])].append(state.watermark_ms - (row["t"] + WINDOW_MS))
        after = entry
    return after


@pytest.mark.parametrize(("ahead_ms", "hours"), [(0, 3), (60 * SECOND_MS, 3), (HOUR_MS, 3), (DAY_MS, 26)])
def test_a_window_closes_later_by_no_more_than_the_partitions_are_apart(
    embedded_store: Store, ahead_ms: int, hours: int
) -> None:
    lagging, leading, longest = run(embedded_store, ahead_ms, hours)
    step_ms = A_STEP * SECOND_MS
    assert ahead_ms < lagging.mean <= lagging.most <= ahead_ms + 2 * step_ms
    assert leading.most <= step_ms
    assert longest <= 2 * (ahead_ms + WINDOW_MS + 1.5 * step_ms) / SECOND_MS + 1  # a median is half a step old
