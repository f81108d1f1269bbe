"""The usual encoder and network of a features type: raw fields in, by their types, and nothing to set.

Categories, and whole numbers while they are small, are tokens, whose embeddings are hashed; numbers are standardized as
they come; the words of a text are one embedding, their sum over √n. Owns both. Does not know pipelines.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learners.live.features.fields import fields_of
from learners.live.features.reader import Reader, crc32
from learners.online.transforms.numbers import Standardize
from learners.online.transforms.tokens import Hash

SMALL = 256  # a whole number nearer to 0 is a token too
BUCKETS, WIDTH, HIDDEN = 1 << 14, 8, 128  # of the embedding; of a token's; of a layer


class Tabular:
    """Encodes rows of a features type, and makes a network of `outputs` outputs for what it encodes.

    Raises:
        ConfigError: no field of the type can be read.

    >>> import msgspec
    >>> class Visit(msgspec.Struct):
    ...     country: str
    ...     age: float | None
    >>> tabular = Tabular(Visit, 1)
    >>> tokens, numbers, words = tabular.encode([Visit("fr", 31.0), Visit("I don't quite know, sorry", None)])
    >>> tokens.shape, numbers.tolist(), words.shape
    (torch.Size([2, 1]), [[31.0], [nan]], torch.Size([2, 6]))
    >>> tabular.model()(tokens, numbers, words).shape
    torch.Size([2, 1])
    """

    def __init__(self, features: type, outputs: int) -> None:
        self._fields, self._outputs = fields_of(features), outputs
        self._reader = Reader(self._fields)
        self._counts = [at for at, name in enumerate(self._fields.numbers) if name in self._fields.counts]
        whole = range(1 - SMALL, SMALL)
        names = [self._fields.numbers[at] for at in self._counts]
        table = [[crc32(name), *(crc32(f"{name}={n}") for n in whole)] for name in names]
        self._small = np.array(table, np.int64).reshape(len(names), 2 * SMALL)
        self._texts = bool(self._fields.texts or self._fields.strings)

    def encode(self, rows: Sequence[Any]) -> tuple[Tensor, ...]:
        """Return N rows' tokens (N, C), int64, numbers (N, M), float64, and, if any may be text, words (N, L), int64.

        A missing number is NaN; 0 is no token, and no word.
        """
        read = self._reader.read(rows)
        whole = read.numbers[:, self._counts]
        small = (np.abs(whole) < SMALL) & (whole == np.floor(whole))
        at = np.where(small, whole, -SMALL).astype(np.int64) + SMALL
        tokens = np.concatenate([read.tokens.astype(np.int64), self._small[np.arange(len(self._counts)), at]], 1)
        inputs = torch.from_numpy(tokens), torch.from_numpy(read.numbers)
        return (*inputs, _padded(read.words, read.ends)) if self._texts else inputs

    def model(self) -> nn.Module:
        """Return a network, untrained, which answers (N, outputs)."""
        tokens = len(self._fields.categories) + len(self._counts)
        return Net(tokens, len(self._fields.numbers), self._outputs, words=self._texts)


def usual(*_: Any) -> Any:
    """Stand for a `Tabular`'s parts where nothing is given."""
    raise NotImplementedError


def _padded(words: Any, ends: Any) -> Tensor:
    starts = np.concatenate([[0], ends[:-1]])
    counts = (ends - starts)[:, None]
    within = np.arange(max(int(counts.max(initial=0)), 1))[None]
    out = np.zeros((len(ends), within.shape[1]), np.int64)
    out[within < counts] = words
    return torch.from_numpy(out)


class Net(nn.Module):
    """Embeddings, standardized numbers, and which of them are missing, through two hidden layers."""

    def __init__(self, tokens: int, numbers: int, outputs: int, *, words: bool) -> None:
        super().__init__()
        self.hash, self.standardize = Hash(BUCKETS), Standardize(numbers) if numbers else None
        self.table = nn.Embedding(BUCKETS, WIDTH) if tokens or words else None
        width = tokens * WIDTH + 2 * numbers + words * WIDTH
        self.layers = nn.Sequential(
            nn.Linear(width, HIDDEN),
            nn.LayerNorm(HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, outputs),
        )

    def forward(self, tokens: Tensor, numbers: Tensor, words: Tensor | None = None) -> Tensor:
        """Return the outputs (N, K) of tokens (N, C), numbers (N, M) and words (N, L)."""
        parts = [] if self.table is None else [self.table(self.hash(tokens)).flatten(1)]
        if self.standardize is not None:
            parts += [self.standardize(numbers), numbers.isnan().float()]
        if self.table is not None and words is not None:
            own = (words > 0).float()[:, :, None]
            parts.append((self.table(self.hash(words)) * own).sum(1) / own.sum(1).clamp_min(1).sqrt())
        output: Tensor = self.layers(torch.cat(parts, 1))
        return output
