"""What answers mean, in the words of each task; what all tasks do is in test_conformance.py."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.ranking import Ranking
from learners.tasks.regression import Quantile, Regression
from learners.tasks.task import Answering, Task, rounded


@pytest.mark.parametrize(
    ("task", "served", "answer"),
    [
        (Binary(), [0.0], {"probability": 0.5}),
        (Binary(), [-12.0], {"probability": 6.14417e-06}),
        (Binary(), [1e4], {"probability": 1.0}),
        (Classes(3), [0.0, 1.0, -1.0], {"class": 1, "probabilities": [0.244728, 0.665241, 0.0900306]}),
        (Classes(("a", "b")), [1.0, 0.0], {"class": "a", "probabilities": [0.731059, 0.268941]}),
        (MultiLabel(3), [1.0, -1.0, 0.0], {"classes": [0, 2], "probabilities": [0.731059, 0.268941, 0.5]}),
        (MultiLabel(("a", "b")), [0.5, 1.0], {"classes": ["a", "b"], "probabilities": [0.622459, 0.731059]}),
        (Ranking(3), [0.5, 2.0, -1.0], {"order": [1, 0, 2], "scores": [0.5, 2.0, -1.0]}),
        (Regression(), [123456.789], {"value": 123456.789}),
    ],
)
def test_an_answer_says_what_it_means(task: Task, served: list[float], answer: dict[str, Any]) -> None:
    assert isinstance(task, Answering)
    made, other = task.answers(torch.tensor([served, served]))
    assert made == other
    assert made == answer
    assert len(json.dumps(made)) < 90


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e20, max_value=1e20), st.integers(2, 9))
def test_numbers_for_clients_have_so_many_digits(value: float, digits: int) -> None:
    made = float(rounded(torch.tensor([value], dtype=torch.float64), digits)[0])
    assert made == pytest.approx(value, rel=10.0 ** (1 - digits), abs=1e-21)
    assert abs(value) < 1e-12 or made == float(f"{made:.{digits}g}")


def test_no_number_stays_none() -> None:
    assert [str(x) for x in rounded(torch.tensor([math.nan, math.inf, 0.0])).tolist()] == ["nan", "inf", "0.0"]


def test_a_quantile_is_where_its_loss_is_least_and_the_coverage_is_its_level() -> None:
    labels = -torch.linspace(0.0005, 0.9995, 1_000).log()  # exponential
    for level in (0.1, 0.5, 0.9):
        task = Quantile(level)
        answers = torch.linspace(0, 4, 401)[:, None]
        losses = torch.stack([task.losses(answer.expand(len(labels), 1), labels).mean() for answer in answers])
        best = answers[losses.argmin()].expand(len(labels), 1)
        _, coverage = task.metrics()
        coverage.add(best, labels)
        assert coverage.value == pytest.approx(level, abs=0.01)
        moved = sum(task.residual(best[0].tolist(), y)[0] for y in labels.tolist()) / len(labels)
        assert moved == pytest.approx(0, abs=0.01)  # the intercept stays there


def test_what_nobody_saw_and_what_is_equal_makes_no_pair() -> None:
    task, scores = Ranking(4), torch.tensor([[2.0, 1.0, -3.0, 9.0]])
    clicked = torch.tensor([task.target([1, 0, None])])
    assert task.losses(scores, clicked).tolist() == pytest.approx([math.log1p(math.exp(-1))])
    equal = torch.tensor([task.target([2, 2, 2, 2])])
    assert task.losses(scores, equal).tolist() == [0.0]
    _, in_order = task.metrics()
    in_order.add(scores, equal)
    assert math.isnan(in_order.value)
    in_order.add(scores, torch.tensor([task.target([1, 1, 0, 0])]))
    assert in_order.value == 0.5  # both are above the third, and below the fourth


def test_an_order_is_learned_from_clicks() -> None:
    task, chance = Ranking(5), torch.Generator().manual_seed(0)
    items = torch.randn(400, 5, 3, generator=chance)
    liked = items @ torch.tensor([1.0, -2.0, 0.5])
    clicks = torch.tensor([task.target((row > row.median()).tolist()) for row in liked])
    weights = torch.zeros(3, requires_grad=True)
    for _ in range(100):
        (slope,) = torch.autograd.grad(task.losses(items @ weights, clicks).mean(), weights)
        weights = (weights - slope).detach().requires_grad_()
    _, in_order = task.metrics()
    in_order.add((items @ weights).detach(), clicks)
    assert in_order.value > 0.98
