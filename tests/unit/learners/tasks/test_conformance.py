"""What every task does: each test runs on all of them."""

import json
import math
import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressors.data import Scaled
from compressors.scale import Scale
from deploy.checks.learning import live_of
from learners.live.held import Asked, Told
from learners.live.make import pool
from learners.live.settings import Live, Wide
from learners.tasks.bandit import Bandit
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.next_token import NextToken
from learners.tasks.ranking import Ranking
from learners.tasks.regression import Quantile, Regression
from learners.tasks.sequence_score import SequenceScore
from learners.tasks.task import Answering, Task
from learners.tasks.theirs import Reading, output_of
from streams.errors import ConfigError, MalformedEvent
from streams.events import Prediction, Target

PETS = ("cat", "dog", "bird")


PAGE = Path(__file__).parents[4] / "docs" / "learners.md"


def documented() -> Task:
    """Return the task of a user's own that the documentation shows."""
    (code,) = re.findall(
        r"^```python\n(class .*?|from .*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    shown: dict[str, Any] = {}
    exec(code, shown)
    task: Task = shown["Purchase"]()
    return task


class Case(NamedTuple):
    """A task, labels of its own, and some of others."""

    task: Task
    labels: list[Any]
    wrong: list[Any]


CASES = [
    Case(Binary(), [0.0, 1.0, True], [0.5, 2, -1, [1.0]]),
    Case(Classes(3), [0.0, 1.0, 2.0], [3, 1.5, -1, [0, 0, 1]]),
    Case(Classes(PETS), ["cat", "dog", "bird", 2.0], [3, "Cat", "", ["cat"]]),
    Case(MultiLabel(3), [[0, 1, 1], [1.0, 0.0, 0.0], [0, 0, 0]], [1.0, [1, 0], [0, 0.5, 1], ["cat"], ["cat", 1, 0]]),
    Case(MultiLabel(PETS), [["cat", "bird"], ["dog"], [], [True, False, True]], [["Cat"], "cat", [1, 0, 0, 0]]),
    Case(Regression(delta=0.5), [-7.0, 0.0, 0.3, 12.0], [1e39, [1.0]]),
    Case(Regression(scale=Scale(100.0, 25.0)), [50.0, 101.0, 180.0], [1e39]),
    Case(Quantile(0.9), [-7.0, 0.0, 0.3, 12.0], [1e39, [1.0]]),
    Case(Quantile(0.1, scale=Scale(100.0, 25.0)), [50.0, 101.0, 180.0], [1e39]),
]
SOLD, LOST = {"bought": True, "price": 12.5}, {"bought": 0, "price": 3}
OWN = Case(documented(), [SOLD, LOST, {"bought": 1, "price": 0.0}], [])
DONE = [{"action": "dog", "reward": 1.0, "propensity": 0.5}, {"action": 2, "reward": 0, "propensity": 0.01}]
NOT_DONE = [
    {"action": "Dog", "reward": 1.0}, {"action": "dog", "reward": 2.0}, {"action": "dog", "reward": 1, "propensity": 2},
    {"action": "dog"}, [1.0, 3, 0.5], [1.0, 2, 0.0], [1.0, 2], 1.0,
]  # fmt: skip
CASES += [
    Case(Bandit(PETS), DONE, NOT_DONE),
    Case(Bandit(3, baseline=0.5, explore=0.0), [{"action": 0, "reward": 1, "propensity": 1}], [DONE[0]]),
    Case(Bandit(PETS, doubly_robust=True), [*DONE, [0.0, 1, 0.2, 0.1, 0.9, 0.5]], NOT_DONE),
    Case(Bandit(PETS, rewards=(-5, 5), logged=True), [[-2.5, 1, 0.3], *DONE], [*NOT_DONE[:1], 6.0]),
]
CASES += [
    Case(Ranking(4), [[1, 0], [0.5, None, 3, 0], [0, 0, 0, 1], [1, 1, 1]], [[1, 0, 0, 0, 0], [-2], 1.0, [True, "x"]]),
]


def spelled(text: str) -> list[int]:
    return ["ab\n".find(letter) for letter in text]


PLACES = NextToken(3, places=2)
TEXTS = [
    Case(PLACES, [[0, 1], [2], [1.0, 1.0], 2, [0, 1, 2]], [3, [], [0, 3], [-1, -1], [-1, 0], [0, -1, -1], [[0]]]),
    Case(NextToken(PETS), ["cat", "bird", ["dog"]], ["Cat", "", [""]]),
    Case(NextToken(4, tokenize=spelled), ["ab", "\n", 3], ["", "A", 4]),
]
ALONE, SEVERAL = SequenceScore(scores=(1, 5), baseline=4.0), SequenceScore(3)
UNSCORED = [[2], [None], [1] * 4, [0] * 3 + [2] * 3]
CASES += TEXTS
CASES += [
    Case(ALONE, [{"score": 5, "log_likelihood": -3.0}, 1, [0.5, -2.0]], [6, [1, 2, 3]]),
    Case(SEVERAL, [[1, 0], [0.5, None, 1], [0, 0, 0.1, -1.0, -2.0, 0]], UNSCORED),
]
EVERY = pytest.mark.parametrize("case", [*CASES, OWN], ids=lambda case: repr(case.task))
OURS = pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.task))
FORGED = [math.nan, math.inf, -math.inf, None, "no such label", {}, {"label": 1}, [math.nan]]


