"""Tokens: texts as whole numbers, which become rows of an embedding, or what outcomes were where they stood.

Does not know who tells of rows (following.py).
"""

import torch
from torch import Tensor, nn

from compressors.arguments import shown
from learners.live.features.reader import crc32
from learners.online.transforms.transform import Transform, least
from streams.errors import ConfigError


def token(value: str) -> int:
    """Return a text as a number, for `Vocabulary`, `Hash` and `TargetMean`: its CRC-32, never 0.

    Put the field's name before the value, so that equal values of two fields differ.

    >>> token("country=fr")
    3241183392
    """
    return crc32(value)


class Vocabulary(Transform):
    """Tokens (...), whole numbers, as rows 0 … `rows` − 1 of an embedding: each known one has a row of its own.

    The first `size` tokens that come become known, in their order, and stay: their embeddings mean the same for ever.
    All others share `oov` rows, by token modulo `oov`, which come first. `rows` is `size` + `oov`. 0 is padding, and
    its row 0.

    >>> import torch
    >>> words = Vocabulary(2, oov=1)
    >>> words.follow(torch.tensor([70, 50, 70, 60]))
    >>> words.settle()
    >>> words(torch.tensor([50, 60, 70])).tolist()
    [2, 0, 1]
    """

    tokens: Tensor
    places: Tensor
    known: Tensor

    def __init__(self, size: int, *, oov: int = 1) -> None:
        super().__init__()
        self.size, self.oov = least(1, "Vocabulary", size=size), least(1, "Vocabulary", oov=oov)
        self.rows = size + oov
        self.register_buffer("tokens", torch.full((size,), torch.iinfo(torch.int64).max))  # those known, sorted
        self.register_buffer("places", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("known", torch.tensor(0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token's row, int64, in the same shape."""
        _check_whole(self, tokens)
        at = torch.searchsorted(self.tokens, tokens.contiguous()).clamp_max(self.size - 1)
        own = (self.tokens[at] == tokens) & (at < self.known)
        return torch.where(own, self.places[at], tokens.remainder(self.oov))

    def kept(self, rows: Tensor) -> Tensor:
        """Return the tokens, without padding, while there is room for more."""
        return rows[rows != 0] if int(self.known) < self.size else rows.new_empty(0)

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Let tokens become known while there is room."""
        known = int(self.known)
        new = list(dict.fromkeys(rows[self(rows) < self.oov].tolist()))[: self.size - known]
        tokens = torch.cat([self.tokens[:known], torch.tensor(new, dtype=torch.int64)])
        places = torch.cat([self.places[:known], self.oov + torch.arange(known, known + len(new))])
        order = tokens.argsort()
        self.tokens[: len(order)] = tokens[order]
        self.places[: len(order)] = places[order]
        self.known.fill_(len(order))


class Hash(nn.Module):
    """Tokens (...), whole numbers, as `buckets` rows of an embedding, by token modulo `buckets`; it learns nothing.

    >>> import torch
    >>> Hash(16)(torch.tensor([3, 19])).tolist()
    [3, 3]
    """

    def __init__(self, buckets: int) -> None:
        super().__init__()
        self.buckets = least(1, "Hash", buckets=buckets)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token's row, int64, in the same shape."""
        _check_whole(self, tokens)
        return tokens.remainder(self.buckets)


class TargetMean(Transform):
    """Tokens (...), whole numbers, as what outcomes were where the token was: their mean, shrunk to that of all.

        ((Σ w y + m ȳ) / (Σ w + m) − ȳ) / σ        m: `smooth`; ȳ, σ: mean and spread of all targets; float32

    Sums are by token modulo `buckets`, and fade over `memory` samples. Micci-Barreca 2001 for the shrinking; ordered as
    by Prokhorenkova et al., arXiv 1706.09516: a row is answered before its own outcome counts, also in each pass over a
    history. 0 is padding, and its mean 0. For tasks whose target is one number. A candidate is distilled on rows whose
    outcomes are in the sums: a token with few of them tells a little of its own, 1 / (`smooth` + 1) of it at most.

    >>> import torch
    >>> mean = TargetMean(smooth=2)
    >>> mean.follow(torch.tensor([7, 7, 8, 8]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    >>> mean.settle()
    >>> [round(x, 3) for x in mean(torch.tensor([7, 8, 9])).tolist()]
    [0.5, -0.5, 0.0]
    """

    sums: Tensor
    counts: Tensor
    all: Tensor

    def __init__(self, *, buckets: int = 16_384, smooth: float = 20.0, memory: int = 100_000) -> None:
        super().__init__()
        if not smooth > 0:
            raise ConfigError(f"TargetMean.smooth must be above 0, got {shown(smooth)}")
        self.buckets, self.smooth = least(1, "TargetMean", buckets=buckets), float(smooth)
        self.memory = least(1, "TargetMean", memory=memory)
        self.register_buffer("sums", torch.zeros(buckets, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(buckets, dtype=torch.float64))
        self.register_buffer("all", torch.zeros(3, dtype=torch.float64))  # Σ w, Σ w y, Σ w y²

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token's shrunken mean, in the same shape."""
        _check_whole(self, tokens)
        at = tokens.remainder(self.buckets)
        mean, square = self.all[1:] / self.all[0].clamp_min(1e-9)
        spread = (square - mean.square()).clamp_min(0).sqrt()
        off = (self.sums[at] - mean * self.counts[at]) / (self.counts[at] + self.smooth)
        return torch.where((spread > 0) & (tokens != 0), off / spread, 0.0).float()

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Let the sums fade, and add a batch to them."""
        y, w = targets.double(), weights.double()
        sound = y.isfinite() & w.isfinite()
        y, w = y.masked_fill(~sound, 0.0), w.masked_fill(~sound, 0.0)
        for sums in (self.sums, self.counts, self.all):
            sums.mul_((1 - 1 / self.memory) ** len(y))
        rows = rows.reshape(len(y), -1)
        own, at = rows != 0, rows.remainder(self.buckets)
        for sums, values in ((self.counts, w), (self.sums, w * y)):
            sums.index_add_(0, at[own], values[:, None].expand(at.shape)[own])
        self.all.add_(torch.stack([w.sum(), (w * y).sum(), (w * y * y).sum()]))

    def forget(self) -> None:
        """Know nothing again."""
        for sums in (self.sums, self.counts, self.all):
            sums.zero_()


def _check_whole(layer: nn.Module, tokens: Tensor) -> None:
    if tokens.dtype != torch.int64:
        raise ConfigError(
            f"{type(layer).__name__} takes tokens, an int64 tensor, got {tokens.dtype}: make them in encode, such as "
            "torch.tensor([[token(f'country={row.country}')] for row in rows])"
        )
