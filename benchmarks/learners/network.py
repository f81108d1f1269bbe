"""A small network that learns each outcome as it lands, in place of the product's compressed one.

Owns it and its features, for benchmarks/learners/. Does not know other learners.
"""

import copy
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.learners.feeds import Stream, kinds
from benchmarks.peers.replay import NEVER_MS
from learners.online.networks.average import Memory
from learners.online.settings import Online

BUCKETS, WIDTH, SMALL = 1 << 14, 8, 256
RENEWED, CHUNK = 30, 4_096
SETTINGS = Online()  # the product's own, on all streams
WORD = re.compile(r"\w+")


class Net(nn.Module):
    """Embeddings of categories, the mean of those of words, and numbers, through two hidden layers."""

    def __init__(self, categories: int, numbers: int, text: bool, outputs: int = 1) -> None:
        super().__init__()
        self.table, self.words = nn.Embedding(BUCKETS, WIDTH), nn.EmbeddingBag(BUCKETS, WIDTH) if text else None
        wide = categories * WIDTH + numbers + (WIDTH if text else 0)
        self.layers = nn.Sequential(
            nn.Linear(wide, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs)
        )

    def forward(self, categories: Tensor, numbers: Tensor, words: Tensor, offsets: Tensor) -> Tensor:
        """Return logits, (N,) or (N, outputs)."""
        parts = [self.table(categories).flatten(1), numbers]
        logit: Tensor = self.layers(torch.cat([*parts, self.words(words, offsets)] if self.words else parts, 1))
        return logit.squeeze(1)


class Encoded:
    """A stream's rows as tensors; numbers are scaled by those of the history."""

    def __init__(self, stream: Stream) -> None:
        of, rows = kinds(type(stream.rows[0])), stream.rows
        names = [name for name, kind in of.items() if kind in ("category", "count")]
        spread = [name for name, kind in of.items() if kind in ("number", "count")]
        buckets = [[_bucket(name, getattr(row, name)) for name in names] for row in rows]
        self.categories = torch.tensor(buckets, dtype=torch.long)
        table = np.array([[_number(getattr(row, name)) for name in spread] for row in rows]).reshape(len(rows), -1)
        past = table[: stream.live]
        scaled = (table - np.nanmean(past, 0)) / np.maximum(np.nanstd(past, 0), 1e-9) if spread else table
        self.numbers = torch.from_numpy(np.nan_to_num(scaled).clip(-5, 5).astype(np.float32))
        texts = [name for name, kind in of.items() if kind == "text"]
        self.words = [
            [_bucket(n, w) for n in texts for w in set(WORD.findall(getattr(row, n).lower()))] for row in rows
        ]
        self.shape = len(names), len(spread), bool(texts)

    def of(self, at: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return the network's inputs of some rows."""
        rows = torch.as_tensor(at)
        words = [self.words[n] for n in rows.tolist()] if self.shape[2] else []
        starts = np.cumsum([0, *map(len, words)])[:-1] if words else []
        flat = [word for of_one in words for word in of_one]
        return (
            self.categories[rows],
            self.numbers[rows],
            torch.tensor(flat, dtype=torch.long),
            torch.tensor(starts, dtype=torch.long),
        )


def _bucket(name: str, value: Any) -> int:
    small = not isinstance(value, int) or abs(value) < SMALL
    return zlib.crc32(f"{name}={value if small else None}".encode()) % BUCKETS


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


class Deep:
    """The network learns each outcome as it lands; a copy of its average answers live rows, renewed thirty times."""

    def __init__(self, stream: Stream, seed: int = 0, outputs: int = 1) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.stream, self.encoded = stream, Encoded(stream)
        self.net = Net(*self.encoded.shape, outputs)
        self.average, self.memory, self.steps = copy.deepcopy(self.net), Memory(SETTINGS.half_life / SETTINGS.batch), 0
        self.copy: Net | None = None
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay, fused=True
        )
        self.told: list[int] = []
        self.learned = self.renewed = self.computed = 0
        self.logits = np.full((len(stream.rows), outputs) if outputs > 1 else len(stream.rows), np.nan)
        self.every = max(sum(ms < NEVER_MS for ms in stream.known_ms[stream.live :]) // RENEWED, 1)

    def learn(self, events: Sequence[tuple[int, int, int]]) -> None:
        """Learn outcomes, a batch at a time, once the history is over."""
        self.told += [row for _, row, age in events if age < 0]
        while self.copy and len(self.told) - self.learned >= SETTINGS.batch:
            self._step(self.told[self.learned : self.learned + SETTINGS.batch])
            self.learned += SETTINGS.batch

    def answer(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return chances; the copy stands still until it is renewed, so many are computed at once."""
        if start >= self.stream.live:
            if self.copy is None:
                self._begin()
            if self.copy is None or self.learned - self.renewed >= self.every:
                self.copy, self.renewed, self.computed = copy.deepcopy(self.average), self.learned, 0
            if stop > self.computed:
                self.computed = min(max(stop, start + CHUNK), len(self.logits))
                with torch.inference_mode():
                    logits = self.copy(*self.encoded.of(range(start, self.computed)))
                self.logits[start : self.computed] = logits.double().numpy()
        return np.asarray(1 / (1 + np.exp(-np.nan_to_num(self.logits[start:stop]))))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of outputs against labels (N,)."""
        return binary_cross_entropy_with_logits(outputs, labels)

    def _begin(self) -> None:
        draw = np.random.default_rng(0)
        for _ in range(SETTINGS.history_passes):
            for at in np.array_split(draw.permutation(self.told), max(len(self.told) // SETTINGS.batch, 1)):
                self._step(at)
        self.learned = self.renewed = len(self.told)

    def _step(self, at: Sequence[int] | NDArray[np.int64]) -> None:
        labels = torch.tensor([self.stream.labels[row] for row in at])
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.net(*self.encoded.of(at)), labels).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), SETTINGS.clip)
        self.optimizer.step()
        kept = self.memory.kept(self.steps, self.steps + 1)
        self.steps += 1
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)
