"""What a training step costs with masks and with fake quantization, compared with a plain one, on one thread.

Owns the table. `python -m benchmarks.training`. The aim: masks at most 1.3 times a plain step, int8 at most 2 times.
"""

import json
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from compressors.form import training_form
from compressors.pruning.prune import prune_amount
from compressors.recipe import Prune, Quantize, Recipe

RECIPES = {
    "plain": None,
    "masks": Recipe(Prune(amount=0.8)),
    "int8": Recipe(Quantize("int8")),
    "masks and int8": Recipe(Prune(amount=0.8), Quantize("int8")),
}
ROUNDS = 60


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    table, us_a_step = Table("network", "rows", *RECIPES), {}
    for name, (make, x) in NETS.items():
        steps = {kind: _step(make(), recipe, x) for kind, recipe in RECIPES.items()}
        took: dict[str, list[float]] = {kind: [] for kind in steps}
        for _ in range(ROUNDS):  # in turn, so that a slow moment affects all alike
            for kind, step in steps.items():
                began = time.thread_time()
                step()
                took[kind].append(time.thread_time() - began)
        us = {kind: 1e6 * sorted(times)[ROUNDS // 2] for kind, times in took.items()}
        us_a_step[name] = us
        table.add_row(name, str(len(x)), *(f"{t:,.0f} µs, {t / us['plain']:.2f}" for t in us.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "training", "us_a_step": us_a_step}))


def _step(model: nn.Module, recipe: Recipe | None, x: Tensor) -> Callable[[], None]:
    if recipe:
        model = training_form(model, recipe)
        if recipe.first(Prune):
            prune_amount(model, 0.8)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(x).square().mean().backward()
        optimizer.step()

    return step


def _mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(49, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "tabular, 128 wide": (lambda: _mlp(128), torch.randn(128, 49)),
    "tabular, 512 wide": (lambda: _mlp(512), torch.randn(256, 49)),
    "feed-forward 384-1536-384": (
        lambda: nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384)),
        torch.randn(2_048, 384),
    ),
    "CNN of the digits": (_cnn, torch.randn(128, 1, 8, 8)),
}

if __name__ == "__main__":
    main()
