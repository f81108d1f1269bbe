"""Weights that are rounded once while they stay as they are."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from compressors.form import training_form
from compressors.pruning.prune import prune_amount
from compressors.quantization.layers import Kept, ShadowRows, rounding_once
from compressors.recipe import Prune, Quantize, Recipe

RECIPE = Recipe(Prune(amount=0.5), Quantize("int8"))


def form() -> nn.Sequential:
    torch.manual_seed(3)
    made = training_form(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)), RECIPE)
    assert isinstance(made, nn.Sequential)
    return made


def step(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    model(torch.ones(3, 6)).sum().backward()
    optimizer.step()


def written(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1.0


CHANGES: list[Callable[[nn.Module], object]] = [
    step, written, lambda model: prune_amount(model, 0.7), lambda model: model.load_state_dict(form().state_dict()),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_is_rounded_anew_once_it_or_its_mask_has_changed(change: Callable[[nn.Module], object]) -> None:
    model, x = form(), torch.randn(5, 6)
    prune_amount(model, 0.5)
    kept: dict[ShadowRows, dict[str, Kept]] = {m: {} for m in model if isinstance(m, ShadowRows)}
    with rounding_once(kept):
        model(x)
        first = [own["weight"].rounded[0] for own in kept.values()]
        model(x)
        assert all(own["weight"].rounded[0] is one for own, one in zip(kept.values(), first, strict=True))
    change(model)
    with rounding_once(kept):
        output = model(x)
    assert next(iter(kept.values()))["weight"].rounded[0] is not first[0]
    assert torch.equal(output, model(x))


def test_slopes_are_those_of_a_weight_that_is_rounded_each_time() -> None:
    model, x = form(), torch.randn(5, 6)
    slopes = []
    for kept in ({}, {m: dict[str, Kept]() for m in model if isinstance(m, ShadowRows)}):
        with rounding_once(kept):
            for part in torch.split(x, 2):
                model(part).square().sum().backward()
        slopes.append([p.grad for p in model.parameters()])
        model.zero_grad(set_to_none=True)
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True) if a is not None and b is not None)


def test_a_copy_keeps_nothing() -> None:
    model = form()
    with rounding_once({m: {} for m in model if isinstance(m, ShadowRows)}):
        model(torch.randn(5, 6))
    assert all(m.kept is None for m in model if isinstance(m, ShadowRows))