def targets(case: Case) -> Tensor:
    """Return the targets of a case's labels, (N,) or (N, T)."""
    return torch.tensor([case.task.target(label) for label in case.labels], dtype=torch.float64)


def outputs(case: Case, count: int, seed: int = 0) -> Tensor:
    """Return `count` answers (N, K), of about the size of the labels."""
    made = 2 * torch.randn(count, case.task.outputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = case.task.scale if isinstance(case.task, Scaled) else Scale()
    return made * scale.spread + scale.mean


def mean_loss(task: Task, output: Tensor, target: Tensor) -> float:
    return float(task.losses(output, target).detach().mean())


@EVERY
def test_shapes_are_those_of_the_contract(case: Case) -> None:
    task, target, count = case.task, targets(case), len(case.labels)
    one, other = outputs(case, count), outputs(case, count, seed=1)
    for losses in (task.losses(one, target), task.soft_losses(one, other, 2.0), task.worst_gap(one, other)):
        assert losses.shape == (count,)
        assert bool(losses.isfinite().all())
    assert all(len(task.residual(row, case.task.target(case.labels[0]))) == task.outputs for row in one.tolist())


@EVERY
def test_a_target_is_finite_stays_itself_and_survives_json(case: Case) -> None:
    for label in case.labels:
        target = case.task.target(label)
        assert case.task.target(list(target) if isinstance(target, tuple) else target) == target
        assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target
    assert bool(targets(case).isfinite().all())


@OURS
def test_what_is_no_label_of_its_own_is_refused_in_words(case: Case) -> None:
    for label in (*FORGED, *case.wrong):
        with pytest.raises(MalformedEvent) as wrong:
            case.task.target(label)
        assert str(wrong.value).isprintable()
        assert len(str(wrong.value)) < 300


@EVERY
def test_losses_and_soft_losses_have_the_slopes_that_autograd_finds(case: Case) -> None:
    target, output = targets(case), outputs(case, len(case.labels)).requires_grad_()
    other = outputs(case, len(case.labels), seed=1)
    assert torch.autograd.gradcheck(lambda z: case.task.losses(z, target), output)
    assert torch.autograd.gradcheck(lambda z: case.task.soft_losses(other, z, 2.0), output)


@EVERY
def test_the_residual_goes_down_the_slope_of_the_loss(case: Case) -> None:
    for seed, label in enumerate(case.labels * 10):
        target = case.task.target(label)
        output = outputs(case, 1, seed).requires_grad_()
        case.task.losses(output, torch.tensor([target], dtype=torch.float64)).sum().backward()  # type: ignore[no-untyped-call]
        assert output.grad is not None
        slope, residual = output.grad[0], torch.tensor(case.task.residual(output[0].tolist(), target))
        size = float(residual.norm() / slope.norm()) if float(slope.norm()) else 0.0
        torch.testing.assert_close(residual.double(), -size * slope)
        assert (size > 0) == (bool(slope.any()) and not isinstance(case.task, (Ranking, SequenceScore)))


@EVERY
@given(data=st.data())
@settings(max_examples=50)
def test_no_difference_of_losses_is_beyond_the_worst_gap(case: Case, data: st.DataObject) -> None:
    scale = case.task.scale if isinstance(case.task, Scaled) else Scale()
    z = st.floats(-30 * scale.spread + scale.mean, 30 * scale.spread + scale.mean)
    ours, theirs = (
        torch.tensor([[data.draw(z) for _ in range(case.task.outputs)]], dtype=torch.float64) for _ in range(2)
    )
    bound = float(case.task.worst_gap(ours, theirs))
    for target in targets(case):
        gap = float(case.task.losses(ours, target[None]) - case.task.losses(theirs, target[None]))
        assert gap <= bound + 1e-9


@EVERY
def test_a_student_that_answers_as_its_teacher_has_no_soft_loss(case: Case) -> None:
    answers, others = outputs(case, 5), outputs(case, 5, seed=1)
    assert float(case.task.soft_losses(answers, answers.clone(), 2.0).abs().max()) < 1e-6
    assert float(case.task.soft_losses(answers, others, 2.0).min()) > 0


@EVERY
def test_a_loss_is_its_own_row_s_whatever_else_is_in_the_batch(case: Case) -> None:
    """A batch comes in parts."""
    target = targets(case)
    output = outputs(case, len(target))
    alone = torch.cat([case.task.losses(output[i : i + 1], target[i : i + 1]) for i in range(len(target))])
    torch.testing.assert_close(case.task.losses(output, target), alone, rtol=0, atol=0)


@EVERY
def test_losses_are_the_same_in_any_unit_of_the_labels(case: Case) -> None:
    task = case.task
    if not isinstance(task, Scaled):
        assert not hasattr(task, "scale")
        return
    target, output = targets(case), outputs(case, len(case.labels))
    one, other = task.fitted(target), task.fitted(target * 1e6 - 3.0)
    torch.testing.assert_close(other.losses(output * 1e6 - 3.0, target * 1e6 - 3.0), one.losses(output, target))


@EVERY
def test_answers_are_json_under_names_of_their_own(case: Case) -> None:
    assert isinstance(case.task, Answering)
    for served in (outputs(case, 3), outputs(case, 3).float()):
        answers = case.task.answers(served)
        assert len(json.loads(json.dumps(answers, allow_nan=False))) == 3
        assert all(answer and not set(answer) & {*Prediction.__struct_fields__} for answer in answers)


@EVERY
def test_metrics_begin_empty_add_up_and_the_loss_is_the_first(case: Case) -> None:
    target = targets(case)
    output = outputs(case, len(target))
    all_at_once, first, second = (case.task.metrics() for _ in range(3))
    assert len({metric.name for metric in all_at_once}) == len(all_at_once)
    assert all(math.isnan(metric.value) for metric in all_at_once)
    for metric, one, other in zip(all_at_once, first, second, strict=True):
        metric.add(output, target)
        one.add(output[:1], target[:1])
        other.add(output[1:], target[1:])
        assert (one + other).value == pytest.approx(metric.value)
        assert math.isfinite(metric.value)
    assert all_at_once[0].value == pytest.approx(mean_loss(case.task, output, target))


@OURS
def test_it_travels_to_another_process(case: Case) -> None:
    other = pickle.loads(pickle.dumps(case.task))
    assert other == case.task
    target, output = targets(case), outputs(case, len(case.labels))
    assert torch.equal(other.losses(output, target), case.task.losses(output, target))


def learned(case: Case, own: bool) -> tuple[float, float]:
    """Return a linear model's mean loss on fresh rows, before and after it learned; `own`: from its own maximum.

    Its best answers are the labels themselves: which one is right can be read off the inputs.
    """
    chance = torch.Generator().manual_seed(0)
    kinds = torch.randint(len(case.labels), (800,), generator=chance)
    inputs = torch.nn.functional.one_hot(kinds, len(case.labels)).double()
    target, task = targets(case)[kinds], case.task
    model = torch.nn.Linear(len(case.labels), task.outputs, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(
            outputs(case, task.outputs * len(case.labels)).view(-1)[: model.weight.numel()].view_as(model.weight)
        )
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = mean_loss(task, model(inputs), target)
    for _ in range(200):
        output = model(inputs)
        task.losses(output, nearest(case, output.detach()) if own else target).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return before, mean_loss(task, model(inputs), target)


def nearest(case: Case, output: Tensor) -> Tensor:
    """Return for each answer (N, K) the target that it would like best: a target of the model's own."""
    liked = torch.stack([case.task.losses(output, one.expand(len(output), *one.shape)) for one in targets(case)])
    return targets(case)[liked.argmin(0)]


@pytest.mark.parametrize("case", [*CASES[:5], *TEXTS[:2]], ids=lambda case: repr(case.task))
def test_outcomes_teach_and_one_s_own_maximum_does_not(case: Case) -> None:
    before, taught = learned(case, own=False)
    _, fooled = learned(case, own=True)
    assert taught < 0.3 * before
    assert fooled > before


def test_a_weight_counts_as_so_many_rows() -> None:
    output = torch.tensor([[0.5]])
    light, heavy = (torch.tensor([OWN.task.target({"bought": 1, "price": price})]) for price in (1, 4))
    torch.testing.assert_close(OWN.task.losses(output, heavy), 4 * OWN.task.losses(output, light))
    assert OWN.task.residual([0.5], heavy[0].tolist()) == pytest.approx(
        [4 * OWN.task.residual([0.5], light[0].tolist())[0]]
    )


MEANT = {"probability", "probabilities", "value"}
READ = [case for case in CASES if isinstance(case.task, Reading)]


@pytest.mark.parametrize("case", READ, ids=lambda case: repr(case.task))
@given(st.data())
def test_an_answer_that_a_client_has_is_the_output_that_means_it(case: Case, data: st.DataObject) -> None:
    task, numbers = case.task, st.floats(-9, 9, width=32)
    assert isinstance(task, Answering)
    served = torch.tensor([data.draw(st.lists(numbers, min_size=task.outputs, max_size=task.outputs))])
    (said,) = task.answers(served)
    (answer,) = [value for name, value in said.items() if name in MEANT]
    read = torch.tensor([output_of(task, answer)], dtype=torch.float64)
    (again,) = task.answers(read)
    torch.testing.assert_close(torch.tensor(_numbers(again)), torch.tensor(_numbers(said)), atol=2e-4, rtol=1e-4)


def _numbers(said: dict[str, Any]) -> list[float]:
    (value,) = [value for name, value in said.items() if name in MEANT]
    return [
        float(one)
        for one in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value])
    ]


