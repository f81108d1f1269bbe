"""Tasks: slopes against autograd, gaps that bound every difference, labels that are refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.regression import Regression
from learners.tasks.task import Task
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
