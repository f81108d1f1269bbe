"""BatchNorm after compressed convolutions: its running statistics are those of the layers as they are served."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compressors.compress import Compressed, compress
from compressors.data import Data
from learners.tasks.classes import Classes

torch.set_num_threads(1)
TRAINED = "retrain(passes=3, batch=32, learning_rate=0.005)"
TASK = Classes(3)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


def data(rows: int = 600) -> Data:
    """Images (N, 1, 6, 6) far from zero, labelled by which third is the brightest."""
    images = torch.randn(rows, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return Data((3 * images + 5,), images.view(rows, 6, 3, 2).mean((1, 3)).argmax(1))


@pytest.fixture(scope="module")
def learned() -> nn.Module:
    model = net()
    model.load_state_dict(compress(model, f"prune(amount=0) -> {TRAINED}", data(), TASK).model.state_dict())
    return model.eval()


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if "running" in name}


def measured(made: Compressed) -> dict[str, Tensor]:
    """Return the mean and variance of each norm's inputs in the artifact, over all data."""
    model, (images,) = copy.deepcopy(made.model), data().inputs
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    model(images)
    return statistics(model)


@pytest.mark.parametrize(
    "recipe",
    [
        f"prune(amount=0.8) -> {TRAINED}",
        f"prune(amount=0.5) -> {TRAINED} -> quantize(int8) -> {TRAINED}",
        f"quantize(int8, inputs=static) -> {TRAINED}",
        f"prune_structured(amount=0.5, units=channels) -> {TRAINED}",
    ],
)
def test_statistics_are_those_of_the_layers_as_served(learned: nn.Module, recipe: str) -> None:
    made = compress(learned, recipe, data(), TASK)
    truth = measured(made)
    for name, kept in statistics(made.model).items():
        assert torch.equal(kept, made.form.state_dict()[name])
        spread = truth[name.replace("mean", "var")]
        live = spread > 1e-6  # a channel without weights has a variance of zero
        assert live.any()
        off = (kept - truth[name])[live] / (spread[live].sqrt() if "mean" in name else spread[live])
        assert off.abs().max() < 0.3, name


@pytest.mark.parametrize("recipe", ["prune(amount=0.5)", "quantize(int8)", "quantize(int8, inputs=static)"])
def test_without_training_they_stay(learned: nn.Module, recipe: str) -> None:
    made = compress(learned, recipe, data(), TASK)
    for name, kept in statistics(made.model).items():
        assert torch.equal(kept, learned.state_dict()[name])


@settings(max_examples=20)
@given(
    st.lists(st.floats(0.01, 100), min_size=4, max_size=4),
    st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4),
    st.sampled_from(["row", "static"]),
)
def test_folded_before_int8_it_answers_alike(sizes: list[float], signs: list[float], inputs: str) -> None:
    """A scale for each output channel takes up whatever a norm multiplies that channel by."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
    assert norm.running_var is not None
    norm.running_var.copy_(torch.rand(4) + 0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(sizes) * torch.tensor(signs))
    (images,), labels = data(40)
    rest = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    apart = nn.Sequential(conv, norm, rest).eval()
    folded = nn.Sequential(fuse_conv_bn_eval(conv, norm), rest)
    answers = [
        compress(one, f"quantize(int8, inputs={inputs})", Data((images,), labels), Classes(4)).model(images)
        for one in (apart, folded)
    ]
    assert (answers[0] - answers[1]).abs().amax(0).div(answers[0].abs().amax(0)).max() < 0.01
