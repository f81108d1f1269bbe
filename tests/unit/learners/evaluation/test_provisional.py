"""Negatives that may be corrected: what counts for good, and with which answers."""

import torch
from msgspec.structs import replace

from learners.evaluation.provisional import Answers, Provisional
from streams.events import CORRECTION, NEGATIVE, Sample
from tests import small


def answers(samples: list[Sample], said: float) -> Answers:
    """Return answers of two models, both of which said so to all."""
    target = torch.tensor([float(str(sample.label)) for sample in samples])
    return Answers([s.t for s in samples], [(s.id,) for s in samples], torch.full((2, len(samples), 1), said), target)


def test_a_correction_counts_with_the_answers_to_what_it_corrects() -> None:
    first, second, third = small.samples(3)
    provisional, first = Provisional(), replace(first, label=1.0)
    negatives = [replace(one, kind=NEGATIVE, label=0.0) for one in (first, second)]
    now = provisional.sift([*negatives, third], answers([*negatives, third], 1.0))
    assert now.t_ms == [third.t]
    correction = replace(first, kind=CORRECTION, revision=1)
    now = provisional.sift([correction], answers([correction], 2.0))
    assert (now.outputs.flatten().tolist(), now.target.tolist()) == ([1.0, 1.0], [1.0])
    assert provisional.settled(second.t) is None
    kept = provisional.settled(second.t + 1)
    assert kept is not None
    assert (kept.t_ms, kept.target.tolist()) == ([second.t], [0.0])
    assert provisional.all is None
