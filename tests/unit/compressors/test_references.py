"""Parity with torch's own quantization: the same whole numbers, fake quantization, and modules' answers."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.nn import quantized

from compressors.artifact import format as artifact
from compressors.carry_out import calibrate
from compressors.form import training_form, weights
from compressors.quantization.quantize import Seen, rounded, to_whole
from compressors.recipe import Quantize, Recipe

INT8 = Quantize("int8")


@pytest.fixture(autouse=True)
def quietly() -> None:
    """Torch says of each of these that torchao will follow it."""
    warnings.simplefilter("ignore")


def weight(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("shape", [(7, 33), (4, 3, 5), (6, 2, 3, 3)])
def test_whole_numbers_are_those_of_torch(shape: tuple[int, ...]) -> None:
    """But for ties: torch multiplies by the scale's reciprocal, we divide by the scale."""
    value = weight(*shape)
    whole, scale = to_whole(value, INT8)
    theirs = torch.quantize_per_channel(value, scale[:, 0].double(), torch.zeros(shape[0]).long(), 0, torch.qint8)
    assert int((theirs.int_repr() - whole).abs().max()) <= 1
    assert float((theirs.int_repr() != whole).float().mean()) < 0.01


def test_fake_quantization_is_that_of_torch_forward_and_backward() -> None:
    value, x = weight(7, 33), weight(5, 33).requires_grad_()
    _, scale = to_whole(value, INT8)
    theirs = torch.fake_quantize_per_channel_affine(value, scale[:, 0], torch.zeros(7).int(), 0, -127, 127)
    torch.testing.assert_close(rounded(value, INT8), theirs)
    step = torch.tensor(0.01)  # much is outside of 127 steps
    cut = torch.fake_quantize_per_tensor_affine(x, step, torch.tensor(0).int(), -127, 127)
    (slope,) = torch.autograd.grad(cut.square().sum(), x)
    ours = Seen.apply(x, step)  # type: ignore[no-untyped-call]
    (ours_slope,) = torch.autograd.grad(ours.square().sum(), x)
    torch.testing.assert_close(ours, cut)
    torch.testing.assert_close(ours_slope, slope)
    assert 0 < int((slope == 0).sum()) < slope.numel()


def linear() -> nn.Module:
    return nn.Linear(33, 8)


def conv() -> nn.Module:
    return nn.Conv2d(3, 8, 3, padding=1)


@pytest.mark.parametrize(
    ("make", "reference", "shape"),
    [
        (linear, partial(quantized.Linear, 33, 8), (16, 33)),
        (conv, partial(quantized.Conv2d, 3, 8, 3, padding=1), (16, 3, 6, 6)),
    ],
    ids=["linear", "conv"],
)
def test_a_served_layer_with_static_inputs_answers_as_torchs_quantized_module(
    make: Callable[[], nn.Module], reference: Callable[[], Any], shape: tuple[int, ...]
) -> None:
    """To a step of the numbers that torch's module gives out: ours gives floats."""
    torch.manual_seed(1)
    plain, x = make(), weight(*shape)
    form = training_form(copy.deepcopy(plain), Recipe(Quantize("int8", inputs="static")))
    calibrate(form, (x,))
    ours = artifact.load(artifact.pack(form, {}), make)(x)

    (compressed,) = weights(form).values()
    value = compressed.value.detach()
    _, scale = to_whole(value, INT8)
    packed = torch.quantize_per_channel(value, scale[:, 0].double(), torch.zeros(8).long(), 0, torch.qint8)
    theirs = reference()
    theirs.set_weight_bias(packed, plain.get_parameter("bias").detach())
    theirs.scale, theirs.zero_point = float(ours.abs().max()) / 127, 128
    seen = torch.quantize_per_tensor(x, float(form.get_buffer("input_range")) / 127, 128, torch.quint8)
    torch.testing.assert_close(theirs(seen).dequantize(), ours, rtol=0, atol=theirs.scale)
    torch.testing.assert_close(ours, plain(x), rtol=0, atol=0.1)
