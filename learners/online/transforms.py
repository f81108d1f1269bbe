"""Transforms that learn online: layers of a user's model whose buffers follow the rows that they see.

A row is answered first and then waits. When the optimizer takes the step of its batch, transforms learn the rows of
that batch, all at once and in their order. The log alone decides where batches end, so equal logs make equal bits
however they are cut into parts and commits. What a `TargetMean` answers is of the outcomes of batches before, so no row
sees its own. All is in buffers: it is in states, candidates and artifacts, in an artifact it stands still, and no
recipe touches it. Owns the layers. Does not know who tells them of rows (following.py).
"""

import torch
from torch import Tensor, nn

from compressors.arguments import shown
from compressors.scale import WITHIN
from learners.live.features.reader import crc32
from learners.online.spread import TRUSTED
from streams.errors import ConfigError

HUGE = 1e100  # a number further from 0 counts as this one: the square of more is none
CONSTANT = 1e-9  # a spread below this part of the mean is rounding
RENEWED = 16  # times in a window that quantiles are taken anew
WAITING = ("_rows", "_targets", "_weights")


def token(value: str) -> int:
    """Return a text as a number, for `Vocabulary`, `Hash` and `TargetMean`: its CRC-32, never 0.

    Put the field's name before the value, so that equal values of two fields differ.

    >>> token("country=fr")
    3241183392
    """
    return crc32(value)


