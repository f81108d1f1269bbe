"""The training form: its arithmetic against a plain reference, its masks against torch's, its state."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from compressors.form import ShadowLinear, layers, left, training_form
from compressors.prune import cubic, prune_amount, prune_threshold, sparsity
from compressors.recipe import Quantize, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


def net(outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(13, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 17), nn.Linear(17, outputs))


def fake(rows: Tensor, levels: int) -> Tensor:
    """Quantize each row and back, written as plainly as can be; the gradient passes straight through."""
    scale = rows.detach().abs().max(dim=1, keepdim=True).values / levels
    whole = torch.where(scale > 0, torch.round(rows.detach() / scale), torch.zeros(()))
    return rows + (whole * scale - rows).detach()


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_and_learns_like_the_plain_formula(bits: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(11, 5, bias=bias)
    (layer,) = layers(training_form(copy.deepcopy(plain), Recipe(quantize=Quantize(bits=bits)))).values()
    layer.mask[2, 3:8] = 0
    x, mine = (torch.randn(9, 11).requires_grad_() for _ in range(2))
    with torch.no_grad():
        x[4] = 0
        mine.copy_(x)
    expected = fake(x, 127) @ fake(plain.weight * layer.mask, 2 ** (bits - 1) - 1).t()
    expected = expected if plain.bias is None else expected + plain.bias
    got = layer(mine)
    torch.testing.assert_close(got, expected)
    pull = torch.randn(9, 5)
    (expected * pull).sum().backward()  # type: ignore[no-untyped-call]
    (got * pull).sum().backward()
    torch.testing.assert_close(mine.grad, x.grad)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    if layer.bias is not None:
        torch.testing.assert_close(layer.bias.grad, plain.bias.grad)


def test_leading_dimensions_are_rows_and_rows_do_not_see_each_other() -> None:
    form = training_form(net(3), Recipe())
    x = torch.randn(4, 6, 13)
    whole = form(x)
    assert whole.shape == (4, 6, 3)
    x[0] *= 1e6
    torch.testing.assert_close(form(x)[1:], whole[1:], rtol=0, atol=0)
    torch.testing.assert_close(form(x[1, 2]), whole[1, 2])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_shows_and_stays_alone(bad: float) -> None:
    form = training_form(nn.Linear(5, 2), Recipe())
    x = torch.randn(3, 5)
    clean = form(x)
    x[1, 2] = bad
    out = form(x)
    assert not out[1].isfinite().any()
    assert torch.equal(out[[0, 2]], clean[[0, 2]])


def test_the_state_round_trips_on_a_fresh_form_and_a_plain_one_fits() -> None:
    form = training_form(net(), Recipe())
    prune_amount(form, 0.6)
    fresh = training_form(nn.Sequential(*(copy.deepcopy(m) for m in net())), Recipe())
    assert fresh.load_state_dict(net().state_dict(), strict=False).unexpected_keys == []
    fresh.load_state_dict(form.state_dict())
    x = torch.randn(5, 13)
    assert torch.equal(fresh(x), form(x))
    assert sparsity(fresh) == sparsity(form)


def test_a_copy_shares_nothing() -> None:
    form = training_form(net(), Recipe())
    twin = copy.deepcopy(form)
    x = torch.randn(5, 13)
    before = form(x)
    prune_amount(twin, 0.9)
    with torch.no_grad():
        torch._foreach_mul_(list(twin.parameters()), 2.0)
    assert torch.equal(form(x), before)
    assert not torch.equal(twin(x), before)


def test_parameters_stay_the_same_objects() -> None:
    plain = net()
    before = list(plain.parameters())
    form = training_form(plain, Recipe())
    assert form is plain
    assert all(a is b for a, b in zip(before, form.parameters(), strict=True))


class Odd(nn.Module):
    """Every way in which a Linear can be in a model."""

    def __init__(self) -> None:
        super().__init__()
        self.names = nn.Embedding(10, 8)
        self.shared = nn.Linear(8, 8)
        self.again = self.shared
        self.attention = nn.MultiheadAttention(8, 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 10, bias=False)
        self.out.weight = self.names.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.again(self.shared(self.block(self.names(x)))))
        return out


def test_what_is_left_in_float_is_listed() -> None:
    form = training_form(Odd(), Recipe())
    assert set(layers(form)) == {"shared", "out"}
    assert form.again is form.shared
    names = {name for name, _ in left(form)}
    assert {"names.weight", "attention.out_proj.weight", "block.linear1.weight", "block.norm1.bias"} < names
    assert not any(name.startswith(("shared", "again", "out.")) for name in names)


def test_a_single_linear_is_a_model_and_a_model_without_one_is_refused() -> None:
    assert isinstance(training_form(nn.Linear(3, 1), Recipe()), ShadowLinear)
    with pytest.raises(ValueError, match="no compressed Linear"):
        training_form(nn.Embedding(3, 1), Recipe())


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.8, 0.999])
def test_masks_are_those_of_torch_prune(amount: float) -> None:
    form, theirs = training_form(net(), Recipe()), net()
    prune_amount(form, amount)
    linears = [m for m in theirs if isinstance(m, nn.Linear)]
    torch_prune.global_unstructured(
        [(m, "weight") for m in linears], pruning_method=torch_prune.L1Unstructured, amount=amount
    )
    for mine, other in zip(layers(form).values(), linears, strict=True):
        assert torch.equal(mine.mask, other.get_buffer("weight_mask"))


def test_a_threshold_is_a_magnitude_and_an_amount_a_share() -> None:
    by_threshold, by_amount = (training_form(net(), Recipe()) for _ in range(2))
    prune_threshold(by_threshold, 0.1)
    for layer in layers(by_threshold).values():
        assert torch.equal(layer.mask == 0, layer.weight.abs() < 0.1)
    prune_amount(by_amount, 0.1)
    assert sparsity(by_amount).overall == pytest.approx(0.1, abs=1e-3) != sparsity(by_threshold).overall
    with pytest.raises(ValueError, match="share"):
        prune_amount(by_amount, 1.0)
    with pytest.raises(ValueError, match="magnitude"):
        prune_threshold(by_amount, math.nan)


def test_a_weight_that_is_not_finite_is_named_and_nothing_changes() -> None:
    form = training_form(net(), Recipe())
    layers(form)["3"].weight.data[0, 0] = math.nan
    for prune in (prune_amount, prune_threshold):
        with pytest.raises(ValueError, match="'3' has a weight that is not finite"):
            prune(form, 0.5)
    assert sparsity(form).layers["3"] == 0


def test_the_schedule_is_cubic() -> None:
    stages = [cubic(0.2, 0.8, step, 4) for step in range(6)]
    assert stages == pytest.approx([0.2, 0.8 - 0.6 * 27 / 64, 0.8 - 0.6 / 8, 0.8 - 0.6 / 64, 0.8, 0.8])
    assert cubic(0.0, 0.5, 0, 0) == 0.5


def test_sparsity_is_counted_by_layer_and_in_all() -> None:
    form = training_form(net(), Recipe())
    layers(form)["4"].mask[0, :5] = 0
    counted = sparsity(form)
    assert counted.layers == {"0": 0, "3": 0, "4": 5 / 17}
    assert counted.overall == 5 / (13 * 32 + 32 * 17 + 17)


def test_no_step_revives_a_pruned_weight() -> None:
    """Moments gathered before pruning, and weight decay, move the parameter beneath; never the weight that counts."""
    form, x = training_form(net(), Recipe()), torch.randn(64, 13)
    target = x[:, :1] * 2
    for optimizer in (
        torch.optim.AdamW(form.parameters(), lr=0.05, weight_decay=0.1),
        torch.optim.SGD(form.parameters(), lr=0.05, momentum=0.9),
    ):
        for amount in (0.3, 0.6, 0.9):
            for _ in range(5):
                optimizer.zero_grad()
                (form(x) - target).square().mean().backward()
                optimizer.step()
            dead = {name: layer.mask == 0 for name, layer in layers(form).items()}
            prune_amount(form, amount)
            for name, layer in layers(form).items():
                assert not layer.mask[dead[name]].any()
    moved = [layer.weight.clone() for layer in layers(form).values()]
    out = form(x)
    with torch.no_grad():
        for layer in layers(form).values():
            layer.weight.add_(100 * (1 - layer.mask))
    assert torch.equal(form(x), out)
    assert any(bool((w != 0).logical_and(m.mask == 0).any()) for w, m in zip(moved, layers(form).values(), strict=True))
