"""Bets of an e-detector: that a mean has risen, whenever that began.

A Shiryaev-Roberts sum of bets, mixed over six stakes (Shin, Ramdas & Rinaldo, arXiv 2203.03532). Of each block comes a
gain u ≥ −1, which is at most 0 in the mean as long as nothing has risen:

    R_j ← (R_j + 1)(1 + b_j u),  b_j = 0.99 · 2^−j,  j = 0 … 5

Then mean R reaches N / α at most α times in N blocks. Owns one step. Does not know what u is, or what follows.
"""

from collections.abc import Sequence

BETS = tuple(0.99 * 2.0**-j for j in range(6))


def raised(r: Sequence[float], u: float) -> list[float]:
    """Return R_0 … R_5 after a block.

    >>> [round(one, 3) for one in raised([0.0] * 6, 1.0)]
    [1.99, 1.495, 1.247, 1.124, 1.062, 1.031]
    """
    return [(one + 1) * (1 + bet * u) for one, bet in zip(r, BETS, strict=True)]
