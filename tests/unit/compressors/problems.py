"""Small regression problems that several tests share: a loss, rows to learn from, and a net for some of them."""

import torch
from torch import Tensor, nn

from compressors.data import Data


class Squared:
    """The squared error of the first output."""

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        return (output[:, 0] - target) ** 2

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        return ((teacher - student) ** 2).sum(1)


def kink(x: Tensor) -> Tensor:
    """What the labels of `kink_rows` are without their noise."""
    return x[:, 0] + 2 * x[:, 1].abs()


def kink_rows(n: int = 2_000) -> Data:
    """Rows of 8 inputs whose labels are `kink` and noise."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 8, generator=generator)
    return Data((x,), kink(x) + torch.randn(n, generator=generator))


def product_rows(n: int = 1_200) -> Data:
    """Rows of 6 inputs whose labels are, without noise, a bounded product and one input."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(3))
    return Data((x,), (x[:, 0] * x[:, 1]).tanh() + x[:, 2])


def net() -> nn.Module:
    """A net for `product_rows`, with the same weights each time."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1))
