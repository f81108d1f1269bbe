"""Tasks: slopes against autograd, gaps that bound every difference, labels that are refused."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.regression import Regression
from learners.tasks.task import Answering, Task, rounded
from streams.errors import MalformedEvent

TASKS: list[tuple[Task, list[float]]] = [
    (Binary(), [0.0, 1.0]),
    (Classes(outputs=3), [0.0, 1.0, 2.0]),
    (Regression(delta=0.5), [-7.0, 0.0, 0.3, 12.0]),
]
logits = st.floats(-8, 8)


@pytest.mark.parametrize(("task", "labels"), TASKS)
@given(data=st.data())
def test_the_residual_is_minus_the_slope_of_the_loss(task: Task, labels: list[float], data: st.DataObject) -> None:
    output = torch.tensor([[data.draw(logits) for _ in range(task.outputs)]], dtype=torch.float64, requires_grad=True)
    label = data.draw(st.sampled_from(labels))
    task.losses(output, torch.tensor([label])).sum().backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    floored = isinstance(task, Classes) and float(task.losses(output, torch.tensor([label]))) > 9.2
    if not floored:
        assert task.residual(output[0].tolist(), label) == pytest.approx((-output.grad[0]).tolist(), abs=1e-6)


@pytest.mark.parametrize(("task", "labels"), TASKS)
@given(data=st.data())
def test_the_worst_gap_bounds_the_difference_for_every_label(
    task: Task, labels: list[float], data: st.DataObject
) -> None:
    ours, theirs = (
        torch.tensor([[data.draw(st.floats(-30, 30)) for _ in range(task.outputs)]], dtype=torch.float64)
        for _ in range(2)
    )
    bound = float(task.worst_gap(ours, theirs))
    for label in labels:
        target = torch.tensor([label], dtype=torch.float64)
        assert float(task.losses(ours, target) - task.losses(theirs, target)) <= bound + 1e-9


@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_a_student_that_answers_as_its_teacher_has_no_soft_loss(task: Task, labels: list[float]) -> None:
    answers = torch.randn(5, task.outputs)
    same = task.soft_losses(answers, answers.clone(), 2.0)
    other = task.soft_losses(answers, answers + torch.randn(5, task.outputs), 2.0)
    assert same.abs().max() < 1e-6
    assert other.min() >= -1e-6
    assert other.sum() > 1e-4


@pytest.mark.parametrize(
    ("task", "label"),
    [(Binary(), 0.5), (Binary(), 2), (Classes(outputs=3), 3), (Classes(outputs=3), 1.5), (Regression(), math.inf)],
)
def test_a_label_of_another_task_is_refused(task: Task, label: float) -> None:
    with pytest.raises(MalformedEvent, match="label"):
        task.check(label)


@pytest.mark.parametrize(("task", "labels"), TASKS)
def test_its_own_labels_are_welcome(task: Task, labels: list[float]) -> None:
    for label in labels:
        task.check(label)


@pytest.mark.parametrize(
    ("task", "served", "answer"),
    [
        (Binary(), [0.0], {"probability": 0.5}),
        (Binary(), [-12.0], {"probability": 6.14417e-06}),
        (Binary(), [1e4], {"probability": 1.0}),
        (Classes(outputs=3), [0.0, 1.0, -1.0], {"class": 1, "probabilities": [0.244728, 0.665241, 0.0900306]}),
        (Regression(), [123456.789], {"value": 123456.789}),
    ],
)
def test_an_answer_says_what_it_means(task: Task, served: list[float], answer: dict[str, Any]) -> None:
    assert isinstance(task, Answering)
    made, other = task.answers(torch.tensor([served, served]))
    assert made == other
    assert made == {name: pytest.approx(value, rel=1e-6) for name, value in answer.items()}
    assert len(json.dumps(made)) < 90


@pytest.mark.parametrize(("task", "labels"), TASKS)
@given(data=st.data())
def test_a_class_is_the_likeliest_and_chances_are_chances(task: Task, labels: list[float], data: st.DataObject) -> None:
    assert isinstance(task, Answering)
    served = torch.tensor([[data.draw(logits) for _ in range(task.outputs)]])
    (made,) = task.answers(served)
    if isinstance(task, Classes):
        chances = made["probabilities"]
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert chances[made["class"]] == max(chances)
    if isinstance(task, Binary):
        assert made["probability"] == pytest.approx(1 / (1 + math.exp(-float(served[0, 0]))), rel=1e-5)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e20, max_value=1e20), st.integers(2, 9))
def test_numbers_for_clients_have_so_many_digits(value: float, digits: int) -> None:
    made = float(rounded(torch.tensor([value], dtype=torch.float64), digits)[0])
    assert made == pytest.approx(value, rel=10.0 ** (1 - digits), abs=1e-21)
    assert abs(value) < 1e-12 or made == float(f"{made:.{digits}g}")


def test_no_number_stays_none() -> None:
    assert [str(x) for x in rounded(torch.tensor([math.nan, math.inf, 0.0])).tolist()] == ["nan", "inf", "0.0"]
