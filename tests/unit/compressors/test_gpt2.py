"""GPT-2's Conv1D, whose weight is transposed: as a Linear with the same weight turned, and in a whole model."""

import importlib
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact.format import describe, floats, load, pack
from compressors.compress import compress
from compressors.data import Data
from compressors.distillation.train import train
from compressors.form import UNNAMED, left, training_form, weights
from compressors.pruning.prune import prune
from compressors.pruning.refresh import dense_slopes, pattern, refresh
from compressors.quantization.int8 import Int8Linear
from compressors.recipe import Prune, Quantize, Recipe, Retrain
from learners.tasks.classes import Classes

hf = pytest.importorskip("transformers")
Conv1D = importlib.import_module("transformers.pytorch_utils").Conv1D

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

RECIPES = [
    "prune(amount=0.5) -> quantize(int8)",
    "prune(pattern='2:4') -> quantize(int8)",
    "quantize(int4, group=5)",
    "quantize(int8, inputs=static)",
    "prune(below=0.01) -> quantize(bfloat16)",
    "prune(amount=0.5)",
]


def pair(inputs: int = 10, outputs: int = 7) -> tuple[nn.Module, nn.Linear]:
    """A Conv1D and a Linear that compute the same."""
    torch.manual_seed(2)
    turned, straight = Conv1D(outputs, inputs), nn.Linear(inputs, outputs)
    turned.load_state_dict({"weight": straight.weight.t(), "bias": straight.bias})
    return turned, straight


@pytest.mark.parametrize("text", RECIPES)
@pytest.mark.parametrize("outputs", [7, 10])
def test_it_is_masked_rounded_trained_and_served_as_a_linear_is(text: str, outputs: int) -> None:
    recipe, x = Recipe.parse(text), torch.randn(6, 3, 10)
    forms = [training_form(layer, recipe) for layer in pair(10, outputs)]
    both = [weights(form)["weight"] for form in forms]
    for form in forms:
        for step in recipe.steps:
            if isinstance(step, Prune):
                prune(form, step)
        form(x).square().sum().backward()
    turned, straight = both
    assert turned.value.shape == turned.mask.shape == (10, outputs)
    assert torch.equal(turned.mask.t(), straight.mask)
    torch.testing.assert_close(turned.value.grad.t(), straight.value.grad)  # type: ignore[union-attr]
    one, other = (form.eval()(x) for form in forms)
    torch.testing.assert_close(one, other)
    packed = [pack(form, {}) for form in forms]
    torch.testing.assert_close(floats(packed[0])["weight"].t(), floats(packed[1])["weight"], rtol=0, atol=0)
    assert describe(packed[0]).weights["weight"].bytes == describe(packed[1]).weights["weight"].bytes
    served = load(packed[0], lambda: Conv1D(outputs, 10))
    exact = isinstance(served, Int8Linear)
    assert exact == text.endswith("quantize(int8)")
    with torch.no_grad():
        torch.testing.assert_close(served(x), one)
        assert not exact or torch.equal(served(x), one)


def test_a_weight_that_a_linear_has_the_other_way_round_stays_in_float() -> None:
    model = nn.ModuleList([*pair(8, 8), nn.Linear(8, 8)])
    model[0].weight = model[1].weight
    assert set(weights(training_form(model, Recipe(Quantize("int8"))))) == {"2.weight"}
    assert left(model) == {"0": UNNAMED, "1": UNNAMED}


def test_nothing_of_transformers_is_imported() -> None:
    text = "import sys, compressors.compress, compressors.artifact; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


class Writer(nn.Module):
    """GPT-2, small: (N, S) tokens to the logits (N, 12) of the next one; its head shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt2 = hf.GPT2LMHeadModel(
            hf.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=12, n_positions=8, resid_pdrop=0, embd_pdrop=0)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.gpt2(x, use_cache=False).logits[:, -1]
        return logits


def test_gpt2_keeps_what_it_knows_in_half_the_weights_of_a_byte_each() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 12, (3_000, 6))
    data, model, task = Data((x,), x[:, -3].float()), Writer(), Classes(12)
    train(model, data, task, Retrain(passes=4, batch=64, learning_rate=3e-3), 0)
    text = "prune(amount=0.5, scope=layer) -> quantize(int8) -> distill(passes=3, batch=64, learning_rate=0.001)"
    made = compress(model, text, data, task)
    assert made.loss_before < 0.2
    assert made.loss_after < made.loss_before + 0.1
    assert made.parity.largest == 0
    turned = {name: one for name, one in made.description.weights.items() if one.transposed}
    assert {name.rpartition("h.0.")[2] for name in turned} == {
        "attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight",
    }  # fmt: skip
    for one in turned.values():
        assert one.sparsity == pytest.approx(0.5, abs=0.01)
        count = one.shape[0] * one.shape[1]
        assert one.bytes <= count * (0.5 + 1 / 8) + 4 * one.shape[1] + 0.02 * count  # nonzeros, places, scales
    assert all("LayerNorm" in why for why in made.description.left.values())
    assert len(made.artifact) < made.description.float_bytes / 3
    assert sum(isinstance(m, Int8Linear) for m in made.model.modules()) == 5
    with torch.no_grad():
        assert torch.equal(load(made.artifact, Writer)(x[:50]), made.model(x[:50]))


def test_a_refresh_keeps_the_pattern_along_the_inputs() -> None:
    torch.manual_seed(0)
    recipe = Recipe.parse("prune(pattern='2:4')")
    form = training_form(nn.Sequential(Conv1D(8, 12)), recipe)
    prune(form, recipe.steps[0])  # type: ignore[arg-type]
    x = torch.randn(32, 12)
    (weight,) = weights(form).values()
    before = weight.mask.clone()
    grown = refresh(form, dense_slopes(form, lambda: form(x).square().mean()), 0.5, pattern(recipe))
    assert bool(grown[weight.name].any())
    assert not torch.equal(weight.mask, before)
    assert bool((weight.mask.t().reshape(8, 3, 4).sum(2) == 2).all())
