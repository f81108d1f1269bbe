"""A feed whose positives come in an hour and negatives in ten days, learned and answered without services: what is
served is right on the whole, where learning at once says yes too often.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec
import numpy as np
import pytest
from msgspec import Raw

from deploy.learning.candidates import make_learner
from learners.live.news import AGES_MS
from learners.live.pool import chain_ages
from learners.online.learner import Learner
from streams.events import WAITING, Prediction, Sample
from tests import late

ASKED, TOLD = -2, -1  # events of a prediction that are no marks
SLICE_MS, WINDOW_MS = 4 * late.HOUR_MS, 60 * late.DAY_MS


def log(given: Sequence[late.Asked]) -> Iterator[tuple[int, int, int]]:
    """Yield (time, what, which prediction) in order."""
    found = []
    for n, one in enumerate(given):
        found += [(one.t_ms, ASKED, n), (one.known_ms, TOLD, n)]
        ages = enumerate(chain_ages(AGES_MS))
        found += [(one.t_ms + age_ms, mark, n) for mark, age_ms in ages if one.t_ms + age_ms < one.known_ms]
    yield from sorted(found)


def play(learner: Learner, given: Sequence[late.Asked]) -> list[Prediction]:
    """Answer all predictions of each slice, then learn what came in it."""
    live, asked = learner.live, list[Prediction]()
    assert live is not None
    for at, part in groupby(log(given), lambda event: event[0] // SLICE_MS):
        events = list(part)
        new = [n for _, what, n in events if what == ASKED]
        asked += answered(learner, [given[n] for n in new], len(asked)) if new else []
        entries = [entry(*event, asked[event[2]], given[event[2]]) for event in events if event[1] != ASKED]
        learner.learn([one for one in entries if one.kind != WAITING or live.marks_ms])
        learner.count((at + 1) * SLICE_MS - 1, len(asked), WINDOW_MS)
    return asked


def answered(learner: Learner, given: Sequence[late.Asked], start: int) -> Iterator[Prediction]:
    rows, live, bare = [one.row for one in given], learner.live, learner.intercept.value
    output = learner.shadow.answer(late.encode(rows))
    assert live is not None
    said, logits = live.answer(rows, output[:, 0].double().numpy(), bare[0])
    for n, one in enumerate(given):
        experts = tuple(None if np.isnan(z) else float(z) for z in said[n, 2:])
        features, answer = Raw(msgspec.json.encode(one.row)), (float(logits[n]),)
        yield Prediction(
            f"id-{start + n}", one.t_ms, 0, tuple(output[n].tolist()), bare, learner.learned, features, experts, answer
        )


def entry(at_ms: int, what: int, _: int, asked: Prediction, given: late.Asked) -> Sample:
    if what == TOLD:
        return Sample(asked.id, "joined", 0, asked.t, float(given.label), at_ms, asked)
    return Sample(asked.id, WAITING, what, asked.t, 0.0, at_ms, asked)


def test_what_is_served_is_right_on_the_whole_where_learning_at_once_says_yes_too_often() -> None:
    given = late.asked(8_000)
    learner = make_learner(late.pipeline(len(given)))
    asked = play(learner, given)
    live = learner.live
    assert live is not None
    assert live.late
    assert live.marks_ms
    chain = late.figures(given, [one.experts[late.CHAIN] for one in asked])
    served = late.figures(given, [one.served[0] for one in asked])
    at_once = late.figures(given, [one.bare[0] for one in asked])
    assert served.ratio == pytest.approx(1, abs=0.02)
    assert chain.ratio == pytest.approx(1, abs=0.02)
    assert at_once.ratio > 1.12
    assert max(served.loss, chain.loss) < at_once.loss - 0.015