@pytest.mark.parametrize(
    ("task", "answer", "why"),
    [
        (Binary(), 93, "a probability, from 0 to 1, got 93"),
        (Binary(), True, "a probability, from 0 to 1, got True"),
        (Binary(), "0.3", "a probability, from 0 to 1, got '0.3'"),
        (Binary(), math.nan, "a probability, from 0 to 1, got nan"),
        (Classes(PETS), [0.5, 0.5], "3 probabilities: a list in the order of the classes, or by their names"),
        (Classes(PETS), {"cat": 0.9, "dgo": 0.1}, "no class is called 'dgo'; did you mean 'dog'"),
        (Classes(PETS), [0, 0, 0], "not all 0"),
        (Regression(), "12", "a finite number"),
        (Ranking(3), [1.0, 2.0], "its 3 raw outputs, a list"),
    ],
)
def test_an_answer_that_is_none_is_refused(task: Task, answer: Any, why: str) -> None:
    with pytest.raises(MalformedEvent, match=re.escape(why)):
        output_of(task, answer)


def test_classes_by_name_may_leave_out_those_without_a_chance() -> None:
    (said,) = Classes(PETS).answers(torch.tensor([output_of(Classes(PETS), {"dog": 3, "bird": 1})]))
    assert said["probabilities"] == pytest.approx([0, 0.75, 0.25], abs=2e-4)


