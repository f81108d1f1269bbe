"""A pipeline's history as it happened: each row is asked again, and its outcome is told when it came.

Rows of an hour are asked together, before anything that came within it is told. The deep part says nothing: it has seen
the rows' labels. Owns this order. Does not know where the rows come from.
"""

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count, groupby
from typing import Any, NamedTuple

import numpy as np

from learners.live.held import Asked, Census, Told, Waits
from learners.live.news import AGES_MS
from learners.live.pool import Pool, chain_ages
from streams.events import Target

STEP_MS = 3_600_000


class Past(NamedTuple):
    """A row of history: when it was asked, and what came of it when."""

    row: Any
    t_ms: int
    label: Target
    label_t_ms: int


def replay(pool: Pool, past: Iterable[Past]) -> None:
    """Let the pool answer rows in their order, and learn what is told of them until all outcomes came."""
    coming, ids = list[tuple[int, int, Told | Waits]](), count()
    asked = 0

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
            heappush(coming, (one.label_t_ms, next(ids), Told(of, one.label_t_ms, one.label)))
            for mark, age_ms in enumerate(chain_ages(AGES_MS)):
                if one.t_ms + age_ms < one.label_t_ms:
                    heappush(coming, (one.t_ms + age_ms, next(ids), Waits(of, one.t_ms + age_ms, mark)))
            asked += 1
    learn(max((at_ms for at_ms, _, _ in coming), default=0) + 1)
    pool.begin()
