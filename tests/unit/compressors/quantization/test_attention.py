"""Attention and torch's transformers, compressed: against plain torch with weights rounded by hand; what is served."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact.format import describe, load, pack
from compressors.artifact.parity import parity
from compressors.engines.onnx import export_onnx
from compressors.form import UNREAD, left, training_form, weights
from compressors.pruning.prune import prune, prune_amount, sparsity
from compressors.quantization.attention import ShadowMultiheadAttention
from compressors.quantization.int8 import Int8Linear
from compressors.quantization.int8_weight import Int8Weight
from compressors.recipe import Prune, Quantize, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


@contextmanager
def ordinary_path() -> Iterator[None]:
    """Keep torch from its fused attention, which differs in the last bits and leaves zeros at padding."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def by_hand(rows: Tensor, levels: int = 127) -> Tensor:
    """Quantize each row and back, in the plainest way."""
    scale = rows.abs().amax(-1, keepdim=True) / levels
    return torch.where(scale > 0, torch.round(rows / scale), torch.zeros(())) * scale


def with_weights_of(form: nn.Module, plain: nn.Module) -> nn.Module:
    """Return the plain model with the form's masked weights, rounded by hand to int8."""
    plain = copy.deepcopy(plain)
    with torch.no_grad():
        for name, weight in weights(form).items():
            plain.get_parameter(name).copy_(by_hand(weight.value * weight.mask))
    return plain


class Encoder(nn.Module):
    """(N, S, 16) and where it is padding (N, S), to (N, S, 16)."""

    def __init__(self, norm_first: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, norm_first=norm_first, batch_first=batch_first)
        fused = batch_first and not norm_first
        self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=fused)
        self.batch_first = batch_first

    def forward(self, x: Tensor, padded: Tensor) -> Tensor:
        if self.batch_first:
            out: Tensor = self.body(x, src_key_padding_mask=padded)
            return out
        turned: Tensor = self.body(x.transpose(0, 1), src_key_padding_mask=padded).transpose(0, 1)
        return turned


