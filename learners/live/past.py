"""A pipeline's history as it happened: each row is asked again, and its outcome is told when it came.

Rows of an hour are asked together, before anything that came within it is told. The deep part says nothing: it has seen
the rows' labels. A history ends with the last time in it; of rows that wait then it tells no more, and it says so
where they seem to be missing. Owns this order. Does not know where the rows come from.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count, groupby
from typing import Any, NamedTuple

import numpy as np

from learners.live.held import Asked, Census, Told, Waits
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool, chain_ages
from streams.events import Target

STEP_MS = 3_600_000
ENOUGH = 100  # rows of half k80 that all have an outcome: no accident
MISSING = (
    "history: all %d rows of its last %.3g days have an outcome, but 80 %% of outcomes take up to %.3g days: "
    "what comes early will seem the rule; yield the rows that still wait, too: Labelled(features, None, t_ms=...)"
)


class Past(NamedTuple):
    """A row of history: when it was asked, and what came of it when; None where it still waits."""

    row: Any
    t_ms: int
    label: Target | None
    label_t_ms: int | None


def replay(pool: Pool, past: Iterable[Past]) -> None:
    """Let the pool answer rows in their order, and learn what is told of them until the history ends."""
    coming, ids = list[tuple[int, int, Told | Waits]](), count()
    asked = end_ms = 0
    times, waiting = list[int](), False

    def learn(until_ms: int) -> None:
        while coming and coming[0][0] < until_ms:
            step_ms = min(until_ms, (coming[0][0] // STEP_MS + 1) * STEP_MS)
            told = []
            while coming and coming[0][0] < step_ms:
                told.append(heappop(coming)[-1])
            pool.learn([*told, Census(step_ms - 1, asked, AGES_MS[-1])])

    for at, group in groupby(past, lambda one: one.t_ms // STEP_MS):
        learn(at * STEP_MS)
        rows = list(group)
        said, answers = pool.answer([one.row for one in rows], np.full((len(rows), pool.outputs), np.nan))
        first = answers.reshape(len(rows), -1)[:, 0]
        for one, logits, answer in zip(rows, said.tolist(), first.tolist(), strict=True):
            of = Asked(f"history-{asked}", one.t_ms, one.row, tuple(logits), answer)
            times.append(one.t_ms)
            if one.label is None or one.label_t_ms is None:
                waiting = True
            else:
                heappush(coming, (one.label_t_ms, next(ids), Told(of, one.label_t_ms, one.label)))
            for mark, age_ms in enumerate(chain_ages(AGES_MS)):
                if one.label_t_ms is None or one.t_ms + age_ms < one.label_t_ms:
                    heappush(coming, (one.t_ms + age_ms, next(ids), Waits(of, one.t_ms + age_ms, mark)))
            end_ms = max(end_ms, one.t_ms, one.label_t_ms or 0)
            asked += 1
    learn(end_ms + 1)
    if pool.late and pool.news.known and not waiting:
        _warn(times, end_ms, pool.news.hold_ms)
    pool.begin()


def _warn(times: list[int], end_ms: int, k80_ms: int) -> None:
    """Say that rows are missing where many are younger than most outcomes are late, and none waits."""
    young = len(times) - bisect_right(times, end_ms - k80_ms // 2)
    if young >= ENOUGH:
        logging.getLogger("shadowstream").warning(MISSING, young, k80_ms / 2 / DAY_MS, k80_ms / DAY_MS)
