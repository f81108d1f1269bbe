"""Slices: the metrics of each value are those of its samples alone, the frequent ones are kept, the worst is found."""

import math
from enum import Enum
from typing import Any

import msgspec
import torch
from torch import Tensor

from learners.evaluation.scores import Scores
from learners.evaluation.slices import KEPT, LEAST, MISSING, OTHERS, SHOWN, Slices, worst
from learners.tasks.binary import Binary


class Kind(Enum):
    CAR = "car"


class User(msgspec.Struct):
    country: Any


class Visit(msgspec.Struct):
    user: User | None


def visits(values: list[Any]) -> list[Visit]:
    return [Visit(User(value)) for value in values]


def answers(n: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, generator=made), torch.randint(2, (n,), generator=made).float()


def scored(outputs: Tensor, target: Tensor) -> Scores:
    made = Scores(Binary().metrics())
    made.add(outputs, target)
    return made


def test_each_value_has_the_metrics_of_its_own_samples() -> None:
    values = ["at", "be", "be"] * 1_500
    slices, (outputs, target) = Slices("user.country", Binary()), answers(len(values))
    for start in range(0, len(values), 700):
        part = slice(start, start + 700)
        slices.add(visits(values[part]), outputs[part], target[part])
    found = slices.scores
    assert [(value, scores.count) for value, scores in found.items()] == [("be", 3_000), ("at", 1_500)]
    for value in ("at", "be"):
        chosen = torch.tensor([one == value for one in values])
        for name, expected in scored(outputs[chosen], target[chosen]).values.items():
            assert math.isclose(found[value].values[name], expected, rel_tol=1e-5)


def test_a_value_is_named_as_people_know_it() -> None:
    slices = Slices("user.country", Binary())
    rows = [*visits([None, math.nan, Kind.CAR, 3, "x" * 1_000]), Visit(None)]
    slices.add(rows, *answers(len(rows)))
    assert {value: scores.count for value, scores in slices.scores.items()} == {
        MISSING: 3, "car": 1, "3": 1, "x" * 80: 1,
    }  # fmt: skip


def test_the_most_frequent_are_shown_and_no_sample_is_lost() -> None:
    values = [str(n) for n in range(3 * KEPT)] + [f"frequent {n}" for n in range(SHOWN)] * 50
    slices = Slices("user.country", Binary())
    for start in range(0, len(values), 50):
        part = values[start : start + 50]
        slices.add(visits(part), *answers(len(part)))
    found = slices.scores
    assert len(slices._scores) <= KEPT
    assert set(found) == {f"frequent {n}" for n in range(SHOWN)} | {OTHERS}
    assert {scores.count for value, scores in found.items() if value != OTHERS} == {50}
    assert found[OTHERS].count == 3 * KEPT


def test_the_worst_slice_has_samples_enough_and_a_name() -> None:
    def always(count: int, logit: float) -> Scores:
        return scored(torch.full((count, 1), logit), torch.zeros(count))

    by_value = {"good": always(500, -1.0), "bad": always(LEAST, 1.0), "few": always(LEAST - 1, 3.0)}
    slices = {"a": by_value | {OTHERS: always(500, 3.0)}, "b": {"bad too": always(300, 0.5)}}
    assert worst(slices, always(1_000, 0.0)) == ("a", "bad")
    assert worst(slices, always(1_000, 2.0)) is None
    assert worst({}, always(1_000, 2.0)) is None
