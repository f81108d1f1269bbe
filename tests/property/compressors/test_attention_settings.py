"""Attention with all its settings: the artifact answers as the training form, and as torch with rounded weights."""

import copy
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressors.artifact.format import load, pack
from compressors.form import training_form, weights
from compressors.pruning.prune import prune_amount
from compressors.quantization.attention import ShadowMultiheadAttention
from compressors.recipe import Prune, Quantize, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

MASKS = st.sampled_from([None, "bool", "float"])


@st.composite
def settings_of(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    heads = draw(st.integers(1, 4))
    width = heads * draw(st.integers(1, 4))
    made: dict[str, Any] = {"embed_dim": width, "num_heads": heads}
    made |= {name: draw(st.booleans()) for name in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")}
    made |= {name: draw(st.none() | st.integers(1, 9)) for name in ("kdim", "vdim")}
    return made, draw(st.integers(0, 999))


@st.composite
def calls(draw: st.DrawFn, made: dict[str, Any], seed: int, least: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Inputs and masks; every query may look at the first key."""
    generator = torch.Generator().manual_seed(seed)
    width, heads = made["embed_dim"], made["num_heads"]
    rows, queries, keys = draw(st.none() | st.integers(least, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    one = made["kdim"] is made["vdim"] is None and draw(st.booleans())
    keys = queries if one else keys

    def tensor(length: int, size: int) -> Tensor:
        shape = [length] if rows is None else [rows, length] if made["batch_first"] else [length, rows]
        return torch.randn(*shape, size, generator=generator)

    query = tensor(queries, width)
    inputs = (query,) * 3 if one else (query, tensor(keys, made["kdim"] or width), tensor(keys, made["vdim"] or width))
    kind, by_sample = draw(MASKS), draw(st.booleans())
    named: dict[str, Any] = {name: draw(st.booleans()) for name in ("need_weights", "average_attn_weights")}
    shapes = {
        "attn_mask": (heads * (1 if rows is None else rows), queries, keys) if by_sample else (queries, keys),
        "key_padding_mask": (keys,) if rows is None else (rows, keys),
    }
    for name, shape in shapes.items():
        if kind and draw(st.booleans()):
            mask = torch.rand(shape, generator=generator) < 0.5
            mask[..., 0] = False
            named[name] = mask if kind == "bool" else mask * -2.5
    return inputs, named


def same(ours: tuple[Tensor, Tensor | None], theirs: tuple[Tensor, Tensor | None], near: bool) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, **({} if near else {"rtol": 0, "atol": 0}))  # type: ignore[arg-type]


@settings(max_examples=200)
@given(st.data(), settings_of())
def test_with_float_inputs_it_is_plain_attention_with_rounded_weights(
    data: st.DataObject, drawn: tuple[dict[str, Any], int]
) -> None:
    made, seed = drawn
    torch.manual_seed(seed)
    plain = nn.MultiheadAttention(**made)
    form = training_form(copy.deepcopy(plain), Recipe(Prune(amount=0.3), Quantize("int8", inputs="float")))
    prune_amount(form, 0.3)
    assert isinstance(form, ShadowMultiheadAttention)
    with torch.no_grad():
        for name, weight in weights(form).items():
            value = weight.value * weight.mask
            scale = (value.abs().amax(1, keepdim=True) / 127).clamp_min(1e-30)
            plain.get_parameter(name).copy_(torch.round(value / scale) * scale)
    inputs, named = data.draw(calls(made, seed, 1))  # plain torch does not take a mask of no rows
    same(form(*inputs, **named), plain(*inputs, **named), near=True)


@settings(max_examples=200)
@given(st.data(), settings_of(), st.sampled_from([Quantize(), Quantize("int4", "row"), Quantize("int3", "float", 3)]))
def test_it_is_served_as_it_was_trained_whatever_the_call(
    data: st.DataObject, drawn: tuple[dict[str, Any], int], step: Quantize
) -> None:
    made, seed = drawn
    torch.manual_seed(seed)
    form = training_form(nn.MultiheadAttention(**made), Recipe(Prune(amount=0.3), step)).eval()
    prune_amount(form, 0.3)
    served = load(pack(form, {}), lambda: nn.MultiheadAttention(**made))
    inputs, named = data.draw(calls(made, seed, 0))
    with torch.no_grad():
        same(served(*inputs, **named), form(*inputs, **named), near=step.inputs == "float")
