"""What differentially private updates promise: the settings, and ε.

Owns the account, not the updates (`noise.py`). Samples are not drawn at random but learned once, in the order of their
coming: nothing is amplified by sampling, and no two batches have a sample in common. So one sample is in one step of
each network, and ε does not grow with the feed.
"""

import math
from dataclasses import dataclass

from compressors.arguments import Range, named
from streams.errors import ConfigError

NETWORKS = 2  # teacher and shadow each take one step with a sample
LEAST_NOISE = 0.1  # below, ε is above 100: nothing is private


@named(ConfigError, ranges={
    "noise": Range(LEAST_NOISE), "clip": Range(0, open=True), "delta": Range(0, 1, open=True),
})  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class Private:
    """How teacher and shadow learn from the feed without telling what any one sample was.

    `noise`: the standard deviation of the noise on the sum of a batch's slopes, in units of `clip`.
    `clip`: the largest norm of one sample's slope; a larger one is scaled down to it.
    `delta`: δ, the chance that ε does not hold; far less than 1 / the number of samples.

    >>> round(Private(noise=4.0, delta=1e-5).epsilon(), 3)
    1.356
    """

    noise: float
    clip: float = 1.0
    delta: float = 1e-5

    def epsilon(self, rounds: int = 1) -> float:
        """Return ε of the weights, after each sample was learned `rounds` times: 0 times, 0."""
        return epsilon(self.noise, self.delta, NETWORKS * rounds)


def epsilon(noise: float, delta: float, steps: int) -> float:
    """Return ε of `steps` Gaussian mechanisms of sensitivity 1 and this noise, exactly (Balle & Wang 2018, theorem 8).

    Together they are one with noise σ = noise / √steps (Dong, Roth & Su, arXiv 1905.02383). ε is where δ is
    Φ(1 / 2σ − ε σ) − e^ε Φ(−1 / 2σ − ε σ).

    >>> round(epsilon(1.0, 1e-5, 1), 3)
    4.377
    """
    if not steps:
        return 0.0
    sigma = noise / math.sqrt(steps)
    low, high = 0.0, 1.0
    while _delta(high, sigma) > delta:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(middle, sigma) > delta else (low, middle)
    return high


def _delta(epsilon: float, sigma: float) -> float:
    far = _phi(-0.5 / sigma - epsilon * sigma)
    return _phi(0.5 / sigma - epsilon * sigma) - (math.exp(epsilon + math.log(far)) if far else 0.0)


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
