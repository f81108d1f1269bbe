"""What is another in a pipeline is named, and classed by what follows from it by itself."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from deploy.changes.compare import compare
from deploy.changes.parts import parts_of
from deploy.pipeline import Pipeline
from learners.evaluation.gate import Promotion
from learners.live.settings import Intercept, Live, Wide
from learners.online.settings import Online
from learners.tasks.classes import Classes
from streams.join.policy import JoinPolicy


class User(msgspec.Struct):
    age: float


class Visit(msgspec.Struct):
    user: User
    pages: float


class More(msgspec.Struct):
    user: User
    views: float
    country: str = ""


def encode(visits: Any) -> tuple[torch.Tensor, ...]:
    return (torch.tensor([[visit.user.age, visit.pages] for visit in visits]),)


def net(width: int = 4, outputs: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, outputs))


PIPELINE = Pipeline(name="visits", features=Visit, encode=encode, model=net)
JOIN = JoinPolicy()


def changed(join: JoinPolicy = JOIN, **more: Any) -> list[tuple[str, str, str]]:
    found = compare(parts_of(PIPELINE, JOIN), parts_of(replace(PIPELINE, **more), join))
    return [(one.part, one.name, one.follows) for one in found]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, []),
        ({"promotion": Promotion(every_days=3)}, [("promotion", "every_days", "harmless")]),
        ({"recipe": "prune(amount=0.5)"}, [("recipe", "steps", "harmless")]),
        ({"online": Online(half_life=100.0)}, [("online", "half_life", "harmless")]),
        ({"seed": 3}, [("seed", "seed", "harmless")]),
        ({"live": Intercept()}, [("live", "experts", "harmless")]),
        ({"live": Live(wide=Wide(bits=12))}, [("live", "bits", "harmless")]),
        ({"encode": lambda rows: encode(rows)}, [("encode", "code", "harmless")]),
        ({"model": lambda: net(8)}, [("model", "weights", "lineage")]),
        (
            {"model": lambda: nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1))},
            [("model", "layers", "harmless")],
        ),
        (
            {"task": Classes(3), "model": lambda: net(4, 3)},
            [("model", "weights", "lineage"), ("task", "task", "refused")],
        ),
    ],
)
def test_each_change_is_named_and_classed(more: dict[str, Any], found: list[tuple[str, str, str]]) -> None:
    assert changed(**more) == found


def test_fields_are_named_as_json_has_them_with_those_of_structs_within() -> None:
    found = compare(parts_of(PIPELINE, JOIN), parts_of(replace(PIPELINE, features=More), JOIN))
    said = [str(one) for one in found if one.part == "features"]
    assert said == [
        "features, pages: float -> (none)",
        "features, views: (none) -> float",
        "features, country: (none) -> str =",
    ]
    assert "user.age" in parts_of(PIPELINE, JOIN)["features"]


def test_settings_of_the_join_that_only_pace_it_are_no_change() -> None:
    assert changed(JoinPolicy(joiners=2, batch_events=100)) == []
    assert changed(JoinPolicy(window_s=60.0)) == [("join", "window_s", "harmless")]


def test_weights_are_one_change_however_many_there_are() -> None:
    (one,) = compare(parts_of(PIPELINE, JOIN), parts_of(replace(PIPELINE, model=lambda: net(8)), JOIN))
    assert str(one).startswith("model, weights: 0.weight float32 (4, 2), 0.bias float32 (4,)")
