"""A model through a recipe: every step takes effect in its turn, and what comes out answers as it was trained to."""

import copy
import math
import warnings
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.artifact.parity import Parity
from compressors.carry_out import carry_out
from compressors.compress import compress
from compressors.data import Data
from compressors.distillation.train import train
from compressors.errors import EmptiedWarning, Refused
from compressors.form import training_form
from compressors.pruning.prune import sparsity
from compressors.quantization.layers import Shadow
from compressors.recipe import Recipe, Retrain
from learners.tasks.classes import Classes
from tests.unit.compressors.problems import Squared, net, product_rows

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


@pytest.fixture(scope="module")
def learned() -> nn.Module:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    (x,), y = product_rows()
    for _ in range(300):
        optimizer.zero_grad()
        (model(x)[:, 0] - y).square().mean().backward()
        optimizer.step()
    return model.eval()


TRAINED = "retrain(passes=4, batch=64, learning_rate=0.005)"


@pytest.mark.parametrize(
    ("text", "zeros", "smaller"),
    [
        ("quantize(int8)", 0.0, 1.9),
        (f"prune(amount=0.6) -> {TRAINED}", 0.6, 1.2),
        (f"prune(amount=0.6) -> {TRAINED} -> quantize(int8) -> {TRAINED}", 0.6, 2.0),
        ("prune(below=0.05) -> quantize(bfloat16)", None, 1.2),
        (f"prune(pattern='2:4') -> {TRAINED.replace('retrain', 'distill')} -> quantize(int4, group=8)", 0.47, 1.5),
        (f"quantize(int8, inputs=static) -> {TRAINED}", 0.0, 1.9),
        ("quantize(int8, inputs=static)", 0.0, 1.9),
    ],
)
def test_a_chain_takes_effect(learned: nn.Module, text: str, zeros: float | None, smaller: float) -> None:
    before = copy.deepcopy(learned.state_dict())
    made = compress(learned, text, product_rows(), Squared())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), learned.state_dict().values(), strict=True))
    if "prune" in text and zeros is not None:
        assert sparsity(made.form).overall == pytest.approx(zeros, abs=0.02)
    assert len(made.artifact) * smaller < made.description.float_bytes + 4_000  # of the head, in nets as small as this
    assert made.loss_after < made.loss_before + 0.05
    assert made.parity.changed == 0
    (x,) = product_rows().inputs
    again = artifact.load(made.artifact, net)
    assert torch.equal(again(x), made.model(x))
    assert Recipe.from_dict(made.description.manifest["recipe"]) == Recipe.parse(text)


@pytest.mark.parametrize(
    "rest", ["", f" -> {TRAINED}", f" -> {TRAINED} -> prune(amount=0.5) -> quantize(int8) -> {TRAINED}"]
)
def test_units_that_are_removed_stay_removed_in_the_artifact(learned: nn.Module, rest: str) -> None:
    made = compress(learned, f"prune_structured(amount=0.25){rest}", product_rows(), Squared())
    assert [(cut.before, cut.after) for cut in made.removed[0].layers] == [(24, 18), (24, 18)]
    (x,) = product_rows().inputs
    again = artifact.load(made.artifact, net)
    assert torch.equal(again(x), made.model(x))
    assert sum(p.numel() for p in made.form.parameters()) < 0.7 * sum(p.numel() for p in learned.parameters())
    assert made.description.float_bytes == 4 * sum(p.numel() for p in learned.parameters())
    if rest:
        assert made.loss_after < made.loss_before + 0.1


def test_the_same_seed_gives_the_same_bytes_and_says_how_far_it_is(learned: nn.Module) -> None:
    said: list[tuple[str, int, int]] = []
    text = f"prune(amount=0.5) -> quantize(int8) -> {TRAINED}"
    first = compress(learned, text, product_rows(), Squared(), progress=lambda *at: said.append(at))
    assert compress(learned, text, product_rows(), Squared()).artifact == first.artifact
    assert said[-1] == ("retrain", 72, 72)
    assert [done for _, done, _ in said] == list(range(1, 73))


