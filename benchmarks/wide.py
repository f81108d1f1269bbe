"""What a learner's step costs with an embedding of a thousand and of a million rows, and what its state holds.

Owns the table. `python -m benchmarks.wide`. The aim: a million rows within 2 times of a thousand.
"""

import json
import time

import msgspec
import torch
from msgspec import Raw
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from compressors.recipe import Recipe
from learners.online.batches import Encoder
from learners.online.learner import Learner
from learners.online.settings import Online
from learners.tasks.binary import Binary
from streams.events import Prediction, Sample

SIZES, RECIPES = (1_000, 100_000, 1_000_000), ("quantize(int8)", "prune(amount=0.5) -> quantize(int8)")
BATCH, STEPS, FIELDS, WIDTH = 128, 40, 8, 16


class Ids(msgspec.Struct):
    """Rows of the table."""

    ids: list[int]


class Net(nn.Module):
    """An embedding of `size` rows, eight of which a sample has."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(size, WIDTH), nn.Linear(FIELDS * WIDTH, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (N, 1) of ids (N, 8)."""
        logit: Tensor = self.out(self.table(ids).flatten(1))
        return logit


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    table, measured = Table("recipe", "rows", "ms a step", "of a thousand's", "state, tables"), {}
    for recipe in RECIPES:
        thousand = 0.0
        for size in SIZES:
            ms, tables = _measure(recipe, size)
            thousand = thousand or ms
            measured[f"{recipe}, {size}"] = {"ms": ms, "tables": tables}
            table.add_row(recipe, f"{size:,}", f"{ms:.2f}", f"{ms / thousand:.2f}", f"{tables:.1f}")
    Console().print(table)
    print(json.dumps({"benchmark": "wide", "steps": measured}))


def _measure(recipe: str, size: int) -> tuple[float, float]:
    encoder = Encoder(Ids, lambda rows: (torch.tensor([row.ids for row in rows]),))
    learner = Learner(lambda: Net(size), Binary(), encoder, Recipe.parse(recipe), Online(batch=BATCH), seed=0)
    took = []
    for step in range(STEPS):
        samples = _samples(size, step)
        began = time.thread_time()
        learner.learn(samples)
        took.append(time.thread_time() - began)
    held = sum(tensor.numel() * tensor.element_size() for tensor in learner.state().values())
    return 1_000 * sorted(took)[STEPS // 2], held / (size * WIDTH * 4)


def _samples(size: int, step: int) -> list[Sample]:
    ids = torch.randint(0, size, (BATCH, FIELDS), generator=torch.Generator().manual_seed(step)).tolist()
    asked = [
        Prediction(str(i), i, 0, (0.0,), (0.0,), 0, Raw(msgspec.json.encode(Ids(row)))) for i, row in enumerate(ids)
    ]
    return [Sample(one.id, "joined", 0, one.t, float(one.t % 2), one.t, one) for one in asked]


if __name__ == "__main__":
    main()
