"""The artifact: same answers as the training form, same bytes, and no damaged byte unseen."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact.format import describe, load, pack
from compressors.artifact.head import FORMAT
from compressors.artifact.parity import Parity, parity
from compressors.errors import ArtifactError
from compressors.form import training_form, weights
from compressors.pruning.prune import prune, prune_amount
from compressors.quantization.int8 import Int8Linear
from compressors.recipe import Prune, Quantize, Recipe

RECIPE = Recipe(Prune(amount=0.8), Quantize("int8"))

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


class Net(nn.Module):
    """Two inputs, an embedding, a norm, an odd width, three outputs."""

    def __init__(self, width: int = 33) -> None:
        super().__init__()
        self.place = nn.Embedding(20, 6)
        self.body = nn.Sequential(nn.Linear(11, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, 3, bias=False)

    def forward(self, place: Tensor, rest: Tensor) -> Tensor:
        out: Tensor = self.out(self.body(torch.cat([self.place(place), rest], dim=1)))
        return out


def form_of(factory: Callable[[], nn.Module], amount: float = 0.8, bits: int = 8) -> nn.Module:
    torch.manual_seed(3)
    form = training_form(factory(), Recipe(Prune(amount=0.8), Quantize(f"int{bits}")))
    prune_amount(form, amount)
    return form.eval()


def rows(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 20, (n,), generator=generator), torch.randn(n, 5, generator=generator)


@pytest.mark.parametrize("amount", [0.0, 0.8])
@pytest.mark.parametrize("bits", [8, 4])
def test_answers_equal_the_training_form_bit_for_bit(amount: float, bits: int) -> None:
    form = form_of(Net, amount, bits)
    served = load(pack(form, {}), Net)
    for n in (0, 1, 7, 200):
        assert torch.equal(served(*rows(n)), form(*rows(n)))
    assert any(isinstance(m, Int8Linear) for m in served.modules())


def test_a_row_is_answered_alike_alone_and_among_others() -> None:
    served, (place, rest) = load(pack(form_of(Net), {}), Net), rows(64)
    among = served(place, rest)
    rest[1:] *= 1e4
    assert torch.equal(served(place, rest)[0], among[0])
    alone = torch.cat([served(place[i : i + 1], rest[i : i + 1]) for i in range(64)])
    torch.testing.assert_close(alone, served(place, rest))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_shows_and_stays_alone(bad: float) -> None:
    served, (place, rest) = load(pack(form_of(Net), {}), Net), rows(4)
    clean = served(place, rest)
    rest[2, 1] = bad
    out = served(place, rest)
    assert not out[2].isfinite().any()
    assert torch.equal(out[[0, 1, 3]], clean[[0, 1, 3]])


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 7), (5, 1), (5, 7)])
def test_any_strides_give_the_same_answers(inputs: int, outputs: int) -> None:
    """A dimension of size 1 may have any stride; the kernel then returned memory that nobody had written."""
    form = form_of(lambda: nn.Linear(inputs, outputs), 0.0)
    served = load(pack(form, {}), lambda: nn.Linear(inputs, outputs))
    for n in (0, 1, 3):
        x = torch.randn(n, inputs)
        turned, stepped = torch.empty(inputs, n).copy_(x.t()).t(), torch.empty(n, 2 * inputs)[:, ::2].copy_(x)
        for same in (x, turned, stepped):
            assert torch.equal(served(same), form(x))


def test_every_load_gives_the_same_bits_and_leaves_the_generator() -> None:
    form = form_of(Net)
    data = pack(form, {"b": 1, "a": 2})
    assert pack(form, {"b": 1, "a": 2}) == data
    state = torch.get_rng_state()
    first, second = load(data, Net), load(data, Net)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first(*rows(9)), second(*rows(9)))
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())


def test_figures_are_counted_from_what_is_served() -> None:
    form = form_of(Net)
    data = pack(form, {"recipe": RECIPE.to_dict()})
    description = describe(data)
    linear = [m for m in load(data, Net).modules() if isinstance(m, Int8Linear)]
    count = sum(m.columns.numel() for m in linear)
    zeros = sum(int((m.columns == 0).sum()) for m in linear)
    pruned = [description.weights[name] for name in ("body.0.weight", "body.3.weight", "out.weight")]
    assert sum(one.sparsity * math.prod(one.shape) for one in pruned) == pytest.approx(zeros)
    assert zeros / count >= 0.8
    assert set(description.weights) == {"place.weight", "body.0.weight", "body.3.weight", "out.weight"}
    assert description.weights["place.weight"].inputs == {"place.weight": "float"}
    assert description.float_bytes == 4 * sum(p.numel() for p in Net().parameters())
    assert description.bytes == len(data) < description.float_bytes
    assert description.left == {"body.1": "a LayerNorm is not compressed"}
    assert Recipe.from_dict(description.manifest["recipe"]) == RECIPE
    assert 0 < description.sparsity_all < description.sparsity < 0.8


def test_sparse_weights_take_fewer_bytes_than_dense_ones() -> None:
    sizes = {amount: len(pack(form_of(lambda: nn.Linear(256, 256), amount), {})) for amount in (0.0, 0.1, 0.8, 0.95)}
    assert sizes[0.0] - sizes[0.8] > 40_000  # 65,536 dense; 13,107 nonzero and 8,192 of bits
    assert sizes[0.8] - sizes[0.95] > 8_000
    assert 65_536 < sizes[0.1] <= sizes[0.0] + 200


class Tied(nn.Module):
    """An embedding whose weight is also a Linear's, and a Linear under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.twice = nn.Embedding(9, 4), nn.Linear(4, 4)
        self.again, self.out = self.twice, nn.Linear(4, 9, bias=False)
        self.out.weight = self.names.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.again(self.twice(self.names(x))))
        return out


