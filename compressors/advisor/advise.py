"""Choosing a recipe: tries many, each measured on this machine, and names one with its reason.

Owns what is picked and why, the front, and the recipes that are usual. Does not know how a search goes, or tables.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from compressors.advisor.search import Budget, Said, Search, Trial, fits
from compressors.data import Data, Losses
from compressors.engines.engine import ENGINES, Engine
from compressors.errors import OutOfTime
from compressors.recipe import Prune, PruneStructured, Quantize, Recipe, Retrain, Step


class Advice(NamedTuple):
    """The last trial of each recipe, the front among them, the pick (None: none fits), and why it is that.

    `plain` is the model as it is, on torch.
    """

    trials: list[Trial]
    front: list[Trial]
    pick: Trial | None
    why: str
    complete: bool
    plain: Trial


def advise(
    model: nn.Module,
    data: Data,
    losses: Losses,
    budget: Budget,
    recipes: Sequence[Recipe],
    *,
    engines: Sequence[Engine] = ENGINES,
    seed: int = 0,
    notes: Path | None = None,
    said: Said | None = None,
) -> Advice:
    """Try recipes on `model`, measure each on this machine, and return the trials with the recipe to take.

    `model` maps inputs (N, ...) to outputs (N, K). `data` are rows, oldest first: every recipe learns on the older 90 %
    or a part of them, and is measured on the newest 10 %. `losses` is a task, such as `Binary()`. Each artifact is
    timed on the fastest of `engines` that agrees with it. Trials are kept in the file `notes`; a later call with the
    same model, data and seed does not repeat them. `said(done, trials, seconds_left)` is called after each trial.

    The search is successive halving (Jamieson & Talwalkar, arXiv 1502.07943): all recipes are tried on 1/27 of the
    rows, the better half on 1/9, and so on. Of the recipes that fit the budget and are within one standard error of the
    lowest loss, the fastest is picked. Ctrl-C, or the end of the budget's minutes, ends the search with the best so
    far.

    Raises:
        ValueError: no recipes, or fewer than two rows. A recipe that fails is no error: its trial has the reason.

    >>> import torch
    >>> rows = Data((torch.eye(4).repeat(20, 1),), torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(20))
    >>> recipes = [Recipe.parse("quantize(int8)")]
    >>> advice = advise(torch.nn.Linear(4, 1), rows, Binary(), Budget(bytes=5_000), recipes, engines=())
    >>> advice.pick.recipe, advice.pick.engine
    ('quantize(int8)', 'torch')
    """
    if not recipes:
        raise ValueError("there are no recipes to try")
    search = Search(model, data, losses, budget, engines, seed, notes)
    complete = True
    try:
        search.climb(list(dict.fromkeys(recipes)), said)
    except (KeyboardInterrupt, OutOfTime):
        complete = False
    trials = list(search.newest.values())
    pick, why = choose(trials, budget)
    return Advice(trials, front(trials), pick, why, complete, search.plain)


def usual(training: Retrain) -> list[Recipe]:
    """Give the recipes that are worth a try on most models.

    Some sparsities with some widths of numbers and half of the units removed, each retrained; 8 and 16 bits without.
    """
    smaller: list[Step] = [PruneStructured(amount=0.5), training]
    chains: list[list[Step]] = [[], smaller]
    chains += [[Prune(amount=0.5)], [Prune(amount=0.8)], [Prune(amount=0.9)], [Prune(pattern="2:4")]]
    chains += [[Prune(amount=0.8, scope="lamp")], [*smaller, Prune(amount=0.6)]]
    quantizes = [None, Quantize("int8"), Quantize("int4", group=32), Quantize("bfloat16")]
    whole = [[*chain, *([q] if q else [])] for chain in chains for q in quantizes]
    trained = [Recipe(*chain) if chain == smaller else Recipe(*chain, training) for chain in whole if chain]
    return [Recipe(Quantize("int8")), Recipe(Quantize("bfloat16")), *trained]


def choose(trials: Iterable[Trial], budget: Budget) -> tuple[Trial | None, str]:
    """Pick a trial and say why: of those that fit and are within one standard error of the best, the fastest."""
    sound = [t for t in trials if not t.refused]
    fitting = [t for t in sound if fits(t, budget)]
    if not fitting:
        return None, _nearest(sound, budget)
    share = max(t.share for t in fitting)
    final = [t for t in fitting if t.share == share]
    best = min(final, key=lambda t: t.loss)
    close = [t for t in final if t.loss <= best.loss + best.error]
    pick = min(close, key=lambda t: (t.latency_us, t.bytes))
    reason = f"of {len(fitting)} that fit the budget, {len(close)} are within one standard error of the lowest loss"
    return pick, f"{reason} ({best.loss:+.4f} ± {best.error:.4f}), and this one is the fastest of them"


def front(trials: Iterable[Trial]) -> list[Trial]:
    """Give the trials that no other one beats in loss, bytes and latency at once, the lowest loss first."""
    sound = sorted((t for t in trials if not t.refused), key=lambda t: (t.loss, t.latency_us, t.bytes))
    return [t for t in sound if not any(_beats(other, t) for other in sound)]


def _nearest(sound: Sequence[Trial], budget: Budget) -> str:
    if not sound:
        return "no recipe could be carried out on this model"
    least = min(t.bytes for t in sound), min(t.latency_us for t in sound), min(t.loss for t in sound)
    return (
        f"nothing fits {budget}: the smallest takes {least[0]:,} bytes, the fastest {least[1]:.0f} µs, and the lowest "
        f"loss is {least[2]:+.4f}"
    )


def _beats(a: Trial, b: Trial) -> bool:
    ours, theirs = (a.loss, a.bytes, a.latency_us), (b.loss, b.bytes, b.latency_us)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))
