"""What the product is measured beside: a network trained again on the new world alone, and River's trees.

Owns how each is played over a feed. Does not know tables.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.change.product import SLICE, net
from benchmarks.change.worlds import DAY, HISTORY, SHOWN, Array, Feed, chances


def retrained(given: Feed, seed: int) -> Array:
    """Return chances (N,) of a network trained on the rows since the last change, anew after each 250."""
    found = np.full(len(given.y), 0.5)
    x, y = torch.tensor(given.x, dtype=torch.float32), torch.tensor(given.y, dtype=torch.float32)
    for change, end in zip(given.changes, [*given.changes[1:], len(given.y)], strict=True):
        for start in range(change, min(end, change + SHOWN * DAY), DAY):
            known = slice(change, start)
            if start > change:
                found[start : start + DAY] = chances(_trained(x[known], y[known], seed)(x[start : start + DAY]))
    return found[HISTORY:]


def _trained(x: Tensor, y: Tensor, seed: int) -> Callable[[Tensor], Array]:
    """Return a network trained on rows, for as many passes as is best on a fifth of them, held out."""
    torch.manual_seed(seed)
    order = torch.randperm(len(x))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    model, loss = net(), nn.functional.binary_cross_entropy_with_logits
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    best, least = {}, math.inf
    for _ in range(30):
        for chosen in torch.split(kept[torch.randperm(len(kept))], 32):
            optimizer.zero_grad()
            loss(model(x[chosen])[:, 0], y[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            now = float(loss(model(x[held])[:, 0], y[held]))
        if now < least:
            best, least = {k: v.clone() for k, v in model.state_dict().items()}, now
    model.load_state_dict(best)
    return lambda rows: model(rows)[:, 0].detach().double().numpy()


def river(name: str) -> Callable[[Feed, int], Array]:
    """Return what plays one of River's trees, which learns each outcome an hour later."""

    def play(given: Feed, seed: int) -> Array:
        from river import forest, tree  # noqa: PLC0415 an extra of this benchmark

        model: Any = (
            forest.ARFClassifier(seed=seed) if name == "forest" else tree.HoeffdingAdaptiveTreeClassifier(seed=seed)
        )
        found, rows = np.full(len(given.y), 0.5), [dict(enumerate(row)) for row in given.x.tolist()]
        for n, row in enumerate(rows):
            if n >= HISTORY:
                found[n] = model.predict_proba_one(row).get(True, 0.5)
            known = n - SLICE if n >= HISTORY + SLICE else n if n < HISTORY else -1
            if known >= 0:
                model.learn_one(rows[known], bool(given.y[known]))
        return np.asarray(np.clip(found[HISTORY:], 1e-4, 1 - 1e-4))

    return play
