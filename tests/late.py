"""A feed whose positives come in an hour and negatives in ten days, while it grows and its base rate drifts.

What comes first says yes too often: whoever learns at once believes it. Owns the feed, and its pipeline.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from shadowstream import FeedEvent, Live, Online, Pipeline, Promotion, Quantize, Recipe, Wide

DAY_MS = 86_400_000
HOUR_MS = DAY_MS // 24
START_MS = 15_706 * DAY_MS
DAYS, GROWTH = 60, 8.0  # of the feed; as many predictions at its end
SWING, SWING_DAYS = 1.0, 40  # of the base rate, in logits, from its least to its most; there and back
MEAN_MS = (10 * DAY_MS, HOUR_MS)  # of the delays of label 0, label 1
MOST_MS = 50 * DAY_MS
CHAIN = 2  # among the live experts
JUDGED_FROM_MS = START_MS + 20 * DAY_MS


class Visit(msgspec.Struct, frozen=True):
    """A visit of a shop."""

    country: str
    pages: float


class Asked(NamedTuple):
    """A prediction that is asked, and what comes of it when."""

    t_ms: int
    row: Visit
    label: int
    known_ms: int


def asked(n: int, seed: int = 0, mean_ms: tuple[int, int] = MEAN_MS) -> list[Asked]:
    """Return N of them, in order."""
    draw = np.random.default_rng(seed)
    days = DAYS * np.log1p((GROWTH - 1) * np.sort(draw.random(n))) / np.log(GROWTH)
    country, pages = draw.integers(0, 12, n), draw.normal(0, 1, n).round(3)
    worth = np.linspace(-1.5, 1.5, 12)
    logit = -0.7 + worth[country] + 0.8 * pages + SWING / 2 * np.sin(2 * np.pi * days / SWING_DAYS)
    label = (draw.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    delay_ms = np.minimum(draw.exponential(np.array(mean_ms)[label]), MOST_MS).astype(int) + 1
    t_ms = START_MS + (days * DAY_MS).astype(int)
    rows = [Visit(str(c), p) for c, p in zip(country.tolist(), pages.tolist(), strict=True)]
    return list(map(Asked, t_ms.tolist(), rows, label.tolist(), (t_ms + delay_ms).tolist()))


def events(given: Sequence[Asked], *, silent: bool = False) -> Iterator[FeedEvent]:
    """Yield requests and outcomes in their order; where the feed is `silent`, nothing comes of label 0."""
    found = []
    for n, one in enumerate(given):
        key = f"id-{n}".encode()
        found.append(FeedEvent(one.t_ms, "requests", key, msgspec.json.encode(one.row)))
        if one.label or not silent:
            found.append(FeedEvent(one.known_ms, "outcomes", key, b'{"label":%d}' % one.label))
    yield from sorted(found, key=lambda event: event.t_ms)


def encode(visits: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return rows (N, 2)."""
    return (torch.tensor([[int(v.country) / 6 - 1, v.pages] for v in visits], dtype=torch.float32),)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))


def pipeline(n: int) -> Pipeline:
    """Return the pipeline of a feed of N predictions."""
    return Pipeline(
        name="late",
        model=net,
        features=Visit,
        encode=encode,
        recipe=Recipe(Quantize("int8")),
        online=Online(learning_rate=3e-3, half_life=1_000),
        live=Live(wide=Wide(bits=12)),
        promotion=Promotion(every_days=70),
        feed=lambda: events(asked(n)),
    )


class Figures(NamedTuple):
    """Mean p over mean y, and log loss."""

    ratio: float
    loss: float


def figures(given: Sequence[Asked], logits: Sequence[float | None]) -> Figures:
    """Return the figures of answers from JUDGED_FROM_MS on, each against its final label; None: no answer."""
    judged = [
        (z, one.label) for z, one in zip(logits, given, strict=True) if z is not None and one.t_ms >= JUDGED_FROM_MS
    ]
    z, y = np.array(judged).T
    p = 1 / (1 + np.exp(-z))
    loss = -np.log(np.where(y > 0, p, 1 - p))
    return Figures(float(p.mean() / y.mean()), float(loss.mean()))
