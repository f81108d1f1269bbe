"""Negatives that a later outcome may correct: by their weights what is learned is the true chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as replace_part
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor

from deploy.learning.candidates import make_learner
from learners.live.settings import Live, Wide
from learners.online.absent import Absent, Weighted, as_sent
from learners.tasks.binary import Binary
from learners.tasks.regression import Regression
from streams.events import CORRECTION, NEGATIVE, Sample
from tests import small

SAMPLES, HELD = 6_000, 300  # so many predictions; a correction comes so many predictions after its negative
CHANCE = 0.3


def log(late: float) -> Iterator[Sample]:
    """Yield samples whose outcome comes with CHANCE; a share of these come late."""
    draw, later = np.random.default_rng(0), dict[int, Sample]()
    for n, sample in enumerate(small.samples(SAMPLES)):
        comes, is_late = draw.random() < CHANCE, draw.random() < late
        yield replace(sample, label=1.0) if comes and not is_late else replace(sample, label=0.0, kind=NEGATIVE)
        if comes and is_late:
            later[n + HELD] = replace(sample, label=1.0, kind=CORRECTION, revision=1)
        if n in later:
            yield later.pop(n)


def learned(late: float, *, by_weight: bool, sent: bool = False) -> float:
    """Return the chance that one number learns of the log, by its answer of now, or by the one that was `sent`."""
    answers = dict[str, Tensor]()
    logit, absent, task, found = torch.zeros(1, 1, requires_grad=True), Absent(), Binary(), list[float]()
    for sample in log(late):
        (weight,), target = absent.follow([sample]), torch.tensor([sample.label])
        of = task if sent or not by_weight else Weighted(task, [weight])
        loss = of.losses(logit, target).sum()
        if sent:
            answer = answers.setdefault(sample.id, logit.detach().clone())
            loss = as_sent([weight], answer, target, task)[0] * loss
        (slope,) = torch.autograd.grad(loss, logit)
        with torch.no_grad():
            logit -= 0.02 * slope
        found.append(float(torch.sigmoid(logit.detach())))
    return float(np.mean(found[len(found) // 3 :]))


@pytest.mark.parametrize(("late", "naive"), [(0.12, 0.975), (0.58, 0.9)])
def test_the_true_chance_is_learned_however_many_outcomes_are_late(late: float, naive: float) -> None:
    assert learned(late, by_weight=True) / CHANCE == pytest.approx(1, abs=0.025)
    assert learned(late, by_weight=False) / CHANCE < naive


def test_the_answer_that_was_sent_weighs_as_well() -> None:
    assert learned(0.58, by_weight=True, sent=True) / CHANCE == pytest.approx(1, abs=0.025)


def test_without_corrections_a_negative_is_a_sample_like_another() -> None:
    absent = Absent()
    weights = absent.follow(log(0.0))
    assert {weight.mean for weight in weights} == {weight.share for weight in weights} == {1.0}
    output, target = torch.randn(len(weights), 1), torch.zeros(len(weights))
    assert Weighted(Binary(), weights).losses(output, target).equal(Binary().losses(output, target))


def test_a_task_whose_answer_is_no_chance_weighs_negatives_on_the_whole() -> None:
    absent = Absent([80.0, 900.0, 90.0])
    sample = replace(small.samples(1)[0], kind=NEGATIVE)
    task, output = Regression(), torch.tensor([[2.0]])
    loss = Weighted(task, absent.follow([sample])).losses(output, torch.zeros(1))
    assert float(loss) == pytest.approx(0.9 * float(task.losses(output, torch.zeros(1))))


class Weighed:
    """A live expert that keeps the weights of what it is told."""

    names = ("weighed",)

    def __init__(self) -> None:
        self.weights = list[float]()

    def answer(self, rows: Sequence[Any]) -> NDArray[np.float64]:
        return np.zeros((len(rows), 1))

    def learn(self, rows: Sequence[Any], labels: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        self.weights += weights.tolist()

    def state(self) -> dict[str, Tensor]:
        return {"weights": torch.tensor(self.weights)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.weights = state["weights"].tolist()


@pytest.mark.parametrize("parts", [[5], [1, 1, 1, 1, 1], [2, 3]])
def test_live_experts_weigh_a_negative_by_what_was_sent(parts: list[int]) -> None:
    expert = Weighed()
    learner = make_learner(
        replace_part(small.pipeline, live=Live(wide=Wide(bits=8, categories=["x"]), experts=[lambda: expert]))
    )
    learner._absent = Absent([80.0, 920.0, 40.0])
    first, second, third, fourth, fifth = small.samples(5)
    sent = replace(second.prediction, output=(1.0,), intercept=(0.5,))
    mixed = replace(sent, answer=(-0.5,))
    entries = [
        first,
        replace(second, kind=NEGATIVE, label=0.0, prediction=sent),
        replace(third, kind=NEGATIVE, label=0.0, prediction=mixed),
        replace(fourth, kind=CORRECTION, label=1.0),
        fifth,
    ]
    for part in parts:
        learner.learn(entries[:part])
        entries = entries[part:]
    p = 1 / (1 + np.exp([-1.5, 0.5]))
    right = (1 - p) / (1 - p * 2 / 3)
    assert expert.weights == pytest.approx([1.0, *right, 1.0, 1.0], abs=5e-3)  # ω̄ is .957


def test_a_learner_goes_on_with_its_counts() -> None:
    entries = list(log(0.5))[:700]
    one, other = small.learner(), small.learner()
    one.learn(entries[:350])
    other.load(one.state())
    for learner in (one, other):
        learner.learn(entries[350:])
    assert all(torch.equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))
    assert one.state()["absent"].min() > 0
