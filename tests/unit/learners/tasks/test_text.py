"""Tasks for text: a GPT-2 that learns letter by letter from a real text, and sequences that become likely by scores."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from msgspec import Raw, json
from torch import Tensor

from deploy.learning.candidates import make_learner
from learners.online.batches import completed
from learners.tasks.next_token import EVEN, MOST_OUTPUTS, NextToken
from learners.tasks.sequence_score import SequenceScore
from shadowstream import ConfigError, MalformedEvent
from streams.events import Prediction, Sample
from tests import small, text
from tests.clicks import record


def sample(place: int, own: bool, answer: list[float]) -> Sample:
    features, followed = text.at(place)
    task, k = text.PIPELINE.task, len(text.LETTERS)
    target = float(max(range(k), key=answer.__getitem__)) if own else task.target(followed)
    asked = Prediction(str(place), place, 0, tuple(answer), (0.0,) * k, 0, Raw(json.encode(features)))
    return Sample(asked.id, "joined", 0, place, target, place + 1, asked)


def nats(own: bool) -> tuple[float, float]:
    """Return a letter's mean loss, of the first and the last 300 of 2,000; `own`: it learns its own maximum."""
    pytest.importorskip("transformers")
    learner, losses = make_learner(text.PIPELINE), list[Tensor]()
    for first in range(0, 2_000, 16):
        places = range(first, first + 16)
        guess = learner.shadow.answer(text.read([text.at(place)[0] for place in places])).tolist()
        said = learner.learn([sample(p, own, answer) for p, answer in zip(places, guess, strict=True)])
        truth = torch.tensor([text.PIPELINE.task.target(text.at(place)[1]) for place in places])
        losses.append(text.PIPELINE.task.losses(said, truth))
    every = torch.cat(losses)
    return float(every[:300].mean()), float(every[-300:].mean())


def test_a_transformer_learns_a_text_as_it_is_typed() -> None:
    first, last = nats(own=False)
    assert last < 2.6 < first  # by the letters' own frequencies: 2.79


def test_its_own_guesses_teach_it_nothing() -> None:
    first, last = nats(own=True)
    assert last > first


def test_places_beyond_the_end_are_not_learned_and_all_tokens_count_alike() -> None:
    task = NextToken(2, places=3)
    assert [task.target(label) for label in ([1], [1, 0], [1, 0, 1, 1])] == [(1, -1, -1), (1, 0, -1), (1, 0, 1)]
    output = torch.tensor([[0.0, 2.0, 5.0, -5.0, 1.0, 9.0]], requires_grad=True)
    short = torch.tensor([task.target([1])])
    assert float(task.losses(output.detach(), short)) == pytest.approx(math.log1p(math.exp(-2)), abs=1e-3)
    task.losses(output, short).sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert output.grad[0, 2:].tolist() == [0.0] * 4
    loss, perplexity, top = task.metrics()
    target = torch.tensor([task.target(label) for label in ([1], [0, 0, 0])])
    for metric in (loss, perplexity, top):
        metric.add(torch.zeros(2, 6), target)
    assert loss.value == pytest.approx(math.log(2))
    assert perplexity.value == pytest.approx(2)
    assert top.value == 0.75


def test_no_token_costs_more_than_the_bound_and_every_one_has_a_slope() -> None:
    task = NextToken(1_000)
    sure = torch.zeros(1, 1_000, dtype=torch.float64)
    sure[0, 0] = 50.0
    assert float(task.losses(sure, torch.tensor([1.0]))) == pytest.approx(math.log(1_000 / EVEN), abs=1e-6)
    even = torch.zeros(1, 1_000, dtype=torch.float64)
    assert min(map(abs, task.residual(even[0].tolist(), 3.0))) > 0


def test_a_vocabulary_that_no_prediction_can_carry_is_refused() -> None:
    assert NextToken(MOST_OUTPUTS).outputs == MOST_OUTPUTS
    with pytest.raises(ConfigError, match=r"50,257 tokens at 1 places are 50,257 outputs.*take fewer tokens"):
        NextToken(50_257)
    with pytest.raises(ConfigError, match=r"NextToken.tokenize must be a function"):
        NextToken(5, tokenize="bpe")  # type: ignore[arg-type]


