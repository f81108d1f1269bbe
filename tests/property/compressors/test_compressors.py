"""Compression over all shapes and scales: artifact equals training form, masks only shrink, no altered byte passes."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressors.artifact import packing
from compressors.artifact.format import describe, load, pack
from compressors.errors import ArtifactError
from compressors.form import Weight, training_form, weights
from compressors.pruning.prune import prune_amount, prune_threshold, sparsity
from compressors.quantization.quantize import from_whole, quantize_rows, to_whole
from compressors.recipe import Prune, Quantize, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

RECIPE = Recipe(Prune(amount=0.5), Quantize())
SCALES = st.sampled_from([0.0, 1e-45, 1e-38, 1e-12, 1.0, 1e6, 1e18, 3.4e38])
WIDTHS = st.integers(1, 70)
LAMP = partial(prune_amount, scope="lamp")


def scaled(rows: int, columns: int, scales: list[float], seed: int) -> Tensor:
    """Rows of different scale, each with one entry at its full scale, the rest uniform below it."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(rows, columns, generator=generator) * 2 - 1
    if rows:
        values[torch.arange(rows), torch.randint(0, columns, (rows,), generator=generator)] = 1.0
    picked = torch.tensor(scales)[torch.randint(0, len(scales), (rows,), generator=generator)]
    return values * picked[:, None]


@settings(max_examples=100)
@given(
    st.integers(0, 40), WIDTHS, WIDTHS, st.lists(SCALES, min_size=1, max_size=3), st.booleans(), st.integers(2, 8),
    st.floats(0, 0.99), st.integers(0, 999),
)  # fmt: skip
def test_the_artifact_answers_as_the_training_form_whatever_the_scales(
    rows: int, inputs: int, outputs: int, scales: list[float], bias: bool, bits: int, amount: float, seed: int
) -> None:
    def make() -> nn.Module:
        return nn.Linear(inputs, outputs, bias=bias)

    form = training_form(make(), Recipe(Prune(amount=amount), Quantize(f"int{bits}")))
    with torch.no_grad():
        next(form.parameters()).copy_(scaled(outputs, inputs, scales, seed))
    prune_amount(form, amount)
    x = scaled(rows, inputs, scales, seed + 1)
    ours, theirs = form(x), load(pack(form, {}), make)(x)
    assert ours.shape == (rows, outputs)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=100)
@given(st.integers(0, 20), WIDTHS, st.lists(SCALES, min_size=1, max_size=3), st.integers(1, 127), st.integers(0, 999))
def test_quantized_rows_are_whole_within_levels_and_half_a_step_off(
    rows: int, columns: int, scales: list[float], levels: int, seed: int
) -> None:
    given_rows = scaled(rows, columns, scales, seed)
    whole, scale = quantize_rows(given_rows, levels)
    assert bool((whole == whole.round()).all())
    assert bool((whole.abs() <= levels).all())
    assert bool(scale.isfinite().all())
    gap = (whole.double() * scale.double() - given_rows.double()).abs()
    assert bool((gap <= scale.double() * 0.50001).all())


