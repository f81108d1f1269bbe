"""Serving models for tests: plain nets whose Linear layers multiply in int8, made without an artifact."""

import torch
from torch import Tensor, nn

from compressors.quantization.int8 import Int8Linear
from compressors.quantization.quantize import quantize_rows

PLACES = 20


class Mixed(nn.Module):
    """An embedding and five numbers through two hidden layers, odd in width; one layer without a bias."""

    def __init__(self, width: int = 33) -> None:
        super().__init__()
        self.place = nn.Embedding(PLACES, 6)
        self.body = nn.Sequential(nn.Linear(11, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, 3, bias=False)

    def forward(self, place: Tensor, rest: Tensor) -> Tensor:
        out: Tensor = self.out(self.body(torch.cat([self.place(place), rest], dim=1)))
        return out


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 10)
    )


def encoder() -> nn.Module:
    """Return a net on rows of three tokens, so that a layer has more rows than the batch."""
    return nn.Sequential(
        nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 8), nn.Flatten(), nn.Linear(24, 2)
    )


def mixed_rows(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, PLACES, (n,), generator=generator), torch.randn(n, 5, generator=generator)


def image_rows(n: int) -> tuple[Tensor]:
    return (torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n)),)


def token_rows(n: int) -> tuple[Tensor]:
    return (torch.randn(n, 3, 8, generator=torch.Generator().manual_seed(n)),)


def served(plain: nn.Module) -> nn.Module:
    """Put int8 layers in the place of the plain ones, as loading an artifact does."""
    for name, old in list(plain.named_modules()):
        if type(old) is nn.Linear:
            plain.set_submodule(name, _int8(old))
    return plain.eval().requires_grad_(False)


def _int8(plain: nn.Linear) -> Int8Linear:
    whole, scale = quantize_rows(plain.weight.detach(), 127)
    bias = None if plain.bias is None else plain.bias.detach().clone()
    return Int8Linear(whole.to(torch.int8), scale, bias)