class Item(msgspec.Struct):
    """One of a list."""

    price: float


class Row(msgspec.Struct):
    """What live experts read."""

    place: str
    items: list[Item]


ROW = Row("a", [Item(1.0), Item(2.0), Item(3.0), Item(4.0)])
WITHOUT = (NextToken, SequenceScore)


@OURS
def test_live_experts_learn_its_targets_or_are_refused_in_words(case: Case) -> None:
    task, live, none = case.task, Live(wide=Wide(bits=8)), (0.0,) * case.task.outputs
    if isinstance(task, WITHOUT):
        with pytest.raises(ConfigError, match=f"live experts learn Binary.*, not {type(task).__name__}"):
            live_of(live, task, Row)
        return
    assert live_of(None, task, Row) == Live()
    made, rows = pool(live, Row, task), (ROW,) * len(case.labels)
    said, served = made.answer(rows, outputs(case, len(rows)).numpy(), none)
    assert said.shape == (len(rows), made.columns)
    target = targets(case).numpy()
    made.study(rows, target)
    evidence = [
        Told(Asked(str(n), n, ROW, tuple(one)), n, task.target(label))
        for n, (one, label) in enumerate(zip(said.tolist(), case.labels, strict=True))
    ]
    made.learn(evidence)
    again = pool(live, Row, task)
    again.load(made.state())
    _, answered = again.answer(rows, np.full((len(rows), task.outputs), np.nan), none)
    assert answered.reshape(len(rows), task.outputs).shape == served.reshape(len(rows), task.outputs).shape
    assert np.isfinite(answered).all()
