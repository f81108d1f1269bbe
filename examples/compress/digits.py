"""Handwritten digits (scikit-learn's 1,797 images of 8 × 8 pixels) and a small CNN that reads them.

Owns the data, the net and the table that two examples share. Each image is tested once, by a net that has not seen it:
the images are cut into three parts, and a net learns from two of them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from shadowstream import Classes, Data, compress

TASK = Classes(10)
PARTS = 3
TRAINING = "retrain(passes=10, batch=64, learning_rate=0.001)"
CONTROL = f"prune(amount=0) -> {TRAINING}"  # removes nothing: what the further training does by itself


class Net(nn.Module):
    """Two convolutions, two Linear layers, the logits of ten classes: 85,450 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 4 * 4, 96),
            nn.ReLU(),
            nn.Linear(96, 10),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        logits: Tensor = self.layers(image)
        return logits


class Result(NamedTuple):
    """How many of all images were read rightly, in %, and the mean over the nets of bytes and of parity's largest."""

    accuracy: float
    bytes: float
    parity: float


class Fold(NamedTuple):
    """A net in float that has learned, the rows that it learned from, and those that it is tested on."""

    net: nn.Module
    known: Data
    fresh: Data


def folds(rows: int) -> list[Fold]:
    """Train a net for each third of the images."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:rows]
    data = Data((torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8),), torch.tensor(labels)).at(order)
    return list(_trained(data, len(order)))


def _trained(data: Data, rows: int) -> Iterator[Fold]:
    part = torch.arange(rows) % PARTS
    for seed in range(PARTS):
        torch.manual_seed(seed)
        known, fresh = (data.at(torch.nonzero(chosen)[:, 0]) for chosen in (part != seed, part == seed))
        # nothing is removed yet: prune(amount=0) lets the library's own training loop run on a plain net
        made = compress(Net(), f"prune(amount=0) -> {TRAINING.replace('passes=10', 'passes=30')}", known, TASK)
        net = Net()
        net.load_state_dict(made.model.state_dict())
        yield Fold(net, known, fresh)


def tried(folds: Sequence[Fold], recipe: str) -> Result:
    """Put each net through the recipe and test it on its fresh images."""
    made = [compress(fold.net, recipe, fold.known, TASK, held=fold.fresh) for fold in folds]
    right = sum(hits(one.model, fold.fresh) for one, fold in zip(made, folds, strict=True))
    sizes, gaps = [len(one.artifact) for one in made], [one.parity.largest for one in made]
    return Result(100 * right / images(folds), sum(sizes) / PARTS, sum(gaps) / PARTS)


def hits(net: nn.Module, data: Data) -> int:
    """Count the images that are read rightly."""
    with torch.inference_mode():
        return int((net(*data.inputs).argmax(1) == data.labels).sum())


def images(folds: Sequence[Fold]) -> int:
    """Count the images that are tested."""
    return sum(len(fold.fresh.labels) for fold in folds)


def plain(nets: Sequence[Fold]) -> tuple[int, float, float]:
    """Give the float net's bytes, its accuracy in %, and that after training on for as long as the others."""
    print(f"{images(nets)} digits, each read by one of {PARTS} nets that had not seen it\n")
    size = sum(p.numel() * p.element_size() for p in nets[0].net.parameters())
    right = sum(hits(fold.net, fold.fresh) for fold in nets)
    return size, 100 * right / images(nets), tried(nets, CONTROL).accuracy
