"""Real differences of losses: a small network learns a year of flights, and each week a sibling is frozen.

Two seeds make two lineages. Every sibling answers every flight of February to December, under its own live intercept.
Nothing is kept between runs. Owns the model. Does not know tests.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.drift import example

Floats = NDArray[np.float64]
DAY_MS, WEEK_MS = 86_400_000, 7 * 86_400_000
PART, PASSES, KEPT = 128, 3, 0.999  # samples a step; passes over January; how much the average keeps a step
RATE, STEP, LAG = 0.01, 60, 120  # the intercept's rate; flights at a time, and how many later outcomes are known


class Siblings(NamedTuple):
    """`logits` (2 seeds, M weeks, N flights) under each one's intercept; `begins` (M,): the first flight after it."""

    t_ms: NDArray[np.int64]
    labels: Floats
    logits: NDArray[np.float32]
    begins: NDArray[np.int64]

    def losses(self, seed: int, week: int, at: slice = slice(None)) -> Floats:
        """Return the log losses (N,) of a sibling, or those at some of the flights."""
        z = self.logits[seed, week, at].astype(np.float64)
        return np.logaddexp(0, z) - self.labels[at] * z

    @property
    def loss(self) -> float:
        """The mean loss of the newest sibling of the first seed."""
        ends = [*self.begins[1:].tolist(), len(self.t_ms)]
        spans = enumerate(zip(self.begins, ends, strict=True))
        return float(np.concatenate([self.losses(0, week, slice(*span)) for week, span in spans]).mean())


def siblings() -> Siblings:
    """Train both lineages, and return what each sibling answers."""
    module = example()
    flights = module.flights().query("arrives_ms.notna()")
    past = int((flights.month == 1).sum())
    rows = _rows(module, flights)
    labels = torch.from_numpy(flights.late.to_numpy(np.float32))
    t_ms = flights.departs_ms.to_numpy(np.int64)
    weeks = (t_ms[past:] - t_ms[past]) // WEEK_MS
    begins = np.flatnonzero(np.diff(weeks, prepend=-1))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    answers = np.stack([_lineage(seed, rows, labels, past, begins) for seed in (0, 1)])
    torch.set_num_threads(threads)
    y = labels[past:].double().numpy()
    return Siblings(t_ms[past:], y, _under_intercepts(answers, y), begins)


def _rows(module: Any, flights: pd.DataFrame) -> Tensor:
    """Return the model's inputs: categories as ones among zeros, and scaled numbers."""
    categories, numbers = module.CATEGORIES, module.NUMBERS
    columns = [flights[name].to_numpy()[:, None] == np.array(known) for name, known in categories.items()]
    scaled = [((flights[name] - mean) / spread).to_numpy()[:, None] for name, (mean, spread) in numbers.items()]
    rows = np.concatenate([*columns, np.nan_to_num(np.concatenate(scaled, axis=1)).clip(-10, 10)], axis=1)
    return torch.from_numpy(rows.astype(np.float32))


def _lineage(seed: int, rows: Tensor, labels: Tensor, past: int, begins: NDArray[np.int64]) -> NDArray[np.float32]:
    """Learn January and then each sample once; return what each frozen average answers to the others (M, N)."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(rows.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    average = torch.optim.swa_utils.AveragedModel(net, avg_fn=lambda old, new, _: KEPT * old + (1 - KEPT) * new)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)

    def step(at: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(rows[at])[:, 0], labels[at]).backward()
        optimizer.step()
        average.update_parameters(net)

    for _ in range(PASSES):
        for at in torch.randperm(past).split(PART):
            step(at)
    found, live = [], rows[past:]
    for start, end in zip(begins, [*begins[1:], len(live)], strict=True):
        with torch.no_grad():
            found.append(average(live)[:, 0].numpy())
        for at in torch.arange(past + start, past + end).split(PART):
            step(at)
    return np.stack(found)


def _under_intercepts(logits: NDArray[np.float32], labels: Floats) -> NDArray[np.float32]:
    """Return logits (2, M, N) plus the intercept of each, which follows its errors as outcomes come."""
    found, intercepts = np.empty_like(logits), np.zeros((*logits.shape[:2], 1))
    for start in range(0, logits.shape[2], STEP):
        at, told = slice(start, start + STEP), slice(max(0, start - LAG), max(0, start - LAG + STEP))
        found[..., at] = logits[..., at] + intercepts
        errors = labels[told] - 1 / (1 + np.exp(-found[..., told].astype(np.float64)))
        intercepts += RATE * errors.sum(axis=-1, keepdims=True)
    return found
