"""What does not go together is refused before anything is computed, with what would be right."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.agreement import check_task
from compressors.compress import compress
from compressors.data import Data
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from shadowstream import Regression
from streams.errors import MalformedEvent
from tests import small

N = 60

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


def net(inputs: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))


def rows(n: int = N) -> Data:
    return Data((torch.randn(n, 4),), torch.arange(n) % 3)


def with_label(value: float) -> Data:
    labels = rows().labels.float()
    labels[7] = value
    return Data(rows().inputs, labels)


class Never(nn.Module):
    """A teacher that must not be asked."""

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("recipe", ["quantize(int8)", "prune_structured(amount=0.5)", "prune(amount=0.5) -> retrain"])
def test_models_that_are_not_in_float32_are_refused_and_told_the_way(dtype: torch.dtype, recipe: str) -> None:
    with pytest.raises(
        ValueError, match=rf"4 of .* have another type, such as 0.weight, which is {dtype}: pass model.float\(\)"
    ):
        compress(net().to(dtype), recipe, rows(), Classes(3))


def test_a_pipelines_model_is_refused_too() -> None:
    def model() -> nn.Module:
        return net(outputs=1).double()

    with pytest.raises(ValueError, match=r"pass model.float\(\)"):
        make_learner(Pipeline(name="double", model=model, features=small.Point, encode=small.encode))


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (-1.0, "a whole number from 0 to 2, got -1.0"),
        (3.0, "a whole number from 0 to 2, got 3.0"),
        (1.5, "a whole number from 0 to 2, got 1.5"),
    ],
)
def test_labels_that_are_no_classes_are_refused(label: float, said: str) -> None:
    for data, held in ((with_label(label), None), (rows(), with_label(label))):
        with pytest.raises(MalformedEvent, match=said):
            compress(net(), "quantize(int8) -> distill", data, Classes(3), held=held, teacher=Never())


@pytest.mark.parametrize("label", [math.nan, math.inf, -math.inf])
def test_a_class_label_that_is_not_finite_is_no_class(label: float) -> None:
    with pytest.raises(MalformedEvent, match="from 0 to 2, got"):
        Classes(3).target(label)


@pytest.mark.parametrize("task", [Binary(), Classes(4), Regression()])
def test_a_model_with_other_outputs_than_the_tasks_is_refused(task: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"the model returns \(N, 3\), where forward must return a tensor \(N, {task.outputs}\)"
    ):
        compress(net(), "quantize(int8)", rows(), task)


def test_a_task_that_says_nothing_of_labels_is_not_asked() -> None:
    class Any3:
        def losses(self, output: Tensor, target: Tensor) -> Tensor:
            return output[:, 0]

        def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
            return output_of(teacher)

    def output_of(x: Tensor) -> Tensor:
        return x[:, 0]

    check_task(net(), with_label(1.5), Any3())


@pytest.mark.parametrize(
    ("data", "held", "said"),
    [
        (with_label(math.nan), None, "data: labels: 1 of 60 rows are not finite, the first of them row 7"),
        (rows(), with_label(math.inf), "held: labels: 1 of 60 rows are not finite, the first of them row 7"),
        (
            Data((torch.tensor([[0.0] * 4, [math.nan] * 4, [math.nan] * 4]),), torch.zeros(3)),
            None,
            "data: input 0: 2 of 3 rows are NaN, the first of them row 1",
        ),
        (
            rows(),
            Data((torch.randn(9, 5),), torch.zeros(9, dtype=torch.long)),
            r"held has inputs with rows of \(5\) torch.float32, data of \(4\) torch.float32: they must be alike",
        ),
        (rows(), Data((*rows(9).inputs, torch.zeros(9)), rows(9).labels), "they must be alike"),
        (rows(), Data((torch.randn(9, 4).double(),), rows(9).labels), "they must be alike"),
        (rows(), Data((torch.randn(9, 4),), torch.zeros(8)), r"held: .* different numbers of rows: \[9, 8\]"),
    ],
)
def test_rows_that_are_not_whole_or_not_alike_are_refused(data: Data, held: Data | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compress(net(), "quantize(int8)", data, Classes(3), held=held)


def test_inputs_of_whole_numbers_and_infinite_ones_are_not_for_the_check() -> None:
    """A mask of attention may be minus infinity: what a model makes of it is seen in its losses."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names, self.out = nn.Embedding(9, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            out: Tensor = self.out((self.names(x) * mask.exp()[:, :, None]).sum(1))
            return out

    mask = torch.zeros(N, 4)
    mask[:, 3] = -math.inf
    data = Data((torch.randint(0, 9, (N, 4)), mask), rows().labels)
    assert compress(Masked(), "quantize(int8)", data, Classes(3)).parity.largest == 0


def test_a_teacher_with_other_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the teacher returns \(N, 5\), where forward must return a tensor \(N, 3\)"):
        compress(net(), "quantize(int8) -> distill", rows(), Classes(3), teacher=net(outputs=5))
