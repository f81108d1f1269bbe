"""A pipeline whose network has every transform in front, and its samples, for tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Raw
from torch import Tensor, nn

from deploy.pipeline import Labelled, Pipeline
from learners.online.settings import Online
from learners.online.transforms.numbers import Clip, Standardize
from learners.online.transforms.tokens import Hash, TargetMean, Vocabulary, token
from streams.events import Prediction, Sample
from tests.small import HOUR_MS, START_MS


class Visit(msgspec.Struct):
    """A name, with as many words as it has, and a number in any unit."""

    name: str
    price: float | None


def encode(visits: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return tokens (N, L), padded as the longest name of these rows is, and numbers (N, 1)."""
    words = [[token(word) for word in visit.name.split()] or [0] for visit in visits]
    longest = max(map(len, words))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in words])
    prices = [float("nan") if visit.price is None else visit.price for visit in visits]
    return tokens, torch.tensor(prices, dtype=torch.float64)[:, None]


class Net(nn.Module):
    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.cut, self.scale = Clip(1, share=0.02, window=64), Standardize(1, memory=500)
        self.words, self.hash, self.mean = Vocabulary(5, oov=2), Hash(8), TargetMean(buckets=32, memory=500)
        self.known, self.hashed = nn.Embedding(self.words.rows, 4), nn.Embedding(8, 4)
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, outputs))

    def forward(self, tokens: Tensor, numbers: Tensor) -> Tensor:
        own = (tokens != 0).float()[:, :, None]
        words = (self.known(self.words(tokens)) * own).sum(1), (self.hashed(self.hash(tokens)) * own).sum(1)
        means, scaled = self.mean(tokens).sum(1, keepdim=True), self.scale(self.cut(numbers))
        out: Tensor = self.layers(torch.cat([*words, means, scaled], 1))
        return out


def visit(draw: np.random.Generator) -> tuple[Visit, float]:
    words = draw.integers(0, 12, draw.integers(0, 4))
    price = None if draw.random() < 0.1 else float(np.exp(3 * draw.normal()))
    label = draw.random() < (0.2 + 0.6 * (3 in words))
    return Visit(" ".join(f"w{word}" for word in words), price), float(label)


def history() -> Iterator[Labelled]:
    draw = np.random.default_rng(5)
    for _ in range(600):
        yield Labelled(*visit(draw))


def samples(n: int, seed: int = 0, start: int = 0) -> list[Sample]:
    """Return samples an hour apart."""
    draw, found = np.random.default_rng(seed), []
    for i in range(start, start + n):
        features, label = visit(draw)
        t_ms = START_MS + i * HOUR_MS
        asked = Prediction(f"id-{i}", t_ms, 0, (0.0,), (0.0,), i, Raw(msgspec.json.encode(features)))
        found.append(Sample(f"id-{i}", "joined", 0, t_ms, label, t_ms + HOUR_MS, asked))
    return found


pipeline = Pipeline(
    name="transformed",
    model=Net,
    features=Visit,
    encode=encode,
    online=Online(batch=16, replay=400),
    history=history,
)
