"""Answers drawn anew, autocast, wide inputs, wrappers, and what does not learn: right, or refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.compress import compress
from compressors.data import Data
from learners.tasks.binary import Binary
from shadowstream import load_artifact
from tests.cases import case
from tests.cases.models.nets import RECIPES, Net, Stateful, made, mlp, rows


def grows(net: Any) -> Any:
    net.count += 1
    return 1.0 + 0.01 * net.count


@case("models/13")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: Net(lambda net, h: net.b(F.dropout(h, 0.3))), "F.dropout needs training"),
        (lambda: Net(lambda net, h: net.b(h + torch.randn_like(h))), "drawn anew"),
        (lambda: Stateful(lambda _: None, grows), "changed: count"),
    ],
)
def test_a_model_that_answers_differently_when_asked_twice_is_refused(model: Any, named: str, recipe: str) -> None:
    with pytest.raises(ValueError, match=rf"answers the same rows differently when it is asked twice .*{named}"):
        made(model(), recipe)


@case("models/13")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("recipe", RECIPES)
def test_autocast_inside_forward_works_with_every_recipe(recipe: str, kind: torch.dtype) -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=kind):
                hidden = torch.relu(self.a(x))
                assert hidden.dtype == kind
                out: Tensor = self.b(hidden).float()
            return out

    assert made(Cast(), recipe).parity.largest == 0


class Hashed(nn.Module):
    """Logistic regression over 2^18 hashed inputs, Vowpal Wabbit's default."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(2**18, 1)

    def forward(self, i: Tensor) -> Tensor:
        out: Tensor = self.f(torch.zeros(len(i), 2**18).scatter_(1, i, 1.0))
        return out


@case("models/11")
@pytest.mark.parametrize(
    "recipe",
    [
        "prune(amount=0.9)", "quantize(bfloat16)", "quantize(int4, group=32)", "quantize(int8, inputs=float)",
        "prune(amount=0.5) -> quantize(int8, inputs=static)",
    ],
)  # fmt: skip
def test_a_hashed_model_is_compressed_by_all_that_needs_no_int32_sum(recipe: str) -> None:
    i = torch.randint(0, 2**18, (40, 5), generator=torch.Generator().manual_seed(0))
    small = made(Hashed(), recipe, Data((i,), (i[:, 0] % 2).float()))
    assert small.parity.largest == 0
    assert small.description.bytes < 0.6 * small.description.float_bytes


@case("models/11")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "prune(amount=0.5) -> quantize(int8)"])
def test_what_int8_forbids_is_refused_with_what_would_be_right(recipe: str) -> None:
    i = torch.randint(0, 2**18, (40, 5))
    with pytest.raises(ValueError, match=r"f: 262144 inputs: an int32 sum .* 133144; with inputs=float"):
        made(Hashed(), recipe, Data((i,), (i[:, 0] % 2).float()))


class Parts(nn.Module):
    """A model, a part of which is compiled."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = wrap(nn.Linear(8, 16)), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x)))
        return out


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


WRAPS: dict[str, Callable[..., nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "compile": compiled,
    "both": lambda m: nn.DataParallel(compiled(m)),
}


@case("models/16", "nanoGPT#325", "timm#1566")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "quantize(int8) -> distill(passes=1)"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrapped_model_makes_the_artifact_of_the_plain_one(wrap: str, recipe: str) -> None:
    plain, x = made(mlp(), recipe), rows().inputs[0]
    wrapped = WRAPS[wrap](mlp())
    small = made(wrapped, recipe)
    assert list(small.description.weights) == list(plain.description.weights)
    for factory in (mlp, lambda: WRAPS[wrap](mlp())):
        assert torch.equal(load_artifact(small.artifact, factory)(x), plain.model(x))
    assert compress(wrapped, recipe, rows(), Binary(), factory=mlp).parity.largest == 0
    assert isinstance(wrapped, type(WRAPS[wrap](mlp()))), "the user's model stays wrapped"
    part = made(Parts(WRAPS[wrap]), recipe)
    assert list(part.description.weights) == ["a.weight", "b.weight"]


class Lora(nn.Module):
    """A frozen layer with a learned difference of low rank, whose second factor starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.a = nn.Linear(8, 16).requires_grad_(False), nn.Linear(8, 4, bias=False)
        self.b = nn.Linear(4, 16, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.b(self.a(x))
        return out


def lora() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Lora(), nn.ReLU(), nn.Linear(16, 1))


@case("models/12")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("criterion", ["amount=0.5", "amount=0.5, scope=lamp", "amount=0.5, scope=layer", "below=0.05",
                                       "amount=0.5, ramp=0", "pattern='2:4'"])  # fmt: skip
def test_neither_a_frozen_weight_nor_one_that_starts_at_zero_is_pruned(criterion: str) -> None:
    small = made(lora(), f"prune({criterion}) -> retrain(passes=2)")
    masks = dict(small.form.named_buffers())
    assert bool(masks["0.base.mask"].all())
    assert bool(masks["0.b.mask"].all())
    assert not bool(masks["2.mask"].all())
    assert torch.equal(small.form.get_parameter("0.base.weight"), lora().get_parameter("0.base.weight"))
    assert bool(small.form.get_parameter("0.b.weight").any()), "it has learned"
    assert "requires_grad=False" in small.description.left["0.base"]
    assert "all zero" in small.description.left["0.b"]


@case("models/12")
def test_a_wholly_frozen_model_is_quantized_but_not_pruned() -> None:
    frozen = lora().requires_grad_(False)
    assert made(frozen).parity.largest == 0
    with pytest.raises(ValueError, match=r"can be pruned: 0\.base\.weight: it has requires_grad=False"):
        made(frozen, "prune(amount=0.5)")
    with pytest.raises(ValueError, match=r"found no units to remove: .*requires_grad=False, and stays as it is"):
        made(frozen, "prune_structured(amount=0.5)")