class Mixed(nn.Module):
    """A convolution with batch norm, a recurrent net, an embedding, and a Linear: all kinds that are compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)
        self.names, self.memory, self.out = nn.Embedding(9, 4), nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.conv(self.names(x).transpose(1, 2))))
        out: Tensor = self.out(self.memory(hidden.transpose(1, 2))[0][:, -1])
        return out


@pytest.mark.parametrize(
    "text",
    [
        "prune(amount=0.6)",
        "quantize(int8)",
        "quantize(int4, group=3)",
        "quantize(bfloat16)",
        "prune(pattern='2:4') -> quantize(int8, inputs=static)",
        "prune(amount=0.6, layers=(linear, embedding)) -> quantize(int3, inputs=float)",
    ],
)
def test_every_recipe_and_kind_of_layer_survives(text: str) -> None:
    torch.manual_seed(1)
    recipe = Recipe.parse(text)
    form = training_form(Mixed(), recipe)
    for step in recipe.steps:
        if isinstance(step, Prune):
            prune(form, step)
    x = torch.randint(0, 9, (7, 8))
    form.train()(x)
    data, again = pack(form.eval(), {}), load(pack(form, {}), Mixed)
    assert torch.equal(again(x), form(x))
    description = describe(data)
    assert set(description.left) >= {"norm"}
    assert description.bytes == len(data)


def test_few_bits_take_few_bytes() -> None:
    sizes = {
        weights: len(pack(training_form(nn.Linear(256, 256), Recipe(Quantize(weights, inputs="float"))), {}))
        for weights in ("bfloat16", "int8", "int4", "int2")
    }
    rest = sizes["int8"] - 65_536
    assert sizes["bfloat16"] - rest == pytest.approx(131_072, abs=1_500)
    assert sizes["int4"] - rest == pytest.approx(32_768, abs=200)
    assert sizes["int2"] - rest == pytest.approx(16_384, abs=200)


def test_shared_weights_and_single_layers_survive() -> None:
    form, x = form_of(Tied, 0.5), torch.arange(9)
    assert torch.equal(load(pack(form, {}), Tied)(x), form(x))
    single, row = form_of(lambda: nn.Linear(3, 1), 0.0), torch.randn(2, 3)
    assert torch.equal(load(pack(single, {}), lambda: nn.Linear(3, 1))(row), single(row))


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 1_000, -1])
def test_truncation_is_said(keep: int) -> None:
    data = pack(form_of(Net), {})
    for read in (describe, lambda d: load(d, Net)):
        with pytest.raises(ArtifactError, match=r"damaged|truncated"):
            read(data[:keep])


def test_an_altered_manifest_or_a_longer_file_is_said() -> None:
    data = pack(form_of(Net), {"evidence": "weak"})
    for other in (data.replace(b"weak", b"good"), data + b"\0"):
        assert other != data
        with pytest.raises(ArtifactError, match="truncated or altered"):
            load(other, Net)


@pytest.mark.parametrize(
    "inner", ["", "[]", "{}", '{"format": Infinity, "digest": ""}', '{"format": "1x", "digest": ""}', "[" * 100_000]
)
def test_a_damaged_head_is_said(inner: str) -> None:
    headers: list[object] = [{}, [], {"__metadata__": {"shadowstream": inner}}, {"__metadata__": {"shadowstream": 1}}]
    for header in headers:
        text = json.dumps(header).encode()
        with pytest.raises(ArtifactError, match="not an artifact, or its head is damaged"):
            describe(len(text).to_bytes(8, "little") + text)


def test_a_newer_format_is_called_newer() -> None:
    data = pack(form_of(Net), {})
    newer = data.replace(rb"\"format\": 3", rb"\"format\": %d" % (FORMAT + 1))
    assert newer != data
    with pytest.raises(ArtifactError, match=f"format {FORMAT + 1} is newer"):
        load(newer, Net)


def test_the_format_before_is_read() -> None:
    form = form_of(Net)
    data = pack(form, {})
    digest = describe(data).digest.encode()
    gone = rb", \"transposed\": false"
    assert gone in data
    old = data.replace(digest, b"0" * 64).replace(rb"\"format\": 3", rb"\"format\": 2").replace(gone, b" " * len(gone))
    old = old.replace(b"0" * 64, sha256(old).hexdigest().encode(), 1)
    assert describe(old).format == 2
    assert torch.equal(load(old, Net)(*rows(9)), form(*rows(9)))


def test_another_model_is_refused_with_the_difference() -> None:
    data = pack(form_of(Net), {})
    with pytest.raises(ArtifactError, match=r"its body.0.bias is \[33\], the model's \[34\]"):
        load(data, lambda: Net(34))
    with pytest.raises(ArtifactError, match="no attribute `place`"):
        load(data, lambda: nn.Sequential(nn.Linear(3, 1)))
    with pytest.raises(ArtifactError, match="does not fit"):
        load(data, lambda: nn.Embedding(3, 1))


def test_shapes_that_are_not_the_models_are_refused() -> None:
    hostile = {"out": {"sizes": {"out_features": 10**9}, "tensors": {}}}
    data = pack(form_of(Net), {}, shapes=hostile)
    with pytest.raises(ArtifactError, match="does not fit this model: shapes give 'out' out_features 1000000000"):
        load(data, Net)


def test_what_cannot_be_packed_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="training_form"):
        pack(Net(), {})
    for name in ("out.weight", "place.weight", "body.3.bias"):
        form = form_of(Net)
        form.get_parameter(name).data.flatten()[0] = math.nan
        with pytest.raises(ValueError, match=name + ".*not finite"):
            pack(form, {})


INEXACT = """
import torch
from torch import nn
from compressors.artifact import load, pack
from compressors.form import training_form
from compressors.recipe import Quantize, Recipe
make = lambda: nn.Linear(128, 8)
form, x = training_form(make(), Recipe(Quantize())), torch.full((50, 128), 3.0)
form.weight.data.fill_(1.0)
assert torch.equal(load(pack(form, {}), make)(x), form(x))
"""


def test_answers_are_right_where_the_int8_kernel_saturates() -> None:
    """Under this limit oneDNN takes the kernels of an x86 without VNNI (elsewhere it has no effect)."""
    limited = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", INEXACT], env=limited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_parity_measures_and_refuses() -> None:
    form = form_of(Net)
    served = load(pack(form, {}), Net)
    assert parity(form, served, rows(50)) == Parity(0, 0, 0)
    assert parity(form, served, rows(50)).refusal() is None
    weights(form)["body.0.weight"].value.data[0].mul_(-20)
    wrong = parity(form, served, rows(50)).refusal()
    assert wrong is not None
    assert "disagree" in wrong


def test_parity_counts_decisions_by_sign_or_by_the_largest() -> None:
    one, other = torch.tensor([[1.0], [-2.0], [4.0], [-1.0]]), torch.tensor([[1.0], [-2.0], [4.0], [1.0]])
    assert parity(lambda _: one, lambda _: other, [one]) == Parity(0.5, 0.125, 0.25)
    many = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    assert parity(lambda _: many, lambda _: many.flip(1), [many]).changed == 1.0


def test_parity_refuses_nan_and_other_shapes() -> None:
    good, bad = torch.ones(3, 1), torch.full((3, 1), math.nan)
    for a, b in ((good, bad), (bad, good), (bad, bad)):
        difference = parity(lambda _, a=a: a, lambda _, b=b: b, [good])
        assert difference.refusal() is not None
    with pytest.raises(ValueError, match="equal shapes"):
        parity(lambda x: x, lambda x: x.expand(-1, 2), [good])
    with pytest.raises(ValueError, match="at least one row"):
        parity(lambda x: x, lambda x: x, [good[:0]])
