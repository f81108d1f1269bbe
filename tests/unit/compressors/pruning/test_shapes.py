"""What a model remembers of removed units: a damaged or foreign record is refused, and every changed size is known."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from compressors.pruning.cuts import Place, cut_rule
from compressors.pruning.groups import ATTENTIONS
from compressors.pruning.shapes import SIZES, reshape, shapes
from compressors.pruning.structured import Report, prune_structured
from tests.pruned import HALF, TABULAR, Tabular, seeded


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    model, _ = copied(Tabular)
    record = copy.deepcopy(shapes(seeded(Tabular), model))
    change(record)
    return record


def copied(make: Callable[[], nn.Module]) -> tuple[nn.Module, Report]:
    model = seeded(make)
    return model, prune_structured(model, HALF, TABULAR)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update({"layers.9": {"sizes": {}, "tensors": {}}}),
        lambda r: r["layers.0"].update(more={}),
        lambda r: r["layers.0"].update(sizes=3),
        lambda r: r["layers.0"]["sizes"].update(training=1),
        lambda r: r["layers.0"]["sizes"].update(num_heads=1),
        lambda r: r["layers.0"]["sizes"].update(out_features=0),
        lambda r: r["layers.0"]["sizes"].update(out_features=-4),
        lambda r: r["layers.0"]["sizes"].update(out_features=33),
        lambda r: r["layers.0"]["sizes"].update(out_features=True),
        lambda r: r["layers.0"]["sizes"].update(out_features=15),
        lambda r: r["layers.0"]["tensors"].update(weight=[16, 1 << 60]),
        lambda r: r["layers.0"]["tensors"].update(weight=[16, 16]),
        lambda r: r["layers.0"]["tensors"].update(weight=[16]),
        lambda r: r["layers.0"]["tensors"].update(weight="16"),
        lambda r: r["layers.0"]["tensors"].update(other=[16]),
        lambda r: r["layers.3"]["tensors"].pop("weight"),
    ],
)
def test_a_damaged_record_is_refused_and_nothing_changes(change: Callable[[dict[str, Any]], object]) -> None:
    fresh = seeded(Tabular)
    with pytest.raises(ValueError, match="shapes"):
        reshape(fresh, damaged(change))
    assert all(map(torch.equal, fresh.state_dict().values(), seeded(Tabular).state_dict().values()))


def test_models_of_another_making_have_no_shapes_between_them() -> None:
    with pytest.raises(ValueError, match="do not have the same modules"):
        shapes(seeded(Tabular), nn.LSTM(2, 2))
    with pytest.raises(ValueError, match="a Linear in the plain model, a ReLU in the pruned"):
        shapes(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="other tensors"):
        shapes(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))


def test_every_attribute_that_a_cut_changes_is_one_that_shapes_know() -> None:
    modules: list[nn.Module] = [nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1, groups=2)]
    modules += [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.LayerNorm(2)]
    rules = [rule for module in modules if (rule := cut_rule(module))]
    assert len(rules) == len(modules)
    assert {name for rule in rules for name in (*rule.unit_sizes, *rule.column_sizes)} <= SIZES
    assert {name for form in ATTENTIONS for name in form.sizes} <= SIZES
    assert Place(modules[0], "units", rules[0]).size == 2