@given(st.integers(2, 8), st.data(), st.floats(0, 1))
def test_packed_whole_numbers_come_back(bits: int, data: st.DataObject, zeroed: float) -> None:
    levels = 2 ** (bits - 1) - 1
    values = data.draw(st.lists(st.integers(-levels, levels), min_size=1, max_size=200))
    whole = torch.tensor(values, dtype=torch.int8)
    whole[: round(zeroed * len(values))] = 0
    parts = packing.pack(whole, bits)
    assert torch.equal(packing.unpack(parts, whole.shape, torch.int8, bits), whole)
    assert sum(t.numel() for t in parts.values()) <= -(-len(values) * bits // 8)


@given(
    st.lists(st.floats(width=16, allow_nan=False), min_size=1, max_size=50), st.sampled_from(["float32", "bfloat16"])
)
def test_packed_floats_come_back(values: list[float], kind: str) -> None:
    dtype = getattr(torch, kind)
    given_values = torch.tensor(values).to(dtype)
    parts = packing.pack(given_values)
    assert torch.equal(packing.unpack(parts, given_values.shape, dtype), given_values)


@settings(max_examples=100)
@given(
    WIDTHS, WIDTHS, st.lists(SCALES, min_size=1, max_size=3), st.integers(2, 8), st.none() | st.integers(2, 80),
    st.integers(0, 999),
)  # fmt: skip
def test_groups_of_any_size_round_by_half_a_step_at_most(
    outputs: int, inputs: int, scales: list[float], bits: int, group: int | None, seed: int
) -> None:
    spec, weight = Quantize(f"int{bits}", inputs="float", group=group), scaled(outputs, inputs, scales, seed)
    whole, scale = to_whole(weight, spec)
    back = from_whole(whole, scale, spec)
    assert scale.shape == (outputs, -(-inputs // (group or inputs)))
    each = scale.repeat_interleave(group or inputs, 1)[:, :inputs].double()
    assert bool(((back.double() - weight.double()).abs() <= each * 0.50001 + 1e-38).all())


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([prune_amount, LAMP, prune_threshold]), st.floats(0, 0.99)), max_size=6),
    st.integers(0, 99),
)
def test_masks_only_lose_entries_and_an_amount_is_reached(
    steps: list[tuple[Callable[[nn.Module, float], None], float]], seed: int
) -> None:
    torch.manual_seed(seed)
    form = training_form(nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 2)), RECIPE)
    size = sum(layer.mask.numel() for layer in weights(form).values())
    for prune, value in steps:
        before, dead = sparsity(form).overall, [layer.mask == 0 for layer in weights(form).values()]
        with torch.no_grad():
            torch._foreach_add_(list(form.parameters()), 0.01)
        prune(form, value)
        assert all(not layer.mask[d].any() for layer, d in zip(weights(form).values(), dead, strict=True))
        if prune is prune_amount:
            assert math.isclose(sparsity(form).overall, max(before, round(value * size) / size))


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), SCALES), min_size=1, max_size=4), st.floats(0, 0.999),
    st.floats(0, 0.999), st.integers(0, 999),
)  # fmt: skip
def test_lamp_is_its_formula_and_empties_no_layer(
    sizes: list[tuple[int, int, float]], first: float, then: float, seed: int
) -> None:
    form = training_form(nn.ModuleList(nn.Linear(i, o) for i, o, _ in sizes), RECIPE)
    all_weights = list(weights(form).values())
    for weight, (i, o, scale) in zip(all_weights, sizes, strict=True):
        with torch.no_grad():
            weight.value.copy_(scaled(o, i, [scale], seed))
    total = sum(weight.mask.numel() for weight in all_weights)
    for amount in sorted((first, then)):
        scores = [score for weight in all_weights for score in lamp(weight)]
        LAMP(form, amount)
        kept = torch.cat([weight.mask.flatten() for weight in all_weights]).bool().tolist()
        assert sum(kept) == total - round(amount * total)
        gone, stay = ([score for score, k in zip(scores, kept, strict=True) if k == which] for which in (False, True))
        assert max(gone, default=0.0) <= min(stay, default=1.0) * (1 + 1e-9)
        if sum(kept) >= len(all_weights):
            assert all(weight.mask.any() or not weight.value.any() for weight in all_weights)


def lamp(weight: Weight) -> list[float]:
    """The scores of arXiv 2010.07611, one by one; -1 for what is masked."""
    values, mask = weight.value.flatten().abs().tolist(), weight.mask.flatten().tolist()
    ranked = sorted((value, n) for n, value in enumerate(values) if mask[n])
    scores = [-1.0] * len(values)
    for place, (value, n) in enumerate(ranked):
        left = math.fsum(other**2 for other, _ in ranked[place:])
        scores[n] = value**2 / left if left else 0.0
    return scores


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


torch.manual_seed(0)
PACKED = pack(training_form(tiny(), RECIPE), {"note": "é"})


@settings(max_examples=400)
@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_no_altered_byte_passes(place: int, change: int) -> None:
    altered = bytearray(PACKED)
    altered[place] ^= change
    for read in (describe, lambda data: load(data, tiny)):
        with pytest.raises(ArtifactError):
            read(bytes(altered))


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_other_bytes_pass(data: bytes) -> None:
    for given_bytes in (data, data + PACKED, PACKED[:8] + data):
        if given_bytes != PACKED:
            with pytest.raises(ArtifactError):
                describe(given_bytes)