def test_layers_are_rounded_from_the_quantize_step_on(learned: nn.Module) -> None:
    """A form that rounds to two bits from the start learns other weights than one that does at the end."""
    late = compress(learned, f"{TRAINED} -> quantize(int2, inputs=float)", product_rows(), Squared())
    early = compress(learned, f"quantize(int2, inputs=float) -> {TRAINED}", product_rows(), Squared())
    assert early.loss_after < 0.6 * late.loss_after


def test_a_quality_that_was_lost_is_said(learned: nn.Module) -> None:
    made = compress(learned, "quantize(int2, inputs=float)", product_rows(), Squared())
    assert made.loss_after > made.loss_before + 0.1
    assert 0 < made.loss_error < made.loss_after


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ("", 100, "no steps"),
        ("retrain -> distill", 100, r"retrain\(\) -> distill\(\) has no prune, .* nothing would become smaller"),
        ("quantize(int8)", 1, "at least two rows"),
        ("prune_structured(amount=0.5, units=heads)", 100, "found no units to remove: the model has none"),
        ("prune(amount=0.5, layers=conv)", 100, "compresses no layer"),
    ],
)
def test_what_cannot_be_done_is_refused(learned: nn.Module, text: str, rows: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compress(learned, text, product_rows(rows), Squared())


def test_two_amounts_before_one_training_end_at_the_last(learned: nn.Module) -> None:
    made = compress(learned, f"prune(amount=0.5) -> prune(amount=0.8) -> {TRAINED}", product_rows(), Squared())
    assert sparsity(made.form).overall == pytest.approx(0.8, abs=0.01)


class Mixed(nn.Module):
    """A convolution, a Linear layer and an embedding; the data's rows as they are, and the first as a name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.names, self.out = nn.Conv1d(1, 16, 3), nn.Embedding(4, 16), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(x[:, None]).relu() + self.names((x[:, 0] > 0).long())[:, :, None]
        out: Tensor = self.out(seen.flatten(1))
        return out


def test_each_kind_of_layer_has_its_sparsity_and_its_bits() -> None:
    text = (
        "prune(amount=0.8, layers=linear) -> prune(amount=0.5, layers=conv) -> retrain(passes=1) -> "
        "quantize(int8, layers=(embedding, conv)) -> quantize(int4, group=8, layers=linear)"
    )
    made = compress(Mixed(), text, product_rows(), Squared())
    kept = {name: (one.weights, one.sparsity) for name, one in made.description.weights.items()}
    assert {name: numbers for name, (numbers, _) in kept.items()} == {
        "conv.weight": "int8",
        "names.weight": "int8",
        "out.weight": "int4",
    }
    assert kept["names.weight"][1] == 0
    assert sparsity(made.form, ["linear"]).overall == pytest.approx(0.8, abs=0.01)
    assert sparsity(made.form, ["conv"]).overall == pytest.approx(0.5, abs=0.02)
    assert made.parity.largest == 0


def test_two_kinds_rise_beside_each_other_each_by_its_own_ramp() -> None:
    """Against the cubic schedule by hand: 33 steps, every 16th a stage, ramps over all of them and over half."""
    prunes = "prune(amount=0.8, ramp=1.0, layers=linear) -> prune(amount=0.5, layers=conv)"
    recipe = Recipe.parse(f"{prunes} -> retrain(passes=3, batch=100)")
    form = training_form(Mixed(), recipe)
    seen: list[list[float]] = []

    def said(step: str, done: int, steps: int) -> None:
        assert (step, steps) == ("retrain", 33)
        seen.append([sparsity(form, ["linear"]).overall, sparsity(form, ["conv"]).overall])

    carry_out(form, recipe, product_rows(1_100), Squared(), teacher=Mixed(), seed=0, progress=said)
    assert [seen[at][0] for at in (0, 15, 16, 31, 32)] == pytest.approx([0, 0, 0.7, 0.7, 0.8], abs=0.01)
    assert [seen[at][1] for at in (0, 15, 16, 32)] == pytest.approx([0, 0, 0.5, 0.5], abs=0.02)


@pytest.mark.parametrize(
    "text",
    [
        "prune(amount=0.9, layers=linear) -> retrain(passes=1) -> prune(amount=0.5, layers=conv) -> retrain(passes=1)",
        "prune(amount=0.9, layers=linear) -> prune(amount=0.5, layers=conv)",
        "prune(amount=0.5, layers=conv) -> prune(amount=0.9, layers=linear) -> quantize(int8)",
    ],
)
def test_what_one_kind_has_lost_does_not_count_for_the_other(text: str) -> None:
    """90 % of the Linear layer is more than half of all weights."""
    form = compress(Mixed(), text, product_rows(), Squared()).form
    assert sparsity(form, ["linear"]).overall == pytest.approx(0.9, abs=0.01)
    assert sparsity(form, ["conv"]).overall == pytest.approx(0.5, abs=0.02)


def test_each_quantize_step_waits_for_its_turn() -> None:
    """Rounding from the start would show in what the Linear layer learns, and so would rounding it at all."""
    late = "quantize(int8, layers=conv) -> retrain(passes=1) -> quantize(int2, inputs=float, layers=linear)"
    never = compress(Mixed(), "quantize(int8, layers=conv) -> retrain(passes=1)", product_rows(), Squared())
    made = compress(Mixed(), late, product_rows(), Squared())
    assert torch.equal(made.form.get_parameter("out.weight"), never.form.get_parameter("out.weight"))
    assert made.description.weights["out.weight"].weights == "int2"


def test_a_step_that_finds_nothing_and_a_weight_in_two_ways_are_refused(learned: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"int4, layers=.'embedding',.. has nothing to act on: .* are linear"):
        compress(learned, "prune(amount=0.5) -> quantize(int4, layers=embedding)", product_rows(), Squared())
    x = torch.randint(0, 12, (20, 6))
    data = Data((x,), x[:, 0].float())
    text = "quantize(int8, layers=embedding) -> quantize(int4, group=8, layers=linear)"
    with pytest.raises(ValueError, match=r"head.weight are one weight, .* embedding .* int8, .* int4 in groups of 8"):
        compress(Decoder(), text, data, Classes(12))


def test_a_tied_head_is_rounded_from_the_quantize_step_on_too() -> None:
    text = "prune(amount=0.1) -> retrain(passes=1) -> quantize(int2, inputs=float)"
    form = training_form(Decoder(), Recipe.parse(text))
    x = torch.randint(0, 12, (20, 6))
    seen: list[object] = []

    def said(*_: object) -> None:
        seen.append(cast(Shadow, form.get_submodule("head")).spec)

    carry_out(form, Recipe.parse(text), Data((x,), x[:, 0]), Classes(12), teacher=form, seed=0, progress=said)
    assert seen == [None]
    assert cast(Shadow, form.get_submodule("head")).spec is not None


def test_a_model_in_training_mode_loses_units_alone() -> None:
    """Its dropout would tell artifact and form apart."""
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Dropout(0.5), nn.Linear(24, 1)).train()
    made = compress(model, "prune_structured(amount=0.5)", product_rows(), Squared())
    assert made.parity.largest == 0
    assert model.training


def test_inputs_and_labels_of_other_lengths_are_refused(learned: nn.Module) -> None:
    (x,), y = product_rows()
    with pytest.raises(ValueError, match=r"different numbers of rows: \[1200, 1100\]"):
        compress(learned, "quantize(int8)", Data((x,), y[:1_100]), Squared())


def test_frozen_models_are_refused_by_training_steps_only(learned: nn.Module) -> None:
    frozen = copy.deepcopy(learned).requires_grad_(False)
    compress(frozen, "quantize(int8)", product_rows(), Squared())
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        compress(frozen, f"quantize(int8) -> {TRAINED}", product_rows(), Squared())


def test_an_artifact_that_answers_otherwise_is_refused(learned: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressors.artifact.make.parity_of", lambda *_: Parity(0.4, 0.1, 0.2))
    with pytest.raises(Refused, match=r"quantize.*disagree: largest difference 0\.4"):
        compress(learned, "quantize(int8)", product_rows(), Squared())


class Decoder(nn.Module):
    """A small language model: causal attention written out, a head that shares the embedding's weight."""

    def __init__(self, vocabulary: int = 12, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.names, self.places = nn.Embedding(vocabulary, width), nn.Embedding(8, width)
        self.before, self.joint = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out, self.after = nn.Linear(width, width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.names.weight
        nn.init.normal_(self.names.weight, std=0.2)

    def forward(self, x: Tensor) -> Tensor:
        rows, length = x.shape
        hidden = self.names(x) + self.places(torch.arange(length))
        q, k, v = self.joint(self.before(hidden)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + self.out(seen.transpose(1, 2).reshape(rows, length, -1))
        hidden = hidden + self.narrow(nn.functional.gelu(self.wide(self.after(hidden))))
        logits: Tensor = self.head(hidden[:, -1])
        return logits


def test_a_language_model_with_a_tied_head_keeps_what_it_knows() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 12, (3_000, 6))
    data = Data((x,), x[:, -3].float())
    model, task = Decoder(), Classes(12)
    train(model, data, task, Retrain(passes=4, batch=64, learning_rate=3e-3), 0)
    text = "prune(amount=0.5) -> quantize(int8) -> distill(passes=3, batch=64, learning_rate=0.001)"
    made = compress(model, text, data, task)
    assert made.loss_before < 0.2
    assert made.loss_after < made.loss_before + 0.1
    assert set(made.description.weights["names.weight"].inputs.values()) == {"float", "row"}
    assert torch.equal(artifact.load(made.artifact, Decoder)(x[:50]), made.model(x[:50]))
    assert len(made.artifact) < made.description.float_bytes / 2


class Untraceable(nn.Module):
    """Its way depends on the data, one weight has two names, and batch norm has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.out = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 1)
        self.two = nn.Linear(6, 6)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3 if float(x.mean()) > 0 else 1):
            x = torch.relu(self.two(self.norm(self.one(x))))
        out: Tensor = self.out(x)
        return out


@pytest.mark.parametrize(("scope", "emptied"), [("all", ("4.weight",)), ("lamp", ()), ("layer", ())])
def test_what_is_left_of_a_layer_of_small_weights(scope: str, emptied: tuple[str, ...]) -> None:
    model = net()
    with torch.no_grad():
        model.get_parameter("4.weight").mul_(1e-3)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = compress(model, f"prune(amount=0.5, scope={scope})", product_rows(), Squared())
    assert made.description.emptied == emptied
    assert [str(one.message).split(";")[0] for one in heard] == [
        f"{made.recipe} leaves nothing of {e}" for e in emptied
    ]
    assert all((one.category, one.filename) == (EmptiedWarning, __file__) for one in heard)


def test_a_model_that_has_nothing_to_compress_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"compresses no layer of the model \(0: a GroupNorm is not compressed\)"):
        compress(nn.Sequential(nn.GroupNorm(2, 6)), "quantize(int8)", product_rows(), Squared())


def test_models_that_no_tracer_follows_are_compressed_too() -> None:
    torch.manual_seed(0)
    made = compress(Untraceable(), f"prune(amount=0.5) -> quantize(int8) -> {TRAINED}", product_rows(), Squared())
    assert set(made.description.weights) == {"one.weight", "out.weight"}
    assert set(made.description.weights["one.weight"].inputs) == {"one.weight", "two.weight"}
    assert made.description.left == {"norm": "a BatchNorm1d is not compressed"}
    assert math.isfinite(made.loss_after)


def test_units_are_removed_after_a_training_too(learned: nn.Module) -> None:
    recipe = "retrain(passes=1) -> prune_structured(amount=0.5) -> quantize(int8)"
    made = compress(learned, recipe, product_rows(200), Squared())
    assert made.removed
    assert next(made.form.parameters()).shape == (12, 6)
