"""The training form: its arithmetic against a plain reference, its masks against torch's, its state."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from compressors.form import SHADOWS, UNNAMED, UNREAD, Weight, left, training_form, weights
from compressors.pruning.prune import cubic, prune_amount, prune_pattern, prune_threshold, sparsity
from compressors.quantization.layers import Shadow, ShadowLinear
from compressors.quantization.quantize import rounded
from compressors.recipe import Kind, Prune, Quantize, Recipe

RECIPE = Recipe(Prune(amount=0.8), Quantize("int8"))

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
    layer = training_form(copy.deepcopy(plain), Recipe(Quantize(f"int{bits}")))
    assert isinstance(layer, ShadowLinear)
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
    form = training_form(net(3), RECIPE)
    x = torch.randn(4, 6, 13)
    whole = form(x)
    assert whole.shape == (4, 6, 3)
    x[0] *= 1e6
    torch.testing.assert_close(form(x)[1:], whole[1:], rtol=0, atol=0)
    torch.testing.assert_close(form(x[1, 2]), whole[1, 2])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_shows_and_stays_alone(bad: float) -> None:
    form = training_form(nn.Linear(5, 2), RECIPE)
    x = torch.randn(3, 5)
    clean = form(x)
    x[1, 2] = bad
    out = form(x)
    assert not out[1].isfinite().any()
    assert torch.equal(out[[0, 2]], clean[[0, 2]])


def test_the_state_round_trips_on_a_fresh_form_and_a_plain_one_fits() -> None:
    form = training_form(net(), RECIPE)
    prune_amount(form, 0.6)
    fresh = training_form(nn.Sequential(*(copy.deepcopy(m) for m in net())), RECIPE)
    assert fresh.load_state_dict(net().state_dict(), strict=False).unexpected_keys == []
    fresh.load_state_dict(form.state_dict())
    x = torch.randn(5, 13)
    assert torch.equal(fresh(x), form(x))
    assert sparsity(fresh) == sparsity(form)


def test_a_copy_shares_nothing() -> None:
    form = training_form(net(), RECIPE)
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
    form = training_form(plain, RECIPE)
    assert form is plain
    assert all(a is b for a, b in zip(before, form.parameters(), strict=True))


class OwnAttention(nn.MultiheadAttention):
    """It may compute otherwise."""


class Odd(nn.Module):
    """Every way in which a Linear can be in a model."""

    def __init__(self) -> None:
        super().__init__()
        self.names = nn.Embedding(10, 8)
        self.shared = nn.Linear(8, 8)
        self.again = self.shared
        self.attention, self.own = nn.MultiheadAttention(8, 2, kdim=3), OwnAttention(8, 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.out = nn.Linear(8, 10, bias=False)
        self.out.weight = self.names.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.again(self.shared(self.block(self.names(x)))))
        return out


def test_what_is_left_in_float_is_listed() -> None:
    form = training_form(Odd(), RECIPE)
    assert set(weights(form)) == {
        "shared.weight", "names.weight", "block.linear1.weight", "block.linear2.weight",
        "block.self_attn.in_proj_weight", "block.self_attn.out_proj.weight", "attention.q_proj_weight",
        "attention.k_proj_weight", "attention.v_proj_weight", "attention.out_proj.weight",
    }  # fmt: skip
    assert form.again is form.shared
    in_float = left(form)
    assert in_float["own"] == "a OwnAttention is not compressed"
    assert in_float["own.out_proj"] == UNREAD
    assert {"own", "own.out_proj", "block.norm1", "block.norm2"} == set(in_float)
    assert not any(name.startswith(("shared", "again", "out")) for name in in_float)


def test_a_single_linear_is_a_model_and_a_model_without_one_is_refused() -> None:
    assert isinstance(training_form(nn.Linear(3, 1), RECIPE), ShadowLinear)
    with pytest.raises(ValueError, match="compresses no layer"):
        training_form(nn.LayerNorm(3), RECIPE)


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.8, 0.999])
def test_masks_are_those_of_torch_prune(amount: float) -> None:
    form, theirs = training_form(net(), RECIPE), net()
    prune_amount(form, amount)
    linears = [m for m in theirs if isinstance(m, nn.Linear)]
    torch_prune.global_unstructured(
        [(m, "weight") for m in linears], pruning_method=torch_prune.L1Unstructured, amount=amount
    )
    for mine, other in zip(weights(form).values(), linears, strict=True):
        assert torch.equal(mine.mask, other.get_buffer("weight_mask"))


def test_a_threshold_is_a_magnitude_and_an_amount_a_share() -> None:
    by_threshold, by_amount = (training_form(net(), RECIPE) for _ in range(2))
    prune_threshold(by_threshold, 0.1)
    for weight in weights(by_threshold).values():
        assert torch.equal(weight.mask == 0, weight.value.abs() < 0.1)
    prune_amount(by_amount, 0.1)
    assert sparsity(by_amount).overall == pytest.approx(0.1, abs=1e-3) != sparsity(by_threshold).overall
    with pytest.raises(ValueError, match="share"):
        prune_amount(by_amount, 1.0)
    with pytest.raises(ValueError, match="magnitude"):
        prune_threshold(by_amount, math.nan)


def test_a_weight_that_is_not_finite_is_named_and_nothing_changes() -> None:
    form = training_form(net(), RECIPE)
    weights(form)["3.weight"].value.data[0, 0] = math.nan
    for prune in (prune_amount, prune_threshold):
        with pytest.raises(ValueError, match=r"'3\.weight' holds a weight that is not finite"):
            prune(form, 0.5)
    assert sparsity(form).layers["3.weight"] == 0


def test_the_schedule_is_cubic() -> None:
    stages = [cubic(0.2, 0.8, step, 4) for step in range(6)]
    assert stages == pytest.approx([0.2, 0.8 - 0.6 * 27 / 64, 0.8 - 0.6 / 8, 0.8 - 0.6 / 64, 0.8, 0.8])
    assert cubic(0.0, 0.5, 0, 0) == 0.5


def test_sparsity_is_counted_by_layer_and_in_all() -> None:
    form = training_form(net(), RECIPE)
    weights(form)["4.weight"].mask[0, :5] = 0
    counted = sparsity(form)
    assert counted.layers == {"0.weight": 0, "3.weight": 0, "4.weight": 5 / 17}
    assert counted.overall == 5 / (13 * 32 + 32 * 17 + 17)


def test_no_step_revives_a_pruned_weight() -> None:
    """Moments gathered before pruning, and weight decay, move the parameter beneath; never the weight that counts."""
    form, x = training_form(net(), RECIPE), torch.randn(64, 13)
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
            dead = {name: layer.mask == 0 for name, layer in weights(form).items()}
            prune_amount(form, amount)
            for name, layer in weights(form).items():
                assert not layer.mask[dead[name]].any()
    moved = [weight.value.clone() for weight in weights(form).values()]
    out = form(x)
    with torch.no_grad():
        for layer in weights(form).values():
            layer.value.add_(100 * (1 - layer.mask))
    assert torch.equal(form(x), out)
    assert any(
        bool((w != 0).logical_and(m.mask == 0).any()) for w, m in zip(moved, weights(form).values(), strict=True)
    )


KINDS: list[tuple[Kind, nn.Module, Tensor]] = [
    ("linear", nn.Linear(7, 5), torch.randn(6, 7)),
    ("conv", nn.Conv1d(3, 5, 3, padding="same"), torch.randn(6, 3, 9)),
    ("conv", nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="circular"), torch.randn(6, 4, 8, 8)),
    ("embedding", nn.Embedding(9, 5, padding_idx=0), torch.tensor([[0, 3], [8, 8]])),
    ("recurrent", nn.LSTM(4, 5, num_layers=2, bidirectional=True, proj_size=3), torch.randn(6, 2, 4)),
    ("recurrent", nn.GRU(4, 5, batch_first=True), torch.randn(6, 2, 4)),
    ("recurrent", nn.RNN(4, 5), torch.randn(6, 2, 4)),
]


def answer(layer: nn.Module, x: Tensor) -> Tensor:
    out = layer(x)
    return out if isinstance(out, Tensor) else out[0]


GROUPED = Quantize("int4", layers=("linear", "embedding", "recurrent"), group=3)


@pytest.mark.parametrize("step", [Quantize("int8"), GROUPED, Quantize("bfloat16"), Quantize("int8", inputs="float")])
@pytest.mark.parametrize(("kind", "plain", "x"), KINDS)
class TestEveryKind:
    """Each kind of layer computes with the weights that it says it will be served with, and learns through them."""

    def made(self, plain: nn.Module, step: Quantize) -> tuple[Shadow, nn.Module]:
        everything = Prune(amount=0.4, layers=("linear", "conv", "recurrent", "embedding"))
        steps = [step] if SHADOWS[type(plain)].kind in (step.layers or ()) else []
        form = training_form(copy.deepcopy(plain), Recipe(everything, *steps))
        assert isinstance(form, Shadow)
        prune_amount(form, 0.4)
        served = copy.deepcopy(plain)
        with torch.no_grad():
            for name, weight in weights(form).items():
                value = weight.value * weight.mask
                served.get_parameter(name).copy_(rounded(value, form.spec) if form.spec else value)
        return form, served

    def test_it_answers_with_the_weights_as_served(
        self, kind: Kind, plain: nn.Module, x: Tensor, step: Quantize
    ) -> None:
        form, served = self.made(plain, step)
        assert form.kind == kind
        seen = form.seen(x) if form.row_dims else x
        torch.testing.assert_close(answer(form, x), answer(served, seen), rtol=1e-5, atol=1e-5)
        assert sparsity(form).overall == pytest.approx(0.4, abs=0.02)

    def test_it_learns_what_the_served_weights_would(
        self, kind: Kind, plain: nn.Module, x: Tensor, step: Quantize
    ) -> None:
        form, served = self.made(plain, step)
        seen = form.seen(x) if form.row_dims else x
        ours, theirs = weights(form), dict(served.named_parameters())
        wanted = torch.autograd.grad(answer(served, seen).square().sum(), [theirs[name] for name in ours])
        got = torch.autograd.grad(answer(form, x).square().sum(), [weight.value for weight in ours.values()])
        for mine, other, weight in zip(got, wanted, ours.values(), strict=True):
            torch.testing.assert_close(mine, other * weight.mask, rtol=1e-4, atol=1e-4)


def test_a_weight_that_a_layer_left_in_float_shares_stays_in_float() -> None:
    names, out = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    out.weight = names.weight
    model = nn.Sequential(names, nn.Linear(4, 4), out)
    assert set(weights(training_form(model, Recipe(Prune(amount=0.5))))) == {"1.weight"}
    assert "shares its weight" in left(model)["2"]


def test_static_ranges_follow_in_training_and_stand_still_after() -> None:
    form = training_form(nn.Conv2d(1, 1, 1, bias=False), Recipe(Quantize("int8", inputs="static")))
    form.train()(torch.full((1, 1, 2, 2), 2.0))
    form(torch.full((1, 1, 2, 2), 4.0))
    assert form.get_buffer("input_range").item() == pytest.approx(2.02)
    form.eval()(torch.full((1, 1, 2, 2), 9.0))
    assert form.get_buffer("input_range").item() == pytest.approx(2.02)
    out, weight = form(torch.full((1, 1, 1, 1), 9.0)), form.get_parameter("weight").item()
    assert out.item() == pytest.approx(2.02 * weight, rel=1e-4), "what is out of range is cut"


@pytest.mark.parametrize("inputs", [4, 8, 10, 3])
def test_a_pattern_keeps_the_largest_of_each_block(inputs: int) -> None:
    form = training_form(nn.Linear(inputs, 6), Recipe(Prune(pattern="2:4")))
    prune_pattern(form, 2, 4)
    (weight,) = weights(form).values()
    for row, mask in zip(weight.value.abs().tolist(), weight.mask.tolist(), strict=True):
        for at in range(0, inputs, 4):
            block = sorted(row[at : at + 4], reverse=True)
            kept = [size for size, on in zip(row[at : at + 4], mask[at : at + 4], strict=True) if on]
            assert sorted(kept, reverse=True) == block[:2]


def test_an_amount_by_layer_is_reached_in_each() -> None:
    form, theirs = training_form(net(), Recipe(Prune(amount=0.5, scope="layer"))), net()
    prune_amount(form, 0.5, "layer")
    for mine, other in zip(weights(form).values(), (m for m in theirs if isinstance(m, nn.Linear)), strict=True):
        torch_prune.l1_unstructured(other, "weight", amount=0.5)  # type: ignore[no-untyped-call]
        assert torch.equal(mine.mask, other.get_buffer("weight_mask"))


def test_only_the_kinds_that_are_named_are_pruned_or_quantized() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    form = training_form(model, Recipe(Prune(amount=0.5), Quantize("int8", layers=("embedding",))))
    by_name: dict[str, Weight] = weights(form)
    assert [(w.layer.prunable, w.layer.spec is not None) for w in by_name.values()] == [(False, True), (True, False)]
    prune_amount(form, 0.5)
    assert sparsity(form).layers == {"1.weight": 0.5}
    assert left(training_form(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4)), Recipe(Prune(amount=0.5)))) == {
        "0": UNNAMED
    }
