"""Numbers, standardized and cut by what they were so far. Does not know who tells of rows (following.py)."""

import torch
from torch import Tensor, nn

from compressors.arguments import shown
from compressors.scale import WITHIN
from learners.online.spread import TRUSTED
from learners.online.transforms.transform import Transform, least
from streams.errors import ConfigError

HUGE = 1e100  # a number further from 0 counts as this one: the square of more is none
CONSTANT = 1e-9  # a spread below this part of the mean is rounding
RENEWED = 16  # times in a window that quantiles are taken anew


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
        self.features = least(1, "Standardize", features=features)
        self.memory, self.clip = least(1, "Standardize", memory=memory), clip
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
        self.features = least(1, "Clip", features=features)
        self.share, self.window = share, least(RENEWED, "Clip", window=window)
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


def _numbers(rows: Tensor, features: int) -> Tensor:
    numbers = rows.double().reshape(-1, features)
    numbers = numbers.masked_fill(numbers.isinf(), torch.nan)
    return numbers[~numbers.isnan().all(1)]


def _check_last(layer: nn.Module, x: Tensor, features: int) -> None:
    if x.shape[-1:] != (features,):
        raise ConfigError(f"{type(layer).__name__}({features}) takes numbers (N, {features}), got {tuple(x.shape)}")
