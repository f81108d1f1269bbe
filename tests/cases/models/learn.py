"""A learner, samples and losses that the cases of online learning share."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from msgspec import Raw
from torch import Tensor, nn

from compressors.recipe import Recipe
from learners.commits.state import pack_state, unpack_state
from learners.online.batches import Encoder
from learners.online.learner import Learner
from learners.online.settings import Online
from learners.tasks.binary import Binary
from streams.events import Prediction, Sample

TASK = Binary()


class Point(msgspec.Struct):
    x: list[float]


def encode(points: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([p.x for p in points], dtype=torch.float32),)


def samples(x: Tensor, y: Tensor) -> list[Sample]:
    def one(i: int, row: list[float], label: float) -> Sample:
        asked = Prediction(str(i), i, 0, (0.0,), (0.0,), 0, Raw(msgspec.json.encode(Point(row))))
        return Sample(str(i), "joined", 0, i, label, i, asked)

    return [one(i, row, label) for i, (row, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True))]


def learner(model: Callable[[], nn.Module], recipe: str = "quantize(int8)", online: Online | None = None) -> Learner:
    return Learner(model, TASK, Encoder(Point, encode), Recipe.parse(recipe), online or Online(), seed=0)


def rows(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Eight numbers, the first two of which say on which side of a line a row is."""
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return z * scale + shift, (z[:, 0] + 0.5 * z[:, 1] > 0).float()


def loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(TASK.losses(copy.deepcopy(model).eval()(x), y).mean())


def sized(learner: Learner) -> int:
    return sum(v.numel() * v.element_size() for v in learner.state().values())


def rebuilt(learner: Learner, model: Callable[[], nn.Module], recipe: str, more: list[Sample]) -> None:
    """Check that a state, saved and loaded, goes on with the same bits, in the middle of a batch too."""
    other = learner.__class__(model, TASK, Encoder(Point, encode), Recipe.parse(recipe), learner._spec, seed=0)
    other.load(unpack_state(pack_state(learner.state())))
    for part in (more[:7], more[7:100], more[100:]):
        assert torch.equal(learner.learn(part), other.learn(part))
        assert pack_state(learner.state()) == pack_state(other.state())


def with_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


class Stateful(nn.Module):
    """Buffers of each kind change in forward: a counter, one that is not persistent, one that grows, one made late."""

    seen: Tensor
    drift: Tensor
    cache: Tensor
    late: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("drift", torch.zeros(8), persistent=False)
        self.register_buffer("cache", torch.zeros(0, 8))
        self.register_buffer("late", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += len(x)
            self.drift = torch.lerp(self.drift, x.mean(0), 0.1)
            self.cache = torch.cat([self.cache, x[:1]])[-5:]
            self.late = x[-1:].double() if self.late is None else self.late + 1
        out: Tensor = self.out(torch.tanh(self.inner(x - self.drift)))
        return out


class Own(nn.Module):
    """Its forward itself asks for the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(nn.functional.dropout(x, 0.5, self.training))
        return out


MODES: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 1)),
    "batch norm": with_norm,
    "own forward": Own,
    "plain": lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)),
}
