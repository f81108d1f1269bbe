"""Invariant 2: over all labels of some days, whatever the delays, a candidate that is not better is seldom promoted.

All models are as sure, in a direction a day; labels are even odds: so none is better than another, and every promotion
is false. Two candidates are on trial, and where one is promoted the other must beat it, too. Where its wins come first
the first candidate is promoted too often by the labels that came alone, which the last test shows.
"""

from collections.abc import Sequence
from itertools import product

import pytest
import torch
from msgspec import Raw

from learners.commits.commit import Commit
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.asked import DAY_MS, Asked, Look
from learners.evaluation.trials.contestant import Contestant
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry, Trial
from learners.evaluation.trials.trials import Reign, Trials
from learners.evaluation.verdict import Decision, Kind
from learners.online.intercept import Intercept
from learners.tasks.binary import Binary
from streams.events import WAITING, Prediction, Sample
from streams.join.policy import JoinPolicy

DAYS, SURE, ALPHA = 8, 1.5, 0.3
POLICY = Promotion(alpha=ALPHA, candidates_a_year=1, drift_a_year=0, futility=1e-12, margin=0.0)
LATE = Timing.of(JoinPolicy(window_s=9 * 86_400))
SAID = {  # of each day, in which direction
    "first": (-1,) * DAYS,
    "one": (1,) * DAYS,
    "two": (1, -1, -1, 1, 1, 1, -1, 1),
}


def log(labels: Sequence[int], delays: tuple[float, float]) -> list[Sample]:
    """Return the log's entries by time: a prediction each noon, its outcome so many days later, by its label."""
    entries = []
    for day, label in enumerate(labels):
        t_ms, delay_ms = DAY_MS * day + DAY_MS // 2, round(delays[label] * DAY_MS)
        asked = Prediction(str(day), t_ms, 1, (0.0,), (0.0,), 0, Raw(b"0"))
        if delay_ms > DAY_MS:
            entries.append(Sample(str(day), WAITING, 0, t_ms, 0.0, t_ms + DAY_MS, asked))
        entries.append(Sample(str(day), "joined", 0, t_ms, float(label), t_ms + delay_ms, asked))
    return sorted(entries, key=lambda one: one.label_t)


def contestant() -> Contestant:
    return Contestant(lambda: None, Intercept(Binary(), 0.0), 0)


def commit(number: int, now_ms: int) -> Commit:
    return Commit(
        number=number, parent="", learned=0, samples=[], runs=[], batches=[], shadow=[], intercept=(0.0,), positions={},
        watermark_ms=now_ms, latest_ms=-1, heard_ms=now_ms, fingerprint="",
    )  # fmt: skip


def promoted(labels: Sequence[int], delays: tuple[float, float]) -> list[int]:
    """Return which candidates are promoted."""
    trials = Trials(POLICY, LATE, Reign(0, "first", lambda: None, -1), lambda version: None)
    for number, key in enumerate(("one", "two")):
        trial = Trial(Entry(number, key, Kind.REFRESH, -1), Binary(), POLICY, 0.0, 0)
        none = torch.empty(0, 1).numpy()
        trials.begin(trial, {key: contestant(), "first": contestant()}, (none, none), commit(0, 0))
    found = []
    entries = log(labels, delays)
    for n, now_ms in enumerate(range(DAY_MS, DAY_MS * (DAYS + 4), DAY_MS), start=1):
        came = [one for one in entries if now_ms - DAY_MS < one.label_t <= now_ms]
        came = trials.marks(came) + [one for one in came if one.kind != WAITING]
        rows = [int(one.id) for one in came]
        said = {key: SURE * torch.tensor([SAID[key][row] for row in rows])[:, None] for key in SAID}
        trials.take(came, said, [1.0 for one in came if one.kind != WAITING])
        verdicts = trials.look(commit(n, now_ms))
        found += [one.candidate for one in verdicts if one.decision is Decision.PROVEN]
    return found


def shares(delays: tuple[float, float]) -> list[float]:
    """Return how likely each candidate's promotion is."""
    fates = [promoted(labels, delays) for labels in product((0, 1), repeat=DAYS)]
    return [sum(number in one for one in fates) / len(fates) for number in range(2)]


@pytest.mark.parametrize("delays", [(0.1, 2.6), (8.5, 0.1)])
def test_what_is_not_better_is_promoted_with_a_chance_of_at_most_alpha(delays: tuple[float, float]) -> None:
    assert 0 < max(shares(delays)) <= ALPHA


def test_labels_that_came_alone_would_promote_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_what_came(asked: Asked, until_ms: int, now_ms: int) -> Look:
        found = look(asked, until_ms, now_ms)
        return found._replace(gone=~found.known)

    look = Asked.look
    monkeypatch.setattr(Asked, "look", only_what_came)
    assert max(shares((8.5, 0.1))) > ALPHA
