"""Small networks, rows and recipes that the cases of layers share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressors.compress import Compressed, compress
from compressors.data import Data
from learners.tasks.binary import Binary

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

PRUNED = "prune(amount=0.5, scope=lamp) -> retrain(passes=2) -> quantize(int8)"
RECIPES = [
    "quantize(int8)",
    "quantize(int8, inputs=static)",
    "quantize(bfloat16)",
    "quantize(int4, group=8)",
    PRUNED,
    "quantize(int8) -> distill(passes=1)",
    "prune(amount=0.5) -> retrain(passes=1)",
]


def rows(n: int = 120) -> Data:
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
    return Data((x,), (x[:, 0] + 0.3 * x[:, 1] > 0).float())


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1, bias=False))


def made(model: nn.Module, recipe: str = "quantize(int8)", data: Data | None = None) -> Compressed:
    return compress(model, recipe, data or rows(), Binary())


class Net(nn.Module):
    """Two layers; `between` is what the forward does with the first one's answers and the second layer."""

    def __init__(self, between: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.between = nn.Linear(8, 16), nn.Linear(16, 1), between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.between(self, torch.relu(self.a(x)))
        return out


class Stateful(nn.Module):
    """A model to whose state or answers something is done."""

    def __init__(self, begin: Callable[..., object], step: Callable[..., Any] = lambda *_: 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.step, self.count, self.h = nn.Linear(8, 16), nn.Linear(16, 1), step, 0, None
        begin(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x))) * self.step(self)
        return out
