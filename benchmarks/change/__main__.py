"""Play each kind of world by each plan; print a table a world for people, then one JSON line for programs.

    python -m benchmarks.change [--plans ...] [--kinds ...] [--seeds N] [--every-days N] [--no-drift] [--peers]

No services are needed. *served* is what was answered, *deep* the version alone, *retrained* a float network trained on
rows of the new world alone, anew after each 250. The last column is *served* in samples 751 to 1,000 over *retrained*.
Owns the tables. Does not know how anything learns.
"""

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.change.others import retrained, river
from benchmarks.change.product import Product
from benchmarks.change.worlds import DAY, HISTORY, KINDS, PLANS, SHOWN, Array, Feed, feed
from learners.evaluation.gate import YEAR_DAYS, Promotion

JUDGED = 4  # the window that is compared with `retrained`, counted from that before the change


def losses(given: Feed, chances: Array) -> Array:
    """Return the mean log loss before each change, and in each window after it: (changes, 1 + SHOWN)."""
    y = given.y[HISTORY:]
    of = -np.log(np.where(y > 0, chances, 1 - chances))
    starts = [change - HISTORY for change in given.changes]
    windows = [[of[at - 2 * DAY : at]] + [of[at + k * DAY : at + (k + 1) * DAY] for k in range(SHOWN)] for at in starts]
    return np.array([[window.mean() for window in row] for row in windows])


def main() -> None:
    """Play all that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.change")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=PLANS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every-days", type=int, default=7, help="days between candidates by the calendar")
    parser.add_argument("--no-drift", action="store_true", help="candidates by the calendar alone")
    parser.add_argument("--peers", action="store_true", help="River's adaptive random forest and Hoeffding tree")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    policy = Promotion(every_days=asked.every_days, candidates_a_year=YEAR_DAYS // asked.every_days)
    policy = replace(policy, drift_a_year=0) if asked.no_drift else policy
    found: dict[str, Any] = {}
    for plan in asked.plans:
        for kind in asked.kinds:
            runs = [_run(kind, plan, seed, policy, asked.peers) for seed in range(asked.seeds)]
            found[f"{plan}, {kind}"] = of = {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}
            _show(f"{plan}, {kind}", of)
    print(json.dumps({k: {name: of.tolist() for name, of in v.items()} for k, v in found.items()}))


def _run(kind: str, plan: str, seed: int, policy: Promotion, peers: bool) -> dict[str, Array]:
    given = feed(kind, plan, seed)
    product = Product(given, policy, seed)
    answers = product.play()
    answers |= {"retrained": retrained(given, seed), "best": given.best[HISTORY:]}
    answers |= {name: river(name)(given, seed) for name in ("forest", "tree") if peers}
    print(f"{plan}, {kind}, seed {seed}: changes {given.changes}")
    print(f"  drifts at, since {product.drifts}; promoted {product.promoted}", flush=True)
    return {name: losses(given, of) for name, of in answers.items()}


def _show(title: str, found: dict[str, Array]) -> None:
    table = Table(title=title)
    heads = ["", "change", "before", *(f"to {DAY * (k + 1)}" for k in range(SHOWN)), "over retrained"]
    for n, head in enumerate(heads):
        table.add_column(head, justify="right" if n else "left")
    for name, of in found.items():
        for n in range(len(of)) if name == "served" else sorted({0, len(of) - 1}):
            over = f"{of[n][JUDGED] / found['retrained'][n][JUDGED]:.2f}"
            table.add_row(name if n == 0 else "", str(n + 1), *(f"{loss:.3f}" for loss in of[n]), over)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
