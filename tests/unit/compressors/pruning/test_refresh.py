"""Mask refresh: the swap by hand, and the slopes of masked weights against a form without masks."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from compressors.form import training_form, weights
from compressors.pruning.prune import prune_amount, sparsity
from compressors.pruning.refresh import dense_slopes, pattern, refresh, swap
from compressors.recipe import Prune, Quantize, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

WEIGHT = torch.tensor([[0.5, -0.1, 0.3], [0.2, 9.0, -7.0]])
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def test_the_smallest_goes_and_the_steepest_comes_as_zero() -> None:
    slope = torch.tensor([[8.0, 0.1, 8.0], [8.0, 1.0, -2.0]])
    mask, weight = swap(WEIGHT, MASK, slope, 0.25)
    assert mask.tolist() == [[1, 0, 1], [1, 0, 1]]
    torch.testing.assert_close(weight, torch.tensor([[0.5, -0.1, 0.3], [0.2, 9.0, 0.0]]))


def test_a_dropped_weight_that_is_steepest_comes_back_as_it_was() -> None:
    slope = torch.tensor([[0.0, 3.0, 0.0], [0.0, 1.0, -2.0]])
    mask, weight = swap(WEIGHT, MASK, slope, 0.25)
    assert torch.equal(mask, MASK)
    assert torch.equal(weight, WEIGHT)


def test_nothing_is_swapped_where_no_weight_has_a_slope() -> None:
    mask, weight = swap(WEIGHT, 1 - MASK, torch.zeros(2, 3), 0.5)
    assert torch.equal(mask, 1 - MASK)
    assert torch.equal(weight, WEIGHT)


def test_nothing_is_swapped_in_a_layer_without_masked_weights() -> None:
    mask, weight = swap(WEIGHT, torch.ones(2, 3), torch.ones(2, 3), 1.0)
    assert torch.equal(mask, torch.ones(2, 3))
    assert torch.equal(weight, WEIGHT)


def test_among_neighbours_each_grows_what_it_dropped() -> None:
    weight = torch.tensor([[0.5, 9.0, 0.1, 9.0, 0.7, 9.0], [0.3, 9.0, 0.4, 9.0, 9.0, 0.2]])
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]])
    slope = torch.tensor([[0.0, 2.0, 0.0, 1.0, 0.0, 9.0], [0.0, 8.0, 0.0, 8.0, 1.0, 0.0]])
    assert swap(weight, mask, slope, 0.34, of=4).mask.tolist() == [[1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0]]
    assert swap(weight, mask, slope, 0.34).mask.tolist() == [[1, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("recipe", "of"),
    [
        ("quantize(int8)", 0),
        ("prune(below=0.1)", 0),
        ("prune(amount=0.5) -> prune(pattern='2:4')", 4),
        ("prune(pattern='4:8') -> prune(pattern='2:4')", 4),
        ("prune(pattern='2:4') -> prune(pattern='3:6')", 2),
    ],
)
def test_all_patterns_of_a_recipe_are_kept_among_their_common_neighbours(recipe: str, of: int) -> None:
    assert pattern(Recipe.parse(recipe)) == of


def test_what_cannot_be_swapped_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 <= share <= 1, got 1\.5"):
        swap(WEIGHT, MASK, WEIGHT, 1.5)
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            swap(WEIGHT, MASK, torch.full((2, 3), broken), 0.5)


def form() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 1))
    made = training_form(net, Recipe(Prune(amount=0.5), Quantize("int8")))
    prune_amount(made, 0.5)
    return made


def loss_of(model: nn.Module) -> Tensor:
    x = torch.linspace(-2, 2, 60).view(10, 6).sin()
    out: Tensor = model(x)
    return (out[:, 0] - x[:, 0]).square().mean()


def test_dense_slopes_are_those_of_the_same_weights_without_masks() -> None:
    model = form()
    bare = copy.deepcopy(model)
    for layer in weights(bare).values():
        layer.value.data.mul_(layer.mask)
        layer.mask.fill_(1)
    loss_of(bare).backward()  # type: ignore[no-untyped-call]
    before = copy.deepcopy(model.state_dict())
    slopes = dense_slopes(model, lambda: loss_of(model))
    for name, layer in weights(bare).items():
        assert layer.value.grad is not None
        assert torch.equal(slopes[name], layer.value.grad)
        assert bool(slopes[name][weights(model)[name].mask == 0].any())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_slopes_of_kept_weights_are_those_of_training() -> None:
    model = form()
    slopes = dense_slopes(model, lambda: loss_of(model))
    loss_of(model).backward()  # type: ignore[no-untyped-call]
    for name, layer in weights(model).items():
        assert layer.value.grad is not None
        assert torch.equal(slopes[name] * layer.mask, layer.value.grad)


def test_what_a_forward_moves_and_draws_is_put_back() -> None:
    net = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.Dropout(0.5), nn.Linear(10, 1))
    model = training_form(net, Recipe(Prune(amount=0.5), Quantize("int8", inputs="static")))
    before = copy.deepcopy(model.state_dict())
    drawn = torch.get_rng_state()
    dense_slopes(model, lambda: loss_of(model))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_weight_that_does_not_learn_keeps_its_mask() -> None:
    model = form()
    weights(model)["0.weight"].value.requires_grad_(False)
    before = copy.deepcopy(model)
    grown = refresh(model, dense_slopes(model, lambda: loss_of(model)), 0.3)
    assert grown.keys() == {"2.weight"}
    assert torch.equal(weights(model)["0.weight"].mask, weights(before)["0.weight"].mask)


def test_a_form_is_left_as_it_was_when_its_loss_fails() -> None:
    model = form()
    before = copy.deepcopy(model.state_dict())

    def fails() -> Tensor:
        raise KeyError

    with pytest.raises(KeyError):
        dense_slopes(model, fails)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_refresh_swaps_within_every_layer_and_changes_no_answer_but_by_what_it_dropped() -> None:
    model = form()
    before = copy.deepcopy(model)
    grown = refresh(model, dense_slopes(model, lambda: loss_of(model)), 0.3)
    assert sparsity(model) == sparsity(before)
    for name, layer in weights(model).items():
        old = weights(before)[name]
        assert torch.equal(grown[name], layer.mask > old.mask)
        assert grown[name].any()
        assert not layer.value[grown[name]].any()
        kept = (layer.mask * old.mask) != 0
        assert torch.equal(layer.value[kept], old.value[kept])


def test_refreshes_while_learning_find_weights_that_matter() -> None:
    """Half the inputs say nothing, and the masks start on the other half: refreshed masks move, fixed ones cannot."""

    def learned(share: float) -> float:
        torch.manual_seed(1)
        model = training_form(nn.Linear(8, 1), Recipe(Prune(amount=0.5), Quantize("int8")))
        (layer,) = weights(model).values()
        layer.mask[:, :4] = 0
        x = torch.randn(256, 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0)

        def loss() -> Tensor:
            out: Tensor = model(x)
            return (out[:, 0] - x[:, :4].sum(1)).square().mean()

        for step in range(200):
            if step % 20 == 0:
                refresh(model, dense_slopes(model, loss), share)
            optimizer.zero_grad()
            loss().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return float(loss().detach())

    assert learned(0.5) < 0.1 * learned(0.0)