# two prompts, of which each has three sequences of likelihood softmax(logits of the prompt)
WORTH = torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.2, 0.3]], dtype=torch.float64)


def policy(own: bool) -> Tensor:
    """Return the chances (2, 3) learned from 4,000 drawn sequences and their scores; `own`: one's maximum scores 1."""
    chance, task = torch.Generator().manual_seed(0), SequenceScore(baseline=0.5)
    logits = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(100):
        prompts = torch.randint(2, (40,), generator=chance)
        served = logits.detach().log_softmax(1)
        drawn = torch.multinomial(served[prompts].exp(), 1, generator=chance)[:, 0]
        scores = (served.argmax(1)[prompts] == drawn).double() if own else WORTH[prompts, drawn]
        target = torch.stack([scores, served[prompts, drawn]], dim=1)
        loss = task.losses(logits.log_softmax(1)[prompts, drawn][:, None], target).mean()
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 5 * slope).detach().requires_grad_()
    return logits.detach().softmax(1)


def test_what_was_scored_well_becomes_likely_and_one_s_own_maximum_teaches_nothing() -> None:
    start = float((WORTH / 3).sum(1).mean())
    learned, fooled = (float((policy(own) * WORTH).sum(1).mean()) for own in (False, True))
    assert learned > 0.8
    assert fooled < start + 0.05


def told(task: SequenceScore, label: Any, served: list[float]) -> Sample:
    asked = Prediction("a", 5, 0, tuple(served), (0.0,) * task.outputs, 0, Raw(b"{}"))
    return Sample("a", "joined", 0, 5, task.target(label), 6, asked)


def test_how_likely_a_sequence_was_is_what_was_served_unless_it_is_told() -> None:
    task = SequenceScore(2, scores=(1, 5))
    (whole,) = completed([told(task, [5, None], [-3.5, 0.25])], task)
    assert whole.label == (1.0, -1.0, -3.5, 0.0)
    assert completed([whole], task) == [whole]
    elsewhere = {"score": [5, 1], "log_likelihood": [-9.0, -8.0]}
    assert completed([told(task, elsewhere, [-3.5, -1.0])], task)[0].label == (1.0, 0.0, -9.0, -8.0)


def test_a_preference_moves_two_likelihoods_apart_and_a_score_alone_is_held_against_the_baseline() -> None:
    two, one = SequenceScore(2), SequenceScore(baseline=0.8)
    output = torch.tensor([[-5.0, -6.0]], requires_grad=True)
    two.losses(output, torch.tensor([[1.0, 0.0, -5.0, -6.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert output.grad.tolist() == [[-0.25, 0.25]]
    alone = torch.tensor([[-5.0]], requires_grad=True)
    one.losses(alone, torch.tensor([[0.5, -5.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert alone.grad is not None
    assert float(alone.grad) == pytest.approx(0.3)


def test_no_weight_is_large_however_likely_a_sequence_became() -> None:
    task = SequenceScore(reach=1.5)
    far = torch.linspace(-500, 0, 101, dtype=torch.float64)[:, None].requires_grad_()
    losses = task.losses(far, torch.tensor([[1.0, -250.0]], dtype=torch.float64).expand(101, 2))
    (slope,) = torch.autograd.grad(losses.sum(), far)
    assert float(losses.abs().max()) <= 0.75
    assert float(slope.abs().max()) == pytest.approx(0.5)
    assert float(slope[:40].abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SequenceScore(0), "SequenceScore.sequences must be .*at least 1"),
        (lambda: SequenceScore(scores=(1, 0)), "SequenceScore.scores must be the least and the most score"),
        (lambda: SequenceScore(baseline=2.0), "SequenceScore.baseline must be a score, from 0 to 1, got 2"),
        (lambda: SequenceScore(reach=0.0), "SequenceScore.reach must be above 0"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_an_outcome_of_text_is_read_where_it_comes_in() -> None:
    outcome = replace(small.pipeline, task=NextToken(256, places=3, tokenize=str.encode)).as_feed().outcome
    assert outcome(record(b'{"id":"a","label":"ok"}')).body == b"[111.0,107.0,-1.0]"
    with pytest.raises(MalformedEvent, match="a token label is a whole number from 0 to 255, got 300"):
        outcome(record(b'{"id":"a","label":[300]}'))