class Transform(nn.Module):
    """A layer that learns from rows, not by slopes: `learn` follows a batch of them, which `forward` has answered.

    A pipeline's learner calls `follow` and `settle`; elsewhere call them yourself. What it knows must be in buffers;
    those that only learning needs have `persistent=False`, and artifacts go without them.

    >>> import torch
    >>> class Largest(Transform):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("most", torch.tensor(1.0))
    ...     def forward(self, x):
    ...         return x / self.most
    ...     def learn(self, rows, targets, weights):
    ...         self.most.copy_(torch.maximum(self.most, rows.max()))
    >>> largest = Largest()
    >>> largest.follow(torch.tensor([[8.0], [4.0]]))
    >>> largest.settle()
    >>> largest(torch.tensor([[2.0]])).tolist()
    [[0.25]]
    """

    def __init__(self) -> None:
        super().__init__()
        for name in WAITING:
            self.register_buffer(name, torch.empty(0), persistent=False)

    @torch.no_grad()
    def follow(self, rows: Tensor, targets: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Keep what came into `forward` (N, ...), and the targets and weights (N,) of these rows, until `settle`."""
        n = len(rows)
        targets, weights = (torch.ones(n) if given is None else given for given in (targets, weights))
        for name, new in zip(WAITING, (self.kept(rows.detach()), targets, weights), strict=True):
            before = self.get_buffer(name)
            self._buffers[name] = _joined(before, new) if len(before) else new.clone()

    @torch.no_grad()
    def settle(self) -> None:
        """Learn the rows that wait, of one batch: from now on `forward` answers by them too."""
        rows, targets, weights = (self.get_buffer(name) for name in WAITING)
        if len(targets):
            if len(rows):
                self.learn(rows, targets, weights)
            for name in WAITING:
                self._buffers[name] = torch.empty(0)

    def kept(self, rows: Tensor) -> Tensor:
        """Return what `learn` needs of rows: they wait as this."""
        return rows

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Learn a batch of rows, as `kept` returned them."""
        raise NotImplementedError


class Standardize(Transform):
    """Numbers (..., `features`) in units of their running spread, from their running mean: (x − μ) / σ, float32.

    A missing number, NaN, is 0, and so is all before the first batch was learned, and what never varied; the answer is
    cut at ±`clip`. Mean and spread are those of about the last `memory` rows (Chan, Golub & LeVeque 1979 for whole
    batches), each number by itself; from the 100th on, one more than ten spreads off counts as one that is ten off.

    >>> import torch
    >>> scale = Standardize(1)
    >>> scale.follow(torch.tensor([[1.0], [3.0], [float("nan")]]))
    >>> scale.settle()
    >>> scale(torch.tensor([[3.0], [2.0], [float("nan")]])).flatten().tolist()
    [1.0, 0.0, 0.0]
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    scale: Tensor

    def __init__(self, features: int, *, memory: int = 100_000, clip: float = 10.0) -> None:
        super().__init__()
        self.features = _least(1, "Standardize", features=features)
        self.memory, self.clip = _least(1, "Standardize", memory=memory), clip
        for name in ("count", "mean", "variance", "scale"):
            kept = name in ("mean", "scale")
            self.register_buffer(name, torch.zeros(features, dtype=torch.float64), persistent=kept)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers, standardized, in the same shape."""
        _check_last(self, x, self.features)
        z = (x.double() - self.mean) * self.scale
        return z.nan_to_num(0.0).clamp(-self.clip, self.clip).float()

    def kept(self, rows: Tensor) -> Tensor:
        """Return the rows (R, `features`), float64, that have a number."""
        return _numbers(rows, self.features)

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Move mean and spread."""
        known = rows.isfinite()
        off = rows.nan_to_num(0.0).clamp(-HUGE, HUGE) - self.mean
        most = torch.where(self.count >= TRUSTED, WITHIN * self.variance.sqrt(), torch.inf)
        off = off.minimum(most).maximum(-most).masked_fill(~known, 0.0)
        n = known.sum(0)
        new = off.sum(0) / n.clamp_min(1)
        apart = (off - new).masked_fill(~known, 0.0).square().sum(0) / n.clamp_min(1)
        share = n / (self.count + n).clamp_min(1)
        self.variance += share * (apart - self.variance + (1 - share) * new.square())
        self.mean += share * new
        self.count.add_(n).clamp_max_(self.memory)
        spread = self.variance.sqrt()
        self.scale.copy_(torch.where(spread > CONSTANT * self.mean.abs(), 1 / spread, 0.0))


class Clip(Transform):
    """Numbers (..., `features`), cut to where most of the last `window` were: from the quantile `share` to 1 − `share`.

    NaN stays NaN. Before the first batch was learned nothing is cut; then quantiles are taken anew sixteen times a
    window, and at each batch of the first sixteenth.

    >>> import torch
    >>> cut = Clip(1, share=0.25)
    >>> cut.follow(torch.arange(5.0)[:, None])
    >>> cut.settle()
    >>> cut(torch.tensor([[-9.0], [2.0], [9.0]])).flatten().tolist()
    [1.0, 2.0, 3.0]
    """

    low: Tensor
    high: Tensor
    newest: Tensor
    seen: Tensor

    def __init__(self, features: int, *, share: float = 0.01, window: int = 2_000) -> None:
        super().__init__()
        if not 0 < share < 0.5:
            raise ConfigError(f"Clip.share must be above 0 and below 0.5, got {shown(share)}")
        self.features = _least(1, "Clip", features=features)
        self.share, self.window = share, _least(RENEWED, "Clip", window=window)
        self.register_buffer("low", torch.full((features,), -torch.inf, dtype=torch.float64))
        self.register_buffer("high", torch.full((features,), torch.inf, dtype=torch.float64))
        self.register_buffer("newest", torch.empty(0, features, dtype=torch.float64), persistent=False)
        self.register_buffer("seen", torch.tensor(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers, cut, in the same shape, float64."""
        _check_last(self, x, self.features)
        return x.double().maximum(self.low).minimum(self.high)

    def kept(self, rows: Tensor) -> Tensor:
        """Return the rows (R, `features`), float64, that have a number."""
        return _numbers(rows, self.features)

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Keep the newest rows; take their quantiles when it is time."""
        self.newest = torch.cat([self.newest, rows])[-self.window :]
        part, before = self.window // RENEWED, int(self.seen)
        self.seen += len(rows)
        if before < part or before // part < int(self.seen) // part:
            low, high = self.newest.nanquantile(torch.tensor([self.share, 1 - self.share], dtype=torch.float64), 0)
            self.low.copy_(low.nan_to_num(-torch.inf))
            self.high.copy_(high.nan_to_num(torch.inf))


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
        self.size, self.oov = _least(1, "Vocabulary", size=size), _least(1, "Vocabulary", oov=oov)
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
        self.buckets = _least(1, "Hash", buckets=buckets)

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
        self.buckets, self.smooth = _least(1, "TargetMean", buckets=buckets), float(smooth)
        self.memory = _least(1, "TargetMean", memory=memory)
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


def _joined(before: Tensor, new: Tensor) -> Tensor:
    """Return rows after another; tokens (N, L) are padded with 0 where the parts of a batch differ in L."""
    if before.shape[1:] != new.shape[1:]:
        width = max(before.shape[1], new.shape[1])
        before, new = (nn.functional.pad(t, (0, width - t.shape[1])) for t in (before, new))
    return torch.cat([before, new])


def _numbers(rows: Tensor, features: int) -> Tensor:
    numbers = rows.double().reshape(-1, features)
    numbers = numbers.masked_fill(numbers.isinf(), torch.nan)
    return numbers[~numbers.isnan().all(1)]


def _least(least: int, kind: str, **given: int) -> int:
    ((name, value),) = given.items()
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{kind}.{name} must be a whole number, at least {least}, got {shown(value)}")
    return value


def _check_last(layer: nn.Module, x: Tensor, features: int) -> None:
    if x.shape[-1:] != (features,):
        raise ConfigError(f"{type(layer).__name__}({features}) takes numbers (N, {features}), got {tuple(x.shape)}")


def _check_whole(layer: nn.Module, tokens: Tensor) -> None:
    if tokens.dtype != torch.int64:
        raise ConfigError(
            f"{type(layer).__name__} takes tokens, an int64 tensor, got {tokens.dtype}: make them in encode, such as "
            "torch.tensor([[token(f'country={row.country}')] for row in rows])"
        )
