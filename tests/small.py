"""A small pipeline and its samples, for tests: four numbers, and on which side of a hidden line they are."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Raw
from torch import Tensor, nn

from deploy.pipeline import FeedEvent, Labelled, Pipeline
from learners.evaluation.trials.timing import Timing
from learners.online.batches import Encoder
from learners.online.learner import Learner
from learners.online.settings import Online
from streams.events import Prediction, Sample
from streams.join.policy import JoinPolicy

HOUR_MS = 3_600_000
START_MS = 1_357_002_000_000 - 1_357_002_000_000 % (24 * HOUR_MS)


class Point(msgspec.Struct):
    x: tuple[float, float, float, float]


def encode(points: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([p.x for p in points], dtype=torch.float32),)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))


def point(rng: np.random.Generator) -> tuple[Point, float]:
    x = rng.normal(size=4).round(3)
    chance = 1 / (1 + np.exp(-(2 * x[0] - 2 * x[1])))
    return Point(tuple(x.tolist())), float(rng.random() < chance)


def history() -> Iterator[Labelled]:
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        yield Labelled(*point(rng))


def feed(days: int = 3, every_min: int = 10) -> Iterator[FeedEvent]:
    """Yield a request every ten minutes, and 30 minutes to 5 hours later its outcome; one in ten has none."""
    rng = np.random.default_rng(1)
    events = []
    for i in range(days * 24 * 60 // every_min):
        where, label = point(rng)
        t_ms, key = START_MS + i * every_min * 60_000, f"id-{i}".encode()
        events.append(FeedEvent(t_ms, "requests", key, msgspec.json.encode(where)))
        if rng.random() < 0.9:
            later_ms = int(rng.integers(30, 300)) * 60_000
            events.append(FeedEvent(t_ms + later_ms, "outcomes", key, msgspec.json.encode({"label": label})))
    yield from sorted(events, key=lambda event: event.t_ms)


pipeline = Pipeline(
    name="small",
    model=net,
    features=Point,
    encode=encode,
    online=Online(history_passes=5, replay=500),
    history=history,
    feed=feed,
)


def timing(window_h: float = 1) -> Timing:
    """Return when a look is taken where outcomes come within so many hours, at once."""
    return Timing.of(JoinPolicy(window_s=window_h * 3_600))


def learner(seed: int = 0, online: Online = pipeline.online) -> Learner:
    encoder = Encoder(Point, encode)
    return Learner(net, pipeline.task, encoder, pipeline.recipe, online, seed)


def samples(n: int, seed: int = 0, start: int = 0) -> list[Sample]:
    """Return samples an hour apart, which version 0 answered with 0 and no intercept."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(start, start + n):
        where, label = point(rng)
        t_ms = START_MS + i * HOUR_MS
        asked = Prediction(f"id-{i}", t_ms, 0, (0.0,), (0.0,), i, Raw(msgspec.json.encode(where)))
        rows.append(Sample(f"id-{i}", "joined", 0, t_ms, label, t_ms + HOUR_MS, asked))
    return rows