class Pair(nn.Module):
    """An encoder and a causal decoder that looks at it: (N, S, 16) and (N, L, 16) to (N, L, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Transformer(16, 2, 1, 1, 24, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        out: Tensor = self.out(self.both(source, target, tgt_mask=mask, tgt_is_causal=True))
        return out


def padded_rows(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    lengths = torch.randint(1, 7, (n, 1), generator=generator)
    return torch.randn(n, 6, 16, generator=generator), torch.arange(6) >= lengths


def formed(factory: Callable[[], nn.Module], text: str = "prune(amount=0.5) -> quantize(int8)") -> nn.Module:
    torch.manual_seed(5)
    plain = factory()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)  # torch begins with biases of zero
    recipe = Recipe.parse(text)
    form = training_form(plain, recipe)
    for step in recipe.steps:
        if isinstance(step, Prune):
            prune(form, step)
    return form.eval()


@pytest.mark.parametrize("packed", [True, False])
def test_attention_computes_and_learns_like_the_plain_formula(packed: bool) -> None:
    """Its projections see rows rounded by hand; the reference has an `out_proj` that changes nothing."""
    sizes = {} if packed else {"kdim": 6, "vdim": 10}
    plain = nn.MultiheadAttention(8, 2, batch_first=True, **sizes)
    query = torch.randn(3, 4, 8)
    key, value = (query, query) if packed else (torch.randn(3, 5, 6), torch.randn(3, 5, 10))
    form = training_form(copy.deepcopy(plain), Recipe(Prune(amount=0.4), Quantize("int8")))
    prune_amount(form, 0.4)
    assert isinstance(form, ShadowMultiheadAttention)
    served = with_weights_of(form, plain)
    assert isinstance(served, nn.MultiheadAttention)
    last, served.out_proj = served.out_proj, nn.Linear(8, 8)  # type: ignore[assignment]
    with torch.no_grad():
        served.out_proj.weight.copy_(torch.eye(8))
        served.out_proj.bias.zero_()
    seen, shares = served(by_hand(query), by_hand(key), by_hand(value), average_attn_weights=False)
    wanted = last(seen + (by_hand(seen) - seen).detach())
    got, ours = form(query, key, value, average_attn_weights=False)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(ours, shares)
    pull = torch.randn_like(got)
    (got * pull).sum().backward()
    (wanted * pull).sum().backward()
    for name in form.weight_names():
        mask = form.get_buffer(name.replace("weight", "mask"))
        torch.testing.assert_close(form.get_parameter(name).grad, served.get_parameter(name).grad * mask)  # type: ignore[operator]
    assert form.out_proj.weight.grad is not None
    torch.testing.assert_close(form.in_proj_bias.grad, served.in_proj_bias.grad)


@pytest.mark.parametrize("factory", [Encoder, lambda: Encoder(True), lambda: Encoder(False, False)])
def test_an_encoder_answers_as_plain_torch_with_the_same_weights(factory: Callable[[], nn.Module]) -> None:
    """In eval mode, without gradients, where torch would read the weights past the layers."""
    form = formed(factory, "prune(amount=0.5) -> quantize(int8, inputs=float)")
    plain = factory()
    plain.load_state_dict({name: t for name, t in form.state_dict().items() if name in plain.state_dict()})
    plain = with_weights_of(form, plain)
    with torch.no_grad(), ordinary_path():
        wanted = plain.eval()(*padded_rows(5))
    with torch.no_grad():
        torch.testing.assert_close(form(*padded_rows(5)), wanted)
        torch.testing.assert_close(load(pack(form, {}), factory)(*padded_rows(5)), wanted)


@pytest.mark.parametrize(
    "text",
    [
        "prune(amount=0.5) -> quantize(int8)",
        "quantize(int4, group=8)",
        "prune(pattern='2:4') -> quantize(int8, inputs=static)",
        "quantize(bfloat16)",
        "prune(amount=0.5)",
    ],
)
def test_what_is_served_answers_as_the_training_form_bit_for_bit(text: str) -> None:
    form = formed(Encoder, text)
    form.train()(*padded_rows(9))
    form.eval()
    served = load(pack(form, {}), Encoder)
    with torch.no_grad():
        for n in (0, 1, 7):
            assert torch.equal(served(*padded_rows(n)), form(*padded_rows(n)))
    kernels = [m for m in served.modules() if isinstance(m, Int8Linear)]
    matrices = [p for p in served.parameters() if p.dim() == 2 and not isinstance(p, Int8Weight)]
    assert (len(kernels), len(matrices)) == ((8, 0) if text.endswith("quantize(int8)") else (0, 8))


def test_rows_of_a_served_encoder_do_not_see_each_other() -> None:
    served, (x, padded) = load(pack(formed(Encoder), {}), Encoder), padded_rows(6)
    among = served(x, padded)
    x[1:] *= 1e3
    assert torch.equal(served(x, padded)[0], among[0])


def test_a_decoder_that_looks_at_an_encoder_is_compressed_whole() -> None:
    form = formed(Pair)
    description = describe(data := pack(form, {}))
    assert set(description.left) == {name for name, m in Pair().named_modules() if isinstance(m, nn.LayerNorm)}
    assert sparsity(form).overall == pytest.approx(0.5, abs=0.01)
    assert {"both.decoder.layers.0.multihead_attn.in_proj_weight", "out.weight"} < set(sparsity(form).layers)
    inputs = torch.randn(4, 6, 16), torch.randn(4, 5, 16)
    with torch.no_grad():
        assert torch.equal(load(data, Pair)(*inputs), form(*inputs))


def test_an_encoder_of_which_nothing_is_compressed_keeps_its_fused_path() -> None:
    model = nn.Sequential(nn.Embedding(9, 16), Encoder())
    recipe = Recipe(Quantize("int8", layers=("embedding",)))
    body = training_form(model, recipe).get_submodule("1.body")
    assert isinstance(body, nn.TransformerEncoder)
    assert body.use_nested_tensor
    assert body.layers[0].activation_relu_or_gelu == 1
    assert left(model)["1.body.layers.0.self_attn.out_proj"] == UNREAD


def test_an_out_proj_that_another_layer_shares_with_one_in_float_stays_with_it_and_attention_runs_it() -> None:
    class Own(nn.Linear):
        pass

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.own = nn.MultiheadAttention(8, 2, batch_first=True), Own(8, 8)
            self.own.weight = self.attend.out_proj.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.own(self.attend(x, x, x)[0])
            return out

    form, x = formed(Net), torch.randn(3, 2, 8)
    assert set(weights(form)) == {"attend.in_proj_weight"}
    assert "attend.out_proj" in left(form)
    with torch.no_grad():
        assert torch.equal(load(pack(form, {}), Net)(x), form(x))


def test_attention_that_shares_its_weight_with_one_in_float_stays_and_so_does_its_out_proj() -> None:
    class Own(nn.MultiheadAttention):
        pass

    model = nn.ModuleList([nn.MultiheadAttention(8, 2), Own(8, 2), nn.Linear(8, 8)])
    model[1].in_proj_weight = model[0].in_proj_weight
    assert set(weights(training_form(model, Recipe(Quantize("int8"))))) == {"2.weight"}
    assert left(model)["0.out_proj"] == UNREAD


def test_what_attention_cannot_take_is_said() -> None:
    form, x = formed(lambda: nn.MultiheadAttention(8, 2, batch_first=True)), torch.randn(3, 4, 8)
    nested = torch.nested.nested_tensor([x[0], x[1, :2]])
    with pytest.raises(ValueError, match="takes no nested tensor: pad it"):
        form(nested, nested, nested)
    with pytest.raises(ValueError, match="there must be one"):
        form(x, x, x, is_causal=True)
    with pytest.raises(ValueError, match=r"attn_mask is bool or float of shape \(4, 4\), got torch.bool of \(2, 8\)"):
        form(x, x, x, attn_mask=torch.zeros(2, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"key_padding_mask is bool or float of shape \(3, 4\), got torch.uint8"):
        form(x, x, x, key_padding_mask=torch.zeros(3, 4, dtype=torch.uint8))


def test_onnxruntime_answers_as_a_served_encoder_does() -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    served = load(pack(formed(Encoder), {}), Encoder)
    session = runtime.InferenceSession(export_onnx(served, padded_rows(4)), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        feed = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    for n in (1, 7):
        assert parity(served, run, padded_rows(n)).refusal() is None
